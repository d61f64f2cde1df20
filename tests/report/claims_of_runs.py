"""Claims of the pages about accuracy: phrases with their numbers computed from the rows of runs.

What the words around a number say is asserted beside it.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator

from findings import (
    BIASED,
    RESULTS,
    UNBIASED,
    accuracy,
    bracketed,
    compared,
    of,
    text,
    undecided,
    with_spread,
)
from torch import nn

from bnn.data import spec_of
from bnn.estimators import Estimator
from bnn.models import MODELS
from bnn.report.differences import compare
from bnn.report.learning_rates import learning_rate
from bnn.report.numbers import Interval, interval
from bnn.report.row_files import read_csv
from bnn.training.activations import PICTURE_DRAWS

BOTH = {"neuron": "stochastic", "placement": "both"}


def seeds_of(name: str) -> int:
    """Seeds of each configuration of a table."""
    (seeds,) = {len(c.rows) for c in of(name)}
    return seeds


def seed_table() -> Iterator[str]:
    name = "seed_table_mnist"
    real = accuracy(name, neuron="real")
    st, frozen = (accuracy(name, estimator=one, **BOTH) for one in ("st", "frozen"))
    yield f"stochastic is {real - st:.2f} points below the real-valued network"
    spreads = [with_spread(name, estimator="st", **BOTH), with_spread(name, neuron="real")]
    yield f"{spreads[0]} against {spreads[1]} %"
    yield f"layers that are not trained are {real - frozen:.2f} points below"
    costs = [
        accuracy(name, estimator="st", neuron="deterministic", placement=place)
        for place in ("first", "both")
    ]
    assert seeds_of(name) == 5
    for placement in ("first", "last", "both"):
        (of_stochastic,), (of_deterministic,) = (
            [c.rows for c in of(name, estimator="st", neuron=neuron, placement=placement)]
            for neuron in ("stochastic", "deterministic")
        )
        pairs = zip(of_stochastic, of_deterministic, strict=True)
        apart = interval([one.test_accuracy - other.test_accuracy for one, other in pairs])
        assert apart.low < 0 < apart.high
    yield f"is {real - costs[0]:.2f} points below the real-valued network with the first layer"
    yield f"deterministic, and {real - costs[1]:.2f} with both"
    for neuron in ("stochastic", "deterministic"):
        for placement in ("first", "last", "both"):
            place = {"neuron": neuron, "placement": placement}
            st, reinforce, frozen = (
                accuracy(name, estimator=one, **place) for one in ("st", "reinforce", "frozen")
            )
            assert st >= reinforce
            assert placement == "first" or reinforce > frozen
            assert place != {"neuron": "deterministic", "placement": "first"} or reinforce <= frozen
    assert {c.first.evaluations for c in of(name, estimator="st")} == {1}
    (k,) = {c.first.evaluations for c in of(name, estimator="reinforce")}
    yield f"at {k} evaluations a step"


def minutes(name: str) -> float:
    """Minutes that a sweep took by its own last lines, `6 runs in 5:19`, in NAME.txt."""
    (found,) = re.findall(r"(?m)^6 runs in (\d+):(\d+),", text(name))
    return int(found[0]) + int(found[1]) / 60


def minutes_in_all(name: str) -> float:
    """Minutes of a sweep and of the start of Python, in NAME.txt."""
    (found,) = re.findall(r"(\d+):(\d+) with the start of Python", text(name))
    return int(found[0]) + int(found[1]) / 60


SIX = [(one, place) for one in ("st", "reinforce") for place in ("first", "last", "both")]


def bnn_mnist() -> Iterator[str]:
    name, ten = "bnn_mnist", "ten_epochs_mnist"
    six = {one: accuracy(name, estimator=one[0], placement=one[1]) for one in SIX}
    st, reinforce = ([six[one] for one in SIX if one[0] == by] for by in ("st", "reinforce"))
    (epochs,) = {c.first.epochs for c in of(name)}
    yield (
        f"In {epochs} epochs straight-through reaches {min(st):.2f} to {max(st):.2f} % and "
        f"REINFORCE {min(reinforce):.2f} to {max(reinforce):.2f} %"
    )
    assert {c.first.threads for c in of(name)} == {1}
    yield (
        f"the command takes {minutes('main_command'):.1f} minutes on two cores, where ten epochs "
        f"took {minutes('main_command_ten_epochs'):.1f}"
    )
    gained = [six[one] - accuracy(ten, estimator=one[0], placement=one[1]) for one in SIX]
    yield f"{min(gained):+.2f} to {max(gained):+.2f} points against ten epochs"
    assert seeds_of(name) == seeds_of(ten) == 5
    counts = [
        c.first.evaluations
        for place in ("first", "last", "both")
        for c in of(name, estimator="reinforce", placement=place)
    ]
    yield f"{counts[0]} draws of the first layer alone, {counts[1]} of the last"
    yield f"{counts[0]} · {counts[1]} of both"
    assert counts[2] == counts[0] * counts[1]
    slopes = {c.settings()["anneal.start"] + c.settings()["anneal.end"] for c in of(name)}
    assert slopes == {"1.05.0"}
    yield "a slope that rises from 1 to 5"
    assert not {100, 101} & {row.seed for c in of(name) for row in c.rows}
    yield "of seeds 100 and 101"


def short_training() -> Iterator[str]:
    name, ten = "short_training_mnist", "seed_table_mnist"
    rows = {(c.first.neuron, c.first.estimator, c.first.placement) for c in of(name)}
    assert len(rows) == len(of(ten)) == 19 and seeds_of(name) == seeds_of(ten) == 5
    keys = ("neuron", "estimator", "placement")
    both = {row: dict(zip(keys, row, strict=True)) for row in rows}
    gains = [accuracy(name, **row) - accuracy(ten, **row) for row in both.values()]
    (epochs,), (earlier,) = ({c.first.epochs for c in of(one)} for one in (name, ten))
    yield f"After {epochs} epochs every row of"
    yield f"{min(gains):.2f} to {max(gains):.2f} points above its accuracy after {earlier}"
    (found,) = re.findall(r"(?m)^95 runs in (\d+):(\d+),", text("short_training"))
    yield f"95 runs take {int(found[0]) + int(found[1]) / 60:.1f} minutes on two cores"
    real = accuracy(name, neuron="real")

    def cost(estimator: str, neuron: str, placement: str) -> float:
        return real - accuracy(name, estimator=estimator, neuron=neuron, placement=placement)

    yield f"both layers stochastic is {cost('st', 'stochastic', 'both'):.2f} points below"
    yield f"with both deterministic {cost('st', 'deterministic', 'both'):.2f}."
    yield f"not trained cost {cost('frozen', 'stochastic', 'both'):.2f} points"
    yield f"and {cost('frozen', 'stochastic', 'first'):.2f} where only the first is"
    behind = [
        cost("reinforce", neuron, "first") - cost("frozen", neuron, "first")
        for neuron in ("stochastic", "deterministic")
    ]
    yield f"by {behind[0]:.2f} points with stochastic units and {behind[1]:.2f} with deterministic"
    assert all(
        cost("reinforce", neuron, place) < cost("frozen", neuron, place)
        for neuron in ("stochastic", "deterministic")
        for place in ("last", "both")
    )


def behind(*titles: str) -> list[float]:
    """Points of accuracy behind straight-through at equal cost."""
    st = accuracy("estimators_mnist", estimator="st")
    return [st - accuracy("estimators_mnist", estimator_title=title) for title in titles]


FOLLOWING = (
    "relax learned 0.99 32",
    "rodeo 2 0.99 32",
    "rebar learned 0.99",
    "muprop 0.9 conditional",
    "double_cv 4 0.99",
)
"""Unbiased estimators whose control variates follow the loss's derivative, from the highest."""


