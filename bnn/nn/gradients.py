"""Tensors with the value of one function and the gradient of another."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _ReplaceGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, function: Tensor) -> Tensor:
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, gradients[0]


def replace_gradient(values: Tensor, function: Tensor) -> Tensor:
    """Tensor with the value of `values` and the gradient of `function`.

    Equal to values + (function - function.detach()), without its arithmetic.

    Args:
        values: values of the forward pass, any shape.
        function: of the same shape, differentiated in the backward pass.

    Returns:
        Of the same shape.
    """
    replaced: Tensor = _ReplaceGradient.apply(values, function)
    return replaced
