"""Claims of the sections about annealed slopes and about bounds of several draws."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from findings import bracketed, compared, of, undecided

from bnn.config.compose import compose
from bnn.report.configurations import Configuration
from bnn.report.differences import Difference, compare
from bnn.report.headline import BOUND
from bnn.report.learning_rates import learning_rate
from bnn.report.numbers import Interval


def annealed(name: str) -> dict[str, Interval]:
    """Gains over slope 1 by the schedule of the slope, in nats, three seeds of each."""
    for c in of(name):
        assert tuple(sorted(row.seed for row in c.rows)) == (0, 1, 2)
        assert (c.first.epochs, c.first.validation_samples) == (37, 10)
    found = {one.configuration.first.anneal: one for one in compared(name, "anneal=none", 0.1)}
    assert set(found) == {"linear", "cosine"}
    return {schedule: gain(one) for schedule, one in found.items()}


def gain(difference: Difference) -> Interval:
    assert difference.interval is not None
    return difference.interval


def schedules() -> Iterator[str]:
    linear, cosine = (compose([f"anneal={name}"]).anneal for name in ("linear", "cosine"))
    yield f"at slope {compose(['anneal=none']).anneal.slope:g}, at one that"
    yield f"rises by {linear.step} an epoch"
    yield f"to {linear.start + 36 * linear.step:.2f} ()"
    yield f"from {cosine.start:g} to {cosine.end:g} ()"
    yield "over about 20,000 steps"


def vae_annealing() -> Iterator[str]:
    gains = annealed("vae_annealing_mnist")
    yield from schedules()
    assert min(one.low for one in gains.values()) > 0
    yield f"{bracketed(gains['cosine'])} nats and {bracketed(gains['linear'])}, where it"
    yield "chosen over 5,000 steps, in which the slope"
    yield f"gains {116.0 - 111.5:.1f} in Jang et al."


def structured_annealing() -> Iterator[str]:
    name, short = "structured_annealing_mnist", "structured_annealing_short_mnist"
    gains, first = annealed(name), annealed(short)
    yield from schedules()
    lost = [
        f"{-one.mean:.2f} [{-one.high:.2f}, {-one.low:.2f}]"
        for one in (gains["linear"], gains["cosine"])
    ]
    assert max(one.high for one in gains.values()) < 0
    yield f"costs {lost[0]} nats and {lost[1]}, where the published one "
    yield f"gains {58.9 - 58.7:.1f} (Jang et al.)"
    (slow,), (fast,) = of(name, anneal="none"), of(short, anneal="none")
    assert (learning_rate(slow.first), learning_rate(fast.first)) == (0.003, 0.01)
    assert slow.first.epochs == fast.first.epochs
    both = [
        f"{statistics.fmean(bounds):.2f} ± {statistics.stdev(bounds):.2f}"
        for bounds in ([BOUND.value(row) for row in c.rows] for c in (slow, fast))
    ]
    yield f"at slope 1 straight-through has {both[0]} at 0.003, and {both[1]} at 0.01, "
    yield "the best loss over 5,000 steps"
    yield "chosen over 5,000 steps were tried first"
    lost = [
        f"{-one.mean:.2f} [{-one.high:.2f}, {-one.low:.2f}]"
        for one in (first["linear"], first["cosine"])
    ]
    yield f"At them costs {lost[0]} and {lost[1]}."


def vae_bounds() -> Iterator[str]:
    name = "vae_bounds_mnist"
    analytic, sampled, vimco, disarm = (
        only(name, estimator=estimator, task__kl=kl)
        for estimator, kl in (
            ("reinforce", "analytic"),
            ("reinforce", "sampled"),
            ("vimco", "sampled"),
            ("disarm_bound", "sampled"),
        )
    )
    recipe = compose(["experiment=vae_bounds"]).vars
    for c, by in ((analytic, "reinforce"), (sampled, "reinforce_sampled"), (vimco, "vimco")):
        assert (c.first.epochs, c.first.evaluations) == (recipe.epochs[by], 4)
    assert (disarm.first.epochs, disarm.first.evaluations) == (recipe.epochs.disarm_bound, 8)
    yield f"{analytic.first.epochs} epochs of four evaluations a step, or {disarm.first.epochs} of"
    behind = [gain(compare(sampled, c, 0.1)) for c in (vimco, disarm)]
    assert min(one.low for one in behind) > 0
    yield f"is {bracketed(behind[0])} nats behind leave-one-out and "
    yield f"in half the steps, {bracketed(behind[1])}"
    other = [gain(compare(analytic, c, 0.1)) for c in (vimco, disarm)]
    assert other[0].low > 0 and undecided(other[1])
    yield f"the analytic divergence is {bracketed(other[0])} behind, and is undecided, "
    yield f"{bracketed(other[1])}."
    same = gain(compare(sampled, analytic, 0.1))
    assert undecided(same)
    yield f"gains {bracketed(same)} nats"


def only(name: str, **values: str) -> Configuration:
    """The one configuration with these fields, of three seeds and selected by ten draws."""
    (found,) = of(name, **values)
    assert tuple(sorted(row.seed for row in found.rows)) == (0, 1, 2)
    assert found.first.validation_samples == 10
    return found
