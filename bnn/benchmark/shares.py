"""Where a run's time goes, reckoned for a whole one from a short one."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from omegaconf import DictConfig

from bnn.benchmark.timing import finisher
from bnn.config.compose import with_values
from bnn.tables import markdown

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from bnn.build import TrainingSetup
    from bnn.tracking.run import MlflowRun
    from bnn.training.activations import Snapshot


RUN_EPOCHS = 10
TRACKING_TARGET = 0.02
"""Share of MLflow's calls in the training time of RUN_EPOCHS epochs."""


@dataclass
class Laps:
    """A clock that charges all time since it was last read to a part of the run: per step, per epoch, or once."""

    finish: Callable[[], None]
    taken: dict[tuple[str, str], list[tuple[int, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    epoch: int = 0
    since: float = field(default_factory=time.perf_counter)

    def lap(self, part: str, per: str) -> None:
        self.finish()
        now = time.perf_counter()
        self.taken[part, per].append((self.epoch, now - self.since))
        self.since = now

    @contextlib.contextmanager
    def charged(self, tracker: MlflowRun, per: str) -> Iterator[None]:
        """Charge what is done inside by the tracker's own account of its seconds."""
        before = dict(tracker.seconds)
        yield
        for part, seconds in tracker.seconds.items():
            self.taken[part, per].append((self.epoch, seconds - before[part]))
        self.since = time.perf_counter()

    def a_step(self, part: str) -> float:
        """Median seconds a step."""
        return median([seconds for _, seconds in self.taken.get((part, "step"), [])] or [0.0])

    def an_epoch(self, part: str) -> float:
        """Seconds in the last epoch."""
        return sum(
            seconds for epoch, seconds in self.taken.get((part, "epoch"), []) if epoch == self.epoch
        )

    def once(self, part: str) -> float:
        """Seconds that more epochs do not add to: outside of epochs, and what the first took longer than the last."""
        epochs = sum(
            seconds for _, seconds in self.taken.get((part, "epoch"), [])
        ) - self.epoch * self.an_epoch(part)
        return max(0.0, epochs) + sum(seconds for _, seconds in self.taken.get((part, "once"), []))


@contextlib.contextmanager
def watched_tracker(laps: Laps) -> Iterator[None]:
    """Within, every MLflow run has its time charged by its own account."""
    from bnn.tracking.run import MlflowRun

    log_epoch, log_picture, finish = (
        MlflowRun._log_epoch,
        MlflowRun._log_images,
        MlflowRun.finish,
    )

    def epoch(run: MlflowRun, number: int, metrics: Mapping[str, float]) -> None:
        laps.epoch = number
        laps.lap("evaluation", "epoch")
        with laps.charged(run, "epoch"):
            log_epoch(run, number, metrics)

    def picture(run: MlflowRun, number: int, view: Snapshot) -> None:
        laps.lap("snapshots", "epoch")
        with laps.charged(run, "epoch"):
            log_picture(run, number, view)

    def finished(run: MlflowRun, *results: Any) -> float:
        laps.lap("evaluation", "once")
        total = finish(run, *results)
        for part, seconds in run.seconds.items():
            in_epochs = sum(spent for _, spent in laps.taken.get((part, "epoch"), []))
            laps.taken[part, "once"].append((0, seconds - in_epochs))
        laps.since = time.perf_counter()
        return total

    with patch.multiple(MlflowRun, _log_epoch=epoch, _log_images=picture, finish=finished):
        yield


def watch(plan: TrainingSetup, laps: Laps) -> TrainingSetup:
    """`plan`, whose estimator, optimizer and schedule read the clock as the loop calls them."""
    recipe, estimator = plan.training, plan.training.estimator
    surrogate_loss, start = estimator.surrogate_loss, recipe.optimization.optimizer

    def timed_surrogate(forward: Any) -> Tensor:
        laps.lap("between", "step")
        scalar = surrogate_loss(forward)
        laps.lap("forward", "step")
        return scalar

    def timed_optimizer(parameters: Any) -> torch.optim.Optimizer:
        optimizer = start(parameters)
        optimizer.register_step_pre_hook(lambda *_: laps.lap("backward", "step"))
        optimizer.register_step_post_hook(lambda *_: laps.lap("optimizer", "step"))
        return optimizer

    def timed_schedule(epoch: int, epochs: int) -> float:
        # the checkpoint of the epoch before is charged to the one that begins, since the last epoch's is not seen
        laps.epoch = epoch + 1
        laps.lap(*(("checkpoint", "epoch") if epoch else ("start", "once")))
        return recipe.schedule(epoch, epochs)

    estimator.surrogate_loss = timed_surrogate  # type: ignore[method-assign]
    optimization = replace(recipe.optimization, optimizer=timed_optimizer)
    return replace(
        plan, training=replace(recipe, optimization=optimization, schedule=timed_schedule)
    )


def tracked_run(config: DictConfig, folder: Path) -> tuple[Laps, TrainingSetup]:
    """A short run as bnn.train makes it, with its own tracking store in `folder`, and the clock that watched it."""
    import torch

    from bnn.build import build, read_dataset
    from bnn.runs.execute import execute
    from bnn.specify import specify
    from bnn.tracking.store import open_store
    from bnn.training.step import batches

    uri = f"sqlite:///{folder / 'mlflow.db'}"
    spec = specify(
        with_values(config, trainer__epochs=2, trainer__progress="none", tracking__uri=uri)
    )
    laps = Laps(finisher(torch.device(spec.general.device)))
    open_store(uri, "benchmark")
    laps.lap("new store", "once")
    checked = watch(build(spec), laps)
    with watched_tracker(laps), patch("bnn.runs.execute.build", lambda spec: checked):
        execute(spec, folder, None, "benchmark")
    laps.lap("mlflow", "once")
    data, recipe = read_dataset(checked.spec), checked.training
    laps.lap("reading", "once")
    for _ in batches(
        data.train, recipe.settings.batch_size, torch.Generator().manual_seed(recipe.seed)
    ):
        laps.lap("data", "step")
    return laps, checked


PARTS = ("data", "rest of the loop", "forward", "backward", "optimizer", "evaluation", "snapshots", "checkpoint", "mlflow",
         "figures", "export")  # fmt: skip


def shares(config: DictConfig) -> str:
    """The parts of a run of RUN_EPOCHS epochs on the whole training split, reckoned from a short tracked one."""
    from bnn.training.step import steps_per_epoch

    with TemporaryDirectory() as folder:
        laps, checked = tracked_run(config, Path(folder))
    settings = checked.training.settings
    steps = steps_per_epoch(
        round(checked.spec.data.train_size * (1 - settings.validation_fraction)),
        settings.batch_size,
    )
    a_step = {part: laps.a_step(part) for part in PARTS}
    a_step["rest of the loop"] = max(0.0, laps.a_step("between") - a_step["data"])
    total = {p: RUN_EPOCHS * (steps * a_step[p] + laps.an_epoch(p)) + laps.once(p) for p in PARTS}
    whole = sum(total.values())
    rows = [
        [p, f"{1000 * a_step[p]:.3f}", f"{laps.an_epoch(p):.3f}", f"{laps.once(p):.2f}", f"{total[p]:.2f}",
         f"{100 * total[p] / whole:.2f}"]
        for p in PARTS
    ]  # fmt: skip
    head = ["part", "ms a step", "s an epoch", "s once", f"s in {RUN_EPOCHS} epochs", "%"]
    training = RUN_EPOCHS * steps * sum(a_step.values())
    calls, all_tracking = (
        total["mlflow"],
        sum(total[part] for part in ("mlflow", "figures", "export")),
    )
    return (
        f"{markdown(head, rows)}\n\n"
        f"MLflow's calls: {calls:.2f} s beside {training:.0f} s of training in {RUN_EPOCHS} epochs of {steps} steps, "
        f"{100 * calls / training:.2f} % (target: at most {100 * TRACKING_TARGET:.0f} %); "
        f"with figures and the exported model "
        f"{100 * all_tracking / training:.2f} %. Once for all runs: a new store, {laps.once('new store'):.1f} s."
    )