def estimators() -> Iterator[str]:
    name, seeds = "estimators_mnist", seeds_of("estimators_mnist")
    told = {
        one.configuration.first.estimator_title: one.verdict
        for one in compared(name, "estimator=st", 0.1)
    }
    unbiased = [title for title in UNBIASED if title in told]
    assert {*told, "st density"} == {*unbiased, *BIASED, "frozen"}
    assert {told[title] for title in unbiased} == {"worse by more than 0.1"}
    above = ["reinmax 1.0", "reinmax_rao 1.0", "mve 1.0", "st_gumbel 1.0", "concrete 0.5",
             "gumbel_rao 1.0"]  # fmt: skip
    assert {*above, "st density"} == {*BIASED}
    assert sorted(told[t] for t in above) == ["better"] * 2 + ["better by more than 0.1"] * 4
    biased = [accuracy(name, estimator_title=title) for title in above]
    gains = [-points for points in behind(*above)]
    yield (
        f"{min(biased):.2f} to {max(biased):.2f} % and not told apart: {min(gains):.2f} to "
        f"{max(gains):.2f} points above straight-through"
    )
    yield "Each of the others is better, four of them by more than 0.1 points"
    assert gains == sorted(gains, reverse=True)
    for title in above:
        for one in compared(name, f"estimator={title.split()[0]}", 0.1):
            if one.configuration.first.estimator_title in above:
                assert one.verdict == "undecided"
    yield f"among themselves {seeds} seeds do not tell them apart"
    yield from estimator_rates()
    following, leave_one_out = behind(*FOLLOWING), behind("reinforce leave_one_out 4")[0]
    assert following == sorted(following) and behind("nvil 100 0.9") == [max(behind(*unbiased))]
    for title in FOLLOWING:
        for one in compared(name, f"estimator={title.split()[0]}", 0.1):
            level = one.configuration.first.estimator_title in FOLLOWING
            if level or one.configuration.first.estimator_title in unbiased:
                assert one.verdict == ("undecided" if level else "worse by more than 0.1")
    yield (
        f"are {min(following):.2f} to {max(following):.2f} points behind straight-through, and "
        f"REINFORCE with leave-one-out {leave_one_out:.2f}"
    )
    others = behind(*(title for title in unbiased if title not in FOLLOWING))
    yield f"The other unbiased ones are {min(others):.2f} to {max(others):.2f} points behind"
    coupled = behind("reinforce leave_one_out 4", "disarm", "arms 4")
    low, high = min(coupled) - max(following), max(coupled) - min(following)
    yield f"They are {low:.2f} to {high:.2f} points above leave-one-out"
    yield "not told apart either"
    ((double,), (plain,)) = (of(name, estimator=one) for one in ("double_cv", "reinforce"))
    assert double.first.evaluations == plain.first.evaluations == 4
    ahead = compare(double, plain, 0.1).interval
    assert ahead is not None
    yield f"it is {ahead.mean:.2f} points [{ahead.low:.2f}, {ahead.high:.2f}] ahead"
    epochs = {c.first.evaluations: c.first.epochs for c in of(name)}
    assert all(12 <= evaluations * epochs[evaluations] <= 14 for evaluations in epochs)
    yield f"about {epochs[1]} evaluations of f of each training sample"
    yield f"({epochs[1]} epochs at one evaluation of f a step, {epochs[3]} epochs at 3)"
    assert {c.settings()["anneal.slope"] for c in of(name)} == {"1.0"}
    yield "slope 1."
    yield "on the validation split of seed 0."
    yield from estimator_hardware()


