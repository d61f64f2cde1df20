"""What every estimator claims, held against exact enumeration; and mutants of it, which must be caught.

The estimators here are functions of the bits alone, so their expectation is a finite sum: every configuration of the bits
is forced through the noise, and weighted by its probability. No tolerance stands for sampling error.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from toys import Toy, batch, product, tangled

from bnn.errors import ConfigError
from bnn.estimators import Baseline, Estimator
from bnn.estimators.antithetic import ARM, ARMS, Antithetic, DisARM
from bnn.estimators.concrete import reparameterize
from bnn.estimators.enumeration import Enumeration
from bnn.estimators.layerwise import LayerSamples
from bnn.estimators.local_expectation import LocalExpectation
from bnn.estimators.pseudo_derivatives import PSEUDO_DERIVATIVES
from bnn.estimators.rebar import REBAR, conditional_derivative
from bnn.estimators.relax import RELAX, ControlVariate
from bnn.estimators.score_function import NVIL, MuProp, Reinforce
from bnn.nn.forward import ForwardClosure
from bnn.nn.neurons import Deterministic, Stochastic
from bnn.nn.noise import NoiseLaw
from bnn.nn.sites import Site
from bnn.paths import folder

BASELINES = {
    "none": {},
    "moving_average": {"decay": 0.5},
    "min_variance": {"decay": 0.5},
    "leave_one_out": {"samples": 2},
    "nested_leave_one_out": {"samples": 2, "nested": 2},
}
CONTRACTS = {
    "none": [{}],
    "frozen": [{}],
    "st": [{"pseudo_derivative": name} for name in PSEUDO_DERIVATIVES],
    "reinmax": [{"tau": 1.0}, {"tau": 1.5}],
    "st_gumbel": [{"tau": 1.0}],
    "concrete": [{"tau": 0.5}],
    "reinforce": [{"baseline": {"name": name, **keys}} for name, keys in BASELINES.items()],
    "nvil": [{"hidden": 3, "decay": 0.5}],
    "muprop": [{"decay": 0.5}, {"decay": 0.5, "conditional": False}],
    "local_expectation": [{}],
    "arm": [{}],
    "disarm": [{}],
    "arms": [{"samples": 2}, {"samples": 3}],
    "rebar": [{"tau": tau, "decay": 0.5} for tau in (0.2, 5.0, "learned")],
    "relax": [{"tau": tau, "decay": 0.5, "hidden": 3} for tau in (0.5, "learned")],
    "enumeration": [{}],
}
"""A configuration to test for every registered estimator: the third place that a new one touches."""
CASES = [
    pytest.param({"name": n, **c}, id=f"{n}-{i}")
    for n, cases in CONTRACTS.items()
    for i, c in enumerate(cases)
]
CONTINUOUS = {"st_gumbel", "concrete", "arms", "rebar", "relax"}
"""Those whose estimate is no function of finitely many outcomes: sampled, with standard errors."""
UNBIASED = [
    c
    for c in CASES
    if Estimator.registry[c.values[0]["name"]].unbiased and c.values[0]["name"] != "none"
]
EXACTLY = [c for c in UNBIASED if c.values[0]["name"] not in CONTINUOUS]
SAMPLED = [c for c in UNBIASED if c.values[0]["name"] in CONTINUOUS]
BIASED = [c for c in CASES if not Estimator.registry[c.values[0]["name"]].unbiased]
NETS = [(3,), (2, 2), (2, 1, 1)]


def build(config: dict, model: Toy) -> Estimator:
    return bound(Estimator.registry.build(config), model)


class Forced:
    """Noise that puts each number in a given part of [0, 1]: below its p or above; or, where a number decides for several
    draws, between any two of the given cuts. Within a part nothing changes, or only in proportion to u, so that its middle
    stands for it; `mass` is the probability of the parts taken."""

    def __init__(self, parts: tuple[int, ...], cuts: list[Tensor] | None = None) -> None:
        self.parts, self.cuts, self.at, self.mass = parts, cuts, 0, 1.0

    def __call__(self, like: Tensor) -> Tensor:
        p = like.flatten()
        ends = []
        for number in range(len(p)):
            cuts = p[number : number + 1] if self.cuts is None else self.cuts[self.at + number]
            ends.append(
                torch.cat([torch.zeros(1), cuts, torch.ones(1)])[self.parts[self.at + number] :][
                    :2
                ].double()
            )
        self.at += len(p)
        low, high = torch.stack(ends).T
        self.mass *= float((high - low).prod())
        return ((low + high) / 2).view_as(like)


def cuts_of(model: Toy, estimator: Estimator, inputs: Tensor) -> list[Tensor] | None:
    """Of each uniform number that an estimate draws, where one of the draws that it decides for changes: the probabilities
    of its unit given every configuration of the layer below, and for an antithetic pair 1 - p as well."""
    if not isinstance(estimator, Antithetic | LocalExpectation):
        return None
    below, cuts = inputs.detach()[None], []
    for layer in model.layers:
        p = torch.sigmoid(2 * layer(below).detach())  # [configurations, samples, units]
        both = torch.cat([p, 1 - p]) if isinstance(estimator, Antithetic) else p
        cuts += [one.unique() for one in both.flatten(1).T]
        units = layer.out_features
        table = torch.tensor(list(itertools.product((0.0, 1.0), repeat=units)), dtype=p.dtype)
        below = table[:, None].expand(-1, len(inputs), -1)
    return cuts


def gradient(model: Toy, estimator: Estimator, forward: ForwardClosure) -> list[Tensor]:
    model.zero_grad()
    estimator.surrogate_loss(forward).backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()]


def expectation(model: Toy, estimator: Estimator, loss=tangled, samples: int = 1) -> list[Tensor]:
    """E over the noise of the estimate, by forcing each of its outcomes through a copy of the estimator."""
    inputs, targets = batch(samples)
    cuts = cuts_of(model, estimator, inputs)
    total = [torch.zeros_like(p) for p in model.parameters()]
    mass = 0.0
    count = numbers_asked_for(model, estimator, ForwardClosure(model, inputs, targets, loss))
    parts = [2] * count if cuts is None else [len(one) + 1 for one in cuts]
    assert len(parts) == count
    for taken in itertools.product(*map(range, parts)):
        noise = Forced(taken, cuts)
        estimate = gradient(
            model, copy.deepcopy(estimator), ForwardClosure(model, inputs, targets, loss, noise)
        )
        mass += noise.mass
        total = [t + noise.mass * g for t, g in zip(total, estimate, strict=True)]
    assert mass == pytest.approx(1, abs=1e-12)
    return total


def numbers_asked_for(model: Toy, estimator: Estimator, forward: ForwardClosure) -> int:
    """How many uniform numbers one estimate draws."""
    asked = 0

    def count(like: Tensor) -> Tensor:
        nonlocal asked
        asked += like.numel()
        return torch.rand_like(like)

    forward.noise = count
    gradient(model, copy.deepcopy(estimator), forward)
    return asked


REPEATS, AT_ONCE = 200, 500


def sampled(
    model: Toy, estimator: Estimator, loss=tangled, repeats: int = REPEATS
) -> tuple[list[Tensor], list[Tensor]]:
    """Mean and standard error of each gradient over `repeats` batches of AT_ONCE copies of one sample."""
    inputs, targets = (one.repeat(AT_ONCE, *[1] * (one.dim() - 1)) for one in batch(1))
    generator = torch.Generator().manual_seed(1)
    noise = lambda like: torch.empty_like(like).uniform_(generator=generator)  # noqa: E731
    estimates = [
        gradient(
            model, copy.deepcopy(estimator), ForwardClosure(model, inputs, targets, loss, noise)
        )
        for _ in range(repeats)
    ]
    stacked = [torch.stack(of_one) for of_one in zip(*estimates, strict=True)]
    return [s.mean(0) for s in stacked], [s.std(0) / repeats**0.5 for s in stacked]


def deviation(model: Toy, estimator: Estimator, loss=tangled, repeats: int = REPEATS) -> float:
    """The largest |z| of a sampled gradient against the exact one. Under an unbiased estimator a z beyond 4.5 has a
    probability of 1e-5 for each of some thirty numbers; the seed is fixed, to be changed only with the estimator's noise."""
    means, errors = sampled(model, estimator, loss, repeats)
    pairs = zip(means, errors, exact(model, loss), strict=True)
    return max(float(((m - t).abs() / e.clamp(min=1e-12)).max()) for m, e, t in pairs)


