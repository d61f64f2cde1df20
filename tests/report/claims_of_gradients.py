"""Claims of the pages about gradients and times, from tables that commands printed.

What the words around a number say is asserted beside it.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator
from functools import cache

import pytest
import torch
from findings import UNBIASED, figure, of, printed, text
from torch import nn

from bnn.analysis.summary import summarise
from bnn.config.compose import compose
from bnn.estimators.enumeration import LAYER_LIMIT
from bnn.estimators.local_expectation import LOWER_LIMIT
from bnn.models import MODELS
from bnn.report.catalogue import UNITS
from bnn.report.numbers import interval
from bnn.specify import setup

SMALL, SLOPE_1, REFERENCE = "lab_exact", "lab_exact_slope1", "lab_cnn"
EVALUATIONS, CLOCK = "variance × evaluations", "variance × ms"
RELAXED = ("rebar learned 0.99", "relax learned 0.99 32")
DOUBLE_CV, NESTED = "double_cv 4 0.99", "reinforce nested_leave_one_out 2 8"
RODEO, LOCAL = "rodeo 2 0.99 32", "local_expectation 1"
NO_BIAS = ("arm", "arms", "disarm", "double_cv", "local_expectation", "muprop", "rebar", "relax",
           "reinforce", "rodeo")  # fmt: skip
RELAXATIONS = ("st", "st_gumbel", "mve", "gumbel_rao", "reinmax_rao", "concrete")
ST, REINMAX, CONCRETE, GUMBEL_RAO = "st density", "reinmax 1.0", "concrete 0.5", "gumbel_rao 1.0"
LEAVE_ONE_OUT, MUPROP = "reinforce leave_one_out 4", "muprop 0.9 conditional"


def pruning() -> Iterator[str]:
    without, pruned = printed("pruning_mnist", "pruned")
    seconds = [float(r["seconds of trials"].replace(",", "")) for r in (without, pruned)]
    yield f"{100 * (1 - seconds[1] / seconds[0]):.0f} % of the seconds"
    trials = int(pruned["complete"]) + int(pruned["pruned"])
    yield f"{pruned['pruned']} of {trials} trials ended early"
    assert without["with"] == pruned["with"] and without["pruned"] == "0"


def recipe() -> Iterator[str]:
    name = "recipe_mnist"
    studies = printed(name, "with")
    (best,) = {study["with"] for study in studies}
    found = dict(word.split("=") for word in best.split())
    rate, slope = (float(found[key]) for key in ("optimizer.lr", "anneal.end"))
    yield f"A rate of {rate:.3f} and a last slope of {slope:.1f}, for straight-through"
    defaults = compose([])
    yield f"the defaults, {defaults.optimizer.lr} and {defaults.anneal.end:g}, are "
    ahead, losses = zip(*map(default_beside_study, ("st", "reinforce")), strict=True)
    yield f"{ahead[0]} points above it under straight-through and {ahead[1]} under REINFORCE"
    yield f"{losses[0]} of the defaults under straight-through, and {losses[1]} under REINFORCE"
    both = [printed(name, "trial", at) for at in range(2)]
    (trials,) = {len(rows) for rows in both}
    yield f"had {trials} trials of each"
    for rows in both:
        values = {(float(r["optimizer.lr"]), float(r["anneal.end"])): r for r in rows}
        near = values[0.01351, 4.775]
        assert near["end"].startswith("pruned")
        ended = [r for r in rows if r["end"] == "complete"]
        ranked = sorted(ended, key=lambda r: float(r["val/loss"]))
        assert [float(r["anneal.end"]) > 6 for r in ranked[:2]] == [True, True]
        behind = ranked[-2:]
        assert {r["optimizer.lr"] for r in behind} == {"0.03761", "0.01463"}
    yield "a rate of 0.038 or a slope that ends below 3 is behind"
    yield "of seed 100"


def packed() -> Iterator[str]:
    rows = printed("packed_mnist", "network")
    real, hidden, cnn, mlp = rows
    assert [row["network"].partition(" ")[0] for row in rows] == ["cnn", "cnn", "cnn", "mlp"]
    yield f"A file of binary weights is {cnn['ratio']} times"
    yield f"and {mlp['ratio']} times"
    yield "than the float32"
    (equal,) = {row["equal classes"] for row in rows}
    assert equal == "10,000 of 10,000"
    yield "all 10,000 test images the same"
    assert all(row["test accuracy (%)"] == row["packed (%)"] for row in rows)
    slower = [float(row["NumPy"]) / float(row["ms an image, torch"]) for row in rows]
    yield f"takes {min(slower):.1f} to {max(slower):.1f} times as long as torch"
    assert float(real["ratio"]) <= 1
    yield f"shrinks by {hidden['ratio']}"
    layers = {
        one.name: one for one in summarise(setup(compose([])).model, torch.rand(4, 1, 28, 28))
    }
    total = sum(one.weights for one in layers.values())
    yield f"has {layers['linear'].weights:,} of {total:,} weights"


def default_beside_study(estimator: str) -> tuple[str, str]:
    """Validation accuracy of the defaults above that of a study's values, and both losses."""
    rows = [c.rows for c in of("last_slope_mnist", estimator=estimator)]
    study, default = sorted(rows, key=lambda some: some[0].optimizer)
    assert study[0].optimizer.split()[2] == "0.012" and default[0].optimizer.split()[2] == "0.015"
    pairs = list(zip(default, study, strict=True))
    assert [one.seed for one, _ in pairs] == [100, 101, 102, 103, 104]
    assert all(one.seed == other.seed for one, other in pairs)
    ahead = interval([100 * ((a.val_accuracy or 0) - (b.val_accuracy or 0)) for a, b in pairs])
    losses = [statistics.fmean(row.val_loss for row in some) for some in (study, default)]
    assert ahead is not None
    shown = f"{ahead.mean:.2f} [{ahead.low:.2f}, {ahead.high:.2f}]"
    return shown, f"{losses[0]:.4f} against {losses[1]:.4f}"


