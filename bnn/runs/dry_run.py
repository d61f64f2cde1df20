"""Dry run of a sweep: how long its runs will take, and what is doubtful about them."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bnn.build import TrainingSetup, build
from bnn.combinations import ignored_choices, memory_errors
from bnn.config.canonical import flat
from bnn.config.specification import RunSpec
from bnn.config.titles import differing_keys, estimator_title
from bnn.estimators import Estimator
from bnn.nn.forward import ForwardClosure
from bnn.nn.handlers import apply, sampled
from bnn.nn.sites import Noise
from bnn.nn.weight_layers import weight_rule
from bnn.paths import shared_file_warning
from bnn.tables import BLANK, clock, markdown
from bnn.tasks import Task
from bnn.training.initialisation import check_memory, init_estimator
from bnn.training.optimizers import parameter_groups
from bnn.training.step import penalty_of, steps_per_epoch, train_step
from bnn.training.threads import threads

TIMED_STEPS = 5


def seconds_per_step(setup: TrainingSetup) -> float:
    """Median seconds of a training step on random images; the objects of `setup` are used up."""
    device, settings, estimator = setup.device, setup.training.settings, setup.training.estimator
    model, task = setup.model.to(device), setup.training.task.to(device)
    images = torch.rand(settings.batch_size, *setup.spec.data.shape, device=device)
    dtype = torch.float32 if setup.spec.data.classes is None else torch.int64
    labels = torch.zeros(settings.batch_size, dtype=dtype, device=device)
    inputs, targets = task.batch(images, labels)
    init_estimator(estimator, model, inputs[:2], setup.training.seed)
    check_memory(estimator, settings.batch_size, device)
    groups = parameter_groups(model, estimator, task)
    optimizer, _ = setup.training.optimization.start(groups, 1, weight_rule(model))
    step = _TimedStep(model, task, estimator, optimizer, settings.precision, torch.rand_like)
    times = []
    with threads(settings.threads):
        for _ in range(TIMED_STEPS):
            start = time.perf_counter()
            float(task.typical_step(step, inputs, targets))
            times.append(time.perf_counter() - start)
    return sorted(times)[TIMED_STEPS // 2]


@dataclass
class _TimedStep:
    """Training step of a network outside of a training; see `bnn.tasks.TrainingStep`."""

    model: nn.Module
    task: Task
    estimator: Estimator
    optimizer: Any
    precision: str
    noise: Noise

    def __call__(self, inputs: Tensor, targets: Tensor) -> Tensor:
        layers = self.estimator.layers
        forward = ForwardClosure(self.model, inputs, targets, self.task.loss, layers=layers)
        penalty = penalty_of(self.model)
        return train_step(forward, self.estimator, self.optimizer, self.precision, penalty)[0]

    @torch.no_grad()
    def outputs(self, inputs: Tensor) -> Tensor:
        return apply(self.model, inputs, sampled())


def seconds_of(spec: RunSpec) -> float:
    """Estimated seconds of training; evaluation and tracking come on top."""
    model = {key: value for key, value in spec.config["model"].items() if key != "init_from"}
    setup = build(replace(spec, config={**spec.config, "model": model}))
    settings = setup.training.settings
    with memory_errors(spec.config, "model", "estimator", "trainer"):
        each = seconds_per_step(setup)
    samples = round(spec.data.train_size * (1 - settings.validation_fraction))
    limit = spec.config["data"].get("limit")
    samples = samples if limit is None else min(samples, limit)
    return each * steps_per_epoch(samples, settings.batch_size) * settings.epochs


COST_GROUPS = ("data", "task", "model", "neuron", "estimator", "placement", "weights", "trainer")
"""Groups that decide how long a training takes."""


def cost_key(spec: RunSpec) -> str:
    """Values of a run that decide how long its training takes."""
    return str([spec.config[group] for group in COST_GROUPS])


def seconds_by_cost(specs: Sequence[RunSpec]) -> list[float]:
    """Estimated seconds of each run; each distinct cost is measured once."""
    known: dict[str, float] = {}
    seconds = []
    for spec in specs:
        key = cost_key(spec)
        if key not in known:
            known[key] = seconds_of(spec)
        seconds.append(known[key])
    return seconds


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Seconds of jobs side by side, of which the longest start first.

    Args:
        seconds: of each job.
        workers: jobs at once.
    """
    ends = [0.0] * max(1, min(workers, len(seconds)))
    for one in sorted(seconds, reverse=True):
        heapq.heapreplace(ends, ends[0] + one)
    return max(ends)


def dry_run(specs: Sequence[RunSpec], at_once: Callable[[float], int] = lambda total: 1) -> str:
    """Table of the runs of a sweep, with an estimate of the time of each and of all.

    Args:
        specs: specifications of the runs.
        at_once: function from the seconds of all to the number of runs side by side.
    """
    seconds = seconds_by_cost(specs)
    keys = differing_keys([spec.config for spec in specs])
    rows = []
    for number, (spec, estimate) in enumerate(zip(specs, seconds, strict=True)):
        config = dict(spec.config)
        row = [str(number), spec.title, estimator_title(config), config["neuron"]["law"]]
        varying = [str(flat(config).get(key, BLANK)) for key in keys]
        rows.append([*row, spec.data.name, *varying, spec.digest, clock(estimate)])
    head = ["#", "run", "estimator", "law", "data", *keys, "digest", "estimate"]
    device = specs[0].general.device
    workers = at_once(sum(seconds))
    beside = f", {workers} at once" if workers > 1 else ""
    count = "1 run" if len(specs) == 1 else f"{len(specs)} runs"
    took = duration(makespan(seconds, workers))
    return f"{markdown(head, rows)}\n{count}, about {took} of training{beside} on {device}"


def duration(seconds: float) -> str:
    """Duration with its unit: `5:22 min`, or `3:28:12 h` from an hour on."""
    return f"{clock(seconds)} {'h' if round(seconds) >= 3600 else 'min'}"


def warnings_for(specs: Sequence[RunSpec], words: Sequence[str] = ()) -> list[str]:
    """Warnings about runs and choices that have no effect, which are printed before they start.

    Args:
        specs: specifications of the runs of one command.
        words: overrides that they were composed from.
    """
    shared = _shared_file(specs[0])
    return [*([shared] if shared else []), *ignored_choices(specs, words)]


def notes_for(specs: Sequence[RunSpec]) -> list[str]:
    """Notes on what results mean, which are printed below them; each once."""
    found = []
    if any(
        spec.network.couples_samples
        and (spec.network.assumes_independent_samples or spec.lab.every)
        for spec in specs
    ):
        found.append(
            "note: batch norm above a binary layer couples the samples of a batch, so that an "
            "estimator which weighs each sample's score by that sample's loss alone is biased; "
            "model.norm=running and model.norm=group do not couple them"
        )
    if any(spec.general.device.startswith("cuda") for spec in specs):
        found.append(
            "note: on CUDA some sums have no fixed order, so the same seed gives close but not "
            "equal metrics"
        )
    return found


def _shared_file(spec: RunSpec) -> str | None:
    uri = spec.tracking.uri or "sqlite:///mlflow.db"
    if not uri.startswith("sqlite:///"):
        return None
    return shared_file_warning(Path(uri.removeprefix("sqlite:///")))