def exact(model: Toy, loss=tangled, samples: int = 1) -> list[Tensor]:
    return gradient(
        model, bound(Enumeration(), model), ForwardClosure(model, *batch(samples), loss)
    )


def bound(estimator: Estimator, model: Toy) -> Estimator:
    return estimator.init(model, batch(2)[0].to(model.readout.weight.dtype))


def distance(a: list[Tensor], b: list[Tensor]) -> float:
    return max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True))


def warmed(estimator: Estimator, model: Toy) -> Estimator:
    """The estimator after a few steps, so that its baseline holds something, and what it learns is not zero."""
    bound(estimator, model)
    torch.manual_seed(5)
    for parameter in estimator.parameters():
        torch.nn.init.normal_(parameter)
    generator = torch.Generator().manual_seed(3)
    for _ in range(3):
        noise = lambda like: torch.empty_like(like).uniform_(generator=generator)  # noqa: E731
        estimator.surrogate_loss(ForwardClosure(model, *batch(4), tangled, noise))
    return estimator


def applies(config: dict, widths: tuple[int, ...]) -> bool:
    """Nesting needs two layers; its 2^14 outcomes on three are left out."""
    return len(widths) == 2 or "nested" not in str(config)


@pytest.mark.parametrize("widths", NETS, ids=str)
@pytest.mark.parametrize("config", EXACTLY)
def test_unbiased_claim_holds_exactly(config: dict, widths: tuple[int, ...]) -> None:
    if not applies(config, widths):
        pytest.skip("nothing to nest, or too many outcomes")
    model = Toy(widths)
    estimator = warmed(Estimator.registry.build(config), model)
    assert distance(expectation(model, estimator), exact(model)) < 1e-12