def estimator_rates() -> Iterator[str]:
    """Learning rates of the table, beside the six that were tried."""
    rates: dict[float, set[str]] = {}
    for c in of("estimators_mnist"):
        rates.setdefault(learning_rate(c.first), set()).add(c.first.estimator)
    high, *_, low = sorted(rates, reverse=True)
    assert rates[high] == {"reinmax", "mve", "gumbel_rao", "st_gumbel", "concrete", "reinforce"}
    assert rates[low] == {"nvil", "frozen"}
    (rao,) = (learning_rate(c.first) for c in of("estimators_mnist", estimator="reinmax_rao"))
    (st,) = (learning_rate(c.first) for c in of("estimators_mnist", estimator="st"))
    tried = read_csv(RESULTS / "estimators_rates_mnist.csv")
    assert {row.seed for row in tried} == {0} and {row.epochs for row in tried} == {3, 6, 12}
    losses = {row.estimator: dict[float, float]() for row in tried}
    for row in tried:
        losses[row.estimator][learning_rate(row)] = row.val_loss
    (six,) = {frozenset(one) for one in losses.values()}
    assert len(six) == 6 and (high, low) == (max(six), min(six)) and {*rates} <= six
    assert set(losses) == {"mve", "gumbel_rao", "reinmax_rao", "double_cv", "rodeo"}
    close = losses["reinmax_rao"][high] - losses["reinmax_rao"][rao]
    yield f"highest, {high:g}, but {rao:g} for , whose losses at the two differ by {close:.4f};"
    yield f"straight-through's is {st:g}."


