"""Expectation of an estimate: by enumeration of the outcomes of its noise, or sampled."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import Tensor

from bnn.estimators import Estimator
from bnn.estimators.antithetic import Antithetic
from bnn.estimators.enumeration import Enumeration
from bnn.estimators.local_expectation import LocalExpectation
from bnn.nn.forward import ForwardClosure
from support.toys import Toy, batch, tangled


class Forced:
    """Noise whose every number lies in a given part of [0, 1].

    The parts of a number are those below and above its p, or, for a number that decides for several
    draws, those between its cuts. Within a part an estimate is constant or linear in u, so the
    middle of the part stands for all of it.

    Args:
        parts: index of the part of each number, in the order of the draws.
        bounds: ends of the parts of each number, 0 and 1 included; 0, p and 1 where None.

    Attributes:
        mass: probability of the parts taken so far.
    """

    def __init__(self, parts: tuple[int, ...], bounds: list[list[float]] | None = None) -> None:
        self.parts, self.bounds, self.at, self.mass = parts, bounds, 0, 1.0

    def __call__(self, like: Tensor) -> Tensor:
        taken = slice(self.at, self.at + like.numel())
        if self.bounds is None:
            above = torch.tensor(self.parts[taken], dtype=torch.bool).view_as(like)
            low, high = like.double() * above, torch.where(above, 1.0, like.double())
        else:
            pairs = zip(self.bounds[taken], self.parts[taken], strict=True)
            ends = torch.tensor([one[part : part + 2] for one, part in pairs], dtype=torch.double)
            low, high = ends.T.reshape(2, *like.shape)
        self.at = taken.stop
        self.mass *= float((high - low).prod())
        return (low + high) / 2


def bounds_of(model: Toy, estimator: Estimator, inputs: Tensor) -> list[list[float]] | None:
    """Ends of the parts of each uniform number in which none of its draws changes.

    Returns:
        For every number 0, 1, the probabilities of its unit given each configuration of the layer
        below, and 1 - p as well for an antithetic pair; None where a number decides for one draw.
    """
    if not isinstance(estimator, Antithetic | LocalExpectation):
        return None
    below, bounds = inputs.detach()[None], []
    for layer in model.layers:
        p = torch.sigmoid(2 * layer(below).detach())  # [configurations, samples, units]
        both = torch.cat([p, 1 - p]) if isinstance(estimator, Antithetic) else p
        draws = estimator.samples if isinstance(estimator, LocalExpectation) else 1
        bounds += [[0.0, *one.unique().tolist(), 1.0] for one in both.flatten(1).T] * draws
        units = layer.out_features
        table = torch.tensor(list(itertools.product((0.0, 1.0), repeat=units)), dtype=p.dtype)
        below = table[:, None].expand(-1, len(inputs), -1)
    return bounds


def gradient(model: Toy, estimator: Estimator, forward: ForwardClosure) -> list[Tensor]:
    """One gradient estimate of every parameter of the network; zero where it has none."""
    model.zero_grad()
    estimator.surrogate_loss(forward).backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()]


def expectation(model: Toy, estimator: Estimator, loss=tangled, samples: int = 1) -> list[Tensor]:
    """Expectation of the gradient estimate over its noise, of every parameter.

    Each outcome of the noise is forced through a copy of the estimator and weighted by its
    probability.
    """
    inputs, targets = batch(samples)
    bounds = bounds_of(model, estimator, inputs)
    total = [torch.zeros_like(p) for p in model.parameters()]
    mass = 0.0
    count = numbers_asked_for(model, estimator, ForwardClosure(model, inputs, targets, loss))
    parts = [2] * count if bounds is None else [len(one) - 1 for one in bounds]
    assert len(parts) == count
    for taken in itertools.product(*map(range, parts)):
        noise = Forced(taken, bounds)
        estimate = gradient(
            model, copy.deepcopy(estimator), ForwardClosure(model, inputs, targets, loss, noise)
        )
        mass += noise.mass
        total = [t + noise.mass * g for t, g in zip(total, estimate, strict=True)]
    assert mass == pytest.approx(1, abs=1e-12)
    return total


def numbers_asked_for(model: Toy, estimator: Estimator, forward: ForwardClosure) -> int:
    """Count of the uniform numbers that one estimate draws."""
    asked = 0

    def count(like: Tensor) -> Tensor:
        nonlocal asked
        asked += like.numel()
        return torch.rand_like(like)

    forward.noise = count
    gradient(model, copy.deepcopy(estimator), forward)
    return asked


REPEATS, AT_ONCE = 40, 2500
"""Batches of a sampled mean, and copies of the sample in each."""


def sampled(
    model: Toy, estimator: Estimator, loss=tangled, repeats: int = REPEATS
) -> tuple[list[Tensor], list[Tensor]]:
    """Mean and standard error of each gradient over `repeats` batches of AT_ONCE copies."""
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
    """Largest |z| of a sampled gradient against the exact one.

    Under an unbiased estimator |z| > 4.5 has probability 1e-5 for each of some thirty numbers. The
    seed is fixed; it may change only together with the noise of the estimator.
    """
    means, errors = sampled(model, estimator, loss, repeats)
    pairs = zip(means, errors, exact(model, loss), strict=True)
    return max(float(((m - t).abs() / e.clamp(min=1e-12)).max()) for m, e, t in pairs)


def exact(model: Toy, loss=tangled, samples: int = 1) -> list[Tensor]:
    """Exact gradient of the expected loss, by `Enumeration`."""
    return gradient(
        model, initialized(Enumeration(), model), ForwardClosure(model, *batch(samples), loss)
    )


def initialized(estimator: Estimator, model: Toy) -> Estimator:
    """The estimator, initialized for the network."""
    return estimator.init(model, batch(2)[0].to(model.readout.weight.dtype))


def distance(a: list[Tensor], b: list[Tensor]) -> float:
    """Largest absolute difference of two lists of tensors."""
    return max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True))


def warm_up(estimator: Estimator, model: Toy) -> Estimator:
    """The estimator after a few steps: its baseline has a value, its parameters are not zero."""
    initialized(estimator, model)
    torch.manual_seed(5)
    for parameter in estimator.parameters():
        torch.nn.init.normal_(parameter)
    generator = torch.Generator().manual_seed(3)
    for _ in range(3):
        noise = lambda like: torch.empty_like(like).uniform_(generator=generator)  # noqa: E731
        estimator.surrogate_loss(ForwardClosure(model, *batch(4), tangled, noise))
    return estimator


def build(config: dict, model: Toy) -> Estimator:
    """Estimator of a configuration, initialized for the network."""
    return initialized(Estimator.registry.build(config), model)
