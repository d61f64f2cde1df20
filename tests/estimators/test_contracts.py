"""What every estimator claims, held against exact enumeration; and mutants of it, which must be caught.

The estimators here are functions of the bits alone, so their expectation is a finite sum: every configuration of the bits
is forced through the noise, and weighted by its probability. No tolerance stands for sampling error.
"""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from torch import Tensor
from toys import Toy, batch, product, tangled

from bnn.estimators import Baseline, Estimator
from bnn.estimators.score_function import Reinforce
from bnn.lab.oracle import Enumeration
from bnn.neurons import Deterministic, Site, Stochastic
from bnn.noise import NoiseLaw
from bnn.passes import Run, sites_of
from bnn.paths import folder
from bnn.surrogates import SURROGATES

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
    "st": [{"proxy": proxy} for proxy in SURROGATES],
    "reinmax": [{"tau": 1.0}, {"tau": 1.5}],
    "reinforce": [{"baseline": {"name": name, **keys}} for name, keys in BASELINES.items()],
}
"""A configuration to test for every registered estimator: the third place that a new one touches."""
CASES = [pytest.param({"name": n, **c}, id=f"{n}-{i}") for n, cases in CONTRACTS.items() for i, c in enumerate(cases)]
UNBIASED = [
    case for case in CASES if Estimator.registry[case.values[0]["name"]].unbiased and case.values[0]["name"] != "none"
]
NETS = [(3,), (2, 2)]


class Forced:
    """Noise that fires a given sequence of bits: u = 0 always fires, u = 1 never does."""

    def __init__(self, bits: tuple[int, ...]) -> None:
        self.u = 1.0 - torch.tensor(bits, dtype=torch.float64)
        self.at = 0

    def __call__(self, like: Tensor) -> Tensor:
        block = self.u[self.at : self.at + like.numel()]
        self.at += like.numel()
        return block.view_as(like)


def gradient(model: Toy, estimator: Estimator, run: Run) -> list[Tensor]:
    model.zero_grad()
    estimator.surrogate(run).backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()]


def expectation(model: Toy, estimator: Estimator, loss=tangled, samples: int = 1) -> list[Tensor]:
    """E over the bits of the estimate, by forcing each configuration through a copy of the estimator."""
    inputs, targets = batch(samples)
    units = numbers_asked_for(model, estimator, Run(model, inputs, targets, loss))
    total = [torch.zeros_like(p) for p in model.parameters()]
    mass = 0.0
    for bits in itertools.product((0, 1), repeat=units):
        seen: list[float] = []
        run = Run(model, inputs, targets, loss, Forced(bits))
        recorded = _record_probability(run, seen)
        estimate = gradient(model, copy.deepcopy(estimator), recorded)
        weight = math.prod(seen)
        mass += weight
        total = [t + weight * g for t, g in zip(total, estimate, strict=True)]
    assert mass == pytest.approx(1, abs=1e-12)
    return total


def numbers_asked_for(model: Toy, estimator: Estimator, run: Run) -> int:
    """How many bits one estimate draws."""
    asked = 0

    def count(like: Tensor) -> Tensor:
        nonlocal asked
        asked += like.numel()
        return torch.rand_like(like)

    run.noise = count
    gradient(model, copy.deepcopy(estimator), run)
    return asked


def _record_probability(run: Run, seen: list[float]) -> Run:
    """The run, noting q(bits) of every site it meets."""
    call = run.__call__

    class Recorded:
        inputs, model, targets, loss, noise = run.inputs, run.model, run.targets, run.loss, run.noise

        def __call__(self, draw, forks=()):
            result = call(draw, forks)
            for site, bits in zip(result.sites, result.bits, strict=True):
                seen.append(float(torch.where(bits > 0, site.p, 1 - site.p).detach().prod()))
            return result

    return Recorded()  # type: ignore[return-value]


def exact(model: Toy, loss=tangled, samples: int = 1) -> list[Tensor]:
    return gradient(model, Enumeration(), Run(model, *batch(samples), loss))


def distance(a: list[Tensor], b: list[Tensor]) -> float:
    return max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True))


def warmed(estimator: Estimator, model: Toy) -> Estimator:
    """The estimator after a few steps, so that its baseline holds something."""
    estimator.bind(sites_of(model, batch(1)[0]))
    generator = torch.Generator().manual_seed(3)
    for _ in range(3):
        noise = lambda like: torch.empty_like(like).uniform_(generator=generator)  # noqa: E731
        estimator.surrogate(Run(model, *batch(4), tangled, noise))
    return estimator


@pytest.mark.parametrize("widths", NETS, ids=str)
@pytest.mark.parametrize("config", UNBIASED)
def test_unbiased_claim_holds_exactly(config: dict, widths: tuple[int, ...]) -> None:
    model = Toy(widths)
    estimator = warmed(Estimator.registry.build(config), model)
    assert distance(expectation(model, estimator), exact(model)) < 1e-12