def estimator_hardware() -> Iterator[str]:
    """Rows of a GPU and of a CPU, and straight-through on both."""
    hardware: dict[str, set[str]] = {}
    for c in of("estimators_mnist"):
        (one,) = {row.hardware for row in c.rows}
        hardware.setdefault(one, set()).add(c.first.estimator)
    gpu, cpu = sorted(hardware, key=lambda one: "NVIDIA" not in one)
    assert hardware[cpu] == {"mve", "gumbel_rao", "reinmax_rao", "double_cv", "rodeo"}
    (here,), (there,) = of("estimators_cpu_mnist"), of("estimators_mnist", estimator="st")
    assert {row.hardware for row in here.rows} == {cpu} and "NVIDIA" in gpu
    found = compare(here, there, 0.1)
    assert found.interval is not None and undecided(found.interval)
    yield (
        f"{accuracy('estimators_cpu_mnist'):.2f} % there, {found.interval.mean:+.2f} points "
        f"[{found.interval.low:.2f}, {found.interval.high:.2f}]"
    )
    commands = {row.command for c in of("estimators_mnist") for row in c.rows}
    (command,) = (one for one in commands if "cuda" in one)
    yield f"of {command.partition('n_jobs=')[2].split()[0]} runs that shared the GPU"


def equal_time() -> Iterator[str]:
    name, relax = "equal_time_mnist", {"estimator": "relax"}
    four, six = ({"estimator_title": f"reinforce nested_leave_one_out {k} 8"} for k in (4, 6))
    st = accuracy(name, estimator="st")
    yield f"To {st - accuracy(name, **four):.2f} points:"
    yield f"nested draws reaches {with_spread(name, **four)} %"
    yield f"straight-through has {with_spread(name, estimator='st')} %"
    yield f"RELAX is {st - accuracy(name, **relax):.2f} points behind"
    assert abs(accuracy(name, **four) - accuracy(name, **six)) < 0.05
    epochs = [of(name, **one)[0].first.epochs for one in (four, six)]
    assert epochs[0] - epochs[1] == 1

    def times(**values: str) -> float:
        (one,), (reference,) = of(name, **values), of(name, estimator="st")
        of_each = (statistics.fmean(row.seconds_train for row in c.rows) for c in (one, reference))
        return next(of_each) / next(of_each)

    yield "Of the 4 · 8 draws of a sample and step the second convolution is computed for 4"
    (nested,) = of(name, **four)
    assert nested.first.evaluations == 4 * 8
    yield f"the read-out alone for {nested.first.evaluations}"
    yield f"took {times(**four):.1f} times the seconds of straight-through"
    (relaxed,) = of(name, **relax)
    yield f"RELAX took {times(**relax):.1f} times for {relaxed.first.evaluations} evaluations"
    yield f"in {times(**six):.1f} times the seconds"
    for one in compared(name, "estimator=st", 0.3):
        assert one.configuration.first.estimator == "st" or one.verdict.startswith("worse")
    yield "The goal of 0.3 points is not reached"
    assert 100 not in {row.seed for c in of(name) for row in c.rows}
    yield "validation split of seed 100"


def baselines() -> Iterator[str]:
    name, slow, fast = "baselines_mnist", "sgd lr 0.01 constant", "sgd lr 0.1 constant"
    titles = [c.first.estimator_title for c in of(name, optimizer=slow)]
    titles.remove("reinforce leave_one_out 4")
    best = max(accuracy(name, estimator_title=title, optimizer=slow) for title in titles)
    kept = {"estimator_title": "reinforce leave_one_out 4"}
    yield (
        f"they reach at most {best:.2f} % where leave-one-out has "
        f"{accuracy(name, optimizer=slow, **kept):.2f} %"
    )
    assert all(accuracy(name, estimator_title=title, optimizer=fast) < 50 for title in titles)
    (epochs,) = {c.first.epochs for c in of(name)}
    yield f"binary, {epochs} epochs"
    (k,) = {c.first.evaluations for c in of(name, **kept)}
    yield f"takes {k} evaluations of f a step"
    assert {c.first.evaluations for c in of(name) if c.first.estimator_title in titles} == {1}


