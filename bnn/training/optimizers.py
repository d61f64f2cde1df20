"""Optimizers by name, each with its learning-rate schedule.

A schedule is a pure function `(step, steps, warmup) -> multiplier` of the peak learning rate, with `warmup` a share of the
steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from bnn.errors import ConfigError
from bnn.registry import Registry

LR_SCHEDULES: Registry[float] = Registry("optimizer.lr_schedule")


@LR_SCHEDULES.add("constant")
def constant(step: int, steps: int, warmup: float) -> float:
    """Linear from 0 during the warm-up, then 1."""
    return min(1.0, (step + 1) / max(1.0, warmup * steps))


@LR_SCHEDULES.add("cosine")
def cosine(step: int, steps: int, warmup: float) -> float:
    """Linear from 0 during the warm-up, then half a cosine down to 0 (Loshchilov & Hutter 2017, no restarts)."""
    rising = warmup * steps
    if step < rising:
        return (step + 1) / max(1.0, rising)
    return (1 + math.cos(math.pi * (step - rising) / max(1.0, steps - rising))) / 2


@LR_SCHEDULES.add("one_cycle")
def one_cycle(step: int, steps: int, warmup: float) -> float:
    """Half a cosine up from 1/25 during the warm-up, then half a cosine down to 1/250,000 (Smith & Topin 2018)."""
    rising = warmup * steps
    low, progress = (1 / 25, 1 - step / rising) if step < rising else (4e-6, (step - rising) / max(1.0, steps - rising))
    return low + (1 - low) * (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True)
class Optimization:
    """How to optimise: an optimizer for given parameters, and its learning rate over a number of steps."""

    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    lr_schedule: Callable[[int, int, float], float]
    warmup: float

    def start(self, parameters: Iterable[nn.Parameter], steps: int) -> tuple[torch.optim.Optimizer, LambdaLR]:
        optimizer = self.optimizer(parameters)
        return optimizer, LambdaLR(optimizer, lambda step: self.lr_schedule(step, steps, self.warmup))


OPTIMIZERS: Registry[Optimization] = Registry("optimizer.name")


def _optimization(kind: Any, lr: float, lr_schedule: str, warmup: float, **options: float) -> Optimization:
    if not lr > 0:
        raise ConfigError(f"optimizer.lr: expected a positive number, got {lr}")
    if not 0 <= warmup < 1:
        raise ConfigError(f"optimizer.warmup: expected a share of the steps in [0, 1), got {warmup}")
    if not options["weight_decay"] >= 0:
        raise ConfigError(f"optimizer.weight_decay: expected a number >= 0, got {options['weight_decay']}")
    # fused: one kernel for all parameters; the same update
    return Optimization(partial(kind, lr=lr, fused=True, **options), LR_SCHEDULES[lr_schedule], warmup)


@OPTIMIZERS.add("sgd")
def sgd(*, lr: float, momentum: float, weight_decay: float, lr_schedule: str, warmup: float) -> Optimization:
    """Stochastic gradient descent with heavy-ball momentum."""
    if not 0 <= momentum < 1:
        raise ConfigError(f"optimizer.momentum: expected a number in [0, 1), got {momentum}")
    return _optimization(torch.optim.SGD, lr, lr_schedule, warmup, momentum=momentum, weight_decay=weight_decay)


@OPTIMIZERS.add("adam")
def adam(*, lr: float, weight_decay: float, lr_schedule: str, warmup: float) -> Optimization:
    """Adam (Kingma & Ba 2015)."""
    return _optimization(torch.optim.Adam, lr, lr_schedule, warmup, weight_decay=weight_decay)


@OPTIMIZERS.add("adamw")
def adamw(*, lr: float, weight_decay: float, lr_schedule: str, warmup: float) -> Optimization:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""
    return _optimization(torch.optim.AdamW, lr, lr_schedule, warmup, weight_decay=weight_decay)


def gradient_norms(model: nn.Module) -> dict[str, float]:
    """Euclidean norm of the present gradient, by the name of the layer that owns the parameters."""
    squares: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            layer = name.rpartition(".")[0] or name
            squares[layer] = squares.get(layer, torch.zeros((), device=parameter.device)) + parameter.grad.square().sum()
    return {layer: float(square.sqrt()) for layer, square in squares.items()}
