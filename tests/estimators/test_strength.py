"""Variance of every estimator against its published formula; weak mutants, which must be caught.

An estimator may be right and weak: unbiased, and yet noisier than its paper promises. So the total
variance of the weight gradient of each binary layer is compared with that of `published.py`. Both
are sampled, and their ratio has to be 1 within its standard error, which is small enough for 15 %
more variance to be seen. As a script this file prints the ratios.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import published
import pytest
import torch
from published import Gradients, Net
from support.toys import Toy, batch, tangled
from torch import Tensor, nn

from bnn.estimators import Baseline, Estimator
from bnn.estimators.antithetic import ARM, ARMS, DisARM
from bnn.estimators.concrete import StraightThroughGumbel
from bnn.estimators.layerwise import LayerSamples
from bnn.estimators.local_expectation import LocalExpectation
from bnn.estimators.rebar import REBAR, TAU_BOUNDS, TAU_EVERY, TAU_RATE
from bnn.estimators.relax import RELAX
from bnn.estimators.score_function import MuProp, Reinforce
from bnn.nn.forward import ForwardClosure
from bnn.nn.sites import Site
from bnn.testing import exact_loss, gradient, seeded

pytestmark = pytest.mark.numerical

NETS = [(3,), (3, 3), (3, 2, 3)]
DRAWS = 100_000
MUTANT_DRAWS = 25_000
"""Draws by which the mutants are caught."""
LEARNING = 4 * DRAWS
"""Draws from which the constants of a published estimator are computed that it would learn."""
STANDARD_ERRORS = 4.5
VISIBLE = 1.15
"""A ratio of variances that the draws have to suffice for."""


@dataclass(frozen=True)
class Case:
    """An estimator of the project and its published form.

    Args:
        config: the project's, as a configuration names it.
        form: the published one, with its parameters.
        learn: the constants that the published one would have learned.
        unbiased: whether the mean has to be the exact gradient; otherwise it has to be the
            project's mean.
        at_most: whether less variance than published is fine too.
        nets: widths of the binary layers.
    """

    config: Mapping[str, Any]
    form: Callable[..., Gradients]
    learn: Callable[..., Any] | None = None
    unbiased: bool = True
    at_most: bool = False
    nets: Sequence[tuple[int, ...]] = field(default_factory=lambda: NETS)


def _rebar(tau: float) -> dict[str, Callable]:
    return {
        "form": functools.partial(published.rebar, tau=tau),
        "learn": functools.partial(published.best_weights, tau=tau),
    }


CASES = {
    "leave_one_out": Case(
        {"name": "reinforce", "baseline": {"name": "leave_one_out", "samples": 4}},
        published.leave_one_out,
    ),
    "nested_leave_one_out": Case(
        {
            "name": "reinforce",
            "baseline": {"name": "nested_leave_one_out", "samples": 2, "nested": 2},
        },
        published.nested_leave_one_out,
        nets=NETS[1:],
    ),
    "nvil": Case({"name": "nvil"}, published.nvil, published.moments_of_loss),
    "muprop": Case(
        {"name": "muprop"},
        functools.partial(published.muprop, conditional=True),
        functools.partial(published.mean_residuals, conditional=True),
    ),
    "muprop as published": Case(
        {"name": "muprop", "conditional": False}, published.muprop, published.mean_residuals
    ),
    "local_expectation": Case({"name": "local_expectation"}, published.local_expectation),
    "arm": Case({"name": "arm"}, published.arm),
    "disarm": Case({"name": "disarm"}, published.disarm),
    "arms": Case({"name": "arms", "samples": 4}, published.arms),
    "rebar": Case({"name": "rebar", "tau": 0.5}, **_rebar(0.5)),
    "rebar-cold": Case({"name": "rebar", "tau": 0.2}, **_rebar(0.2)),
    "relax": Case({"name": "relax", "tau": 0.5}, **_rebar(0.5), at_most=True),
    "st": Case(
        {"name": "st", "pseudo_derivative": "density"}, published.straight_through, unbiased=False
    ),
    "reinmax": Case({"name": "reinmax", "tau": 1.0}, published.reinmax, unbiased=False),
    "st_gumbel": Case({"name": "st_gumbel", "tau": 1.0}, published.st_gumbel, unbiased=False),
    "concrete": Case({"name": "concrete", "tau": 0.5}, published.concrete, unbiased=False),
    "mve": Case(
        {"name": "mve", "t": 1.0}, published.minimum_variance_straight_through, unbiased=False
    ),
    "gumbel_rao": Case({"name": "gumbel_rao", "tau": 1.0}, published.gumbel_rao, unbiased=False),
    "reinmax_rao": Case({"name": "reinmax_rao", "tau": 1.0}, published.reinmax_rao, unbiased=False),
    "double_cv": Case(
        {"name": "double_cv", "samples": 3}, published.double_cv, published.best_alphas
    ),
    "rodeo": Case(
        {"name": "rodeo", "samples": 2}, functools.partial(published.leave_one_out, samples=2)
    ),
}
"""Estimators by name; learned weights, baselines and r_φ are measured after their learning. RODEO
begins as leave-one-out; its learned part is held to its formula in test_properties.py."""
PAIRS = [
    pytest.param(
        name, widths, id=f"{name}-{len(widths)}", marks=[pytest.mark.slow] * (widths != NETS[-1])
    )
    for name, case in CASES.items()
    for widths in case.nets
]
"""Estimators and nets; three layers have a first, an inner and a last one, and fewer are slow."""


WITHOUT = {"none", "frozen", "enumeration", "vimco", "disarm_bound"}
"""Estimators without a published variance of the gradient of the expected loss: controls, the exact
one, and that of a bound (test_bounds.py)."""


def test_every_estimator_is_held_to_a_published_formula() -> None:
    assert {str(case.config["name"]) for case in CASES.values()} | WITHOUT == set(
        Estimator.registry
    )


class Spread(NamedTuple):
    """Mean and total variance of one layer's weight gradient, with standard errors.

    That of the variance is relative.
    """

    mean: Tensor
    error: Tensor
    variance: float
    relative: float


def spread(gradients: Gradients) -> list[Spread]:
    found = []
    for one in gradients:
        mean = one.mean(0)
        squares = (one - mean).square().sum((1, 2))
        size = len(one)
        variance = float(squares.mean()) * size / (size - 1)
        relative = float(squares.std()) / size**0.5 / variance
        found.append(Spread(mean, one.std(0) / size**0.5, variance, relative))
    return found


def net_of(model: Toy) -> Net:
    (x,), (target,) = batch(1)
    *layers, readout = (
        (one.weight.detach(), one.bias.detach()) for one in (*model.layers, model.readout)
    )
    return Net(layers, readout, x, target, tangled)


@functools.cache
def published_spread(name: str, widths: tuple[int, ...], draws: int = DRAWS) -> list[Spread]:
    case, net, generator = CASES[name], net_of(Toy(widths)), torch.Generator().manual_seed(11)
    learned = {"learned": case.learn(net, 4 * draws, generator)} if case.learn else {}
    return spread(case.form(net, draws, generator, **learned))


def warmed(estimator: Estimator, model: Toy, steps: int = 100, copies: int = 1000) -> Estimator:
    """A copy of `estimator` after enough steps for its running averages to have converged."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        estimator = copy.deepcopy(estimator).init(model, batch(2)[0])
    inputs, targets = copies_of_one(copies)
    noise = seeded(3)
    for _ in range(steps if any(True for _ in estimator.buffers()) else 0):
        estimator(model, inputs, targets, tangled, noise=noise)
    return estimator