def reinforce_tuned() -> Iterator[str]:
    name = "reinforce_tuned_mnist"
    found = compared(name, "estimator=frozen", 0)
    assert {one.verdict for one in found} == {"better"}
    least = min(100 * statistics.fmean(row.test_accuracy or 0 for row in one.configuration.rows)
                for one in found)  # fmt: skip
    yield f"it reaches {least:.2f} % and above"
    seeds = {row.seed for c in of(name) for row in c.rows}
    assert 0 not in seeds
    yield f"Tuning saw seed 0; these are {len(seeds)} other seeds"
    gains = [one.interval.mean for one in found
             if one.interval and one.configuration.first.placement == "first"]  # fmt: skip
    yield f"is small, {min(gains):.2f} to {max(gains):.2f} points"
    yield f"stood at {accuracy('seed_table_mnist', estimator='reinforce', **BOTH):.2f} %"
    (both,) = of(name, estimator="reinforce", **BOTH)
    yield f"which are {both.first.evaluations} evaluations of f a step"


UNIT = {"neuron": "stochastic", "neuron__rescale_gradient": "False"}


def gain(**values: str) -> float:
    """Points of accuracy above slope 1, for stochastic units."""
    flat = accuracy("annealing_mnist", anneal__slope="1.0", neuron="stochastic")
    return accuracy("annealing_mnist", **{**UNIT, **values}) - flat


def annealing() -> Iterator[str]:
    name, rescaled = "annealing_mnist", {"neuron__rescale_gradient": "True"}
    yield (
        f"by {gain(anneal='cosine'):.2f} points with a tuned schedule, of which a constant slope "
        f"of the schedule's last value has {gain(anneal__slope='5.954'):.2f}"
    )
    (cosine,) = of(name, anneal="cosine", **UNIT)
    (apart,) = [one for one in compared(name, "anneal.slope=5.954", 0.1)
                if one.configuration == cosine]  # fmt: skip
    found = apart.interval
    assert found is not None and apart.verdict == "undecided"
    yield (
        "Against a constant slope of 5.954 the schedule is "
        f"{found.mean:.2f} [{found.low:+.2f}, {found.high:+.2f}] points above"
    )
    mild = [gain(anneal="geometric", anneal__rate="1.005"), gain(anneal="linear")]
    (slow,) = {f"{one:.2f}" for one in mild}
    yield (
        f"{gain(anneal='geometric', anneal__rate='1.1'):.2f} points at a factor of 1.1 an epoch, "
        f"{slow} by the slowest one and by the linear one"
    )
    yield (
        f"the factor of 1.1 gains {gain(anneal='geometric', **rescaled):.2f} and the tuned "
        f"schedule {gain(anneal='cosine', **rescaled):.2f}"
    )
    told = {one.verdict for one in compared(name, "anneal.slope=1.0", 0.1)
            if one.configuration.first.neuron == "deterministic"}  # fmt: skip
    assert told == {"undecided"}
    yield "no schedule is told from slope 1."
    yield "no arm is told from slope 1,"
    yield f"at {seeds_of(name)} seeds none is shown to be equal within 0.1 points"
    (epochs,) = {c.first.epochs for c in of(name)}
    yield f"both layers, {epochs} epochs"
    means = [statistics.fmean(row.test_accuracy_mc_mean or 0 for row in c.rows)
             for c in of(name, neuron="stochastic")]  # fmt: skip
    assert 100 * (max(means) - min(means)) < 0.2
    (draws,) = {c.first.evaluation_samples for c in of(name)}
    yield f"Averaged over {draws} draws the arms differ by little"


def norms() -> Iterator[str]:
    name = "norms_mnist"

    def cost(norm: str) -> list[str]:
        costs = []
        for place in ("first", "both"):
            batch = accuracy(name, norm="batch", placement=place)
            costs.append(f"{batch - accuracy(name, norm=norm, placement=place):.2f}")
        return costs

    group, running = cost("group"), cost("running")
    yield (
        f"nothing that {seeds_of(name)} seeds can see ({group[0]} and {group[1]} points, undecided)"
    )
    yield f"costs {running[0]} points with the first layer binary and {running[1]} with both"
    for one in compared(name, "norm=batch", 0.1):
        assert (one.configuration.first.norm == "group") == (one.verdict == "undecided")
    (epochs,) = {c.first.epochs for c in of(name)}
    yield f"alike; {epochs} epochs"


