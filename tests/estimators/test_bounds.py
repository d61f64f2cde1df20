"""Estimators of the bound of several draws, against its gradient by enumeration of all of them."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from support.toys import Toy, batch
from torch import Tensor
from torch.nn import functional as F

from bnn.config.compose import compose
from bnn.errors import ConfigError
from bnn.estimators import VIMCO, DisARMBound
from bnn.nn.forward import ForwardClosure
from bnn.nn.sites import Latents, Site
from bnn.specify import setup
from bnn.tasks.vae import sampled_kl
from bnn.testing.gradients import gradient

Draws = tuple[tuple[int, ...], ...]


def likelihood(output: Tensor, targets: Tensor) -> Tensor:
    """Loss without latents, as of structured prediction: -log p(y | b)."""
    pixels = torch.stack([targets, 1 - targets], 1).clamp(0, 1)
    return F.binary_cross_entropy_with_logits(2 * output, pixels, reduction="none").sum(1)


def importance(output: Tensor, targets: Tensor, latents: Latents) -> Tensor:
    """Loss of an autoencoder: -log p(x, b) + log q(b | x), the logits of q detached."""
    return likelihood(output, targets) + sum(sampled_kl(one) for one in latents)  # type: ignore[return-value]


def importance_with_derivative(output: Tensor, targets: Tensor, latents: Latents) -> Tensor:
    """The same with the derivative of log q, as the exact gradient takes it."""
    found = likelihood(output, targets)
    for site, bits in latents:
        each = bits * site.logits - F.softplus(site.logits) + math.log(2)
        found = found + each.flatten(1).sum(1)
    return found


def drawn_as(
    model: Toy, draws: Draws, loss, estimator: VIMCO | None = None
) -> tuple[Tensor, Tensor]:
    """Probability of draws of all bits, differentiable, and the surrogate loss or -L of them."""
    bits = torch.tensor(draws, dtype=torch.float64)  # [draws, all units]
    probability = torch.ones((), dtype=torch.float64)
    at = 0

    def rule(site: Site) -> Tensor:
        nonlocal probability, at
        units = site.preactivation.shape[2]
        fired = bits[:, at : at + units].view(len(draws), 1, units)
        p = site.probs
        probability = probability * (fired * p + (1 - fired) * (1 - p)).prod()
        at += units
        return fired.expand_as(p)

    class Forced(ForwardClosure):
        def __call__(self, given, tree=()):
            return super().__call__(rule, [[0] * len(draws), *[range(len(draws))] * 9][: len(tree)])

    if estimator is not None:
        closure = Forced(model, *batch(1), loss)
        surrogate = estimator.surrogate_loss(closure)
        return probability, surrogate
    tree = [[0] * len(draws), *[range(len(draws))] * (len(model.layers) - 1)]
    found = ForwardClosure(model, *batch(1), loss)(rule, tree).loss[:, 0]
    return probability, -(torch.logsumexp(-found, 0) - math.log(len(draws)))


def all_draws(model: Toy, samples: int) -> list[Draws]:
    units = sum(layer.out_features for layer in model.layers)
    return list(itertools.product(itertools.product((0, 1), repeat=units), repeat=samples))


def exact(model: Toy, samples: int, loss) -> tuple[float, list[Tensor]]:
    terms = [drawn_as(model, draws, loss) for draws in all_draws(model, samples)]
    total = torch.stack([p * bound for p, bound in terms]).sum()
    return float(total.detach()), gradient(model, total)


def expected(model: Toy, estimator: VIMCO, loss) -> tuple[float, list[Tensor]]:
    value, total = 0.0, [torch.zeros_like(p) for p in model.parameters()]
    for draws in all_draws(model, estimator.samples):
        p, surrogate = drawn_as(model, draws, loss, estimator)
        p = float(p.detach())
        value += p * float(surrogate.detach())
        for one, found in zip(total, gradient(model, surrogate), strict=True):
            one += p * found
    return value, total


def distance(found: list[Tensor], true: list[Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(found, true, strict=True))


CASES = [((3,), 2), ((2,), 3), ((1, 2), 2)]


@pytest.mark.parametrize("widths, samples", CASES)
@pytest.mark.parametrize("kind", ["likelihood", "importance"])
def test_vimco_is_unbiased_for_the_bound_of_its_draws(
    widths: tuple[int, ...], samples: int, kind: str
) -> None:
    model = Toy(widths)
    ours, true = {
        "likelihood": (likelihood, likelihood),
        "importance": (importance, importance_with_derivative),
    }[kind]
    estimator = VIMCO(samples=samples).init(model, batch(2)[0])
    (value, found), (bound, gradients) = (
        expected(model, estimator, ours),
        exact(model, samples, true),
    )
    assert value == pytest.approx(bound, abs=1e-12)
    assert distance(found, gradients) < 1e-12


def expected_of_pairs(model: Toy, estimator: DisARMBound, loss) -> tuple[float, list[Tensor]]:
    """Expectation over the uniform numbers, between whose cuts p and 1 - p no bit changes."""
    (layer,) = model.layers
    p = torch.sigmoid(2 * layer(batch(1)[0])).detach()[0]
    cuts = [sorted([0.0, float(one), 1 - float(one), 1.0]) for one in p] * estimator.samples
    value, total = 0.0, [torch.zeros_like(one) for one in model.parameters()]
    for parts in itertools.product(range(3), repeat=len(cuts)):
        ends = [one[part : part + 2] for one, part in zip(cuts, parts, strict=True)]
        mass = math.prod(high - low for low, high in ends)
        u = torch.tensor([(low + high) / 2 for low, high in ends], dtype=torch.float64)
        closure = ForwardClosure(model, *batch(1), loss, lambda like, u=u: u.view_as(like))
        surrogate = estimator.surrogate_loss(closure)
        value += mass * float(surrogate.detach())
        for one, found in zip(total, gradient(model, surrogate), strict=True):
            one += mass * found
    return value, total


@pytest.mark.parametrize("kind", ["likelihood", "importance"])
def test_disarm_of_the_bound_is_unbiased_for_it(kind: str) -> None:
    model = Toy((2,))
    ours, true = {
        "likelihood": (likelihood, likelihood),
        "importance": (importance, importance_with_derivative),
    }[kind]
    estimator = DisARMBound(samples=2).init(model, batch(2)[0])
    (value, found), (bound, gradients) = (
        expected_of_pairs(model, estimator, ours),
        exact(model, 2, true),
    )
    assert value == pytest.approx(bound, abs=1e-12)
    assert distance(found, gradients) < 1e-12


class KeepsItself(DisARMBound):
    """Mutant: a draw is compared with its mate beside itself."""

    def _gain(self, draws: Tensor, mates: Tensor, others: Tensor) -> Tensor:
        rest = torch.logsumexp(others, 0, keepdim=True)
        return torch.logaddexp(rest, draws) - torch.logaddexp(rest, mates)


def test_a_mutant_of_disarm_of_the_bound_is_caught() -> None:
    model = Toy((2,))
    mutant = KeepsItself(samples=2).init(model, batch(2)[0])
    found, true = expected_of_pairs(model, mutant, likelihood)[1], exact(model, 2, likelihood)[1]
    assert distance(found, true) > 1e-3


def test_disarm_of_the_bound_takes_one_binary_layer() -> None:
    with pytest.raises(ConfigError, match=r"expected one binary layer.*has 2; .*estimator=vimco"):
        DisARMBound().init(Toy((2, 2)), batch(2)[0])


class ForgetsLogQ(VIMCO):
    """Mutant: the derivative of log q is left out, whose mean is 0 for one draw alone."""

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        kept = torch.softmax
        torch.softmax = lambda values, axis: torch.zeros_like(values)  # type: ignore[assignment]
        try:
            return super().surrogate_loss(forward)
        finally:
            torch.softmax = kept  # type: ignore[assignment]


class SeesItself(VIMCO):
    """Mutant: the bound without a draw keeps it."""

    def without_draw(self, log_weights: Tensor) -> Tensor:
        return self.bound_of(log_weights).expand_as(log_weights)


class OneDraw(VIMCO):
    """Mutant: the mean loss in place of the bound."""

    def bound_of(self, log_weights: Tensor) -> Tensor:
        return log_weights.mean(0)


@pytest.mark.parametrize("mutant", [ForgetsLogQ, SeesItself, OneDraw])
def test_mutants_of_vimco_are_caught(mutant: type[VIMCO]) -> None:
    model = Toy((2,))
    estimator = mutant(samples=2).init(model, batch(2)[0])
    found, true = (
        expected(model, estimator, importance)[1],
        exact(model, 2, importance_with_derivative)[1],
    )
    assert distance(found, true) > 1e-3


def test_a_bound_takes_weights() -> None:
    words = ["device=cpu", "data=digits", "estimator=vimco"]
    for served in (["task=vae", "task.kl=sampled"], ["task=structured"], ["task=classification"]):
        setup(compose([*words, *served]))
    with pytest.raises(ConfigError, match=r"estimator=vimco with task=vae.*write task.kl=sampled"):
        setup(compose([*words, "task=vae"]))
