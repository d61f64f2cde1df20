"""Timing by turns: what is compared runs A B C A B C ..., and ratios are taken within a round."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from bnn.config.compose import with_values

if TYPE_CHECKING:
    import torch

    from bnn.data import Dataset


Seconds = Mapping[str, Sequence[float]]
"""Of each block, its seconds in each round."""


Clock = Callable[[], float]


def interleaved(
    blocks: Mapping[str, Callable[[], object]], rounds: int, clock: Clock = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each block in each of `rounds` rounds of all blocks, after one round that is not counted. A block
    returns when its device is done."""
    seconds: dict[str, list[float]] = {name: [] for name in blocks}
    for counted in [False] + [True] * rounds:
        for name, block in blocks.items():
            start = clock()
            block()
            if counted:
                seconds[name].append(clock() - start)
    return seconds


def speed_ratios(seconds: Seconds, loop: str, reference: str) -> list[float]:
    """Speed of `loop` over that of `reference` on the same work, round by round."""
    return [r / s for s, r in zip(seconds[loop], seconds[reference], strict=True)]


def of_fastest(seconds: Seconds, loop: str, reference: str) -> float:
    """The same of the fastest round of each, which the machine's other work has touched least."""
    return min(seconds[reference]) / min(seconds[loop])


def spread(values: Sequence[float], digits: int) -> list[str]:
    """Median and extremes, as two cells."""
    return [f"{median(values):.{digits}f}", f"{min(values):.{digits}f}–{max(values):.{digits}f}"]


def finisher(device: torch.device) -> Callable[[], None]:
    """A function that waits until `device` has done what it was given."""
    import torch

    return (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else lambda: None


def steps_of(data: Dataset, config: DictConfig) -> int:
    from bnn.training.step import steps_per_epoch

    return steps_per_epoch(len(data.train.labels), config.trainer.batch_size)


def limited(config: DictConfig, steps: int) -> DictConfig:
    """`config` with at most so many steps in an epoch."""
    images = steps * config.trainer.batch_size
    return with_values(
        config, data__limit=images if config.data.limit is None else min(images, config.data.limit)
    )
