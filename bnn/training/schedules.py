"""Slope schedules: pure functions `(epoch, epochs) -> slope`, with epochs counted from 0.

A slope s makes a unit fire with F(s·a): annealing it upwards moves the straight-through backward
towards the step that the forward takes (Chung, Ahn & Bengio 2017). It also scales the gradient by
s, so it is confounded with the learning rate; `neuron.rescale_gradient` takes that factor out.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from bnn.errors import ConfigError
from bnn.registry import Registry

Schedule = Callable[[int, int], float]
"""Slope of an epoch: `(epoch, epochs) -> slope`."""
SCHEDULES: Registry[Schedule] = Registry("anneal.name")


def _positive(**values: float) -> None:
    for key, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(f"anneal.{key}: expected a positive number, got {value}")


@SCHEDULES.add("none")
def constant(*, slope: float = 1.0) -> Schedule:
    """Constant slope, s_e = slope."""
    _positive(slope=slope)
    return lambda epoch, epochs: slope


@SCHEDULES.add("geometric")
def geometric(*, start: float = 1.0, rate: float = 1.1) -> Schedule:
    """Geometric schedule, s_e = start · rate^e.

    Published rates are 1.1 (Pitis 2016) and 1.005.
    """
    _positive(start=start, rate=rate)
    return lambda epoch, epochs: start * rate**epoch


@SCHEDULES.add("linear")
def linear(*, start: float = 1.0, step: float = 0.04, cap: float = 5.0) -> Schedule:
    """Linear schedule, s_e = min(cap, start + step · e).

    Chung, Ahn & Bengio 2017: min(5, 1 + 0.04 e).

    Raises:
        ConfigError: for a negative step or a cap below the start.
    """
    _positive(start=start, cap=cap)
    if step < 0 or cap < start:
        raise ConfigError(
            f"anneal: expected step >= 0 and cap >= start, got step={step}, start={start}, "
            f"cap={cap}"
        )
    return lambda epoch, epochs: min(cap, start + step * epoch)


@SCHEDULES.add("cosine")
def cosine(*, start: float = 1.0, end: float = 5.0) -> Schedule:
    """Cosine schedule, s_e = end + (start - end) (1 + cos(π e / (E - 1))) / 2.

    From `start` in the first epoch to `end` in the last of E.
    """
    _positive(start=start, end=end)

    def slope(epoch: int, epochs: int) -> float:
        progress = epoch / (epochs - 1) if epochs > 1 else 1.0
        return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2

    return slope
