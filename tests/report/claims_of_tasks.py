"""Claims of the pages about structured prediction and the autoencoder, from the rows of runs.

What the words around a number say is asserted beside it.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from findings import compared as compared_with
from findings import of

from bnn.report.differences import Difference
from bnn.report.headline import BOUND

STRUCTURED = "structured_equal_cost_mnist"
REBAR, RELAX = "rebar learned 0.99", "relax learned 0.99 32"
DOUBLE_CV, LEAVE_ONE_OUT = "double_cv 4 0.99", "reinforce leave_one_out 4"
MUPROP, NVIL = "muprop 0.9 conditional", "nvil 100 0.9"
UNBIASED = (REBAR, RELAX, DOUBLE_CV, LEAVE_ONE_OUT, MUPROP, NVIL, "disarm", "arms 4")


def bound(name: str, title: str) -> float:
    """Mean bound of an estimator over seeds, in nats."""
    (only,) = of(name, estimator_title=title)
    return statistics.fmean(map(BOUND.value, only.rows))


def with_spread(name: str, title: str) -> str:
    """`56.60 ± 0.02`."""
    (only,) = of(name, estimator_title=title)
    sd = statistics.stdev(map(BOUND.value, only.rows))
    return f"{bound(name, title):.2f} ± {sd:.2f}"


def one_draw(name: str, title: str) -> float:
    (only,) = of(name, estimator_title=title)
    return statistics.fmean(row.test_loss for row in only.rows)


def seconds(name: str, title: str) -> float:
    (only,) = of(name, estimator_title=title)
    return statistics.fmean(row.seconds_train for row in only.rows)


def by_title(name: str) -> dict[str, Difference]:
    """Differences from straight-through by the estimators' titles."""
    found = compared_with(name, "estimator=st", 0.1)
    return {one.configuration.first.estimator_title: one for one in found}


def behind(name: str, title: str) -> float:
    """Nats by which an estimator is behind straight-through."""
    difference = by_title(name)[title].interval
    assert difference is not None
    return -difference.mean


def structured_equal_cost() -> Iterator[str]:
    name, told = STRUCTURED, by_title(STRUCTURED)
    yield f"Straight-through, with {with_spread(name, 'st density')} nats"
    assert told["gumbel_rao 1.0"].verdict == "undecided"
    yield f"ReinMax, ahead in classification, is {behind(name, 'reinmax 1.0'):.2f} nats behind"
    best = sorted((title for title in UNBIASED), key=lambda title: bound(name, title))[:2]
    assert best == [REBAR, RELAX]
    yield f"REBAR and RELAX, {behind(name, REBAR):.2f} and {behind(name, RELAX):.2f}."
    yield "Two stochastic layers of 200 units"
    yield "about 20,000 steps of an estimator"
    real, st = bound(name, "none"), bound(name, "st density")
    draws = {title: one_draw(name, title) for title in [*told, "st density"]}
    assert one_draw(name, "none") < min(draws.values())
    yield f"({real:.2f} nats against {draws['st density']:.2f} of straight-through)"
    (samples,) = {c.first.evaluation_samples for c in of(name)}
    yield f"by the bound of {samples} draws it is {real - st:.2f} behind straight-through"
    worse = {title for title in told if title != "frozen" and bound(name, title) > real}
    assert worse == {"disarm", MUPROP, NVIL}
    yield f"straight-through's loss by one draw ({draws['reinmax 1.0']:.2f})"
    assert abs(draws["reinmax 1.0"] - draws["st density"]) < 0.05
    rao = bound(name, "st_gumbel 1.0") - bound(name, "gumbel_rao 1.0")
    yield f"is {rao:.2f} nats ahead of"
    rao = bound(name, "reinmax 1.0") - bound(name, "reinmax_rao 1.0")
    yield f"and {rao:.2f} ahead of ReinMax"
    double = bound(name, DOUBLE_CV)
    yield f"is {bound(name, LEAVE_ONE_OUT) - double:.2f} nats ahead of leave-one-out"
    gaps = [double - bound(name, title) for title in (REBAR, RELAX)]
    yield f"it is {gaps[0]:.2f} and {gaps[1]:.2f} behind them"
    taken = [seconds(name, title) for title in (DOUBLE_CV, REBAR, RELAX)]
    yield f"{taken[0]:.0f} seconds of training against {taken[1]:.0f} and {taken[2]:.0f}"
    gains = [draws[t] - bound(name, t) for t in ("reinmax 1.0", "st density")]
    yield f"{samples} draws gain {gains[0]:.2f} nats"
    yield f"those of straight-through gain {gains[1]:.2f}"
    yield "those of Gu et al. 2016 are the best on the test split"
    yield "Jang et al. 2017 have 200 units"
    yield f"by {56.7 - 56.1:.1f} nats is not reproduced"
    yield f"at equal cost it is {behind(name, MUPROP):.2f} behind"


def across_tasks() -> Iterator[str]:
    classes, structured = by_title("estimators_mnist"), by_title(STRUCTURED)

    def gain(one: Difference) -> float:
        assert one.interval is not None
        return one.interval.mean

    for table in (classes, structured):
        unbiased = [gain(one) for title, one in table.items() if title in UNBIASED]
        biased = [gain(one) for title, one in table.items() if title not in (*UNBIASED, "frozen")]
        assert max(unbiased) < min([*biased, 0.0])
    turned = ("reinmax 1.0", "st_gumbel 1.0", "concrete 0.5")
    ahead = [gain(classes[title]) for title in turned]
    yield f"are {min(ahead):.2f} to {max(ahead):.2f} points ahead of straight-through"
    back = [-gain(structured[title]) for title in turned]
    yield f"and {min(back):.2f} to {max(back):.2f} nats behind it in structured prediction"
    best = sorted(classes, key=lambda title: gain(classes[title]))
    assert best[-2:] == ["st_gumbel 1.0", "reinmax 1.0"]
    assert max(structured, key=lambda title: gain(structured[title])) == "gumbel_rao 1.0"
    for table in (classes, structured):
        leaders = sorted(UNBIASED, key=lambda title: gain(table[title]) if title in table else -99)
        assert {*leaders[-2:]} == {REBAR, RELAX}
    assert gain(classes[MUPROP]) - gain(classes[REBAR]) > -0.1
    assert gain(structured[MUPROP]) < gain(structured[LEAVE_ONE_OUT])
