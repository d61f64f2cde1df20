"""Timing of blocks of work in turns: A B C A B C ..., with ratios taken within a round.

Other work on the machine then slows all blocks of a round alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

import torch
from omegaconf import DictConfig

from bnn.config.compose import with_values
from bnn.data import Dataset
from bnn.training.step import steps_per_epoch

Seconds = Mapping[str, Sequence[float]]
"""Seconds in each round, by the name of the block."""
Clock = Callable[[], float]
"""Clock that returns seconds."""


def interleaved(
    blocks: Mapping[str, Callable[[], object]], rounds: int, clock: Clock = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each block in each round, after one round that is not counted.

    Args:
        blocks: functions by name, each of which returns when its device is done.
        rounds: rounds that are counted; in each, every block runs once.
        clock: clock that is read.
    """
    seconds: dict[str, list[float]] = {name: [] for name in blocks}
    for counted in [False] + [True] * rounds:
        for name, block in blocks.items():
            start = clock()
            block()
            if counted:
                seconds[name].append(clock() - start)
    return seconds


def speed_ratios(seconds: Seconds, block: str, reference: str) -> list[float]:
    """Speed of a block over that of a reference on the same work, by round."""
    return [r / s for s, r in zip(seconds[block], seconds[reference], strict=True)]


def fastest_ratio(seconds: Seconds, block: str, reference: str) -> float:
    """Ratio of speeds in the fastest round of each, the one least disturbed by other work."""
    return min(seconds[reference]) / min(seconds[block])


def spread(values: Sequence[float], digits: int) -> list[str]:
    """Median and extremes, as two cells of a table."""
    return [f"{median(values):.{digits}f}", f"{min(values):.{digits}f}–{max(values):.{digits}f}"]


def finisher(device: torch.device) -> Callable[[], None]:
    """Function that waits until a device has finished its work."""
    return (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else lambda: None


def steps_of(data: Dataset, config: DictConfig) -> int:
    """Steps in an epoch of a configuration."""
    return steps_per_epoch(len(data.train.labels), config.trainer.batch_size)


def limited(config: DictConfig, steps: int) -> DictConfig:
    """Configuration with at most so many steps in an epoch."""
    images = steps * config.trainer.batch_size
    limit = images if config.data.limit is None else min(images, config.data.limit)
    return with_values(config, data__limit=limit)