@pytest.mark.parametrize("widths", NETS, ids=str)
@pytest.mark.parametrize("config", SAMPLED)
def test_unbiased_claim_holds_within_the_standard_error(
    config: dict, widths: tuple[int, ...]
) -> None:
    model = Toy(widths)
    assert deviation(model, warmed(Estimator.registry.build(config), model)) < 4.5


@pytest.mark.parametrize(
    "law", [name for name, law in NoiseLaw.registry.items() if law.full_support]
)
def test_score_is_unbiased_under_every_law_with_full_support(law: str) -> None:
    model = Toy((3,), law)
    estimator = Estimator.registry.build({"name": "reinforce", "baseline": "none"})
    assert distance(expectation(model, estimator), exact(model)) < 1e-12


def test_deterministic_neuron_explores_by_its_noise_law_under_reinforce() -> None:
    stochastic, deterministic = Toy((2, 2)), Toy((2, 2), neuron=Deterministic)
    estimator = Estimator.registry.build({"name": "reinforce", "baseline": "none"})
    assert distance(expectation(deterministic, estimator), exact(stochastic)) < 1e-12


@pytest.mark.parametrize("config", EXACTLY)
def test_each_sample_of_a_batch_gets_its_own_credit(config: dict) -> None:
    if not applies(config, (2,)):
        pytest.skip("nothing to nest")
    model = Toy((2,))
    estimator = warmed(Estimator.registry.build(config), model)
    assert distance(expectation(model, estimator, samples=2), exact(model, samples=2)) < 1e-12


def test_a_neighbours_credit_is_caught() -> None:
    """The mutant of the test above: each sample is credited with the loss of the one beside it."""

    class Neighbours(Reinforce):
        def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
            base = forward(Site.sample)
            score = (
                base.loss.detach().roll(1, 1) * base.sites[0].log_prob(base.bits[0]).sum(2)
            ).mean()
            return base.loss.mean() + (score - score.detach())

    model, mutant = Toy((2,)), Neighbours(baseline=Baseline.registry.build("none"))
    assert distance(expectation(model, mutant, samples=2), exact(model, samples=2)) > 1e-3
    assert distance(expectation(model, mutant), exact(model)) < 1e-12, (
        "a batch of one does not see it"
    )


class SeesItself(Baseline):
    """Mutant: the mean over all samples, the credited one included."""

    def branching(self, layers: int) -> list[int]:
        return [2] + [1] * (layers - 1)

    def forward(self, site: int, loss: Tensor) -> Tensor:
        return loss.mean(0, keepdim=True)


class UpdatedFirst(Baseline):
    """Mutant: a moving average that has taken in this batch already."""

    def forward(self, site: Site, loss: Tensor) -> Tensor:
        return 0.5 * loss.mean() + 0.5


class NoScore(Reinforce):
    """Mutant: what the first repositories did, the pathwise term alone."""

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        return forward(Site.sample).loss.mean()


class TopOnly(Reinforce):
    """Mutant: the score of the highest binary layer alone."""

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        base = forward(Site.sample)
        score = (base.loss.detach() * base.sites[-1].log_prob(base.bits[-1]).sum(2)).mean()
        return base.loss.mean() + (score - score.detach())


@pytest.mark.parametrize(
    "mutant",
    [Reinforce(baseline=SeesItself()), Reinforce(baseline=UpdatedFirst()), NoScore(baseline=Baseline.registry.build("none")),
     TopOnly(baseline=Baseline.registry.build("none"))],
    ids=["baseline-saw-its-sample", "baseline-updated-first", "no-score", "highest-layer-only"],
)  # fmt: skip
def test_mutants_are_caught(mutant: Estimator) -> None:
    model = Toy((2, 2))
    assert distance(expectation(model, mutant), exact(model)) > 1e-3


def test_the_density_is_exact_for_one_layer_under_a_multilinear_loss() -> None:
    for law in NoiseLaw.registry:
        model = Toy((2,), law)
        with (
            torch.no_grad()
        ):  # each score is one bit, so that their product is multilinear and not additive
            model.readout.weight.copy_(torch.eye(2))
        estimator = Estimator.registry.build({"name": "st", "pseudo_derivative": "density"})
        for one in (expectation(model, estimator, product), exact(model, product)):
            assert max(float(g.abs().max()) for g in one) > 1e-3
        # of the layer below: the read-out itself has the derivative of a product by its own weights
        assert (
            distance(expectation(model, estimator, product)[:2], exact(model, product)[:2]) < 1e-12
        ), law