def precision() -> Iterator[str]:
    name = "precision_mnist"
    yield f"{seeds_of(name)} seeds do not tell: {with_spread(name, precision='bf16')} % with"
    yield f"{with_spread(name, precision='float32')} % with"
    (found,) = compared(name, "precision=bf16", 0.1)
    assert found.interval is not None and found.verdict == "undecided"
    yield f"a difference of {bracketed(found.interval, 1)} points"


def readme() -> Iterator[str]:
    still = ("sign", "clip", "decay", "bop", "bop 0")
    most = max(of_rule("real", by) - of_rule(rule, by) for rule in still for by in ACTIVATIONS)
    yield f"cost at most {most:.2f} points in the mean by a rule that does not draw them"
    yield f"binary neurons and {len(Estimator.registry) - 1} estimators"
    yield f"over {PICTURE_DRAWS} draws"
    fast, slow = (minutes_in_all(f"main_command{of}") for of in ("", "_amd"))
    yield f"{fast:.0f} to {slow:.0f} minutes on two cores"
    for name, words in (
        (
            "seed_table_mnist",
            "{} points {} for both layers under straight-through and the published",
        ),
        ("short_training_mnist", "and {} {} under the defaults"),
    ):
        (real,), (st,) = (
            [c.rows for c in of(name, **values)]
            for values in ({"neuron": "real"}, {"estimator": "st", **BOTH})
        )
        costs = [100 * (a.test_accuracy - b.test_accuracy) for a, b in zip(real, st, strict=True)]
        found = interval(costs)
        yield words.format(f"{statistics.fmean(costs):.2f}", f"[{found.low:.2f}, {found.high:.2f}]")
    above = [-points for points in behind(*(t for t in BIASED if t != "st density"))]
    yield f"{min(above):.2f} to {max(above):.2f} points above straight-through"
    yield f"RELAX, the first by the mean, is {behind('relax learned 0.99 32')[0]:.2f} points behind"
    yield f"REINFORCE {behind('reinforce leave_one_out 4')[0]:.2f}, or "
    name, four = "equal_time_mnist", {"estimator_title": "reinforce nested_leave_one_out 4 8"}
    yield f"{accuracy(name, estimator='st') - accuracy(name, **four):.2f} in [five times"
    yield f"costs {behind('frozen')[0]:.2f}."
    yield (
        f"annealing the slope gains {gain(anneal='cosine'):.2f} points, of which a constant steep "
        f"slope has {gain(anneal__slope='5.954'):.2f}"
    )
    network = MODELS["cnn"]((1, 28, 28), 10, [nn.Identity(), nn.Identity()])
    yield f"averaged over the {network.conv1.out_channels} channels"
    yield "images of 28×28 pixels"
    yield f"runs use {spec_of({'name': 'mnist_5000'}).title} that"


RULES: dict[str, dict[str, str]] = {
    "real": {"weights": "real"},
    "sign": {"weights": "sign", "weights__clip": "False", "weights__decay": "0.0"},
    "clip": {"weights": "sign", "weights__clip": "True"},
    "decay": {"weights": "sign", "weights__decay": "0.1"},
    "sample": {"weights": "sample", "weights__decay": "0.0"},
    "sample decay": {"weights": "sample", "weights__decay": "0.01"},
    "lrt": {"weights": "lrt"},
    "bop": {"weights": "bop", "weights__threshold": "1e-08"},
    "bop 0": {"weights": "bop", "weights__threshold": "0.0"},
}
"""Fields of the rows of a rule of the weights, by a short name."""
ACTIVATIONS = ("none", "st", "reinmax")


def of_rule(
    rule: str, estimator: str, name: str = "weights_mnist", field: str = "test_accuracy"
) -> float:
    """Mean of a share over the seeds of one rule, in %."""
    (only,) = of(name, estimator=estimator, **RULES[rule])
    return 100 * statistics.fmean(getattr(row, field) for row in only.rows)