def benchmark() -> Iterator[str]:
    name = "benchmark_cpu"
    yield f"{figure(name, 'median', speed='ours / bare'):.2f} of the speed of a bare loop"
    conventional = figure(name, "median", speed="ours / conventional")
    yield f"{conventional:.2f} times that of a conventional one"
    limit = figure(name, "median", speed="ours / convolutions alone")
    yield f"at {limit:.2f} of the speed of its two convolutions alone"
    ((epochs, share),) = re.findall(r"in (\d+) epochs of \d+ steps, ([\d.]+) %", text(name))
    yield f"MLflow's calls take {share} % of {epochs} epochs"
    (around,) = re.findall(r"surrounds the steps: ([\d.]+) %", text(name))
    yield f"all that surrounds the steps {around} % of a run"
    column = "the same a pass"
    ratios = {r["estimator"]: float(r[column]) for r in printed(name, column)}
    rao = [ratios.pop(f"{one} 1.0") for one in ("gumbel_rao", "reinmax_rao")]
    yield f"takes at most {max(ratios.values()):.2f} times straight-through's"
    yield f"with {rao[0]:.2f} and {rao[1]:.2f};"
    nested = ratios["reinforce nested_leave_one_out 2 8"]
    assert nested == min(ratios.values()) and min(rao) > max(ratios.values())
    yield f"nested draws take {nested:.2f}"
    rates = {r["loop"]: float(r["images/s"]) for r in printed(name, "images/s")}
    assert rates["ours bf16"] < rates["ours"]
    weights = {r["weights"]: float(r["over real"]) for r in printed(name, "over real")}
    others = [weights[rule] for rule in ("bop", "sample", "sign")]
    yield f"{min(others):.2f} to {max(others):.2f} times one with real ones"
    yield f"or {weights['lrt']:.2f} under"


def benchmark_gpu() -> Iterator[str]:
    name = "benchmark_gpu"
    captured = figure(name, "median", speed="ours / ours, without a CUDA graph")
    yield f"is {captured:.2f} times as fast as one whose kernels are launched"
    workers = figure(name, "median", speed="ours / conventional, 8 workers")
    yield f"{workers:.2f} times as fast as a conventional one whose DataLoader has 8 workers"
    rates = {r["loop"]: float(r["images/s"]) for r in printed(name, "images/s")}
    assert rates["ours bf16"] < rates["ours"]
    column = "images/s of all"
    together = {r["runs side by side"]: int(r[column]) for r in printed(name, column)}
    yield f"1 run trains on {together['1']:,} images a second"
    yield f"16 side by side on {together['16']:,} together"
    assert max(together.values()) == together["1"]
    short, ten = (
        60 * int(m) + int(s) for m, s in re.findall(r"in (\d+):(\d+)", text("sweeps_gpu"))
    )
    yield f"95 runs of the defaults took {short} seconds"
    yield f"and 95 of the published protocol, of ten epochs, {ten}"
    steps = {r["estimator"]: float(r["ms a step"]) for r in printed(name, "the same a pass")}
    rebar, relax = steps.pop("rebar learned 0.99"), steps.pop("relax learned 0.99 32")
    yield f"take {rebar:.2f} and {relax:.2f} ms where no other estimator takes more than "
    yield f"{max(steps.values()):.2f}."
    (share,) = re.findall(r"surrounds the steps: ([\d.]+) %", text(name))
    assert 45 < float(share) < 55, "half of a run"


def lab(name: str, title: str, column: str) -> float:
    return figure(name, column, estimator=title)


def ratio(name: str, column: str, title: str) -> float:
    """A column of leave-one-out over that of an estimator."""
    return lab(name, LEAVE_ONE_OUT, column) / lab(name, title, column)


def with_ends(name: str, title: str, column: str) -> tuple[float, float, float]:
    """Value of a cell, and the ends of its interval."""
    (cell,) = [r[column] for r in printed(name, column) if r["estimator"] == title]
    value, low, high = map(float, re.findall(r"-?[\d.]+", cell))
    return value, low, high