def copies_of_one(copies: int) -> tuple[Tensor, Tensor]:
    return tuple(one.repeat(copies, *[1] * (one.dim() - 1)) for one in batch(1))  # type: ignore[return-value]


def estimates(estimator: Estimator, model: Toy, draws: int = DRAWS) -> Gradients:
    """Weight gradients [draws, units, inputs] of each binary layer, each from a copy of one sample.

    The surrogate loss is a mean over the copies, so that its gradient by the pre-activations of one
    is that of its own loss.
    """
    seen: list[list[tuple[Tensor, Tensor]]] = [[] for _ in model.layers]

    def hook(layer: int) -> Callable[[nn.Module, tuple[Tensor], Tensor], None]:
        return lambda module, args, output: seen[layer].append((args[0].detach(), output))

    hooks = [one.register_forward_hook(hook(k)) for k, one in enumerate(model.layers)]
    surrogate = estimator(model, *copies_of_one(draws), tangled, noise=seeded(1))
    for one in hooks:
        one.remove()
    found = []
    for passes in seen:
        passes = [(below, output) for below, output in passes if output.requires_grad]
        slopes = torch.autograd.grad(
            surrogate, [output for _, output in passes], retain_graph=True, allow_unused=True
        )
        total = torch.zeros(
            draws, passes[0][1].shape[1], passes[0][0].shape[1], dtype=torch.float64
        )
        for (below, _), slope in zip(passes, slopes, strict=True):
            if slope is not None:  # replica by replica
                by_sample = (one.unflatten(0, (-1, draws)) for one in (slope, below))
                total += torch.einsum("rno,rni->noi", *by_sample) * draws
        found.append(total)
    return found


