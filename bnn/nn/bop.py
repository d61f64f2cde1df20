"""Bop, an optimizer that flips binary weights."""

from __future__ import annotations

from typing import Any

import torch


class Bop(torch.optim.Optimizer):
    """Binary optimizer (Helwegen et al. 2019), which flips weights.

    m ← (1 - γ) m + γ g with m = 0 at the start; w ← -w where w m > τ. The learning rate, 1 at the
    start, is a factor of γ for schedules.

    Args:
        params: weights in {-1, 1}, or parameter groups of them.
        gamma: γ, weight of the newest gradient.
        threshold: τ, at least 0.
    """

    def __init__(self, params: Any, gamma: float = 1e-4, threshold: float = 1e-8) -> None:
        super().__init__(params, {"gamma": gamma, "threshold": threshold, "lr": 1.0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update the running means, and flip weights.

        Args:
            closure: not supported.
        """
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