@cache
def errors_by_evaluations(name: str) -> dict[str, tuple[float, float, float]]:
    """Evaluations of f of an estimate, squared bias and variance × evaluations, by estimator."""
    found = {}
    for row in printed(name, EVALUATIONS):
        title = row["estimator"]
        if title not in ("frozen", "enumeration"):
            value, _, high = with_ends(name, title, "bias²")
            squared_bias = 0 if title.split()[0] in NO_BIAS else max(value, high / 2)
            of_one, cost = float(row["evaluations of f"]), lab(name, title, EVALUATIONS)
            found[title] = (of_one, squared_bias, cost)
    return found


def mean_error(name: str, title: str, evaluations: int) -> float:
    """Relative error of the mean of as many estimates as so many evaluations of f buy."""
    _, squared_bias, cost = errors_by_evaluations(name)[title]
    return float((squared_bias + cost / evaluations) ** 0.5)


def in_order(name: str, column: str) -> list[str]:
    """Unbiased estimators by variance × evaluations or × ms, the least first."""
    titles = [r["estimator"] for r in printed(name, column)]
    unbiased = [title for title in titles if title.split()[0] in NO_BIAS]
    return sorted(unbiased, key=lambda title: lab(name, title, column))


def apart(name: str, one: str, other: str) -> bool:
    """Whether the intervals of the variances at equal evaluations of two estimators are apart."""
    ends = []
    for title in (one, other):
        times = lab(name, title, "evaluations of f")
        ends.append([times * end for end in with_ends(name, title, "variance")[1:]])
    return ends[0][1] < ends[1][0] or ends[1][1] < ends[0][0]


def lab_exact() -> Iterator[str]:
    networks, by_clock = (SMALL, SLOPE_1), {}
    for name in networks:
        assert "model.hidden=8" in text(name) and in_order(name, EVALUATIONS)[0] == LOCAL
        assert not apart(name, RODEO, DOUBLE_CV)
        assert {*in_order(name, EVALUATIONS)[1:3]} == {RODEO, DOUBLE_CV}
        by_clock[name] = in_order(name, CLOCK)[:2]
        assert {*in_error(name, 1)[:2]} == {ST, GUMBEL_RAO}
    assert not apart(SLOPE_1, LOCAL, RODEO) and not apart(SLOPE_1, LOCAL, DOUBLE_CV)
    assert apart(SMALL, LOCAL, RODEO)
    assert "anneal.end=5" in text(SMALL) and "anneal=none" in text(SLOPE_1)
    least = lab(SMALL, LOCAL, "evaluations of f")
    assert {in_error(SMALL, n)[0] for n in range(int(least), 4097)} == {LOCAL}
    yield f"of {least:.0f} evaluations of f or more"
    missed = [t for t in in_error(SMALL, 1) if t.split()[0] in (*RELAXATIONS, "reinmax")]
    assert len(missed) == 7 and CONCRETE in missed
    assert min(with_ends(SMALL, t, "bias²")[1] for t in missed if t != CONCRETE) > 0.5**2
    closest = [in_error(SLOPE_1, n)[0] for n in range(1, 4097)]
    last = closest.index(LOCAL)
    assert {*closest[:last]} <= {*missed} and {*closest[last:]} == {LOCAL}
    assert {*closest[5:last]} == {"mve 1.0", CONCRETE} and 85 <= last <= 95
    yield "are closer up to some 90"
    yield "Two layers of 8 units"
    yield "after 20 epochs in which the slope rises to 5"
    yield "[after as many at slope 1]"
    yield "At slope 1 biased ones"
    yield "## At slope 1"
    ones = [mean_error(name, t, 1) for name in networks for t in (ST, GUMBEL_RAO)]
    yield f"by {min(ones):.2f} to {max(ones):.2f} times the length of the gradient"
    assert all(lab(name, "frozen", "error at 64 evaluations") == 1 for name in networks)
    yield "where a gradient of 0 errs by 1"

    def both(title: str, column: str, times: float = 1, digits: int = 1) -> list[str]:
        return [f"{times * lab(name, title, column):.{digits}f}" for name in networks]

    st, reinmax = both(ST, "bias²", 100), both(REINMAX, "bias²", 100)
    yield f"squared bias is {st[0]} % of the squared gradient, and ReinMax's {reinmax[0]} %"
    yield f"at slope 1 they are {st[1]} and {reinmax[1]} %"
    yield f"at slope 1 [{slow_rate()}]"
    _, low, high = with_ends(SMALL, CONCRETE, "bias²")
    assert low < 0 < high
    yield f"at slope 1 {both(CONCRETE, 'bias²', 100)[1]} %: "
    yield "variance is {} and {} times the squared gradient".format(*both(CONCRETE, "variance"))
    times = {
        title: [f"{1 / ratio(name, EVALUATIONS, title):.2f}" for name in networks]
        for title in (LOCAL, RODEO, DOUBLE_CV, MUPROP)
    }
    yield f"has {times[LOCAL][0]} of leave-one-out's variance at equal evaluations, and and "
    yield f", not told apart, have {times[RODEO][0]} and {times[DOUBLE_CV][0]}"
    three = [times[title][1] for title in (LOCAL, RODEO, DOUBLE_CV)]
    yield "at slope 1 the three are not told apart, with {}, {} and {}".format(*three)
    yield "{} times ({}).".format(*times[MUPROP])
    assert all(found == [LOCAL, LEAVE_ONE_OUT] for found in by_clock.values())
    errors = {t: lab(SLOPE_1, t, "error at 64 evaluations") for t in in_error(SLOPE_1, 64)}
    least = sorted(errors, key=errors.__getitem__)
    assert least[:3] == ["mve 1.0", CONCRETE, LOCAL]
    two = [f"{errors[title]:.2f}" for title in least[:2]]
    yield f"At slope 1 the mean of 64 evaluations errs least by and Concrete ({two[0]}"
    yield f"and {two[1]} of the gradient's length), then by ({errors[LOCAL]:.2f})"