def quadratic(scores: Tensor, targets: Tensor) -> Tensor:
    """Quadratic in the scores, hence in the bits of the layer below a linear read-out, with products of different bits."""
    s, t = scores.unbind(1)
    return s**2 - 0.7 * s * t + 1.3 * t**2 * targets + s


@pytest.mark.parametrize(
    "law", [name for name, law in NoiseLaw.registry.items() if law.full_support]
)
def test_reinmax_is_exact_for_one_layer_under_a_quadratic_loss(law: str) -> None:
    model = Toy((3,), law)
    true = exact(model, quadratic)[:2]  # of the layer below
    assert max(float(g.abs().max()) for g in true) > 1e-3
    found = {
        tau: expectation(
            model, Estimator.registry.build({"name": "reinmax", "tau": tau}), quadratic
        )
        for tau in (1, 2)
    }
    assert distance(found[1][:2], true) < 1e-12
    assert distance(found[2][:2], true) > 1e-3, "the control: at another temperature it is not"
    straight = expectation(
        model, Estimator.registry.build({"name": "st", "pseudo_derivative": "density"}), quadratic
    )
    assert distance(straight[:2], true) > 1e-3, "and plain straight-through is not"


def test_reinmax_weighs_by_half_the_distance_of_bit_and_probability() -> None:
    """Liu et al. 2023: at temperature 1 the bracket is |b - p| / 2."""
    a = torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
    estimator = Estimator.registry.build({"name": "reinmax", "tau": 1.0})
    for u in (0.0, 1.0):
        site = Site(
            a,
            NoiseLaw.registry.build("logistic"),
            Site.sample,
            noise=lambda like, u=u: torch.full_like(like, u),
        )
        bits = estimator.sample(site)  # type: ignore[attr-defined]
        (found,) = torch.autograd.grad(bits.sum(), a)
        torch.testing.assert_close(
            found, 2 * (bits - site.probs).abs().detach() / 2, rtol=1e-12, atol=1e-14
        )


@pytest.mark.parametrize("widths", NETS, ids=str)
@pytest.mark.parametrize("config", BIASED)
def test_biased_estimators_are_biased(config: dict, widths: tuple[int, ...]) -> None:
    model = Toy(widths)
    estimator = build(config, model)
    if config["name"] in CONTINUOUS:
        assert deviation(model, estimator, repeats=50) > 10
    else:
        assert distance(expectation(model, estimator), exact(model)) > 1e-3


def test_pseudo_derivatives_send_back_their_derivative_times_that_of_the_loss() -> None:
    a = torch.linspace(-1.7, 1.7, 9, dtype=torch.float64, requires_grad=True)
    slope_of_f = torch.linspace(1, 2, 9, dtype=torch.float64)
    p = torch.sigmoid(2 * a.detach())
    expected = {"identity": torch.ones_like(p), "sigmoid": 2 * p * (1 - p)}
    for name, law in itertools.product(PSEUDO_DERIVATIVES, NoiseLaw.registry):
        site = Site(a, NoiseLaw.registry.build(law), Site.threshold)
        estimator = Estimator.registry.build({"name": "st", "pseudo_derivative": name})
        bits = estimator.sample(site)  # type: ignore[attr-defined]
        assert torch.equal(bits, (a > 0).double())
        (found,) = torch.autograd.grad((slope_of_f * bits).sum(), a)
        derivative = expected.get(name, site.law.density(a.detach()))
        torch.testing.assert_close(found, slope_of_f * derivative, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "config", [c for c in CASES if c.values[0]["name"] not in ("none", "concrete")]
)
def test_value_is_an_estimate_of_the_expected_loss(config: dict) -> None:
    """But of `concrete`, which trains another net; the value comes of true samples alone, or is the expectation itself."""
    model = Toy((2, 2))
    inputs, targets = (one.repeat(20_000, *[1] * (one.dim() - 1)) for one in batch(1))
    generator = torch.Generator().manual_seed(2)
    noise = lambda like: torch.empty_like(like).uniform_(generator=generator)  # noqa: E731
    with torch.no_grad():
        loss = ForwardClosure(model, inputs, targets, tangled, noise)(Site.sample).loss
    value = float(
        build(config, model)
        .surrogate_loss(ForwardClosure(model, inputs, targets, tangled, noise))
        .detach()
    )
    assert abs(value - float(loss.mean())) < 4.5 * 2**0.5 * float(loss.std()) / 20_000**0.5


