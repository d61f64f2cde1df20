"""Running statistics of batch norms, estimated again for another reading of a network.

Running statistics belong to the activations that training saw. A network whose weights are drawn in
training and read by their sign afterwards has others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from bnn.nn.handlers import SiteHandler, apply, evaluating
from bnn.nn.norms import RunningNorm

BATCHES, BATCH_SIZE = 100, 64
"""Number and size of the batches of training inputs by which statistics are estimated again."""
BUFFERS = ("running_mean", "running_var")


def _norms(model: nn.Module) -> Iterator[tuple[str, nn.modules.batchnorm._BatchNorm]]:
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            yield name, module


def running_statistics(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the running statistics of a network, by their names in its state."""
    return {
        f"{name}.{buffer}": getattr(norm, buffer).clone()
        for name, norm in _norms(model)
        for buffer in BUFFERS
    }


def load_statistics(model: nn.Module, statistics: Mapping[str, Tensor]) -> None:
    """Write running statistics into a network.

    Args:
        model: changed in place.
        statistics: value of `running_statistics`.
    """
    for name, norm in _norms(model):
        for buffer in BUFFERS:
            getattr(norm, buffer).copy_(statistics[f"{name}.{buffer}"])


@contextlib.contextmanager
def kept_statistics(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Context at whose end a network has its running statistics of the beginning again.

    Args:
        model: the network.

    Yields:
        The statistics of the beginning, see `running_statistics`.
    """
    statistics = running_statistics(model)
    try:
        yield statistics
    finally:
        load_statistics(model, statistics)


@torch.no_grad()
def reestimate(model: nn.Module, batches: Iterable[Tensor], handler: SiteHandler) -> None:
    """Replace running statistics by their means over passes under the readings in force.

    Norms alone are in training mode; no labels are used.

    Args:
        model: changed in place.
        batches: inputs of the training split, [n, …] each.
        handler: site handler of the neurons.
    """
    norms = [norm for _, norm in _norms(model)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    try:
        with evaluating(model):
            for norm in norms:
                norm.train()
                if isinstance(norm, RunningNorm):
                    norm.estimates_again = True
            for count, inputs in enumerate(batches, 1):
                for norm in norms:
                    norm.momentum = 1 / count
                apply(model, inputs, handler)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            if isinstance(norm, RunningNorm):
                norm.estimates_again = False