def slow_rate() -> str:
    """Straight-through's squared bias at slope 1 after a training at a lower rate."""
    assert "optimizer.lr=0.002" in text("lab_slopes") and "optimizer.lr=0.015" in text(SLOPE_1)
    found = figure("lab_slopes", "bias²", neuron="stochastic", slope="1")
    return f"by a rate of 0.002 in place of 0.015 it is {100 * found:.1f} %"


def in_error(name: str, evaluations: int) -> list[str]:
    """Estimators by the error of the mean that so many evaluations buy, the least first.

    Those of which one estimate takes more, and controls, are left out.
    """
    known = errors_by_evaluations(name)
    affordable = [title for title, (of_one, _, _) in known.items() if of_one <= evaluations]
    return sorted(affordable, key=lambda title: mean_error(name, title, evaluations))


def shares(*titles: str) -> list[str]:
    """Variance on the reference network over leave-one-out's, at equal evaluations."""
    return [f"{1 / ratio(REFERENCE, EVALUATIONS, title):.2f}" for title in titles]


def lab_cnn() -> Iterator[str]:
    name = REFERENCE
    assert "anneal=none" in text(name) and "trained for 1 epochs" in text(name)
    yield "After one epoch on MNIST at slope 1"
    assert in_order(name, EVALUATIONS)[:4] == [*RELAXED[::-1], MUPROP, DOUBLE_CV]
    assert apart(name, *RELAXED) and apart(name, RELAXED[0], MUPROP)
    assert in_order(name, CLOCK)[:3] == [*RELAXED[::-1], NESTED]
    _, low, high = with_ends(name, REINMAX, "bias²")
    assert low < 0 < high
    closest = [in_error(name, n)[0] for n in range(1, 4097)]
    last = closest.index(REINMAX)
    assert {*closest[:last]} == {GUMBEL_RAO} and {*closest[last:]} == {REINMAX}
    yield f"up to {last} evaluations of f"
    by_mean = {title: mean_error(name, title, 64) for title in in_error(name, 64)}
    order = [*by_mean]
    assert next(t for t in order if t.split()[0] in NO_BIAS) == RELAXED[1]
    yield "The mean of 64 errs by "
    yield f"{by_mean[REINMAX]:.2f} of the gradient's length by ReinMax, and by "
    yield f"{by_mean[RELAXED[1]]:.2f} by RELAX"
    yield "{} and {} of leave-one-out's variance at equal evaluations".format(
        *shares(*RELAXED[::-1])
    )
    value, low, high = (100 * end for end in with_ends(name, ST, "bias²"))
    yield f"squared bias is {value:.1f} % of the squared gradient [{low:.1f}, {high:.1f}]"
    variance = {title: lab(name, title, "variance") for title in order}
    assert min(variance, key=variance.__getitem__) == GUMBEL_RAO
    yield f"variance {variance[ST]:.2f} times;"
    yield f"has {100 * lab(name, GUMBEL_RAO, 'bias²'):.1f} % and {variance[GUMBEL_RAO]:.2f} times"
    ones = [mean_error(name, title, 1) for title in (GUMBEL_RAO, ST)]
    yield f"it errs by {ones[0]:.2f} and {ones[1]:.2f} times the length of the gradient"
    four = ["mve 1.0", GUMBEL_RAO, ST, "st_gumbel 1.0"]
    assert order[1:5] == four
    yield f"Means of 64 by , , and bring that down to {by_mean[four[0]]:.2f} to "
    yield f"{by_mean[four[-1]]:.2f} times."
    yield f"{variance[RELAXED[1]]:.0f} and {variance[RELAXED[0]]:.0f} times the squared gradient"
    muprop, twice = shares(MUPROP, DOUBLE_CV)
    yield f"has {muprop}, and {twice}; and"
    assert not any(apart(name, title, LEAVE_ONE_OUT) for title in ("arms 4", RODEO))
    assert apart(name, DOUBLE_CV, LEAVE_ONE_OUT)
    yield f"{1 / ratio(name, CLOCK, RODEO):.0f} times leave-one-out's variance"
    (known,) = re.findall(r"known to ([\d.]+) % of its norm", text(name))
    yield f"known to {known} % of its norm"


