"""The training loop: the updates of an epoch, one evaluation, one record. It knows a `Tracker` protocol and no library."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from bnn.data import Dataset
from bnn.errors import DivergedError
from bnn.estimators import Estimator
from bnn.neurons import set_slope
from bnn.training import checkpoint
from bnn.training.evaluation import evaluate, own_rule, seeded_noise
from bnn.training.optimizers import gradient_norms
from bnn.training.progress import Progress
from bnn.training.recipe import Recipe
from bnn.training.units import Snapshot, fixed_images, snapshot, unit_health
from bnn.training.updates import Updates


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

    def __init__(self, tracker: Tracker, report: Callable[[int, Mapping[str, float]], None]) -> None:
        self.pictures = tracker.pictures
        self._tracker, self._report = tracker, report

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self._tracker.epoch(epoch, metrics)
        self._report(epoch, metrics)

    def picture(self, epoch: int, view: Snapshot) -> None:
        self._tracker.picture(epoch, view)


@dataclass(frozen=True)
class Fit:
    """A finished training. The model holds the weights of `best_epoch`, the one of the lowest validation loss."""

    best_epoch: int
    history: tuple[dict[str, float], ...]
    train_seconds: float
    """Time in updates alone: evaluation, pictures and tracking are not in it."""
    checkpoint: Path | None


@dataclass
class _Best:
    """The state of the epoch with the lowest validation loss, in memory and, where a folder is given, on disk."""

    path: Path | None
    about: Mapping[str, Any]
    epoch: int = 0
    loss: float = math.inf
    state: dict[str, Tensor] = field(default_factory=dict)

    def offer(self, epoch: int, loss: float, model: nn.Module, estimator: Estimator) -> None:
        if not loss < self.loss:
            return
        self.epoch, self.loss = epoch, loss
        self.state = {key: value.clone() for key, value in model.state_dict().items()}
        if self.path is not None:
            content = {"epoch": epoch, "loss": loss, "model": self.state, "estimator": estimator.state_dict()}
            checkpoint.save(self.path, {**content, "about": dict(self.about)})


def fit(
    model: nn.Module,
    recipe: Recipe,
    data: Dataset,
    *,
    tracker: Tracker | None = None,
    folder: Path | None = None,
    about: Mapping[str, Any] | None = None,
    title: str = "",
    probe: Callable[[int], Mapping[str, float]] | None = None,
) -> Fit:
    """Train `model` by `recipe` on `data` (which names the device) and leave it at its best validation epoch, in
    evaluation mode.

    `probe` answers further metrics after an epoch, and leaves the network as it was. The best checkpoint is written to
    `folder`, with `about` (plain values: the configuration) beside the weights.
    Errors: DivergedError for a loss that is not finite; the last good checkpoint then stays in `folder`.
    """
    tracker = tracker or Untracked()
    updates = Updates(model, recipe, data)
    epochs, seed = recipe.settings.epochs, recipe.seed
    best = _Best(folder / "best.pt" if folder is not None else None, about or {})
    if best.path is not None:
        best.path.unlink(missing_ok=True)  # another run's, where a folder is used again
    history: list[dict[str, float]] = []
    with Progress(recipe.settings.progress, title, epochs, updates.steps) as progress:
        for epoch in range(1, epochs + 1):
            slope = recipe.schedule(epoch - 1, epochs)
            set_slope(model, slope)
            metrics = updates.epoch(progress) | {"schedule/slope": slope} | _measure(model, data, seed)
            if probe is not None:
                metrics |= probe(epoch)
            history.append(metrics)
            tracker.epoch(epoch, metrics)
            if tracker.pictures:
                tracker.picture(epoch, snapshot(model, fixed_images(data.test), seed))
            progress.epoch(epoch, metrics)
            best.offer(epoch, metrics["val/loss"], model, recipe.estimator)
    if not best.epoch:
        raise DivergedError("the validation loss was never finite: lower optimizer.lr")
    model.load_state_dict(best.state)
    model.eval()
    return Fit(best.epoch, tuple(history), updates.seconds, best.path)


def _measure(model: nn.Module, data: Dataset, seed: int) -> dict[str, float]:
    """What is measured after an epoch: validation by the net's own rule, the last step's gradient, the units' health."""
    validation = evaluate(model, data.validation, own_rule(seeded_noise(seed, data.validation.images.device)))
    return {
        "val/loss": validation.loss,
        "val/accuracy": validation.accuracy,
        **{f"gradient_norm/{layer}": norm for layer, norm in gradient_norms(model).items()},
        **{f"units/{key}": value for key, value in unit_health(model, data.validation, seed).items()},
    }
