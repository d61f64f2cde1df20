"""The training loop: batches from tensors in memory, one update a batch, one evaluation and one record an epoch.

It knows a `Tracker` protocol and no tracking library. The same seed gives the same metrics to the last bit on one
machine's CPU at the same number of threads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnn.data import Dataset, Split
from bnn.errors import ConfigError, DivergedError
from bnn.estimators import Estimator
from bnn.models.norms import refuse_coupled_replicas
from bnn.neurons import set_slope
from bnn.passes import Run, sites_of
from bnn.schedules import Schedule
from bnn.training import checkpoint
from bnn.training.evaluation import evaluate, generator_noise, own_rule, seeded_noise
from bnn.training.optimizers import Optimization, gradient_norms
from bnn.training.progress import Progress
from bnn.training.units import Snapshot, fixed_images, snapshot, unit_health

FINITE_EVERY = 50
"""Steps between two looks at whether the loss is finite; each look waits for the device."""


@dataclass(frozen=True)
class TrainerSettings:
    """The `trainer` group."""

    epochs: int
    batch_size: int
    validation_fraction: float
    precision: str
    evaluation_samples: int
    progress: str

    def __post_init__(self) -> None:
        for key in ("epochs", "evaluation_samples"):
            if getattr(self, key) < 1:
                raise ConfigError(f"trainer.{key}: expected at least 1, got {getattr(self, key)}")
        if self.batch_size < 2:
            raise ConfigError(f"trainer.batch_size: expected at least 2 (batch norm needs two), got {self.batch_size}")
        if not 0 < self.validation_fraction < 1:
            raise ConfigError(
                f"trainer.validation_fraction: expected a share in (0, 1), got {self.validation_fraction}"
            )
        for key, valid in (("precision", ("float32", "bf16")), ("progress", ("auto", "bar", "lines", "none"))):
            if getattr(self, key) not in valid:
                raise ConfigError(f"trainer.{key}: expected one of {', '.join(valid)}; got {getattr(self, key)!r}")


class Tracker(Protocol):
    """Where a run's record goes."""

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Metrics of one finished epoch, counted from 1."""

    def picture(self, epoch: int, view: Snapshot) -> None:
        """The activation layers on the fixed images after an epoch."""


class Untracked:
    """A Tracker that keeps nothing."""

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None: ...

    def picture(self, epoch: int, view: Snapshot) -> None: ...


@dataclass(frozen=True)
class Fit:
    """A finished training. The model holds the weights of `best_epoch`, the one of the lowest validation loss."""

    best_epoch: int
    history: tuple[dict[str, float], ...]
    train_seconds: float
    """Time in updates alone: evaluation, pictures and tracking are not in it."""
    checkpoint: Path | None


def batches(split: Split, size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """A permutation of the split in batches of `size`; a last one of a single sample is dropped (it has no variance)."""
    order = torch.randperm(len(split.labels), generator=generator).to(split.labels.device)
    for index in order.split(size):
        if len(index) > 1:
            yield split.images[index], split.labels[index]


def steps_per_epoch(samples: int, size: int) -> int:
    return samples // size + (samples % size > 1)


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Negative log-likelihood in nats, one value per sample."""
    return F.cross_entropy(scores, labels, reduction="none")


def update(run: Run, estimator: Estimator, optimizer: torch.optim.Optimizer, precision: str) -> Tensor:
    """One step on one batch; answers the mean loss, detached."""
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(run.inputs.device.type, torch.bfloat16, enabled=precision == "bf16"):
        surrogate = estimator.surrogate(run)
    surrogate.backward()
    optimizer.step()
    return surrogate.detach()


def fit(
    model: nn.Module,
    estimator: Estimator,
    data: Dataset,
    optimization: Optimization,
    schedule: Schedule,
    settings: TrainerSettings,
    *,
    seed: int,
    tracker: Tracker | None = None,
    heatmaps: bool = False,
    folder: Path | None = None,
    about: Mapping[str, Any] | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    title: str = "",
) -> Fit:
    """Train `model` by `estimator` on `data` (which names the device) and leave it at its best validation epoch.

    The best checkpoint is written to `folder`, with `about` (plain values: the configuration) beside the weights.
    Errors: DivergedError for a loss that is not finite; the last good checkpoint then stays in `folder`.
    """
    device = data.train.images.device
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    estimator.bind(sites_of(model, data.train.images[:2]))
    estimator.to(device)
    if estimator.passes(1) > 1:
        refuse_coupled_replicas(model)
    steps = steps_per_epoch(len(data.train.labels), settings.batch_size)
    parameters = [*model.parameters(), *estimator.parameters()]
    optimizer, learning_rate = optimization.start(parameters, steps * settings.epochs)
    order = torch.Generator().manual_seed(seed)
    noise = generator_noise(torch.Generator(device).manual_seed(seed))
    progress = Progress(settings.progress, title, settings.epochs, steps)
    tracker = tracker or Untracked()
    history: list[dict[str, float]] = []
    best: dict[str, Any] = {"epoch": 0, "loss": math.inf}
    path = folder / "best.pt" if folder is not None else None
    seconds = 0.0
    with progress:
        for epoch in range(1, settings.epochs + 1):
            slope = schedule(epoch - 1, settings.epochs)
            set_slope(model, slope)
            rate = learning_rate.get_last_lr()[0]
            start = time.perf_counter()
            model.train()
            total = torch.zeros((), device=device)
            correct = torch.zeros((), device=device, dtype=torch.int64)
            for step, (images, labels) in enumerate(batches(data.train, settings.batch_size, order)):
                run = Run(model, images, labels, loss, noise)
                total += update(run, estimator, optimizer, settings.precision) * len(labels)
                correct += run.correct()
                learning_rate.step()
                if step % FINITE_EVERY == 0 or step == steps - 1:
                    _check_finite(total, epoch, step)
                progress.step()
            seconds += time.perf_counter() - start
            validation = evaluate(model, data.validation, own_rule(seeded_noise(seed, device)))
            metrics = {
                "train/loss": float(total) / len(data.train.labels),
                "train/accuracy": float(correct) / len(data.train.labels),
                "val/loss": validation.loss,
                "val/accuracy": validation.accuracy,
                "schedule/slope": slope,
                "schedule/lr": rate,
                **{f"gradient_norm/{layer}": norm for layer, norm in gradient_norms(model).items()},
                **{f"units/{key}": value for key, value in unit_health(model, data.validation, seed).items()},
            }
            history.append(metrics)
            tracker.epoch(epoch, metrics)
            if heatmaps:
                tracker.picture(epoch, snapshot(model, fixed_images(data.test), seed))
            progress.epoch(epoch, metrics)
            if validation.loss < best["loss"]:
                state = {key: value.clone() for key, value in model.state_dict().items()}
                best = {"epoch": epoch, "loss": validation.loss, "model": state}
                if path is not None:
                    content = {**best, "estimator": estimator.state_dict(), "about": dict(about or {})}
                    checkpoint.save(path, content)
    if not best["epoch"]:
        raise DivergedError("the validation loss was never finite: lower optimizer.lr")
    model.load_state_dict(best["model"])
    return Fit(best["epoch"], tuple(history), seconds, path)


def _check_finite(total: Tensor, epoch: int, step: int) -> None:
    if not math.isfinite(float(total)):
        raise DivergedError(f"the training loss became {float(total)} in epoch {epoch}, by step {step}: lower optimizer.lr")