def lab_vae() -> Iterator[str]:
    name = "lab_vae"
    assert "model.latents=8" in text(name) and "estimator=double_cv" in text(name)
    _, low, high = with_ends(name, REINMAX, "bias²")
    assert low < 0 < high, "not told from none"
    yield f"{lab(name, ST, 'bias²'):.1f} times the squared gradient"
    costs = in_order(name, EVALUATIONS)
    assert costs[0] == LOCAL and {in_error(name, n)[0] for n in range(1, 4097)} == {LOCAL}
    yield f"1/{ratio(name, EVALUATIONS, LOCAL):.0f} of leave-one-out's variance at equal "
    assert in_order(name, CLOCK).index(LOCAL) > in_order(name, CLOCK).index(LEAVE_ONE_OUT)
    titles = [r["estimator"] for r in printed(name, EVALUATIONS)]
    others = {t: lab(name, t, "bias²") for t in titles if t.split()[0] in RELAXATIONS}
    assert min(others, key=others.__getitem__) == CONCRETE and REINMAX not in others
    yield f"a squared bias of {100 * others[CONCRETE]:.0f} % of the squared gradient"
    assert lab(name, "frozen", "bias²") > 1
    assert costs[1] == RODEO and {*costs[2:5]} == {*RELAXED, DOUBLE_CV}
    rodeo, twice = (1 / ratio(name, EVALUATIONS, one) for one in (RODEO, DOUBLE_CV))
    yield f"has {rodeo:.2f} of leave-one-out's variance at equal evaluations, then"
    yield f"and with {twice:.2f}. By"
    slower = {title: 1 / ratio(name, CLOCK, title) for title in (RODEO, DOUBLE_CV, NESTED)}
    yield f"have {slower[RODEO]:.2f} and {slower[DOUBLE_CV]:.2f} times its variance"
    yield f"nested draws are ahead with {slower[NESTED]:.2f}."
    assert in_order(name, CLOCK)[0] == NESTED


def lab_vae_training() -> Iterator[str]:
    rows = {row["estimator"]: row for row in printed("lab_vae_training", "estimator")}
    (last,) = [key for key in rows["st density"] if key.startswith("variance, epoch 12")]
    variance = {name: float(row[last]) for name, row in rows.items()}
    loss = {name: float(row["validation loss (nats)"]) for name, row in rows.items()}
    unbiased = {name for name in rows if name in UNBIASED}
    biased = rows.keys() - unbiased
    assert len(unbiased) == 7
    noisiest, quietest = (pick(variance[name] for name in biased) for pick in (max, min))
    least, most = (pick(variance[name] for name in unbiased) for pick in (min, max))
    yield f"at least {least / noisiest:.1f} times"
    yield f"at most {most / quietest:.1f} times"
    st = "st density"
    assert variance[st] == quietest and loss[st] == max(loss[name] for name in biased)
    yield "200 latent variables"
    assert variance["reinmax 1.0"] == noisiest
    assert loss["reinmax 1.0"] == min(loss.values())
    yield f"with {variance['reinmax 1.0'] / variance[st]:.1f} times the variance"
    yield f"is {loss[st] - loss['reinmax 1.0']:.2f} nats ahead"
    three = {"double_cv 4 0.99", "relax learned 0.99 32", "rebar learned 0.99"}
    two = {"muprop 0.9 conditional", "disarm"}
    for key in (variance, loss):
        ranked = sorted(unbiased, key=key.__getitem__)
        assert set(ranked[:3]) == three and set(ranked[-2:]) == two
    gains = [loss[st] - loss[name] for name in unbiased - two]
    assert min(gains) > 0 > max(loss[st] - loss[name] for name in two)
    yield f"by {min(gains):.2f} to {max(gains):.2f} nats"