@pytest.mark.parametrize("widths", NETS, ids=str)
@pytest.mark.parametrize("config", [c for c in CASES if c.values[0]["name"] != "none"])
def test_evaluations_are_the_losses_that_a_step_computes(
    config: dict, widths: tuple[int, ...]
) -> None:
    if not applies(config, widths):
        pytest.skip("nothing to nest")
    model = Toy(widths)
    estimator = build(config, model)
    computed = []

    class Counted(ForwardClosure):
        def __call__(self, rule, tree=()):
            result = super().__call__(rule, tree)
            computed.append(len(result.loss))
            return result

    estimator.surrogate_loss(Counted(model, *batch(5), tangled)).backward()
    assert sum(computed) == estimator.evaluations(widths)


def spread(
    baseline: str | dict, runs: int, widths: tuple[int, ...] = (3,), layer: int = 0
) -> float:
    """Total variance of a layer's weight gradient, averaged over `runs` steps, from 400 repetitions of a fixed seed."""
    model, generator = Toy(widths), torch.Generator().manual_seed(0)
    estimator = Estimator.registry.build({"name": "reinforce", "baseline": baseline})
    bound(estimator, model)

    def estimate() -> Tensor:
        forward = ForwardClosure(
            model,
            *batch(1),
            lambda s, t: tangled(s, t) + 5,
            lambda u: torch.empty_like(u).uniform_(generator=generator),
        )
        return gradient(model, estimator, forward)[2 * layer]

    return float(
        torch.stack([sum(estimate() for _ in range(runs)) / runs for _ in range(400)]).var(0).sum()
    )  # type: ignore


def test_leave_one_out_reduces_the_variance_of_plain_reinforce_at_equal_passes() -> None:
    assert spread({"name": "leave_one_out", "samples": 4}, runs=1) < spread("none", runs=4) / 4


@pytest.mark.parametrize("layer", [0, 1])
def test_nesting_reduces_the_variance_of_leave_one_out_in_every_layer(layer: int) -> None:
    plain, nested = (
        {"name": "leave_one_out", "samples": 4},
        {"name": "nested_leave_one_out", "samples": 4, "nested": 4},
    )
    assert spread(nested, 1, (3, 3), layer) < spread(plain, 1, (3, 3), layer) * (0.9, 0.5)[layer]


def test_nvil_is_unbiased_up_to_one_positive_scale() -> None:
    """Under a loss of large spread the layers below are scaled down, all by the same number; the read-out is not."""

    def large(scores: Tensor, targets: Tensor) -> Tensor:
        return 20 * tangled(scores, targets)

    model = Toy((2, 2))
    estimator = warmed(Estimator.registry.build({"name": "nvil", "hidden": 3, "decay": 0.5}), model)
    for _ in range(3):
        estimator.surrogate_loss(ForwardClosure(model, *batch(4), large))
    scale = float(estimator.scale())
    assert 0 < scale < 0.5
    found, true = expectation(model, estimator, large), exact(model, large)
    assert distance(found[:4], [scale * g for g in true[:4]]) < 1e-12
    assert distance(found[4:], true[4:]) < 1e-12


class SignDropped(DisARM):
    """Mutant: (-1)^b' left out."""

    def gradient(self, layer: LayerSamples) -> Tensor:
        b, c = layer.bits
        return super().gradient(layer) * (b - c)


class OnePairThroughout(DisARM):
    """Mutant: one antithetic pair over all layers at once."""

    def tree(self, units):
        return [[0, 0]] + [[0, 1]] * (len(units) - 1)

    def draw(self, site: Site) -> tuple[Tensor, object]:
        self.u = site.noise(site.probs.detach())
        if not site.index:
            return super().draw(dataclasses.replace(site, noise=lambda like: self.u))
        return (self.u < site.probs.detach()).to(site.preactivation), self.u

    def follow(self, site: Site, cache: object) -> Tensor:
        return (self.u > 1 - site.probs).to(site.preactivation)


class PairProbability(ARMS):
    """Mutant: the probability that both draws fire, in place of their correlation."""

    def correlation(self, p: Tensor) -> Tensor:
        rho = super().correlation(p)
        return rho * p * (1 - p) + p * p


class OtherMarginal(ARMS):
    """Mutant: draws that fire with another probability."""

    def draw(self, site: Site) -> tuple[Tensor, object]:
        return super().draw(dataclasses.replace(site, preactivation=site.preactivation * 1.2))


class IntervalForgotten(REBAR):
    """Mutant: z̃ differentiated as if the interval that it comes from did not move with ℓ."""

    def draw(self, site: Site) -> tuple[Tensor, Any]:
        draws, relaxed = super().draw(site)
        return draws, relaxed._replace(dz_again=torch.ones_like(relaxed.dz_again))


class OtherNoise(REBAR):
    """Mutant: the relaxed layer has another noise than the one that fired its bits."""

    def draw(self, site: Site) -> tuple[Tensor, Any]:
        bits = super().draw(site)[0][:1]
        draws, relaxed = super().draw(site)
        return torch.cat([bits, draws[1:]]), relaxed


