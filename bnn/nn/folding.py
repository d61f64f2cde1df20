"""Weights of a layer in evaluation, and norms folded into them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.nn.norms import BatchNorm, NoNorm, RunningNorm
from bnn.nn.weight_layers import binary_weight_of


def norm_affine(norm: nn.Module, channels: int) -> tuple[Tensor, Tensor]:
    """Scale s and shift t of a norm in evaluation, norm(x) = s x + t by channel.

    s = γ / √(σ² + ε) and t = β - μ s, in float64.

    Args:
        norm: `BatchNorm`, `RunningNorm` or `NoNorm`, after training.
        channels: number of channels.

    Returns:
        [channels] each.

    Raises:
        ConfigError: for a norm that depends on its input in evaluation too.
    """
    if isinstance(norm, NoNorm):
        return torch.ones(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64)
    if not isinstance(norm, BatchNorm | RunningNorm):
        raise ConfigError(
            f"model.norm: {type(norm).__name__} depends on each sample, and is no scale and shift "
            "of the channels; expected a network of model.norm=batch, running or none"
        )
    assert norm.running_mean is not None and norm.running_var is not None
    mean, var = norm.running_mean.double(), norm.running_var.double()
    gain, offset = torch.ones_like(mean), torch.zeros_like(mean)
    if norm.affine:
        gain, offset = norm.weight.detach().double(), norm.bias.detach().double()
    scale = gain / (var + norm.eps).sqrt()
    return scale, offset - mean * scale


def evaluated_weight(layer: nn.Module) -> Tensor:
    """Weight of a linear or convolutional layer in evaluation, [outputs, inputs, …].

    Args:
        layer: the layer; binary weights are read by sign.
    """
    weight = binary_weight_of(layer)
    if weight is None:
        weight = layer.weight  # type: ignore[assignment]
    assert isinstance(weight, Tensor)
    return weight.detach()


def folded(layer: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of the layer that equals a layer and the norm behind it, in evaluation.

    Args:
        layer: linear or convolutional layer.
        norm: the norm, see `norm_affine`.

    Returns:
        [outputs, inputs, …] and [outputs], of the layer's dtype.

    Raises:
        ConfigError: as `norm_affine`.
    """
    weight = evaluated_weight(layer)
    scale, shift = norm_affine(norm, len(weight))
    bias = torch.zeros_like(shift) if layer.bias is None else layer.bias.detach().double()  # type: ignore[operator]
    by_output = scale.to(weight.device).view(-1, *[1] * (weight.dim() - 1))
    made = (by_output * weight.double()).to(weight.dtype)
    return made, (scale.to(weight.device) * bias + shift.to(weight.device)).to(weight.dtype)