def lab_structured_training() -> Iterator[str]:
    rows = {row["estimator"]: row for row in printed("lab_structured_training", "estimator")}
    first, last, loss = (
        {name: float(row[key]) for name, row in rows.items()}
        for key in ("variance, epoch 1", "variance, epoch 12", "validation loss (nats)")
    )
    unbiased = {name for name in rows if name.split()[0] in NO_BIAS}
    biased = rows.keys() - unbiased
    assert len(unbiased) == 8 and len(biased) == 7
    least, most = (pick(last[name] for name in unbiased) for pick in (min, max))
    noisiest, quietest = (pick(last[name] for name in biased) for pick in (max, min))
    yield f"at least {least / noisiest:.1f} times"
    yield f"at most {most / quietest:.0f} times"
    assert min(loss[name] for name in unbiased) > max(loss[name] for name in biased)
    yield "Two layers of 200 units"
    for key in (last, loss):
        order = sorted(biased, key=key.__getitem__)
        assert {*order[:2]} == {GUMBEL_RAO, "reinmax_rao 1.0"} and order[-1] == CONCRETE
        assert max(unbiased, key=key.__getitem__) == "disarm"
    others = unbiased - {"disarm"}
    losses, variances = ([key[name] for name in others] for key in (loss, last))
    yield f"lie within {max(losses) - min(losses):.2f} nats"
    yield f"up to {max(variances) / min(variances):.1f} times each other"
    assert {*sorted(others, key=loss.__getitem__)[:2]} == {"arms 4", DOUBLE_CV}
    assert [rows[t]["evaluations of f"] for t in ("arms 4", DOUBLE_CV)] == ["7", "4"]
    rises, falls = ([last[name] / first[name] for name in some] for some in (biased, unbiased))
    yield f"to {min(rises):.2f} to {max(rises):.2f} times"
    yield f"to {min(falls):.2f} to {max(falls):.2f} times"
    assert len([name for name in biased if loss[name] < loss[ST]]) == 5
    yield "By the bound of 100 draws"


def lab_structured() -> Iterator[str]:
    name = "lab_structured"
    assert "'model.hidden=[8,8]'" in text(name)
    yield "Two layers of 8 units"

    def bias(title: str) -> str:
        return f"{100 * lab(name, title, 'bias²'):.1f} %"

    variance = lab(name, ST, "variance")
    yield f"ReinMax's squared bias is {bias(REINMAX)} of the squared gradient"
    yield f"straight-through's {bias(ST)} at a variance of {variance:.2f} times the"
    closest = [in_error(name, n)[0] for n in range(1, 4097)]
    assert LOCAL not in closest[:300] and {*closest[2000:]} == {LOCAL}
    costs = in_order(name, EVALUATIONS)
    assert costs[:2] == [LOCAL, RODEO] and {*costs[2:4]} == {MUPROP, DOUBLE_CV}
    local, rodeo, muprop, twice = (
        1 / ratio(name, EVALUATIONS, one) for one in (LOCAL, RODEO, MUPROP, DOUBLE_CV)
    )
    yield f"ahead, with {local:.2f} of leave-one-out's variance at equal evaluations"
    yield f"has a squared bias of {bias(GUMBEL_RAO)} of the squared gradient"
    yield f"and {bias('st_gumbel 1.0')}.".removeprefix("and ")
    yield f"has {bias('reinmax_rao 1.0')}: what it averages"
    mve = [lab(name, "mve 1.0", c) / lab(name, ST, c) for c in ("bias²", "variance")]
    yield f"has {mve[0]:.2f} of straight-through's squared bias, and {mve[1]:.2f} times its"
    yield f"have {rodeo:.2f}, {muprop:.2f} and {twice:.2f} of leave-one-out's variance at equal "
    clock = in_order(name, CLOCK)
    assert {*clock[:2]} == {LEAVE_ONE_OUT, DOUBLE_CV}
    assert 0.95 < ratio(name, CLOCK, DOUBLE_CV) < 1.05, "level by the clock"


def estimators() -> Iterator[str]:
    """Claims of docs/estimators.md."""
    assert with_ends(REFERENCE, REINMAX, "bias²")[1] < 0 < with_ends(REFERENCE, ST, "bias²")[1]
    networks = (SMALL, SLOPE_1, REFERENCE)
    assert {in_error(name, 1)[0] for name in networks} == {GUMBEL_RAO}
    ones = [mean_error(name, GUMBEL_RAO, 1) for name in networks]
    yield f"errs by {min(ones):.2f} to {max(ones):.2f} times the gradient's length"
    assert [in_error(name, 64)[0] for name in networks] == [LOCAL, "mve 1.0", REINMAX]
    yield "The mean of 64 evaluations"
    yield "on the small one at slope 1, and"
    st, reinmax = (
        [f"{100 * lab(name, title, 'bias²'):.1f}" for name in (SLOPE_1, SMALL)]
        for title in (ST, REINMAX)
    )
    yield f"squared bias is {st[0]} % of the squared gradient after 20 epochs at slope 1"
    yield f"and ReinMax's {reinmax[0]} %; where the slope rises to 5 they are {st[1]} and "
    yield f"{reinmax[1]} %, and"
    yield "straight-through at slope 1. On"
    yield f"at slope 1 straight-through's is {100 * lab(REFERENCE, ST, 'bias²'):.1f} %"
    yield slow_rate()
    local = [1 / ratio(name, EVALUATIONS, LOCAL) for name in (SMALL, SLOPE_1)]
    yield f"{local[0]:.2f} of leave-one-out's variance at equal evaluations after annealing, and "
    yield f"{local[1]:.2f} at slope 1, where"
    relax, rebar, muprop, twice = shares(*RELAXED[::-1], MUPROP, DOUBLE_CV)
    yield f"with {relax} and {rebar} of leave-one-out's variance at equal evaluations, then "
    yield f"({muprop}) and ({twice})"
    variance = [lab(REFERENCE, title, "variance") for title in (*RELAXED[::-1], ST)]
    yield f"has {variance[0]:.0f} and {variance[1]:.0f} times the squared gradient"
    yield f"{variance[2]:.2f} times;"
    coupled = [
        1 / ratio(name, EVALUATIONS, one) for name in networks for one in ("disarm", "arms 4")
    ]
    yield f"have {min(coupled):.1f} to {max(coupled):.1f} times its variance"
    yield next(coupling())
    yield f"layers of {UNITS} units"
    yield f"at most {LOWER_LIMIT} units in each lower one"
    yield f"up to {LAYER_LIMIT} units a layer"
    yield "with 95 % intervals"


