"""Training loop: the steps of an epoch, its evaluation, its record and its checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bnn import schema
from bnn.data import Dataset
from bnn.errors import DivergedError
from bnn.estimators import Estimator
from bnn.nn.latent_updates import weight_statistics
from bnn.nn.neurons import set_slope
from bnn.tasks import Scores, Task
from bnn.tasks.weight_readings import WeightEvaluation, read_by_sign
from bnn.training import checkpoint
from bnn.training.activations import HEALTH_IMAGES, unit_health
from bnn.training.callback import Callback, Callbacks, FitContext
from bnn.training.optimizers import gradient_norms
from bnn.training.settings import TrainingConfig
from bnn.training.step import TrainState


@dataclass(frozen=True)
class FitResult:
    """Result of a finished training, whose model holds the weights of the best epoch.

    Args:
        best_epoch: best epoch by the task's selection metric, counted from 1.
        history: metrics of every epoch by key.
        train_seconds: seconds in training steps alone, without evaluation, pictures and tracking.
        checkpoint: file of the best network, where a folder was given.
        training_statistics: running statistics of the norms as training collected them, at the
            best epoch, where a rule draws weights in training: the network then has statistics
            that were estimated again for the signs of its weights. None elsewhere.
    """

    best_epoch: int
    history: tuple[dict[str, float], ...]
    train_seconds: float
    checkpoint: Path | None
    training_statistics: Mapping[str, Tensor] | None = None


@dataclass
class _Best:
    """State after the best epoch so far, in memory and, where a path is given, on disk.

    Args:
        path: checkpoint file, or None.
        about: metadata of the checkpoint.
        task: task, whose selection metric decides.
        content: `epoch`, `value` and the states of `model`, `estimator` and `task`; empty before
            the first epoch with a finite value.
    """

    path: Path | None
    about: Mapping[str, Any]
    task: Task
    content: dict[str, Any] = field(default_factory=dict)

    def offer(
        self,
        epoch: int,
        metrics: Mapping[str, float],
        model: nn.Module,
        estimator: Estimator,
        statistics: Mapping[str, Tensor] | None,
    ) -> None:
        """Keep the state of an epoch whose value is better than the best so far."""
        value = metrics[schema.VALIDATION + self.task.selection]
        sign = 1 if self.task.metrics[self.task.selection].direction == "minimize" else -1
        best = self.content.get("value", sign * math.inf)
        if math.isfinite(value) and sign * value < sign * best:
            parts = {"model": model, "estimator": estimator, "task": self.task}
            copies = {
                k: {key: one.clone() for key, one in part.state_dict().items()}
                for k, part in parts.items()
            }
            kept = {} if statistics is None else {"training_statistics": dict(statistics)}
            self.keep({"epoch": epoch, "value": value, **copies, **kept})

    def keep(self, content: dict[str, Any]) -> None:
        """Take over a state, and write it to disk."""
        self.content = content
        if self.path is not None and content:
            checkpoint.save(self.path, {**content, "about": dict(self.about)})


def fit(
    model: nn.Module,
    config: TrainingConfig,
    data: Dataset,
    *,
    callbacks: Sequence[Callback] = (),
    folder: Path | None = None,
    metadata: Mapping[str, Any] | None = None,
    title: str = "",
    resume: bool = False,
) -> FitResult:
    """Train a network and leave it at its best validation epoch, in evaluation mode.

    Args:
        model: network.
        config: task, estimator, optimizer, schedules and settings.
        data: data set; it names the device.
        callbacks: hooks, called in this order.
        folder: where each epoch leaves a checkpoint of everything (last.pt), and the best one so
            far the network (best.pt); None: no checkpoints.
        metadata: plain values that best.pt carries beside the weights, such as the configuration.
        title: display name.
        resume: continue from last.pt in `folder`, to the same end as a training that was not
            interrupted: on a CPU, with as many threads, to the last bit.

    Returns:
        Best epoch, and the metrics of every epoch.

    Raises:
        DivergedError: for a loss that is not finite, or of 100 times the first; the last good
            checkpoints stay in `folder`.
        CheckpointError: for checkpoints that cannot be written or read.
    """
    hooks = Callbacks(*callbacks)
    state = TrainState(model, config, data)
    epochs, seed, task = config.settings.epochs, config.seed, config.task
    best = _Best(folder / checkpoint.BEST if folder is not None else None, metadata or {}, task)
    history = _earlier_history(state, best, folder, resume)
    set_slope(model, config.schedule(min(len(history), epochs - 1), epochs))
    context = FitContext(model, task, data, seed, title, epochs, state.steps, len(history))
    try:
        hooks.on_fit_start(context)
        for epoch in range(len(history) + 1, epochs + 1):
            slope = config.schedule(epoch - 1, epochs)
            set_slope(model, slope)
            metrics = state.epoch(hooks) | {schema.SLOPE: slope}
            state.check_divergence(epoch, metrics[schema.TRAIN + "loss"])
            with read_by_sign(task, model, data.train, seed) as statistics:
                metrics |= _measure(model, config, data)
                hooks.on_evaluation(epoch, metrics)
                # NumPy's scalars would be pickled, which no checkpoint is read with
                metrics = {key: float(value) for key, value in metrics.items()}
                history.append(metrics)
                hooks.on_epoch_end(epoch, metrics)
                best.offer(epoch, metrics, model, config.estimator, statistics)
            if folder is not None:
                kept = {"history": history, "best": best.content, "updates": state.state_dict()}
                checkpoint.save(folder / checkpoint.LAST, kept)
    finally:
        hooks.on_fit_end()
    if not best.content:
        raise DivergedError(f"the validation {task.selection} was never finite: lower optimizer.lr")
    model.load_state_dict(best.content["model"])
    task.load_state_dict(best.content["task"])
    model.eval()
    return FitResult(
        best.content["epoch"],
        tuple(history),
        state.seconds,
        best.path,
        best.content.get("training_statistics"),
    )


def score_test_split(
    model: nn.Module, config: TrainingConfig, data: Dataset, fitted: FitResult
) -> dict[str, Scores]:
    """Metrics of a trained network on the test split, under every reading of units and weights.

    Args:
        model: network, as `fit` left it.
        config: task, seed and `evaluation_samples`.
        data: data set of the training.
        fitted: result of `fit`.

    Returns:
        Metrics by the name of the reading.
    """
    task, draws = config.task, config.settings.evaluation_samples
    scores = task.evaluations(model, data.test, draws, config.seed)
    if fitted.training_statistics is not None:
        weights = WeightEvaluation(task, model, data.train, config.seed)
        scores |= weights.all_scores(data.test, draws, fitted.training_statistics)
    return scores


def _earlier_history(
    state: TrainState, best: _Best, folder: Path | None, resume: bool
) -> list[dict[str, float]]:
    """Metrics of the epochs that an earlier process finished, whose state is loaded.

    Without `resume` the checkpoints of another run, where a folder is used again, are removed.
    """
    if folder is None:
        return []
    if not resume:
        for name in (checkpoint.BEST, checkpoint.LAST):
            (folder / name).unlink(missing_ok=True)
        return []
    earlier = checkpoint.load_last(folder / checkpoint.LAST, state.split.images.device)
    state.load_state_dict(earlier["updates"])
    best.keep(earlier["best"])
    return list(earlier["history"])


def _measure(model: nn.Module, config: TrainingConfig, data: Dataset) -> dict[str, float]:
    """Metrics after an epoch, on the validation split, of the last step, and of the estimator."""
    task, split, seed = config.task, data.validation, config.seed
    health, _ = task.fixed_batch(split.head(HEALTH_IMAGES))
    reading = task.validation_reading(model, config.settings.validation_samples, seed)
    scores = task.evaluate(model, split, reading)
    learned = config.estimator.metrics()
    return {
        **{schema.VALIDATION + name: value for name, value in scores.items()},
        **{schema.GRADIENT_NORM + layer: norm for layer, norm in gradient_norms(model).items()},
        **{schema.UNITS + key: value for key, value in unit_health(model, health, seed).items()},
        **{schema.ESTIMATOR + name: value for name, value in learned.items()},
        **weight_statistics(model),
    }
