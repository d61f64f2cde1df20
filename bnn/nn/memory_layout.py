"""Memory layout: `channels_last` networks, and gradients in the layout of their tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class _ChannelsLastGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].contiguous(memory_format=torch.channels_last)


def _is_channels_last(x: Tensor) -> bool:
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)


def laid_out_gradient(x: Tensor) -> Tensor:
    """The tensor itself; the gradient of a `channels_last` one is brought into that layout.

    A linear layer above maps [n, c, h, w], or a sum of scores, leaves their gradient in the default
    layout. A pooling layer below would copy its output, its indices and its input to work in it.

    Args:
        x: any shape.
    """
    if not x.requires_grad or not _is_channels_last(x):
        return x
    laid_out: Tensor = _ChannelsLastGradient.apply(x)
    return laid_out


def to_channels_last(model: nn.Module) -> nn.Module:
    """Network whose parameters and buffers of four axes have the layout `channels_last`, in place.

    (`Module.to(memory_format=torch.channels_last)` fails at parameters of five axes.)

    Args:
        model: network.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.dim() == 4:
            tensor.data = tensor.data.to(memory_format=torch.channels_last)
    return model