class BitsAbove(REBAR):
    """Mutant: the layers above the relaxed one fire bits, through which the relaxed loss has no derivative."""

    def follow(self, site: Site, cache: Any) -> Tensor:
        return (cache.u < site.probs.detach()).to(site.preactivation)


class SignFlipped(RELAX):
    """Mutant: the derivatives of the network that is added to the relaxed loss change places."""

    def build(self, sites: Sequence[Site], inputs: Tensor) -> None:
        super().build(sites, inputs)
        for control in self.controls:
            control.register_forward_hook(lambda module, given, answer: (answer[0], -answer[1]))


class MeansOfUntrue(REBAR):
    """Mutant: the loss of a draw as the mean over its descendants, relaxations included."""

    def gradient(self, layer: LayerSamples) -> Tensor:
        site = layer.drawn.sites[layer.site.index]
        return super().gradient(
            dataclasses.replace(layer, loss=site.aligned(site.descendants(layer.drawn.loss)[:2]))
        )


class OneResidual(MuProp):
    """Mutant: one residual for all layers, the sum of their expansions around the mean field taken off."""

    def residuals(self, difference, slopes, bits, mean_field, sites):
        at_mean = [m.detach() for m in mean_field]
        moved = [
            (slope * (b - m)).flatten(2).sum(2)
            for slope, b, m in zip(slopes, bits, at_mean, strict=True)
        ]
        return [difference - sum(moved)] * len(moved)


class AverageOfItsBatch(MuProp):
    """Mutant: the average that is taken off the residual has seen this batch."""

    def residuals(self, *given):
        found = super().residuals(*given)
        return [one - 0.5 * one.mean() for one in found]


class SeesTheLoss(NVIL):
    """Mutant: the average that is taken off has seen this batch."""

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        state = torch.get_rng_state()
        with torch.no_grad():
            noise = forward.noise
            drawn: list[Tensor] = []
            forward.noise = lambda like: drawn.append(noise(like)) or drawn[-1]
            loss = forward(Site.sample).loss[0]
        torch.set_rng_state(state)
        again = iter(drawn)
        self.moments.copy_(
            torch.stack([torch.ones_like(loss.mean()), loss.mean(), loss.square().mean()])
        )
        forward.noise = lambda like: next(again)
        return super().surrogate_loss(forward)


class NeighbourFlipped(LocalExpectation):
    """Mutant: the read-out's columns of other units."""

    def _flipped(self, layer: LayerSamples) -> Tensor:
        return super()._flipped(layer).roll(1, -1)


@pytest.mark.parametrize(
    "mutant",
    [
        SignDropped(),
        OnePairThroughout(),
        NeighbourFlipped(),
        OneResidual(),
        AverageOfItsBatch(),
        SeesTheLoss(hidden=3, decay=0.5),
    ],
    ids=lambda mutant: type(mutant).__name__,
)
def test_mutants_of_functions_of_the_bits_are_caught(mutant: Estimator) -> None:
    model = Toy((2, 2))
    assert distance(expectation(model, bound(mutant, model)), exact(model)) > 1e-3


@pytest.mark.parametrize(
    "mutant",
    [
        PairProbability(samples=3),
        OtherMarginal(samples=3),
        IntervalForgotten(tau=0.5, decay=0.5),
        OtherNoise(tau=0.5, decay=0.5),
        BitsAbove(tau=0.5, decay=0.5),
        SignFlipped(tau=0.5, decay=0.5, hidden=3),
        MeansOfUntrue(tau=5.0, decay=0.5),
    ],
    ids=lambda mutant: type(mutant).__name__,
)
def test_mutants_of_continuous_draws_are_caught(mutant: Estimator) -> None:
    model = Toy((2, 2))
    assert deviation(model, warmed(mutant, model)) > 4.5


@pytest.mark.parametrize(
    "name, keys",
    [("rebar", {"decay": 0.5}), ("relax", {"decay": 0.5, "hidden": 3})],
    ids=["rebar", "relax"],
)
@pytest.mark.parametrize("first", [0.0, 0.99, 1 - 2**-24])
def test_noise_of_exactly_zero_gives_finite_gradients(name: str, keys: dict, first: float) -> None:
    """Which float32 draws once in 2^24: the logistic noise is then infinite; also where a unit is certain."""
    model = Toy((2, 2)).float()
    with torch.no_grad():
        model.layers[0].bias[0] = 100
    inputs, targets = batch(50)
    estimator = build({"name": name, "tau": 0.5, **keys}, model)
    for control in getattr(estimator, "controls", ()):
        torch.nn.init.normal_(control.last.weight)
    noise = lambda like: torch.full_like(like, first)  # noqa: E731
    estimator(model, inputs.float(), targets.float(), tangled, noise=noise).backward()
    gradients = [p.grad for p in (*estimator.parameters(), *model.parameters())]
    assert all(g is not None and g.isfinite().all() for g in gradients)


