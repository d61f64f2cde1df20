"""Stopwatch that charges the time of a run to its parts, and the hooks that read it."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from bnn.build import TrainingSetup
from bnn.nn.forward import ForwardClosure
from bnn.tracking.run import MlflowRun
from bnn.training.activations import Snapshot


@dataclass
class Laps:
    """Stopwatch that charges the time since its last reading to a part of the run.

    Args:
        finish: function that waits until the device has finished its work.
        taken: (epoch, seconds) by the name of the part and by how often it occurs, which is
            `step`, `epoch` or `once`.
        epoch: current epoch.
        since: last reading of the clock.
    """

    finish: Callable[[], None]
    taken: dict[tuple[str, str], list[tuple[int, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    epoch: int = 0
    since: float = field(default_factory=time.perf_counter)

    def lap(self, part: str, per: str) -> None:
        """Charge the time since the last reading to a part."""
        self.finish()
        now = time.perf_counter()
        self.taken[part, per].append((self.epoch, now - self.since))
        self.since = now

    @contextlib.contextmanager
    def charged(self, tracker: MlflowRun, per: str) -> Iterator[None]:
        """Context whose time is charged by the tracker's own account of its seconds."""
        before = dict(tracker.seconds)
        yield
        for part, seconds in tracker.seconds.items():
            self.taken[part, per].append((self.epoch, seconds - before[part]))
        self.since = time.perf_counter()

    def a_step(self, part: str) -> float:
        """Median seconds of a step."""
        return median([seconds for _, seconds in self.taken.get((part, "step"), [])] or [0.0])

    def an_epoch(self, part: str) -> float:
        """Seconds in the last epoch."""
        return sum(
            seconds for epoch, seconds in self.taken.get((part, "epoch"), []) if epoch == self.epoch
        )

    def once(self, part: str) -> float:
        """Seconds that do not grow with the number of epochs.

        Those outside of epochs, and the time by which the first epoch exceeds the last.
        """
        in_epochs = sum(seconds for _, seconds in self.taken.get((part, "epoch"), []))
        excess = in_epochs - self.epoch * self.an_epoch(part)
        return max(0.0, excess) + sum(seconds for _, seconds in self.taken.get((part, "once"), []))


@contextlib.contextmanager
def timed_tracker(laps: Laps) -> Iterator[None]:
    """Context in which every MLflow run has its time charged by its own account."""
    log_epoch, log_pictures = MlflowRun._log_epoch, MlflowRun._log_images
    finish = MlflowRun.finish

    def timed_epoch(run: MlflowRun, number: int, metrics: Mapping[str, float]) -> None:
        laps.epoch = number
        laps.lap("evaluation", "epoch")
        with laps.charged(run, "epoch"):
            log_epoch(run, number, metrics)

    def timed_pictures(run: MlflowRun, number: int, view: Snapshot) -> None:
        laps.lap("snapshots", "epoch")
        with laps.charged(run, "epoch"):
            log_pictures(run, number, view)

    def timed_finish(run: MlflowRun, *results: Any) -> float:
        laps.lap("evaluation", "once")
        total = finish(run, *results)
        for part, seconds in run.seconds.items():
            in_epochs = sum(spent for _, spent in laps.taken.get((part, "epoch"), []))
            laps.taken[part, "once"].append((0, seconds - in_epochs))
        laps.since = time.perf_counter()
        return total

    methods: dict[str, Any] = {"_log_epoch": timed_epoch, "_log_images": timed_pictures}
    with patch.multiple(MlflowRun, **methods, finish=timed_finish):
        yield


def timed(setup: TrainingSetup, laps: Laps) -> TrainingSetup:
    """Setup whose estimator, optimizer and schedule read the stopwatch as the loop calls them."""
    training, estimator = setup.training, setup.training.estimator
    surrogate_loss, make_optimizer = estimator.surrogate_loss, training.optimization.optimizer

    def timed_surrogate(forward: ForwardClosure) -> Tensor:
        laps.lap("between", "step")
        scalar = surrogate_loss(forward)
        laps.lap("forward", "step")
        return scalar

    def timed_optimizer(parameters: Any) -> torch.optim.Optimizer:
        optimizer = make_optimizer(parameters)
        optimizer.register_step_pre_hook(lambda *_: laps.lap("backward", "step"))
        optimizer.register_step_post_hook(lambda *_: laps.lap("optimizer", "step"))
        return optimizer

    def timed_schedule(epoch: int, epochs: int) -> float:
        # an epoch's checkpoint is charged to the next epoch, since that of the last one is not seen
        laps.epoch = epoch + 1
        laps.lap(*(("checkpoint", "epoch") if epoch else ("start", "once")))
        return training.schedule(epoch, epochs)

    estimator.surrogate_loss = timed_surrogate  # type: ignore[method-assign]
    optimization = replace(training.optimization, optimizer=timed_optimizer)
    changed = replace(training, optimization=optimization, schedule=timed_schedule)
    return replace(setup, training=changed)
