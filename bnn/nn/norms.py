"""Norms that know of replicas; `model.norm` selects one for every norm of a network.

Batch statistics taken above a binary layer couple the samples of a batch: one sample's bits move
its neighbours' losses, and an estimator that credits each sample with its own loss drops those
terms. `batch` keeps that coupling, as the reference network does; `running` and `group` do not have
it.

In a network of your own, use these classes in place of torch's, or `convert_batch_norms(net)`: when
an estimator runs several replicas of a batch at once, they normalise each replica apart, and the
first one alone updates running statistics.
"""

from __future__ import annotations

from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnn.errors import ConfigError
from bnn.nn.handlers import Replication, replication
from bnn.nn.layers import sites_of
from bnn.nn.neurons import Binary
from bnn.registry import Registry

NORMS: Registry[nn.Module] = Registry("model.norm")
ALONE = Replication(replicas=lambda: 1, record=True)
"""Replication outside of an estimator's pass."""


class _Norm(nn.modules.batchnorm._BatchNorm):
    """Per-channel norm of [n, channels, ...] with running statistics.

    Its parameters and buffers are those of torch's batch norm.

    Args:
        channels: number of channels.
        eps: added to the variance.
        momentum: weight of the newest batch in the running statistics.
        affine: whether there are a learned scale and shift.
    """

    def __init__(
        self, channels: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True
    ) -> None:
        if momentum is None:
            raise ConfigError(
                f"{type(self).__name__}: expected a momentum, and no cumulative average; got None"
            )
        super().__init__(channels, eps, momentum, affine)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected [n, channels, ...], got shape {tuple(input.shape)}")

    def _normalise(self, x: Tensor, mean: Tensor | None, var: Tensor | None, batch: bool) -> Tensor:
        return F.batch_norm(
            x, mean, var, self.weight, self.bias, batch, self.momentum or 0.0, self.eps
        )


@NORMS.add("batch")
class BatchNorm(_Norm):
    """Batch norm (Ioffe & Szegedy 2015), each replica by its own statistics.

    Batch statistics in training, running statistics in evaluation.
    """

    couples_samples = True

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return self._normalise(x, self.running_mean, self.running_var, batch=False)
        found = replication() or ALONE
        recorded = (self.running_mean, self.running_var) if found.record else (None, None)
        replicas = found.replicas()
        if replicas == 1:  # the backward pass of a split copies the whole gradient
            return self._normalise(x, *recorded, batch=True)
        first, *others = x.split(len(x) // replicas)
        normalised = [self._normalise(first, *recorded, batch=True)]
        normalised += [self._normalise(replica, None, None, batch=True) for replica in others]
        return torch.cat(normalised)


@NORMS.add("running")
class RunningNorm(_Norm):
    """Norm by running statistics in training too: those of the batches before this one.

    No sample sees another of its batch.
    """

    couples_samples = False
    estimates_again = False
    """Whether the running statistics are being estimated again (`bnn.nn.statistics.reestimate`), in
    passes that are normalised by their own batch: those of other weights would lead the norms above
    astray."""

    def forward(self, x: Tensor) -> Tensor:
        assert self.running_mean is not None and self.running_var is not None
        if self.training and self.estimates_again:
            return self._normalise(x, self.running_mean, self.running_var, batch=True)
        # copies: the update below would otherwise change in place what the backward pass needs
        y = self._normalise(x, self.running_mean.clone(), self.running_var.clone(), batch=False)
        found = replication() or ALONE
        if self.training and found.record:
            first = x[: len(x) // found.replicas()].detach()
            if first.numel() == first.shape[1]:
                raise ValueError(
                    "expected more than one value per channel in training, got input size "
                    f"{tuple(first.shape)}"
                )
            var, mean = torch.var_mean(
                first.to(self.running_mean.dtype), dim=[0, *range(2, x.dim())]
            )
            self.running_mean.lerp_(mean, self.momentum or 0.0)
            self.running_var.lerp_(var, self.momentum or 0.0)
        return y


@NORMS.add("group")
class GroupNorm(nn.GroupNorm):
    """Group norm, by groups of 4 channels within one sample (Wu & He 2018).

    The parameters are those of batch norm.

    Args:
        channels: number of channels, divisible by 4.

    Raises:
        ConfigError: for another number of channels.
    """

    couples_samples = False

    def __init__(self, channels: int) -> None:
        if channels % 4:
            raise ConfigError(
                f"model.norm=group: expected a number of channels divisible by 4, got {channels}"
            )
        super().__init__(channels // 4, channels)


@NORMS.add("none")
class NoNorm(nn.Identity):
    """No normalisation.

    Args:
        channels: number of channels, without effect.
    """

    couples_samples = False

    def __init__(self, channels: int) -> None:
        super().__init__()


def _is_torch_batch_norm(module: nn.Module) -> TypeGuard[nn.modules.batchnorm._BatchNorm]:
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and not isinstance(module, _Norm)


def refuse_torch_batch_norms(model: nn.Module) -> None:
    """Check that no batch norm of torch's own would mix the replicas of a batch.

    Args:
        model: the network.

    Raises:
        ConfigError: naming the module and the conversion.
    """
    for name, module in model.named_modules():
        if _is_torch_batch_norm(module):
            raise ConfigError(
                f"{name}: {type(module).__name__} would normalise the replicas of a batch together "
                "and bias the estimate; write net = bnn.nn.convert_batch_norms(net) (same "
                "parameters), or take an estimator of one evaluation"
            )


def convert_batch_norms(model: nn.Module) -> nn.Module:
    """Network in which `BatchNorm` replaces each batch norm of torch's own.

    The counterpart of `torch.nn.SyncBatchNorm.convert_sync_batchnorm`: parameters and buffers are
    the same objects, so that an optimizer made before goes on training them.

    Args:
        model: network; changed in place, unless it is a norm itself.

    Returns:
        The converted network.

    Raises:
        ConfigError: for a batch norm without running statistics, or with a cumulative average
            (`momentum=None`).
    """
    converted: dict[int, nn.Module] = {}  # a norm may have several names
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if not _is_torch_batch_norm(module):
            continue
        if id(module) not in converted:
            converted[id(module)] = _converted(module)
        if not name:
            return converted[id(module)]
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, converted[id(module)])
    return model


def _converted(norm: nn.modules.batchnorm._BatchNorm) -> BatchNorm:
    """`BatchNorm` with the parameters and buffers of one of torch's own."""
    if norm.running_mean is None or norm.momentum is None:
        raise ConfigError(
            f"{type(norm).__name__}: expected a batch norm with running statistics and a "
            f"momentum, got track_running_stats={norm.track_running_stats}, "
            f"momentum={norm.momentum}"
        )
    made = BatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine)
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        setattr(made, name, getattr(norm, name))
    return made.train(norm.training)


def couples_above_binary(model: nn.Module, inputs: Tensor, *, highest: bool = False) -> bool:
    """Whether a norm above a binary layer has batch statistics, which couple the samples.

    Args:
        model: the network.
        inputs: [n, …], for one pass.
        highest: look above the highest binary layer alone, instead of above the first.
    """
    met: list[nn.Module] = []
    hooks = [
        module.register_forward_hook(lambda m, i, o: met.append(m))
        for module in model.modules()
        if isinstance(module, Binary | nn.modules.batchnorm._BatchNorm)
    ]
    try:
        sites_of(model, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    binary = [i for i, module in enumerate(met) if isinstance(module, Binary)] or [len(met)]
    above = met[binary[-1 if highest else 0] :]
    return any(
        getattr(module, "couples_samples", True)
        for module in above
        if not isinstance(module, Binary)
    )