@pytest.mark.parametrize("law", [name for name, law in NoiseLaw.registry.items() if law.full_support])
def test_score_is_unbiased_under_every_law_with_full_support(law: str) -> None:
    model = Toy((3,), law)
    estimator = Estimator.registry.build({"name": "reinforce", "baseline": "none"})
    assert distance(expectation(model, estimator), exact(model)) < 1e-12


def test_deterministic_neuron_explores_by_its_noise_law_under_reinforce() -> None:
    stochastic, deterministic = Toy((2, 2)), Toy((2, 2), neuron=Deterministic)
    estimator = Estimator.registry.build({"name": "reinforce", "baseline": "none"})
    assert distance(expectation(deterministic, estimator), exact(stochastic)) < 1e-12


@pytest.mark.parametrize("config", UNBIASED)
def test_each_sample_of_a_batch_gets_its_own_credit(config: dict) -> None:
    model = Toy((2,))
    estimator = warmed(Estimator.registry.build(config), model)
    assert distance(expectation(model, estimator, samples=2), exact(model, samples=2)) < 1e-12


def test_a_neighbours_credit_is_caught() -> None:
    """The mutant of the test above: each sample is credited with the loss of the one beside it."""

    class Neighbours(Reinforce):
        def surrogate(self, run: Run) -> Tensor:
            base = run(Site.sample)
            score = (base.loss.detach().roll(1, 1) * base.sites[0].log_prob(base.bits[0]).sum(1)).mean()
            return base.loss.mean() + (score - score.detach())

    model, mutant = Toy((2,)), Neighbours(baseline=Baseline.registry.build("none"))
    assert distance(expectation(model, mutant, samples=2), exact(model, samples=2)) > 1e-3
    assert distance(expectation(model, mutant), exact(model)) < 1e-12, "a batch of one does not see it"


class SeesItself(Baseline):
    """Mutant: the mean over all samples, the credited one included."""

    def forks(self, sites: int) -> list[int]:
        return [2] + [1] * (sites - 1)

    def forward(self, site: int, loss: Tensor) -> Tensor:
        return loss.mean(0, keepdim=True)


class UpdatedFirst(Baseline):
    """Mutant: a moving average that has taken in this batch already."""

    def forward(self, site: int, loss: Tensor) -> Tensor:
        return (0.5 * loss.mean() + 0.5).view(1, 1)


class NoScore(Reinforce):
    """Mutant: what the first repositories did, the pathwise term alone."""

    def surrogate(self, run: Run) -> Tensor:
        return run(Site.sample).loss.mean()


class TopOnly(Reinforce):
    """Mutant: the score of the highest binary layer alone."""

    def surrogate(self, run: Run) -> Tensor:
        base = run(Site.sample)
        score = (base.loss.detach() * base.sites[-1].log_prob(base.bits[-1]).sum(1)).mean()
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


def test_density_proxy_is_exact_for_one_layer_under_a_multilinear_loss() -> None:
    for law in NoiseLaw.registry:
        model = Toy((2,), law)
        with torch.no_grad():  # each score is one bit, so that their product is multilinear and not additive
            model.readout.weight.copy_(torch.eye(2))
        estimator = Estimator.registry.build({"name": "st", "proxy": "density"})
        for one in (expectation(model, estimator, product), exact(model, product)):
            assert max(float(g.abs().max()) for g in one) > 1e-3
        # of the layer below: the read-out itself has the derivative of a product by its own weights
        assert distance(expectation(model, estimator, product)[:2], exact(model, product)[:2]) < 1e-12, law


def quadratic(scores: Tensor, targets: Tensor) -> Tensor:
    """Quadratic in the scores, hence in the bits of the layer below a linear read-out, with products of different bits."""
    s, t = scores.unbind(1)
    return s**2 - 0.7 * s * t + 1.3 * t**2 * targets + s


@pytest.mark.parametrize("law", [name for name, law in NoiseLaw.registry.items() if law.full_support])
def test_reinmax_is_exact_for_one_layer_under_a_quadratic_loss(law: str) -> None:
    model = Toy((3,), law)
    true = exact(model, quadratic)[:2]  # of the layer below
    assert max(float(g.abs().max()) for g in true) > 1e-3
    found = {tau: expectation(model, Estimator.registry.build({"name": "reinmax", "tau": tau}), quadratic) for tau in (1, 2)}
    assert distance(found[1][:2], true) < 1e-12
    assert distance(found[2][:2], true) > 1e-3, "the control: at another temperature it is not"
    straight = expectation(model, Estimator.registry.build({"name": "st", "proxy": "density"}), quadratic)
    assert distance(straight[:2], true) > 1e-3, "and plain straight-through is not"