def test_relax_begins_as_rebar_and_learns_to_differ() -> None:
    model, keys = Toy((2, 2)), {"tau": 0.5, "decay": 0.5}
    rebar, relax = (
        build({"name": "rebar", **keys}, model),
        build({"name": "relax", "hidden": 3, **keys}, model),
    )

    def estimates(estimator: Estimator) -> list[Tensor]:
        generator = torch.Generator().manual_seed(1)
        noise = lambda like: torch.empty_like(like).uniform_(generator=generator)  # noqa: E731
        return gradient(model, estimator, ForwardClosure(model, *batch(4), tangled, noise))

    pairs = zip(estimates(rebar), estimates(relax), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    with torch.no_grad():
        relax.controls[0].last.weight.fill_(1)
    assert not torch.equal(estimates(rebar)[0], estimates(relax)[0])


def test_a_control_variate_knows_its_derivative() -> None:
    control = ControlVariate(4, 3).double()
    torch.nn.init.normal_(control.last.weight)
    y = torch.rand(5, 4, dtype=torch.float64, requires_grad=True)
    value, slope = control(y)
    torch.testing.assert_close(
        torch.autograd.grad(value.sum(), y)[0], slope, rtol=1e-12, atol=1e-14
    )


def test_the_conditional_noise_knows_its_derivative() -> None:
    """z̃ of Tucker et al. 2017, by autograd, at the v for which it is z; and over all noise it is distributed as z."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.full((200_000,), 0.8, dtype=torch.float64, requires_grad=True)
    u, v = torch.rand(2, 200_000, generator=generator, dtype=torch.float64)
    p = torch.sigmoid(logits)
    z, bits = reparameterize(logits, u).detach(), (u < p).double()
    assert torch.equal(bits, (z > 0).double())

    def again(v: Tensor) -> Tensor:
        return logits + torch.logit(bits * (1 - p + v * p) + (1 - bits) * v * (1 - p))

    tied = torch.where(bits > 0, 1 - u / p, (1 - u) / (1 - p)).detach()
    torch.testing.assert_close(again(tied), z, rtol=1e-9, atol=1e-9)
    (expected,) = torch.autograd.grad(again(tied).sum(), logits)
    torch.testing.assert_close(
        conditional_derivative(p.detach(), bits, u), expected, rtol=1e-9, atol=1e-12
    )
    cuts = torch.linspace(-3, 4, 15, dtype=torch.float64)
    shares = (again(v).detach()[:, None] < cuts).double().mean(0)
    torch.testing.assert_close(
        shares, torch.sigmoid(cuts - 0.8), rtol=0, atol=4.5 * 0.5 / 200_000**0.5
    )


def test_disarm_is_arm_averaged_over_its_noise_given_the_pair() -> None:
    p = torch.tensor([[0.1, 0.4, 0.6, 0.93]], dtype=torch.float64)
    site = Site(torch.logit(p)[None] / 2, NoiseLaw.registry.build("logistic"), Site.sample)
    u = ((torch.arange(100_000, dtype=torch.float64) + 0.5)[:, None] / 100_000).expand(-1, 4)
    bits = torch.stack([u < p, u > 1 - p]).double()
    loss = torch.tensor([[1.7], [0.4]], dtype=torch.float64)
    layer = LayerSamples(site, bits, loss.expand(2, len(u))[..., None], u[None], None, None)  # type: ignore[arg-type]
    arm, disarm = ARM().gradient(layer), DisARM().gradient(layer)
    for pair in itertools.product((0, 1), repeat=2):
        chosen = (bits[0] == pair[0]) & (bits[1] == pair[1])
        for unit in range(4):
            if chosen[:, unit].any():
                mine = [g[0][chosen[:, unit], unit] for g in (arm, disarm)]
                assert float(mine[0].mean()) == pytest.approx(float(mine[1].mean()), abs=1e-4)
                assert float(mine[1].std()) < 1e-12


def test_arms_of_two_draws_is_disarm() -> None:
    """The same formula on the same pairs, and pairs of the same distribution: both never fire together below ½."""
    p = torch.rand(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    site = Site(torch.logit(p)[None] / 2, NoiseLaw.registry.build("logistic"), Site.sample)
    u = torch.rand(7, 5, dtype=torch.float64)
    bits, loss = torch.stack([u < p, u > 1 - p]).double(), torch.rand(2, 7, dtype=torch.float64)
    drawn = LayerSamples(site, bits, loss[..., None], u, None, None)  # type: ignore[arg-type]
    torch.testing.assert_close(
        ARMS(samples=2).gradient(drawn), DisARM().gradient(drawn), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("samples", [2, 3, 5])
def test_draws_of_arms_have_the_probability_and_the_correlation_that_it_says(samples: int) -> None:
    p = torch.tensor([0.05, 0.3, 0.5, 0.8, 0.97], dtype=torch.float64).expand(200_000, 5)
    generator = torch.Generator().manual_seed(0)
    noise = lambda like: torch.empty_like(like).uniform_(generator=generator)  # noqa: E731
    site = Site(torch.logit(p)[None] / 2, NoiseLaw.registry.build("logistic"), Site.sample, noise)
    arms = ARMS(samples=samples)
    bits = arms.draw(site)[0]
    torch.testing.assert_close(bits.mean(1), p[:samples], rtol=0, atol=4.5 * 0.5 / 200_000**0.5)
    away = (bits - p) / (p * (1 - p)).sqrt()
    for k in range(1, samples):
        found = (away[0] * away[k]).mean(0)
        torch.testing.assert_close(found, arms.correlation(p)[0], rtol=0, atol=0.02)


def variances(config: dict, widths: tuple[int, ...] = (3, 3)) -> Tensor:
    """Variance of a single estimate of the weights of each layer below the read-out, after a warm-up."""
    model = Toy(widths)
    estimator = warmed(Estimator.registry.build(config), model)
    errors = sampled(model, estimator, repeats=100)[1]
    return (
        torch.stack([errors[2 * layer].square().sum() for layer in range(len(widths))])
        * 100
        * AT_ONCE
    )


def test_orders_of_variance() -> None:
    """Dong, Mnih & Tucker 2020: DisARM never above ARM; more antithetic draws never worse, and below independent ones."""
    leave_one_out = {"name": "reinforce", "baseline": {"name": "leave_one_out", "samples": 2}}
    arm, disarm, loo = (variances(c) for c in ({"name": "arm"}, {"name": "disarm"}, leave_one_out))
    assert (disarm < arm).all()
    assert (variances({"name": "arms", "samples": 4}) < disarm).all()
    assert disarm[0] < loo[0]


class Around(Toy):
    """The first layer's bits reach the read-out around the others."""

    def forward(self, x: Tensor) -> Tensor:
        x = first = self.neurons[0](self.layers[0](x))
        for layer, neuron in zip(self.layers[1:], self.neurons[1:], strict=True):
            x = neuron(layer(x))
        return self.readout(x) + first.sum(1, keepdim=True)


@pytest.mark.parametrize("widths", [(2, 2), (2, 2, 1), (1, 3, 2)], ids=str)
def test_enumeration_refuses_a_path_around_a_binary_layer(widths: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="path around"):
        exact(Around(widths))


@pytest.mark.parametrize("squashed", [False, True])
def test_local_expectation_needs_a_linear_readout(squashed: bool) -> None:
    class Squashed(Toy):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(super().forward(x)) if squashed else super().forward(x)

    model, estimator = Squashed((2, 2)), Estimator.registry.build("local_expectation")
    refused = (
        pytest.raises(ConfigError, match="linear read-out")
        if squashed
        else contextlib.nullcontext()
    )
    with refused:
        estimator.init(model, batch(2)[0])


def test_enumeration_is_layer_by_layer() -> None:
    """Three layers of different widths, whose 2^8 joint configurations would be 256 replicas: 16 will do."""
    model = Toy((4, 1, 3))
    oracle = bound(Enumeration(), model)
    assert oracle.evaluations([4, 1, 3]) == 16
    reinforce = build({"name": "reinforce", "baseline": {"name": "none"}}, model)
    assert distance(expectation(model, reinforce), exact(model)) < 1e-12


@pytest.mark.parametrize("widths, words", [((13,), "at most 12"), ((11, 11), "20 in two")])
def test_enumeration_says_what_it_can_hold(widths: tuple[int, ...], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        bound(Enumeration(), Toy(widths))


def test_every_estimator_and_baseline_has_its_three_places() -> None:
    conf = folder("conf") / "estimator"
    assert set(CONTRACTS) == set(Estimator.registry) == {path.stem for path in conf.glob("*.yaml")}
    assert (
        set(BASELINES)
        == set(Baseline.registry)
        == {path.stem for path in (conf / "baseline").glob("*.yaml")}
    )


def test_oracle_agrees_with_finite_differences() -> None:
    model = Toy((2, 2), "uniform", Stochastic)
    forward = ForwardClosure(model, *batch(3), tangled)
    oracle = bound(Enumeration(), model)
    gradients = gradient(model, oracle, forward)
    for parameter, found in zip(model.parameters(), gradients, strict=True):
        with torch.no_grad():
            flat = parameter.view(-1)
            for i in range(len(flat)):
                values = []
                for step in (1e-6, -2e-6):
                    flat[i] += step
                    values.append(float(oracle.surrogate_loss(forward)))
                flat[i] += 1e-6
                assert float(found.view(-1)[i]) == pytest.approx(
                    (values[0] - values[1]) / 2e-6, rel=1e-5, abs=1e-8
                )
