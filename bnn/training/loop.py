"""The training loop: batches from tensors in memory, one update a batch, one evaluation and one record an epoch.

It knows a `Tracker` protocol and no tracking library. The same seed gives the same metrics to the last bit on one
machine's CPU at the same number of threads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
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
            raise ConfigError(f"trainer.validation_fraction: expected a share in (0, 1), got {self.validation_fraction}")
        for key, valid in (("precision", ("float32", "bf16")), ("progress", ("auto", "bar", "lines", "none"))):
            if getattr(self, key) not in valid:
                raise ConfigError(f"trainer.{key}: expected one of {', '.join(valid)}; got {getattr(self, key)!r}")


@dataclass(frozen=True)
class Recipe:
    """How to train, whatever the network: everything that moves the result, but the data and the model."""

    estimator: Estimator
    optimization: Optimization
    schedule: Schedule
    settings: TrainerSettings
    seed: int


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


Loss = Callable[[Tensor, Tensor], Tensor]
"""`(scores, targets) -> [samples]`: one value per sample."""


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


class Updates:
    """The state that updates move: weights, optimizer, learning rate, and the streams of batches and of noise."""

    def __init__(self, model: nn.Module, recipe: Recipe, data: Dataset, loss: Loss = cross_entropy) -> None:
        device = data.train.images.device
        self.model, self.recipe, self.split, self.loss = model, recipe, data.train, loss
        model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        recipe.estimator.bind(sites_of(model, data.train.images[:2]))
        recipe.estimator.to(device)
        if recipe.estimator.passes(1) > 1:
            refuse_coupled_replicas(model)
        self.steps = steps_per_epoch(len(data.train.labels), recipe.settings.batch_size)
        parameters = [*model.parameters(), *recipe.estimator.parameters()]
        total = self.steps * recipe.settings.epochs
        self.optimizer, self.learning_rate = recipe.optimization.start(parameters, total)
        self.order = torch.Generator().manual_seed(recipe.seed)
        self.noise = generator_noise(torch.Generator(device).manual_seed(recipe.seed))
        self.seconds = 0.0

    def epoch(self, progress: Progress) -> dict[str, float]:
        """One pass over the training split. Errors: DivergedError for a loss that is not finite."""
        start = time.perf_counter()
        self.model.train()
        rate = float(self.learning_rate.get_last_lr()[0])
        seen = 0
        total = torch.zeros((), device=self.split.images.device)
        correct = torch.zeros((), device=self.split.images.device, dtype=torch.int64)
        for step, (images, labels) in enumerate(batches(self.split, self.recipe.settings.batch_size, self.order), 1):
            run = Run(self.model, images, labels, self.loss, self.noise)
            total += update(run, self.recipe.estimator, self.optimizer, self.recipe.settings.precision) * len(labels)
            correct += run.correct()
            seen += len(labels)
            self.learning_rate.step()
            progress.step()
            if (step % FINITE_EVERY == 0 or step == self.steps) and not math.isfinite(float(total)):
                raise DivergedError(f"the training loss became {float(total)} by step {step}: lower optimizer.lr")
        self.seconds += time.perf_counter() - start
        return {"train/loss": float(total) / seen, "train/accuracy": float(correct) / seen, "schedule/lr": rate}


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
    loss: Loss = cross_entropy,
) -> Fit:
    """Train `model` by `recipe` on `data` (which names the device) and leave it at its best validation epoch.

    The best checkpoint is written to `folder`, with `about` (plain values: the configuration) beside the weights.
    Errors: DivergedError for a loss that is not finite; the last good checkpoint then stays in `folder`.
    """
    tracker = tracker or Untracked()
    updates = Updates(model, recipe, data, loss)
    epochs, seed = recipe.settings.epochs, recipe.seed
    best = _Best(folder / "best.pt" if folder is not None else None, about or {})
    history: list[dict[str, float]] = []
    with Progress(recipe.settings.progress, title, epochs, updates.steps) as progress:
        for epoch in range(1, epochs + 1):
            slope = recipe.schedule(epoch - 1, epochs)
            set_slope(model, slope)
            metrics = updates.epoch(progress) | {"schedule/slope": slope} | _measure(model, data, seed)
            history.append(metrics)
            tracker.epoch(epoch, metrics)
            if tracker.pictures:
                tracker.picture(epoch, snapshot(model, fixed_images(data.test), seed))
            progress.epoch(epoch, metrics)
            best.offer(epoch, metrics["val/loss"], model, recipe.estimator)
    if not best.epoch:
        raise DivergedError("the validation loss was never finite: lower optimizer.lr")
    model.load_state_dict(best.state)
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
