"""The training loop: the steps of an epoch, one evaluation, one record. It knows a `Tracker` protocol and no library."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from bnn.data import Dataset
from bnn.errors import DivergedError
from bnn.estimators import Estimator
from bnn.nn.handlers import sampled
from bnn.nn.neurons import set_slope
from bnn.tasks import Task
from bnn.tasks.readings import seeded_noise
from bnn.training import checkpoint
from bnn.training.optimizers import gradient_norms
from bnn.training.progress import Progress
from bnn.training.settings import TrainingConfig
from bnn.training.step import TrainState
from bnn.training.units import HEALTH_IMAGES, Snapshot, fixed_images, snapshot, unit_health


class Tracker(Protocol):
    """Where a run's record goes."""

    pictures: bool
    """Whether `picture` is to be called."""

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Metrics of one finished epoch, counted from 1."""

    def picture(self, epoch: int, view: Snapshot) -> None:
        """The activation layers on the fixed images after an epoch."""


class Untracked:
    """A Tracker that keeps nothing."""

    pictures = False

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None: ...

    def picture(self, epoch: int, view: Snapshot) -> None: ...


class Reporting:
    """A Tracker that passes everything on, and calls `report` after each epoch; what that raises ends the training."""

    def __init__(
        self, tracker: Tracker, report: Callable[[int, Mapping[str, float]], None]
    ) -> None:
        self.pictures = tracker.pictures
        self._tracker, self._report = tracker, report

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self._tracker.epoch(epoch, metrics)
        self._report(epoch, metrics)

    def picture(self, epoch: int, view: Snapshot) -> None:
        self._tracker.picture(epoch, view)


@dataclass(frozen=True)
class FitResult:
    """A finished training. The model holds the weights of `best_epoch`, the best one by the task's selection metric."""

    best_epoch: int
    history: tuple[dict[str, float], ...]
    train_seconds: float
    """Time in training steps alone: evaluation, pictures and tracking are not in it."""
    checkpoint: Path | None


@dataclass
class _Best:
    """State after the epoch that is best by the task's selection metric, in memory and, where a folder is given, on disk."""

    path: Path | None
    about: Mapping[str, Any]
    task: Task
    content: dict[str, Any] = field(default_factory=dict)

    def offer(
        self, epoch: int, metrics: Mapping[str, float], model: nn.Module, estimator: Estimator
    ) -> None:
        value = metrics[f"val/{self.task.selection}"]
        sign = 1 if self.task.metrics[self.task.selection].direction == "minimize" else -1
        if math.isfinite(value) and sign * value < sign * self.content.get(
            "value", sign * math.inf
        ):
            parts = {"model": model, "estimator": estimator, "task": self.task}
            copies = {
                k: {key: one.clone() for key, one in part.state_dict().items()}
                for k, part in parts.items()
            }
            self.keep({"epoch": epoch, "value": value, **copies})

    def keep(self, content: dict[str, Any]) -> None:
        self.content = content
        if self.path is not None and content:
            checkpoint.save(self.path, {**content, "about": dict(self.about)})


def fit(
    model: nn.Module,
    recipe: TrainingConfig,
    data: Dataset,
    *,
    tracker: Tracker | None = None,
    folder: Path | None = None,
    about: Mapping[str, Any] | None = None,
    title: str = "",
    probe: Callable[[int], Mapping[str, float]] | None = None,
    resume: bool = False,
) -> FitResult:
    """Train `model` by `recipe` on `data` (which names the device) and leave it at its best validation epoch, in
    evaluation mode.

    `probe` returns further metrics after an epoch, and leaves the network as it was. After each epoch `folder` gets a
    checkpoint of everything (last.pt), and after the best one so far a checkpoint of the network (best.pt), with `about`
    (plain values: the configuration) beside the weights.
    resume: go on from the checkpoint in `folder`, to the same end as a training that was not interrupted: on a CPU, with as
    many threads, to the last bit. The tracker hears of the epochs that are left.
    Errors: DivergedError for a loss that is not finite; the last good checkpoints then stay in `folder`. CheckpointError.
    """
    tracker = tracker or Untracked()
    state = TrainState(model, recipe, data)
    epochs, seed = recipe.settings.epochs, recipe.seed
    task = recipe.task
    best = _Best(folder / checkpoint.BEST if folder is not None else None, about or {}, task)
    shown = fixed_images(data.test)
    history: list[dict[str, float]] = []
    if folder is not None and resume:
        earlier = checkpoint.load(folder / checkpoint.LAST, data.train.images.device)
        state.load_state_dict(earlier["updates"])
        history = list(earlier["history"])
        best.keep(earlier["best"])
    elif folder is not None:
        for name in (checkpoint.BEST, checkpoint.LAST):
            (folder / name).unlink(missing_ok=True)  # another run's, where a folder is used again
    if tracker.pictures and not history:
        set_slope(model, recipe.schedule(0, epochs))
        tracker.picture(
            0, snapshot(model, shown, seed, task.inputs(shown))
        )  # what training begins with
    with Progress(recipe.settings.progress, title, epochs, state.steps, len(history)) as progress:
        for epoch in range(len(history) + 1, epochs + 1):
            slope = recipe.schedule(epoch - 1, epochs)
            set_slope(model, slope)
            metrics = (
                state.epoch(progress)
                | {"schedule/slope": slope}
                | _measure(model, task, data, seed)
            )
            metrics |= {
                f"estimator/{name}": value for name, value in recipe.estimator.metrics().items()
            }
            if probe is not None:
                metrics |= probe(epoch)
            history.append(metrics)
            tracker.epoch(epoch, metrics)
            if tracker.pictures:
                tracker.picture(epoch, snapshot(model, shown, seed, task.inputs(shown)))
            progress.epoch(epoch, metrics, task)
            best.offer(epoch, metrics, model, recipe.estimator)
            if folder is not None:
                kept = {"history": history, "best": best.content, "updates": state.state_dict()}
                checkpoint.save(folder / checkpoint.LAST, kept)
    if not best.content:
        raise DivergedError(f"the validation {task.selection} was never finite: lower optimizer.lr")
    model.load_state_dict(best.content["model"])
    task.load_state_dict(best.content["task"])
    model.eval()
    return FitResult(best.content["epoch"], tuple(history), state.seconds, best.path)


def _measure(model: nn.Module, task: Task, data: Dataset, seed: int) -> dict[str, float]:
    """Metrics after an epoch: validation by the net's own rule, the last step's gradient, the units' health."""
    split, health = data.validation, task.inputs(data.validation.images[:HEALTH_IMAGES])
    scores = task.evaluate(model, split, sampled(seeded_noise(seed, split.images.device)))
    return {
        **{f"val/{name}": value for name, value in scores.items()},
        **{f"gradient_norm/{layer}": norm for layer, norm in gradient_norms(model).items()},
        **{f"units/{key}": value for key, value in unit_health(model, health, seed).items()},
    }
