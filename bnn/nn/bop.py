"""Bop, an optimizer that flips binary weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class Bop(torch.optim.Optimizer):
    """Binary optimizer (Helwegen et al. 2019), which flips weights.

    m ← (1 - γ) m + γ g with m = 0 at the start; w ← -w where w m > τ. The learning rate, 1 at the
    start, is a factor of γ for schedules.

    Args:
        params: weights in {-1, 1}, or parameter groups of them.
        gamma: γ, weight of the newest gradient, in (0, 1].
        threshold: τ, at least 0.

    Raises:
        ValueError: for other values of gamma or threshold.
    """

    def __init__(self, params: Any, gamma: float = 1e-3, threshold: float = 1e-8) -> None:
        if not 0 < gamma <= 1:
            raise ValueError(f"Bop: expected gamma in (0, 1], got {gamma}")
        if not threshold >= 0:
            raise ValueError(f"Bop: expected a threshold >= 0, got {threshold}")
        super().__init__(params, {"gamma": gamma, "threshold": threshold, "lr": 1.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the running means, and flip weights.

        Args:
            closure: function that computes the gradients again and returns the loss, or None.

        Returns:
            The closure's loss, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["mean"] = torch.zeros_like(weight)
                state["mean"].lerp_(weight.grad, group["gamma"] * group["lr"])
                weight.copy_(
                    torch.where(weight * state["mean"] > group["threshold"], -weight, weight)
                )
        return loss
