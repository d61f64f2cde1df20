"""Numbers in sentences about results are those of the tables that the sentences stand on.

Each page of PAGES has a function of claims: phrases of the page with their numbers computed, and
what the words around them say asserted. A digit in the page's prose that no claim covers fails.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bnn.report.generated import source_tree
from findings import accuracy, figure, of, printed, prose, verdicts, with_spread

ROOT = source_tree()
UNBIASED = ("arm", "arms 4", "disarm", "local_expectation", "muprop 0.9 conditional", "nvil 100 0.9",
            "rebar learned 0.99", "relax learned 0.99 32", "reinforce leave_one_out 4",
            "reinforce min_variance 0.9", "reinforce moving_average 0.9", "reinforce none",
            "reinforce nested_leave_one_out 4 4")  # fmt: skip
BIASED = ("concrete 0.5", "reinmax 1.0", "st density", "st_gumbel 1.0")


def seed_table() -> Iterator[str]:
    name = "seed_table_mnist"
    both = {"neuron": "stochastic", "placement": "both"}
    real = accuracy(name, neuron="real")
    st = accuracy(name, estimator="st", **both)
    yield f"stochastic is {real - st:.2f} points below the real-valued network"
    yield (
        f"{with_spread(name, estimator='st', **both)} against {with_spread(name, neuron='real')} %"
    )
    frozen = accuracy(name, estimator="frozen", **both)
    yield f"layers that are not trained are {real - frozen:.2f} points below"
    assert {len(c.rows) for c in of(name)} == {2}  # two seeds a row
    for neuron in ("stochastic", "deterministic"):
        for placement in ("first", "last", "both"):
            place = {"neuron": neuron, "placement": placement}
            st, reinforce = (
                accuracy(name, estimator=which, **place) for which in ("st", "reinforce")
            )
            assert st >= reinforce
            if placement != "first":
                assert reinforce > accuracy(name, estimator="frozen", **place)
    first = {"neuron": "deterministic", "placement": "first"}
    assert accuracy(name, estimator="reinforce", **first) <= accuracy(
        name, estimator="frozen", **first
    )
    assert {c.first.evaluations for c in of(name, estimator="st")} == {1}
    (k,) = {c.first.evaluations for c in of(name, estimator="reinforce")}
    yield f"at {k} evaluations a step"


def bnn_mnist() -> Iterator[str]:
    name, places = "bnn_mnist", ("first", "last", "both")
    st, reinforce = (
        [accuracy(name, estimator=which, placement=place) for place in places]
        for which in ("st", "reinforce")
    )
    yield f"Straight-through reaches {min(st):.2f} to {max(st):.2f} %"
    yield f"REINFORCE {min(reinforce):.2f} to {max(reinforce):.2f} %"
    (k,) = {c.first.evaluations for c in of(name, estimator="reinforce")}
    yield f"at one and at {k} evaluations of f a step; one seed"
    assert {len(c.rows) for c in of(name)} == {1}


def behind(*titles: str) -> list[float]:
    """Points of accuracy behind straight-through at equal cost."""
    st = accuracy("estimators_mnist", estimator="st")
    return [st - accuracy("estimators_mnist", estimator_title=title) for title in titles]


def estimators() -> Iterator[str]:
    name = "estimators_mnist"
    there = {c.first.estimator_title for c in of(name)}
    unbiased = [title for title in UNBIASED if title in there]
    assert there == {*unbiased, *BIASED, "frozen"}
    biased = [accuracy(name, estimator_title=title) for title in BIASED]
    (seeds,) = {len(c.rows) for c in of(name)}
    yield f"{min(biased):.2f} to {max(biased):.2f} %, not told apart by {seeds} seeds"
    yield f"no difference is decided by {seeds} seeds"
    yield f"earns nothing that {seeds} seeds see"
    told = verdicts(name, "estimator=st", 0.1)
    for title in BIASED[:2] + BIASED[3:]:
        assert next(v for k, v in told.items() if k.startswith(title)) == "undecided"
    for title in unbiased:
        verdict = next(v for k, v in told.items() if k.startswith(title))
        assert verdict == "worse by more than 0.1"
    rebar, leave_one_out = behind("rebar learned 0.99", "reinforce leave_one_out 4")
    assert rebar == min(behind(*unbiased))
    yield (
        f"REBAR, is {rebar:.2f} points behind straight-through, and REINFORCE with leave-one-out "
        f"{leave_one_out:.2f}"
    )
    ahead = ("rebar learned 0.99", "relax learned 0.99 32", "muprop 0.9 conditional")
    others = [title for title in unbiased if title not in ahead]
    yield (
        f"are {min(behind(*ahead)):.2f} to {max(behind(*ahead)):.2f} points behind "
        f"straight-through, the other unbiased ones {min(behind(*others)):.2f} to "
        f"{max(behind(*others)):.2f}"
    )
    compared = ("reinforce leave_one_out 4", "disarm", "arms 4")
    low = min(behind(*compared)) - max(behind(*ahead))
    high = max(behind(*compared)) - min(behind(*ahead))
    yield f"They are {low:.2f} to {high:.2f} points above leave-one-out"
    assert behind("nvil 100 0.9")[0] == max(behind(*unbiased))
    apart = verdicts(name, "estimator=rebar", 0.1)
    assert next(v for k, v in apart.items() if k.startswith("relax")) == "undecided"
    epochs = {c.first.evaluations: c.first.epochs for c in of(name)}
    yield f"about {epochs[1]} passes over the training split"
    yield f"({epochs[1]} epochs at one evaluation of f a step, {epochs[3]} epochs at 3)"
    assert all(10 <= c.first.evaluations * c.first.epochs <= 14 for c in of(name))
    assert {c.settings()["anneal.slope"] for c in of(name)} == {"1.0"}
    yield "slope 1."


def baselines() -> Iterator[str]:
    name, rates = "baselines_mnist", ("sgd lr 0.01 constant", "sgd lr 0.1 constant")
    slow = {c.first.estimator_title: accuracy(name, estimator_title=c.first.estimator_title,
            optimizer=rates[0]) for c in of(name, optimizer=rates[0])}  # fmt: skip
    leave_one_out = slow.pop("reinforce leave_one_out 4")
    yield (
        f"they reach at most {max(slow.values()):.2f} % where leave-one-out has "
        f"{leave_one_out:.2f} %"
    )
    for title in slow:
        assert accuracy(name, estimator_title=title, optimizer=rates[1]) < 50
    (epochs,) = {c.first.epochs for c in of(name)}
    yield f"binary, {epochs} epochs"
    (k,) = {c.first.evaluations for c in of(name, estimator_title="reinforce leave_one_out 4")}
    yield f"takes {k} evaluations of f a step"
    assert {c.first.evaluations for c in of(name) if c.first.estimator_title in slow} == {1}


def reinforce_tuned() -> Iterator[str]:
    name = "reinforce_tuned_mnist"
    least = min(accuracy(name, neuron=c.first.neuron, placement=c.first.placement,
                estimator="reinforce") for c in of(name, estimator="reinforce"))  # fmt: skip
    yield f"it reaches {least:.2f} % and above"
    assert {*verdicts(name, "estimator=frozen", 0).values()} == {"better"}
    assert {row.seed for c in of(name) for row in c.rows} == {1, 2, 3}
    yield "Tuning saw seed 0; these are 3 other seeds"
    first = [accuracy(name, neuron=neuron, placement="first", estimator="reinforce")
             - accuracy(name, neuron=neuron, placement="first", estimator="frozen")
             for neuron in ("stochastic", "deterministic")]  # fmt: skip
    yield f"is small, {min(first):.2f} to {max(first):.2f} points"
    table = {"neuron": "stochastic", "placement": "both", "estimator": "reinforce"}
    yield f"stood at {accuracy('seed_table_mnist', **table):.2f} %"
    (both,) = of(name, **table)
    yield f"which are {both.first.evaluations} evaluations of f a step"


def annealing() -> Iterator[str]:
    name, unit = "annealing_mnist", {"neuron": "stochastic", "neuron__rescale_gradient": "False"}
    flat = accuracy(name, anneal__slope="1.0", neuron="stochastic")

    def gain(rescaled: bool = False, **values: str) -> float:
        asked = {**unit, "neuron__rescale_gradient": str(rescaled), **values}
        return accuracy(name, **asked) - flat

    tuned, steep = gain(anneal="cosine"), gain(anneal__slope="5.954")
    yield (
        f"by {tuned:.2f} points with a tuned schedule, of which a constant slope of the "
        f"schedule's last value has {steep:.2f}"
    )
    from bnn.report.against import Reference, differences
    from bnn.report.rows import read_csv
    from findings import RESULTS

    rows = read_csv(RESULTS / f"{name}.csv")
    (cosine,) = of(name, anneal="cosine", **unit)
    against = Reference.parse("anneal.slope=5.954", 0.1)
    (apart,) = [one for one in differences(rows, against) if one.configuration == cosine]
    found = apart.interval
    assert found is not None and apart.verdict == "undecided"
    yield (
        "Against a constant slope of 5.954 the schedule is "
        f"{found.mean:.2f} [{found.low:+.2f}, {found.high:+.2f}] points above"
    )
    quick = gain(anneal="geometric", anneal__rate="1.1")
    slow = [gain(anneal="geometric", anneal__rate="1.005"), gain(anneal="linear")]
    assert len({f"{one:.2f}" for one in slow}) == 1
    yield (
        f"{quick:.2f} points at a factor of 1.1 an epoch, {slow[0]:.2f} by the slowest one and by "
        "the linear one"
    )
    yield (
        f"the factor of 1.1 gains {gain(True, anneal='geometric'):.2f} and the tuned schedule "
        f"{gain(True, anneal='cosine'):.2f}"
    )
    told = verdicts(name, "anneal.slope=1.0", 0.1, neuron="deterministic")
    assert {*told.values()} == {"undecided"}
    yield "no schedule is told from slope 1."
    yield "no arm is told from slope 1,"
    (seeds,) = {len(c.rows) for c in of(name)}
    yield f"at {seeds} seeds none is shown to be equal within 0.1 points"
    (epochs,) = {c.first.epochs for c in of(name)}
    yield f"both layers, {epochs} epochs"
    (draws,) = {c.first.evaluation_samples for c in of(name)}
    means = [statistics.fmean(r.test_accuracy_mc_mean or 0 for r in c.rows)
             for c in of(name, neuron="stochastic")]  # fmt: skip
    assert 100 * (max(means) - min(means)) < 0.2
    yield f"Averaged over {draws} draws the arms differ by little"


def norms() -> Iterator[str]:
    name = "norms_mnist"

    def cost(norm: str, placement: str) -> float:
        batch = accuracy(name, norm="batch", placement=placement)
        return batch - accuracy(name, norm=norm, placement=placement)

    (seeds,) = {len(c.rows) for c in of(name)}
    yield (
        f"nothing that {seeds} seeds can see ({cost('group', 'first'):.2f} and "
        f"{cost('group', 'both'):.2f} points, undecided)"
    )
    yield (
        f"costs {cost('running', 'first'):.2f} points with the first layer binary and "
        f"{cost('running', 'both'):.2f} with both"
    )
    told = verdicts(name, "norm=batch", 0.1)
    assert all(("group" in key) == (verdict == "undecided") for key, verdict in told.items())
    (epochs,) = {c.first.epochs for c in of(name)}
    yield f"alike; {epochs} epochs"


def precision() -> Iterator[str]:
    name = "precision_mnist"
    (seeds,) = {len(c.rows) for c in of(name)}
    yield f"None that {seeds} seeds see: {with_spread(name, precision='bf16')} % with"
    yield f"{with_spread(name, precision='float32')} % with"
    apart = accuracy(name, precision="bf16") - accuracy(name, precision="float32")
    assert abs(apart) < 0.05


def pruning() -> Iterator[str]:
    without, with_it = printed("pruning_mnist", "pruned")
    seconds = [float(r["seconds of trials"].replace(",", "")) for r in (without, with_it)]
    yield f"{100 * (1 - seconds[1] / seconds[0]):.0f} % of the seconds"
    trials = int(with_it["complete"]) + int(with_it["pruned"])
    yield f"{with_it['pruned']} of {trials} trials ended early"
    assert without["with"] == with_it["with"] and without["pruned"] == "0"


def benchmark() -> Iterator[str]:
    yield f"{figure('benchmark_cpu', 'median', speed='ours / bare'):.2f} of the speed of a bare loop"
    conventional = figure("benchmark_cpu", "median", speed="ours / conventional")
    yield f"{conventional:.2f} times that of a conventional one"
    from findings import RESULTS

    text = (RESULTS / "benchmark_cpu.txt").read_text()
    (share,) = re.findall(r"in 10 epochs of \d+ steps, ([\d.]+) %", text)
    yield f"MLflow's calls take {share} % of ten epochs"
    ratios = {r["estimator"]: float(r["the same a pass"]) for r in printed("benchmark_cpu", "the same a pass")}  # fmt: skip
    yield f"takes more than {max(ratios.values()):.2f} times"
    nested = ratios["reinforce nested_leave_one_out 4 4"]
    assert nested == min(ratios.values())
    yield f"nested draws take {nested:.2f} of it"


def lab(name: str, title: str, column: str) -> float:
    return figure(name, column, estimator=title)


def crossing(name: str) -> int:
    """Evaluations from which the mean of ReinMax's estimates has less error than straight-through's."""
    st, reinmax = ((max(lab(name, title, "bias²"), 0), lab(name, title, "variance"))
                   for title in ("st density", "reinmax 1.0"))  # fmt: skip
    return round((reinmax[1] - st[1]) / (st[0] - reinmax[0]))


def gradients(name: str, leave_out: tuple[str, ...] = ()) -> None:
    """Sentences without numbers about either network."""
    there = {r["estimator"] for r in printed(name, "variance × passes")} - {"frozen", "enumeration"}
    assert lab(name, "st density", "variance") == min(lab(name, t, "variance") for t in there)
    low, high = re.findall(
        r"[-\d.]+", next(r["bias²"] for r in printed(name, "variance × ms") if r["estimator"] == "reinmax 1.0")
    )[1:]  # fmt: skip
    assert float(low) < 0 < float(high)


def ranked(name: str, column: str) -> list[str]:
    """Unbiased estimators by a column, the least first; without the one that is so up to a scale."""
    there = {r["estimator"] for r in printed(name, column)}
    known = [title for title in UNBIASED if title in there and not title.startswith("nvil")]
    return sorted(known, key=lambda title: lab(name, title, column))


def lab_exact() -> Iterator[str]:
    name = "lab_exact"
    gradients(name)
    yield f"ReinMax from {crossing(name)} evaluations of f on"
    for column in ("variance × passes", "variance × ms"):
        assert ranked(name, column)[0] == "muprop 0.9 conditional"
    assert ranked(name, "variance × passes")[1] == "local_expectation"
    share = lab(name, "reinforce leave_one_out 4", "variance × passes")
    share /= lab(name, "muprop 0.9 conditional", "variance × passes")
    yield f"1/{share:.0f} of leave-one-out's variance at equal evaluations"
    yield f"squared bias is {100 * lab(name, 'st density', 'bias²'):.1f} % of the squared gradient"
    from findings import RESULTS

    assert "model.hidden=8" in (RESULTS / f"{name}.txt").read_text()
    yield "Two layers of 8 units"


def lab_cnn() -> Iterator[str]:
    name = "lab_cnn"
    gradients(name)
    yield f"ReinMax from {crossing(name)} evaluations of f on"
    relaxed = ("rebar learned 0.99", "relax learned 0.99 32")
    shares = []
    for column in ("variance × passes", "variance × ms"):
        assert {*ranked(name, column)[:2]} == {*relaxed}
        of_one = lab(name, "reinforce leave_one_out 4", column)
        (share,) = {f"{of_one / lab(name, title, column):.0f}" for title in relaxed}
        shares.append(share)
    assert ranked(name, "variance × passes")[2] == "muprop 0.9 conditional"
    assert ranked(name, "variance × ms")[2].startswith("reinforce nested")
    yield (
        f"1/{shares[0]} of leave-one-out's variance at equal evaluations and 1/{shares[1]} by the "
        "clock"
    )
    yield f"squared bias is {100 * lab(name, 'st density', 'bias²'):.1f} % of the squared gradient"
    yield f"and its variance, {lab(name, 'st density', 'variance'):.1f} times the squared gradient"
    variances = " and ".join(f"{lab(name, title, 'variance'):.0f}" for title in relaxed)
    yield f"has {variances} times the squared gradient"
    from findings import RESULTS

    (known,) = re.findall(r"known to ([\d.]+) % of its norm", (RESULTS / f"{name}.txt").read_text())
    yield f"known to {known} % of its norm"


def target() -> Iterator[str]:
    def loss(title: str) -> float:
        return figure("lab_target", "loss, p = 2", **{"": title})

    rows = printed("lab_target", "loss, p = 2")
    fires = [r for r in rows if r[""] == "st density"]
    # three columns share the head `fires`: the last one read is that of exponent 3, so count by hand
    from findings import RESULTS

    line = next(x for x in (RESULTS / "lab_target.txt").read_text().splitlines() if "| st density" in x)
    share = float(line.split("|")[5])
    assert fires
    yield f"Where {100 * share:.0f} % of the units fire, at a loss of {loss('st density'):.4f} (exponent 2)"
    yield f"has {loss('the optimum'):.4f}"
    there = {r[""] for r in rows}
    near = [t for t in (*UNBIASED, "reinmax 1.0") if t in there and t not in ("nvil 100 0.9", "reinforce none")]
    gap = max(loss(title) for title in near) - loss("the optimum")
    yield f"within {gap:.4f} at exponent 2"
    for title in ("nvil 100 0.9", "reinforce none", "st_gumbel 1.0", "concrete 0.5"):
        assert loss(title) > loss("the optimum") + 5 * gap


def checkpoints() -> Iterator[str]:
    layers = (1, 2, 3)
    last = max(int(r["step"]) for r in printed("lab_checkpoints", "error of 1, layer 1"))

    def errors(title: str, n: int) -> list[float]:
        return [figure("lab_checkpoints", f"error of {n}, layer {layer}", step=str(last), estimator=title)
                for layer in layers]  # fmt: skip

    st = [f"{one:.2f}" for one in errors("st density", 100)]
    assert min(errors("st density", 100)) > 1
    yield "the mean of 100 straight-through estimates errs by more"
    yield f"({st[0]}, {st[1]} and {st[2]} times its length)"
    local = errors("local_expectation", 100)
    for ahead in ("reinforce leave_one_out 4", "arms 4"):
        for other in ("muprop", "rebar"):
            assert all(a < b for a, b in zip(errors(ahead, 100), errors(other, 100), strict=True))
        assert all(a < b for a, b in zip(local, errors(ahead, 100), strict=True))


def slopes() -> Iterator[str]:
    def at(neuron: str, slope: str, column: str) -> float:
        return figure("lab_slopes", column, neuron=neuron, slope=slope)

    yield (
        f"rises from {at('stochastic', '1', 'bias²'):.4f} at slope 1 to "
        f"{at('stochastic', '6', 'bias²'):.4f} at slope 6, that of deterministic ones from "
        f"{at('deterministic', '1', 'bias²'):.3f} to {at('deterministic', '6', 'bias²'):.3f}"
    )
    cosine = "cosine of the mean"
    yield (
        f"a cosine of {at('stochastic', '1', cosine):.3f} with the true one at slope 1 and of "
        f"{at('stochastic', '6', cosine):.3f} at slope 6"
    )
    for neuron in ("stochastic", "deterministic"):
        biases = [float(r["bias²"].split()[0]) for r in printed("lab_slopes", "bias²") if r["neuron"] == neuron]  # fmt: skip
        assert biases == sorted(biases)


def coupling() -> Iterator[str]:
    rows = printed("lab_coupling", "reinforce none, bias (%)")
    batch = [float(r["reinforce none, bias (%)"]) for r in rows if r["norm"] == "batch"]
    yield f"{min(batch):.1f} to {max(batch):.1f} % wrong"
    assert {r["reinforce none, bias (%)"] for r in rows if r["norm"] != "batch"} == {"0.0"}
    (row,) = [r for r in printed("lab_coupling", "true slope") if (r["norm"], r["placement"], r["direction"])
              == ("batch", "first", "straight-through")]  # fmt: skip
    (true, error), (mean, spread) = (
        map(float, row[column].split(" ± ")) for column in ("true slope", "reinforce leave_one_out 4")
    )
    yield f"{(true - mean) / (error**2 + spread**2) ** 0.5:.1f} standard errors short"


def toy() -> Iterator[str]:
    yield "(b - t)² of a single bit"


PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "seed_table_mnist": seed_table,
    "bnn_mnist": bnn_mnist,
    "estimators_mnist": estimators,
    "baselines_mnist": baselines,
    "reinforce_tuned_mnist": reinforce_tuned,
    "annealing_mnist": annealing,
    "norms_mnist": norms,
    "precision_mnist": precision,
    "pruning_mnist": pruning,
    "benchmark_cpu": benchmark,
    "lab_exact": lab_exact,
    "lab_cnn": lab_cnn,
    "lab_target": target,
    "lab_checkpoints": checkpoints,
    "lab_slopes": slopes,
    "lab_coupling": coupling,
    "lab_toy": toy,
}


def path_of(page: str) -> Path:
    return ROOT / (page if page.endswith(".md") else f"sweeps/results/{page}.md")


@pytest.mark.parametrize("page", PAGES)
def test_numbers_in_sentences_are_those_of_the_tables(page: str) -> None:
    text = prose(path_of(page))
    for claim in PAGES[page]():
        assert claim in text, claim
        text = text.replace(claim, "")
    assert not re.findall(r"\S*\d\S*", text)


def test_every_result_page_has_its_claims() -> None:
    there = {path.stem for path in (ROOT / "sweeps/results").glob("*.md")} - {"README"}
    assert there == {page for page in PAGES if not page.endswith(".md")}


def test_a_number_that_no_table_has_fails(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Q\n\nIt is `7` of 8 in [x 9](10.md).\n\n| 11 |\n```\n12\n```\n")
    assert re.findall(r"\S*\d\S*", prose(page)) == ["8", "9]."]