def target() -> Iterator[str]:
    name, two = "lab_target", "loss, p = 2"

    def loss(title: str) -> float:
        return figure(name, two, **{"": title})

    fires = figure(name, "fires 2", **{"": "st density"})
    yield f"Where {100 * fires:.0f} % of the units fire"
    yield f"at a loss of {loss('st density'):.4f} (exponent 2)"
    yield f"has {loss('the optimum'):.4f}"
    on_their_way = ("nvil 100 0.9", "reinforce none", RODEO)
    there = [r[""] for r in printed(name, two)]
    known = [t for t in there if t.split()[0] in NO_BIAS or t == REINMAX]
    near = [t for t in known if t not in on_their_way]
    assert {DOUBLE_CV, LOCAL, MUPROP, NESTED, REINMAX, *RELAXED} < {*near} and len(near) == 13
    gap = max(loss(title) for title in near) - loss("the optimum")
    yield f"within {gap:.4f} at exponent 2"
    short = ["st_gumbel 1.0", CONCRETE, GUMBEL_RAO, "reinmax_rao 1.0", "mve 1.0", ST]
    for title in (*on_their_way, *short):
        assert loss(title) > loss("the optimum") + 5 * gap


def checkpoints() -> Iterator[str]:
    name = "lab_checkpoints"
    last = str(max(int(r["step"]) for r in printed(name, "error of 1, layer 1")))

    def errors(title: str) -> list[float]:
        columns = [f"error of 100, layer {layer}" for layer in (1, 2, 3)]
        return [figure(name, column, step=last, estimator=title) for column in columns]

    def per_evaluation(title: str) -> list[float]:
        """Squared error of one estimate times its evaluations, by layer."""
        evaluations = figure(name, "evaluations of f", step=last, estimator=title)
        columns = [f"error of 1, layer {layer}" for layer in (1, 2, 3)]
        found = [figure(name, column, step=last, estimator=title) for column in columns]
        return [evaluations * error**2 for error in found]

    def ahead(one: str, other: str, from_layer: int = 0) -> bool:
        pairs = zip(per_evaluation(one), per_evaluation(other), strict=True)
        return all(a < b for a, b in list(pairs)[from_layer:])

    st = errors("st density")
    assert min(st) > 1
    reinmax = errors("reinmax 1.0")
    assert min(reinmax) > 1
    yield "the mean of 100 estimates by straight-through or ReinMax errs by more"
    yield f"({st[0]:.2f}, {st[1]:.2f} and {st[2]:.2f} times its length, and "
    yield f"{reinmax[0]:.2f}, {reinmax[1]:.2f} and {reinmax[2]:.2f})"
    unbiased = errors(LEAVE_ONE_OUT)
    assert unbiased[0] < 1 < min(unbiased[1:])
    yield "({:.2f}, {:.2f} and {:.2f})".format(*unbiased)
    assert ahead(LEAVE_ONE_OUT, "muprop") and ahead(LEAVE_ONE_OUT, "rebar")
    assert ahead(LEAVE_ONE_OUT, "disarm") and ahead(LEAVE_ONE_OUT, "arms 4")
    upper = ("muprop", "rebar", "disarm", "arms 4", LEAVE_ONE_OUT)
    assert all(ahead("local_expectation", one, from_layer=1) for one in upper)
    assert not ahead("local_expectation", LEAVE_ONE_OUT)


def slopes() -> Iterator[str]:
    def at(neuron: str, slope: str, column: str) -> float:
        return figure("lab_slopes", column, neuron=neuron, slope=slope)

    random, fixed = (
        [at(neuron, slope, "bias²") for slope in ("1", "6")]
        for neuron in ("stochastic", "deterministic")
    )
    yield (
        f"rises from {random[0]:.3f} at slope 1 to {random[1]:.3f} at slope 6, that of "
        f"deterministic ones from {fixed[0]:.3f} to {fixed[1]:.3f}"
    )
    cosine = [at("stochastic", slope, "cosine of the mean") for slope in ("1", "6")]
    yield (
        f"a cosine of {cosine[0]:.3f} with the true one at slope 1 and of {cosine[1]:.3f} at "
        "slope 6"
    )
    for neuron in ("stochastic", "deterministic"):
        rows = [r for r in printed("lab_slopes", "bias²") if r["neuron"] == neuron]
        biases = [float(r["bias²"].split()[0]) for r in rows]
        assert biases == sorted(biases)


