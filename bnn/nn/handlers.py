"""Site handlers: effect handlers that give the binary layers of a forward pass their bits.

A neuron asks the handler in force (`sample`). An estimator puts one in force around its passes in
training; in evaluation `sampled` (each neuron's own rule) or `threshold` may be in force. With none
in force a neuron fires by its own rule in evaluation, and raises in training, where the layers
below it would get no gradient in silence.

    with handling(sampled(noise)):
        output = model(inputs)
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnn.errors import NoEstimatorError
from bnn.nn.sites import Noise, RandomUnits, Site

SiteHandler = Callable[[Site | RandomUnits], Tensor]
"""Function from a layer to its activations, [n, *units]; bits may carry a pathwise gradient."""


@dataclass(frozen=True)
class Replication:
    """Replicas of the pass under way, as a norm has to know them.

    Each replica is normalised apart, and the first alone may be recorded.

    Args:
        replicas: function that returns the number of replicas in the batch at this point of the
            pass.
        record: whether the first replica updates running statistics.
    """

    replicas: Callable[[], int]
    record: bool


@dataclass(frozen=True)
class _InForce:
    handler: SiteHandler
    replication: Replication | None


_in_force: ContextVar[_InForce | None] = ContextVar("bnn_handler", default=None)

NONE_IN_FORCE = (
    "no estimator in force: the layers below would get no gradient; write loss = "
    "estimator(net, inputs, targets), or `with estimator.in_force():` around the forward pass, and "
    "to evaluate net.eval() or torch.no_grad() (other threads, nn.DataParallel and activation "
    "checkpointing do not see the estimator)"
)
RECOMPUTED = (
    "a binary layer was computed again during the backward pass, as activation checkpointing does: "
    "it would draw other bits than the forward pass; leave binary layers out of the checkpointed "
    "part"
)


@contextlib.contextmanager
def handling(handler: SiteHandler, replication: Replication | None = None) -> Iterator[None]:
    """Context in which `handler` gives every binary layer its bits.

    An inner context replaces the outer one.

    Args:
        handler: site handler.
        replication: replicas of the pass, for norms; None: the batch is one replica.
    """
    token = _in_force.set(_InForce(handler, replication))
    try:
        yield
    finally:
        _in_force.reset(token)


def replication() -> Replication | None:
    """Replication of the pass under way, or None outside of one."""
    found = _in_force.get()
    return found.replication if found is not None else None


def has_handler() -> bool:
    """Whether a site handler is in force."""
    return _in_force.get() is not None


def sample(layer: Site | RandomUnits) -> Tensor:
    """Activations of a layer by the handler in force, or else by the layer's own rule.

    Args:
        layer: the layer, with a flat batch axis.

    Returns:
        [n, *units]; [replicas, *units] for a shared site.

    Raises:
        NoEstimatorError: in training with gradients on and no handler in force; or in the backward
            pass.
    """
    if _in_backward():
        raise NoEstimatorError(RECOMPUTED)
    found = _in_force.get()
    if found is not None:
        return found.handler(layer)
    if isinstance(layer, Site):
        training = layer.module is not None and layer.module.training
        if training and torch.is_grad_enabled() and layer.preactivation.requires_grad:
            raise NoEstimatorError(NONE_IN_FORCE)
    return _own_rule(layer)


def _own_rule(layer: Site | RandomUnits) -> Tensor:
    # one draw of a shared site is one replica
    return layer.fire()[None] if isinstance(layer, Site) and layer.shared else layer.fire()


def sampled(noise: Noise = torch.rand_like) -> SiteHandler:
    """Site handler by each neuron's own rule.

    Stochastic units are drawn once, deterministic ones thresholded.

    Args:
        noise: source of the uniform numbers.
    """
    return lambda layer: _own_rule(dataclasses.replace(layer, noise=noise))


def threshold(layer: Site | RandomUnits) -> Tensor:
    """Site handler without noise: the more probable bit; of other random units the noise-free part.

    Args:
        layer: the layer, with a flat batch axis.

    Returns:
        [n, *units]; [1, *units] for a shared site.
    """
    return (
        layer.threshold()[None] if isinstance(layer, Site) and layer.shared else layer.threshold()
    )


def apply(model: nn.Module, inputs: Tensor, handler: SiteHandler) -> Tensor:
    """Output of `model(inputs)` with a handler in force.

    Args:
        model: the network.
        inputs: [n, …].
        handler: site handler.

    Returns:
        [n, …].
    """
    with handling(handler):
        output: Tensor = model(inputs)
        return output


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Context in which `model` is in evaluation mode; each module gets its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _in_backward() -> bool:
    """Whether autograd is running a backward pass in this thread.

    torch has no public way to tell; its own checkpointing calls the same function.
    """
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1