class Comparison(NamedTuple):
    """Variance of one layer over the published one, and the standard error of its logarithm."""

    ratio: float
    error: float

    @property
    def deviation(self) -> float:
        return math.log(self.ratio) / self.error

    def __str__(self) -> str:
        return f"{self.ratio:.3f} ± {self.ratio * self.error:.3f}"


def ratios(ours: Sequence[Spread], theirs: Sequence[Spread]) -> list[Comparison]:
    return [
        Comparison(one.variance / other.variance, math.hypot(one.relative, other.relative))
        for one, other in zip(ours, theirs, strict=True)
    ]


def compare(
    estimator: Estimator, name: str, widths: tuple[int, ...], draws: int = DRAWS
) -> list[Comparison]:
    model = Toy(widths)
    ours = spread(estimates(warmed(estimator, model), model, draws))
    return ratios(ours, published_spread(name, widths, draws))


def said(comparisons: Sequence[Comparison]) -> str:
    return ", ".join(f"layer {k}: {one}" for k, one in enumerate(comparisons))


@pytest.mark.parametrize("name, widths", PAIRS)
def test_mean_and_variance_are_those_of_the_published_formula(
    name: str, widths: tuple[int, ...]
) -> None:
    """The published mean is the exact gradient, up to NVIL's scale; of a biased one, our mean."""
    model, case, theirs = Toy(widths), CASES[name], published_spread(name, widths)
    ours = spread(estimates(warmed(Estimator.registry.build(case.config), model), model))

    found = ratios(ours, theirs)
    words = f"{name} on {widths}, variance over the published one: {said(found)}"
    assert all(one.error * STANDARD_ERRORS < math.log(VISIBLE) for one in found), (
        f"too few draws; {words}"
    )
    least = -math.inf if case.at_most else -STANDARD_ERRORS
    assert all(least < one.deviation < STANDARD_ERRORS for one in found), words

    scale = 1.0
    if case.unbiased:
        true = gradient(model, exact_loss(model, *batch(1), tangled))[: 2 * len(widths) : 2]
        errors = [one.error for one in theirs]
        if name == "nvil":
            generator = torch.Generator().manual_seed(12)
            scale = max(1.0, published.moments_of_loss(net_of(model), LEARNING, generator)[1])
    else:
        true = [one.mean for one in ours]
        errors = [
            torch.hypot(one.error, other.error) for one, other in zip(theirs, ours, strict=True)
        ]
    for one, mean, error in zip(theirs, true, errors, strict=True):
        assert float(((one.mean * scale - mean) / (error * scale)).abs().max()) < STANDARD_ERRORS


class OneOther(Baseline):
    """Mutant: the loss of one other draw for the mean over all others."""

    def branches(self, layers: int) -> list[int]:
        return [4, *[1] * (layers - 1)]

    def forward(self, site: Site, loss: Tensor) -> Tensor:
        return site.aligned(loss.roll(1, 0))


class NoRunningBaseline(MuProp):
    """Mutant: the residual of the expansion as it is."""

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        self.averages.zero_()
        return super().surrogate_loss(forward)


class NoiseAboveDrawnAnew(DisARM):
    """Mutant: the draws of lower layers go on with noise of their own."""

    def follow(self, site: Site, cache: Any) -> Tensor:
        return site.sample()


class MeanOfTheDrawsAbove(DisARM):
    """Mutant: noise is shared above, where the base draw has the mean credit of both its draws."""

    def gradient(self, layer: LayerSamples) -> Tensor:
        site = layer.drawn.sites[layer.site.index]
        return super().gradient(
            dataclasses.replace(layer, loss=site.aligned(site.descendants(layer.drawn.loss)[:2]))
        )


class FlipsWithNoiseOfTheirOwn(LocalExpectation):
    """Mutant: the flips of lower layers go on with noise of their own."""

    def follow(self, site: Site, cache: Any) -> Tensor:
        return site.sample()