def weights() -> Iterator[str]:
    name = "lab_weights"
    noise = {row["variance"]: row for row in printed(name, "batch 256")}
    shared, lrt, single = (
        {size: numbers(noise[rule][f"batch {size}"]) for size in (4, 16, 64, 256)}
        for rule in ("one draw a batch", "local reparameterisation", "one draw a sample")
    )
    yield "at a batch of 256"
    yield f"has {shared[256][0] / single[256][0]:.1f} times the variance of a draw for each sample"
    yield f"and {shared[256][0] / lrt[256][0]:.1f} times that of local reparameterisation"
    yield "up to a batch of 16 the shared draw is no noisier than either"
    for size in (4, 16):
        assert shared[size][1] <= min(lrt[size][2], single[size][2])
    assert shared[256][1] > max(lrt[256][2], single[256][2])
    assert single[64][0] / single[256][0] == pytest.approx(4, rel=0.02)
    yield "From a batch of 64 to one of 256"
    yield f"that of the shared draw to {shared[256][0] / shared[64][0]:.2f}"

    def exact(rule: str, column: str) -> list[float]:
        rows = [row for row in printed(name, "bias (%)") if row["estimate"] == rule]
        assert [row["weights"] for row in rows] == ["3", "6", "10"]
        return [float(row[column]) for row in rows]

    gaussian, drawn = exact("lrt", "bias (%)"), exact("sample", "bias (%)")
    yield f"{gaussian[-1]} to {gaussian[0]} % of the exact gradient on a layer of 3 to 10 weights"
    yield f"is {drawn[-1]} to {drawn[0]} % off"
    assert gaussian == sorted(gaussian, reverse=True) and drawn == sorted(drawn, reverse=True)
    conv2 = MODELS["cnn"]((1, 28, 28), 10, [nn.Identity()] * 2).get_submodule("conv2").weight
    yield f"the reference network's layer has {conv2[0].numel()} to an output"
    score = exact("score function", "variance")
    assert exact("score function", "bias (%)") == [0, 0, 0] and score == sorted(score)
    yield f"from 3 weights to 10 its variance rises from {score[0]} to {score[-1]} times"
    falling = exact("sample", "variance")
    assert falling == sorted(falling, reverse=True)


def mirror() -> Iterator[str]:
    name, control = "lab_mirror", "control: gradient by η"
    without, with_decay = printed(name, control)
    for row in (without, with_decay):
        assert float(row["multiplicative update"]) < 1e-14 and float(row["proximal minimum"]) < 1e-7
    (steps,) = re.findall(r"One weight, (\d+) steps", text(name))
    yield (
        f"in {steps} steps its probabilities are up to {float(without[control]):g} and "
        f"{float(with_decay[control]):g} away"
    )
    yield "at ±1** is the projection on [0, 1]"
    laws = {row["law"]: row for row in printed(name, "largest probability")}
    assert float(laws.pop("uniform")["entropy (nats)"]) == 0
    most = max(float(row["largest probability"]) for row in laws.values())
    least = min(float(row["entropy (nats)"]) for row in laws.values())
    yield f"a probability of at most {most:.3f}, with at least {least:.3f} nats of entropy"


def numbers(cell: str) -> list[float]:
    """Value and interval of a cell `0.058 [0.043, 0.074]`."""
    return [float(one) for one in re.findall(r"[\d.]+", cell)]


def coupling() -> Iterator[str]:
    column = "reinforce none, bias (%)"
    rows = printed("lab_coupling", column)
    batch = [float(r[column]) for r in rows if r["norm"] == "batch"]
    yield f"a bias of {min(batch):.1f} to {max(batch):.1f} % of the gradient"
    assert {r[column] for r in rows if r["norm"] != "batch"} == {"0.0"}
    place = ("batch", "first", "straight-through")
    (row,) = [r for r in printed("lab_coupling", "true slope")
              if (r["norm"], r["placement"], r["direction"]) == place]  # fmt: skip
    (true, error), (mean, spread) = (
        map(float, row[column].split(" ± ")) for column in ("true slope", LEAVE_ONE_OUT)
    )
    yield f"{(true - mean) / (error**2 + spread**2) ** 0.5:.1f} standard errors short"
    place = ("running", *place[1:])
    (row,) = [r for r in printed("lab_coupling", "true slope")
              if (r["norm"], r["placement"], r["direction"]) == place]  # fmt: skip
    (true, error), (mean, spread) = (
        map(float, row[column].split(" ± ")) for column in ("true slope", "arms 4")
    )
    yield f"is {(true - mean) / (error**2 + spread**2) ** 0.5:.1f} short."


def toy() -> Iterator[str]:
    yield "of a single bit under (b - t)²"