def weights() -> Iterator[str]:
    name = "weights_mnist"
    assert seeds_of(name) == seeds_of("weights_batch_mnist") == 3
    cost = {
        (rule, by): of_rule("real", by) - of_rule(rule, by) for rule in RULES for by in ACTIVATIONS
    }
    sign = [cost["sign", by] for by in ACTIVATIONS]
    yield f"{sign[0]:.2f}, {sign[1]:.2f} and {sign[2]:.2f} points"
    yield f"{with_spread(name, estimator='none', **RULES['sign'])} %"
    yield f"{with_spread(name, estimator='none', **RULES['real'])} %"
    latent = [cost[rule, by] for rule in ("clip", "decay", "bop", "bop 0") for by in ACTIVATIONS]
    yield f"at most {max(latent):.2f} points in the mean"
    still = [one for one in compared(name, "weights=real", 0.1)
             if one.configuration.first.weights in ("sign", "bop")]  # fmt: skip
    assert len(still) == 15
    reach = max(-one.interval.low for one in still if one.interval is not None)
    yield f"intervals that reach {reach:.2f}"
    drawn = [cost[rule, by] for rule in ("sample", "sample decay", "lrt") for by in ACTIVATIONS]
    yield f"{min(drawn):.2f} to {max(drawn):.2f} points"
    found = compared(name, "weights=real", 0.1)
    worse = [one.configuration.first for one in found if one.verdict.startswith("worse")]
    assert {one.weights for one in worse} <= {"sample", "bop"} and len(found) == 24
    yield f"{len(worse)} of the {len(found)} differences are told from zero by 3 seeds"
    apart = [cost["bop", by] - cost["bop 0", by] for by in ACTIVATIONS]
    yield f"within {max(map(abs, apart)):.2f} points of each other"
    clip = [cost["clip", by] - cost["decay", by] for by in ACTIVATIONS]
    yield f"Decay and clip are within {max(map(abs, clip)):.2f} points of each other"
    decay = [cost["sample", by] - cost["sample decay", by] for by in ACTIVATIONS]
    yield f"{min(decay):.2f} to {max(decay):.2f} points for the signs of drawn weights"
    batches = {"weights_mnist": ACTIVATIONS, "weights_batch_mnist": ACTIVATIONS[:2]}
    ahead = {
        table: [of_rule("lrt", by, table) - of_rule("sample", by, table) for by in estimators]
        for table, estimators in batches.items()
    }
    small, large = ahead["weights_mnist"], ahead["weights_batch_mnist"]
    yield f"{min(small):.2f} to {max(small):.2f} points ahead at a batch of 64"
    yield f"and {min(large):.2f} to {max(large):.2f} at one of 256"
    assert max(small) < min(large)
    told = [
        by
        for table, estimators in batches.items()
        for by in estimators
        if not undecided(_ahead_of_sample(table, by))
    ]
    assert told == ["st"] and len(small) + len(large) == 5
    yield "of these five differences three seeds tell one from zero"
    yield from _readings_of_weights()
    assert all(c.first.epochs == 4 for c in of(name))
    yield "the rates of seed 100"


def _ahead_of_sample(table: str, estimator: str) -> Interval:
    """Points by which `lrt` is ahead of `sample`, paired by seed."""
    lrt, sample = (
        {row.seed: 100 * (row.test_accuracy or 0) for row in only.rows}
        for rule in ("lrt", "sample")
        for only in of(table, estimator=estimator, **RULES[rule])
    )
    found = interval([lrt[seed] - sample[seed] for seed in lrt])
    assert found is not None
    return found


def _readings_of_weights() -> Iterator[str]:
    sampled = [(rule, by) for rule in ("sample", "sample decay") for by in ACTIVATIONS]
    kept = "test_accuracy_sign_training_statistics"
    gains = [of_rule(*one) - of_rule(*one, field=kept) for one in sampled]
    yield f"{min(gains):.2f} to {max(gains):.2f} points"
    large = "weights_batch_mnist"
    before, anew = (of_rule("sample", "none", large, field) for field in (kept, "test_accuracy"))
    yield "at a batch of 256 and with real-valued activations"
    yield f"{before:.2f} % to {anew:.2f} %"
    ensemble = [of_rule(*one, field="test_accuracy_ensemble") - of_rule(*one) for one in sampled]
    yield f"{min(ensemble):.2f} to {max(ensemble):.2f} points above the signs"
    of_lrt = [of_rule("lrt", by) - of_rule("lrt", by, field=kept) for by in ACTIVATIONS]
    yield f"at most {max(map(abs, of_lrt)):.2f} points for"