class Independent(ARMS):
    """Mutant: draws without a copula, which have no correlation."""

    def draw(self, site: Site) -> tuple[Tensor, Any]:
        return torch.cat([site.sample() for _ in range(self.samples)]), None

    def correlation(self, p: Tensor) -> Tensor:
        return torch.zeros_like(p)


class ProbabilitiesAbove(REBAR):
    """Mutant: the layers above a relaxed one send firing probabilities, and no relaxation."""

    def follow(self, site: Site, cache: Any) -> Tensor:
        return site.probs


class OtherNoiseAbove(REBAR):
    """Mutant: the layers above are relaxed with noise of their own, not of the hard sample."""

    def follow(self, site: Site, cache: Any) -> Tensor:
        return super().follow(site, cache._replace(u=site.noise(cache.u)))


class WholeControl(REBAR):
    """Mutant: the control variate at its full size, and no baseline."""

    def _weights(self, layer: int) -> tuple[Tensor, Tensor]:
        return torch.ones(()), torch.zeros(())


class NoControl(REBAR):
    """Mutant: no control variate."""

    def _weights(self, layer: int) -> tuple[Tensor, Tensor]:
        return torch.zeros(()), torch.zeros(())


class NoBaseline(REBAR):
    """Mutant: the regression on the control variate alone."""

    def _weights(self, layer: int) -> tuple[Tensor, Tensor]:
        rk, _, kk, _, _ = self.moments[layer]
        return rk / kk.clamp(min=1e-12), torch.zeros(())


def _leave_one_out(samples: int) -> Estimator:
    return Estimator.registry.build(
        {"name": "reinforce", "baseline": {"name": "leave_one_out", "samples": samples}}
    )


def _nested(draws: int) -> Estimator:
    baseline = {"name": "nested_leave_one_out", "samples": draws, "nested": draws}
    return Estimator.registry.build({"name": "reinforce", "baseline": baseline})


MUTANTS: dict[str, tuple[str, tuple[int, ...], Callable[[], Estimator]]] = {
    "two-draws-for-four": ("leave_one_out", (3,), lambda: _leave_one_out(2)),
    "three-draws-for-four": ("leave_one_out", (3,), lambda: _leave_one_out(3)),
    "one-other-draw": ("leave_one_out", (3,), lambda: Reinforce(baseline=OneOther())),
    "pairs-of-pairs-for-four": ("leave_one_out", (3, 3), lambda: _nested(2)),
    "no-baseline": ("nvil", (3,), lambda: Reinforce(baseline="none")),
    "no-running-baseline": ("muprop", (3,), NoRunningBaseline),
    "muprop-as-published": ("muprop", (3, 3), lambda: MuProp(conditional=False)),
    "arm-for-disarm": ("disarm", (3,), ARM),
    "disarm-with-noise-above-drawn-anew": ("disarm", (3, 3), NoiseAboveDrawnAnew),
    "mean-of-the-draws-above": ("disarm", (3, 3), MeanOfTheDrawsAbove),
    "flips-with-noise-of-their-own": ("local_expectation", (3, 3), FlipsWithNoiseOfTheirOwn),
    "two-antithetic-draws-for-four": ("arms", (3,), lambda: ARMS(samples=2)),
    "independent-draws": ("arms", (3,), lambda: Independent(samples=4)),
    "probabilities-above": ("rebar", (3, 3), lambda: ProbabilitiesAbove(tau=0.5)),
    "other-noise-above": ("rebar", (3, 3), lambda: OtherNoiseAbove(tau=0.5)),
    "whole-control": ("rebar-cold", (3,), lambda: WholeControl(tau=0.2)),
    "no-control": ("rebar", (3,), lambda: NoControl(tau=0.5)),
    "no-baseline-beside-the-control": ("rebar-cold", (3,), lambda: NoBaseline(tau=0.2)),
    "another-temperature": ("rebar", (3,), lambda: REBAR(tau=0.2)),
    "another-temperature-of-one-pass": ("st_gumbel", (3,), lambda: StraightThroughGumbel(tau=0.5)),
}
"""Weak mutants, the published form of each, and a net; all but the last are unbiased."""


@pytest.mark.parametrize("mutant", MUTANTS)
def test_weak_mutants_are_caught(mutant: str) -> None:
    name, widths, build = MUTANTS[mutant]
    found = compare(build(), name, widths, MUTANT_DRAWS)
    assert any(one.deviation > STANDARD_ERRORS for one in found), said(found)