def test_reinmax_weighs_by_half_the_distance_of_bit_and_probability() -> None:
    """Liu et al. 2023: at temperature 1 the bracket is |b - p| / 2."""
    a = torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
    estimator = Estimator.registry.build({"name": "reinmax", "tau": 1.0})
    for u in (0.0, 1.0):
        site = Site(a, NoiseLaw.registry.build("logistic"), Site.sample, noise=lambda like, u=u: torch.full_like(like, u))
        bits = estimator.draw(site)  # type: ignore[attr-defined]
        (found,) = torch.autograd.grad(bits.sum(), a)
        torch.testing.assert_close(found, 2 * (bits - site.p).abs().detach() / 2, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("widths", NETS, ids=str)
@pytest.mark.parametrize("config", [c for c in CASES if not Estimator.registry[c.values[0]["name"]].unbiased])
def test_biased_estimators_are_biased(config: dict, widths: tuple[int, ...]) -> None:
    model = Toy(widths)
    assert distance(expectation(model, Estimator.registry.build(config)), exact(model)) > 1e-3


def test_proxies_send_back_their_derivative_times_that_of_the_loss() -> None:
    a = torch.linspace(-1.7, 1.7, 9, dtype=torch.float64, requires_grad=True)
    slope_of_f = torch.linspace(1, 2, 9, dtype=torch.float64)
    p = torch.sigmoid(2 * a.detach())
    expected = {"identity": torch.ones_like(p), "sigmoid": 2 * p * (1 - p)}
    for name, law in itertools.product(SURROGATES, NoiseLaw.registry):
        site = Site(a, NoiseLaw.registry.build(law), Site.threshold)
        estimator = Estimator.registry.build({"name": "st", "proxy": name})
        bits = estimator.draw(site)  # type: ignore[attr-defined]
        assert torch.equal(bits, (a > 0).double())
        (found,) = torch.autograd.grad((slope_of_f * bits).sum(), a)
        derivative = expected.get(name, site.law.density(a.detach()))
        torch.testing.assert_close(found, slope_of_f * derivative, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("config", [c for c in CASES if c.values[0]["name"] != "none"])
def test_value_is_the_mean_loss_of_the_base_pass(config: dict) -> None:
    model = Toy((2, 2))
    estimator = Estimator.registry.build(config)
    estimator.bind(sites_of(model, batch(1)[0]))
    losses: list[Tensor] = []

    def noted(scores: Tensor, targets: Tensor) -> Tensor:
        losses.append(tangled(scores, targets))
        return losses[-1]

    value = estimator.surrogate(Run(model, *batch(5), noted))
    assert value.item() == pytest.approx(losses[0].mean().item(), rel=1e-12)


def spread(baseline: str | dict, runs: int, widths: tuple[int, ...] = (3,), layer: int = 0) -> float:
    """Total variance of a layer's weight gradient, averaged over `runs` steps, from 400 repetitions of a fixed seed."""
    model, generator = Toy(widths), torch.Generator().manual_seed(0)
    estimator = Estimator.registry.build({"name": "reinforce", "baseline": baseline})
    estimator.bind(sites_of(model, batch(1)[0]))

    def estimate() -> Tensor:
        run = Run(
            model, *batch(1), lambda s, t: tangled(s, t) + 5, lambda u: torch.empty_like(u).uniform_(generator=generator)
        )
        return gradient(model, estimator, run)[2 * layer]

    return float(torch.stack([sum(estimate() for _ in range(runs)) / runs for _ in range(400)]).var(0).sum())  # type: ignore


def test_leave_one_out_reduces_the_variance_of_plain_reinforce_at_equal_passes() -> None:
    assert spread({"name": "leave_one_out", "samples": 4}, runs=1) < spread("none", runs=4) / 4


@pytest.mark.parametrize("layer", [0, 1])
def test_nesting_reduces_the_variance_of_leave_one_out_in_every_layer(layer: int) -> None:
    plain, nested = {"name": "leave_one_out", "samples": 4}, {"name": "nested_leave_one_out", "samples": 4, "nested": 4}
    assert spread(nested, 1, (3, 3), layer) < spread(plain, 1, (3, 3), layer) * (0.9, 0.5)[layer]


def test_every_estimator_and_baseline_has_its_three_places() -> None:
    conf = folder("conf") / "estimator"
    assert set(CONTRACTS) == set(Estimator.registry) == {path.stem for path in conf.glob("*.yaml")}
    assert set(BASELINES) == set(Baseline.registry) == {path.stem for path in (conf / "baseline").glob("*.yaml")}


def test_oracle_agrees_with_finite_differences() -> None:
    model = Toy((2, 2), "uniform", Stochastic)
    run = Run(model, *batch(3), tangled)
    gradients = gradient(model, Enumeration(), run)
    for parameter, found in zip(model.parameters(), gradients, strict=True):
        with torch.no_grad():
            flat = parameter.view(-1)
            for i in range(len(flat)):
                values = []
                for step in (1e-6, -2e-6):
                    flat[i] += step
                    values.append(float(Enumeration().surrogate(run)))
                flat[i] += 1e-6
                assert float(found.view(-1)[i]) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5, abs=1e-8)
