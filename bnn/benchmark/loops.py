"""Speed of the training loop, beside a bare loop and a conventional one on the same images."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import cast

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from bnn.benchmark.conventional import conventional
from bnn.benchmark.timing import (
    Clock,
    Seconds,
    fastest_ratio,
    finisher,
    interleaved,
    speed_ratios,
    spread,
    steps_of,
)
from bnn.build import TrainingSetup, read_dataset
from bnn.config.compose import with_values
from bnn.data import Dataset
from bnn.errors import ConfigError
from bnn.nn.memory_layout import to_channels_last
from bnn.nn.readings import Reading
from bnn.specify import setup, specify
from bnn.tables import BLANK, markdown
from bnn.training.callback import Callback
from bnn.training.step import TrainState, batches, steps_per_epoch

TARGETS = (
    ("ours", "bare", 0.90),
    ("ours", "conventional", 1.6),
    ("ours bf16", "conventional", 2.1),
)
"""(loop, reference, images per second of the loop over those of the reference)."""
LAUNCHED = "ours, without a CUDA graph"
WORKERS_FROM_CORES = 4
"""Cores from which the conventional loop is also timed with workers."""

Block = Callable[[], object]
"""Function that does the work to be timed, such as one epoch."""


def epoch_of(config: DictConfig, data: Dataset) -> Block:
    """Function that trains one epoch as `fit` does; its state continues from call to call."""
    checked = setup(config)
    state = TrainState(checked.model, checked.training, data)
    return lambda: state.epoch(Callback())


def bare(checked: TrainingSetup, data: Dataset) -> Block:
    """Function that trains one epoch on batches gathered beforehand: least work of an update.

    Args:
        checked: objects of the run.
        data: data set.
    """
    state = TrainState(checked.model, checked.training, data)
    estimator, settings = checked.training.estimator, checked.training.settings
    generator = torch.Generator().manual_seed(0)
    gathered = list(batches(data.train, settings.batch_size, generator))
    finish = finisher(checked.device)

    def block() -> None:
        checked.model.train()
        for images, labels in gathered:
            state.optimizer.zero_grad()
            estimator(checked.model, images, labels).backward()
            state.optimizer.step()
        finish()

    return block


def convolutions(checked: TrainingSetup, data: Dataset) -> Block:
    """Function that runs the convolutions of a network alone, forward and backward, for an epoch.

    Inputs are random, in the memory format of training; the lowest convolution has no gradient by
    its input. No loop around these convolutions is faster.

    Args:
        checked: objects of the run.
        data: data set.
    """
    size = checked.training.settings.batch_size
    model, device = checked.model.to(checked.device), checked.device
    to_channels_last(model)
    convolved: list[tuple[nn.Conv2d, Tensor, Tensor]] = []

    def record(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        x = torch.randn_like(inputs[0]).requires_grad_(bool(convolved))
        convolved.append((cast(nn.Conv2d, module), x, torch.randn_like(output)))

    hooks = [
        module.register_forward_hook(record)
        for module in model.modules()
        if isinstance(module, nn.Conv2d)
    ]
    Reading.threshold().outputs(model, data.train.images[:size])
    for hook in hooks:
        hook.remove()
    finish = finisher(device)

    def block() -> None:
        for _ in range(steps_per_epoch(len(data.train.labels), size)):
            for module, x, gradient in convolved:
                wanted = [*module.parameters(), *([x] if x.requires_grad else [])]
                torch.autograd.grad(module(x), wanted, gradient)
        finish()

    return block


def conventional_blocks(config: DictConfig, data: Dataset, clock: Clock) -> dict[str, Block]:
    """Conventional loops by name: without workers, and with some where there are cores for them.

    Raises:
        ConfigError: for a configuration that the conventional loop does not cover.
    """
    blocks: dict[str, Block] = {"conventional": conventional(setup(config), data, 0)}
    workers = len(os.sched_getaffinity(0)) // 2
    # the CPU time of this process does not contain that of its workers
    if 2 * workers >= WORKERS_FROM_CORES and clock is time.perf_counter:
        blocks[f"conventional, {workers} workers"] = conventional(setup(config), data, workers)
    return blocks


def loops(config: DictConfig, rounds: int, clock: Clock) -> str:
    """Tables of the loops' speeds, and of their ratios beside the targets.

    Args:
        config: composed configuration.
        rounds: rounds that are counted.
        clock: clock that is read.
    """
    config = with_values(config, trainer__precision="float32", trainer__epochs=rounds + 1)
    data = read_dataset(specify(config))
    blocks: dict[str, Block] = {}
    note = ""
    try:
        blocks |= conventional_blocks(config, data, clock)
    except ConfigError as error:
        note = f"\n\nNo conventional loop: {error}"
    blocks["bare"] = bare(setup(config), data)
    blocks["ours"] = epoch_of(config, data)
    if data.train.images.device.type == "cuda":
        blocks[LAUNCHED] = epoch_of(with_values(config, trainer__cuda_graph="never"), data)
    if any(isinstance(module, nn.Conv2d) for module in setup(config).model.modules()):
        blocks["convolutions alone"] = convolutions(setup(config), data)
    blocks["ours bf16"] = epoch_of(with_values(config, trainer__precision="bf16"), data)
    seconds = interleaved(blocks, rounds, clock)
    images, steps = len(data.train.labels), steps_of(data, config)
    rows = []
    for name, taken in seconds.items():
        speeds = spread([images / s for s in taken], 0)
        rows.append([name, *speeds, *spread([1000 * s / steps for s in taken], 2)])
    table = markdown(["loop", "images/s", "min–max", "ms a step", "min–max"], rows)
    return f"{table}{note}\n\n{ratio_table(seconds)}"


def ratio_table(seconds: Seconds) -> str:
    """Table of ratios of speeds, taken round by round, for the loops that ran."""
    pairs = [
        (loop, reference, f"{target:.2f}")
        for loop, reference, target in TARGETS
        if {loop, reference} <= set(seconds)
    ]
    pairs += [
        ("ours", name, BLANK)
        for name in seconds
        if name.startswith("conventional,") or name in ("convolutions alone", LAUNCHED)
    ]
    rows = []
    for loop, reference, target in pairs:
        ratios = spread(speed_ratios(seconds, loop, reference), 2)
        fastest = f"{fastest_ratio(seconds, loop, reference):.2f}"
        rows.append([f"{loop} / {reference}", *ratios, fastest, target])
    return markdown(["speed", "median", "min–max", "fastest rounds", "target"], rows)