TEMPERATURES = (0.05, 0.2, 0.4, 0.8, 1.6)


def sizes(estimator: REBAR, model: Toy, copies: int = 2000) -> Tensor:
    """Mean square of each layer's estimates, for given noise."""
    found: list[Tensor] = []
    auxiliary_loss = estimator.auxiliary_loss

    def keep(gradients: Sequence[Tensor]) -> Tensor | float:
        found.extend(one.detach().square().mean() for one in gradients)
        return auxiliary_loss(gradients)

    estimator.auxiliary_loss = keep  # type: ignore[method-assign]
    estimator(model, *copies_of_one(copies), tangled, noise=seeded(8))
    return torch.stack(found)


@pytest.mark.parametrize("kind", [REBAR, RELAX])
def test_a_temperature_moves_against_the_derivative_of_the_mean_square(kind: type[REBAR]) -> None:
    """By central differences at the same noise; the lower of two layers relaxed with the upper."""
    model = Toy((3, 2))
    estimator = warmed(kind(), model, steps=2 * TAU_EVERY)
    assert int(estimator.steps) % TAU_EVERY == 0
    estimator.log_tau.fill_(math.log(0.15))
    for control in getattr(estimator, "controls", ()):
        nn.init.normal_(control.last.weight)
    before, after = copy.deepcopy(estimator), copy.deepcopy(estimator)
    sizes(after, model)
    moved = after.log_tau - before.log_tau
    past, slopes = before.size[1:] / before.size[0], []
    for layer in range(2):
        values = []
        for way in (1e-4, -1e-4):
            one = copy.deepcopy(before)
            one.log_tau[layer] += way
            values.append((sizes(one, model) / past).sum())
        slopes.append((values[0] - values[1]) / 2e-4)
    expected = -TAU_RATE * torch.stack(slopes).clamp(-1, 1)
    assert float(expected.abs().min()) > 1e-4
    torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("widths", [(3, 3), (3, 2, 3)], ids=str)
def test_learned_temperatures_are_near_the_best_fixed_ones(widths: tuple[int, ...]) -> None:
    """At most a twentieth above the best of a grid, and far below the worst, summed over layers.

    Summed, since a layer's temperature is also that with which it follows the layers below.
    """
    model = Toy(widths)

    def variance(estimator: REBAR, steps: int) -> Tensor:
        return torch.tensor(
            sum(one.variance for one in spread(estimates(warmed(estimator, model, steps), model)))
        )

    learned = variance(REBAR(), 60 * TAU_EVERY)
    fixed = torch.stack([variance(REBAR(tau=tau), 100) for tau in TEMPERATURES])
    assert 1.05 * fixed.min() > learned and learned < 0.5 * fixed.max(), (learned, fixed)


def test_learned_temperatures_keep_their_bounds_and_are_metrics() -> None:
    model = Toy((3, 2))
    estimator = warmed(REBAR(), model, steps=1)
    assert set(estimator.metrics()) == {"tau/neurons.0", "tau/neurons.1"}
    assert REBAR(tau=0.3).init(model, batch(2)[0]).metrics() == {}
    for end in TAU_BOUNDS:
        estimator.log_tau.fill_(math.log(end))
        for _ in range(2 * TAU_EVERY):
            estimator(model, *copies_of_one(100), tangled, noise=seeded(3))
        assert (
            (estimator.temperatures >= 0.999 * TAU_BOUNDS[0])
            & (estimator.temperatures <= 1.001 * TAU_BOUNDS[1])
        ).all()


def test_a_fit_of_the_temperatures_sends_nothing_to_the_network() -> None:
    """A differentiated gradient leads to the weights; the estimate is that without a fit."""
    model = Toy((3, 2))
    for kind in (REBAR, RELAX):
        found = []
        for step in (0, 1):
            estimator = warmed(kind(), model, steps=TAU_EVERY)
            estimator.steps.fill_(step)
            model.zero_grad()
            estimator(model, *copies_of_one(50), tangled, noise=seeded(3)).backward()
            found.append([p.grad.clone() for p in (*model.parameters(), *estimator.parameters())])
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name, case in CASES.items():
        if not sys.argv[1:] or name in sys.argv[1:]:
            for widths in case.nets:
                found = compare(Estimator.registry.build(case.config), name, widths)
                print(f"{name:22}{widths!s:12}{said(found)}", flush=True)
