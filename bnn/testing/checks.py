"""Checks of an estimator's claims on the networks of `bnn.testing.networks`."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from bnn.errors import ConfigError
from bnn.estimators.base import Estimator
from bnn.nn.forward import ForwardClosure, ForwardPass, Loss, SampleRule
from bnn.nn.replicas import SampleTree
from bnn.nn.sites import Site
from bnn.testing.gradients import (
    STANDARD_ERRORS,
    Sampled,
    exact_loss,
    gradient,
    sampled_gradient,
    seeded,
    warm_up,
)
from bnn.testing.networks import (
    NETWORKS,
    batch,
    network,
    shares_bits,
    tangled,
    tangled_with_latents,
)


def serves(estimator: Estimator, model: torch.nn.Module, loss: Loss = tangled) -> bool:
    """Whether an estimator takes a network and a loss; otherwise it raises a ConfigError."""
    try:
        copy.deepcopy(estimator).init(model, batch(2)[0])(model, *batch(2), loss)
    except ConfigError:
        return False
    return True


def check_unbiased(
    estimator: Estimator, name: str = "two layers", loss: Loss = tangled, *, estimates: int = 50_000
) -> None:
    """Assert that the mean estimate is the exact gradient, within its standard error.

    Of an estimator that is unbiased up to a positive scale (`up_to_scale`) the scale is removed
    first.

    Args:
        estimator: the estimator.
        name: one of NETWORKS.
        loss: loss of each row of the output.
        estimates: samples that are averaged.

    Raises:
        AssertionError: naming the network and the deviation.
        ConfigError: for a network that the estimator refuses.
    """
    model = network(name)
    ready = warm_up(estimator, model, loss)
    true = gradient(model, exact_loss(model, *batch(1), loss))
    found = sampled_gradient(ready, model, loss, estimates=estimates)
    if estimator.up_to_scale:
        found = _rescaled(found, true)
    deviation = found.deviation(true)
    assert deviation < STANDARD_ERRORS, (
        f"{type(estimator).__name__} on {name!r}: the mean estimate is {deviation:.1f} standard "
        "errors from the exact one"
    )


def _rescaled(found: Sampled, true: Sequence[Tensor]) -> Sampled:
    """Estimates without a positive factor, one for all parameters that do not agree as they are."""
    mean, error = list(found.mean), list(found.error)
    off = [
        k
        for k in range(len(mean))
        if Sampled([mean[k]], [error[k]]).deviation([true[k]]) >= STANDARD_ERRORS
    ]
    if off:
        flat, goal = (torch.cat([one[k].flatten() for k in off]) for one in (mean, true))
        scale = float(flat @ goal / (goal @ goal))
        assert scale > 0, "the scale has to be positive"
        for k in off:
            mean[k], error[k] = mean[k] / scale, error[k] / scale
    return Sampled(mean, error)


def check_value(
    estimator: Estimator, name: str = "two layers", loss: Loss = tangled, *, copies: int = 20_000
) -> None:
    """Assert that the value of the surrogate loss is the expected loss, within its standard error.

    Args:
        estimator: the estimator.
        name: one of NETWORKS.
        loss: loss of each row of the output.
        copies: samples that are averaged.

    Raises:
        AssertionError: naming the network, the value and the expected loss.
        ConfigError: for a network that the estimator refuses.
    """
    model = network(name)
    expected = float(exact_loss(model, *batch(1), loss).detach())
    inputs, targets = (one.repeat(copies, *[1] * (one.dim() - 1)) for one in batch(1))
    once = ForwardClosure(model, inputs, targets, loss, seeded(4))(Site.sample).loss
    ready = copy.deepcopy(estimator).init(model, inputs[:2])
    value = float(ready(model, inputs, targets, loss, noise=seeded(2)).detach())
    error = float(once.detach().std()) / (1 if shares_bits(model) else copies**0.5)
    assert abs(value - expected) <= STANDARD_ERRORS * error + 1e-9, (
        f"{type(estimator).__name__} on {name!r}: the surrogate loss is {value:.4f}, the expected "
        f"loss {expected:.4f}"
    )


def check_evaluations(estimator: Estimator, name: str = "two layers", loss: Loss = tangled) -> None:
    """Assert that one step computes as many losses per sample as `Estimator.evaluations` returns.

    Args:
        estimator: the estimator.
        name: one of NETWORKS.
        loss: loss of each row of the output.

    Raises:
        AssertionError: naming the network and both numbers.
        ConfigError: for a network that the estimator refuses.
    """
    model = network(name)
    ready = copy.deepcopy(estimator).init(model, batch(2)[0])
    assert ready.layers is not None
    counted = _Counted(model, *batch(5), loss, layers=ready.layers)
    ready.surrogate_loss(counted).backward()
    said = ready.evaluations(ready.layers.units)
    assert counted.count == said, (
        f"{type(estimator).__name__} on {name!r}: {counted.count} evaluations a step, it says "
        f"{said}"
    )


class _Counted(ForwardClosure):
    """Forward closure that counts the losses of its passes."""

    count = 0

    def __call__(self, rule: SampleRule, tree: SampleTree = ()) -> ForwardPass:
        drawn = super().__call__(rule, tree)
        self.count += len(drawn.loss)
        return drawn


def check_estimator(
    estimator: Estimator, names: Sequence[str] = tuple(NETWORKS), *, estimates: int = 50_000
) -> None:
    """Assert every claim of an estimator on every network that it takes.

    An unbiased one has to be unbiased, also where the loss depends on the bits themselves; the
    value has to be the expected loss (where the loss is not evaluated at fractional bits alone);
    `evaluations` has to be the number of losses that a step computes.

    Args:
        estimator: the estimator, with the parameters that are to be tested.
        names: networks of NETWORKS.
        estimates: samples that are averaged where it has to be unbiased.

    Raises:
        AssertionError: for a claim that does not hold, or if none of the networks is taken.
    """
    losses: tuple[Loss, ...] = (tangled, tangled_with_latents)
    cases = itertools.product(names, losses)
    taken = [(name, loss) for name, loss in cases if serves(estimator, network(name), loss)]
    assert taken, f"{type(estimator).__name__} takes none of the networks {', '.join(names)}"
    for name, loss in taken:
        check_evaluations(estimator, name, loss)
        if estimator.unbiased or not (estimator.fractional_bits or estimator.bound):
            check_value(estimator, name, loss)
        # a scale is of the score alone, and not of what a loss takes from the sites themselves
        if estimator.unbiased and not (estimator.up_to_scale and loss is tangled_with_latents):
            check_unbiased(estimator, name, loss, estimates=estimates)
