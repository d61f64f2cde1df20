"""Training configuration: everything that determines the result but data and network."""

from __future__ import annotations

from dataclasses import dataclass

from bnn.errors import ConfigError
from bnn.estimators import Estimator
from bnn.tasks import Task
from bnn.training.optimizers import Optimization
from bnn.training.schedules import Schedule


@dataclass(frozen=True)
class TrainerSettings:
    """Group `trainer`.

    Args:
        epochs: number of epochs.
        batch_size: samples of a step.
        validation_fraction: share of the training examples that is held out, in (0, 1).
        precision: `float32`, or `bf16` under autocast.
        evaluation_samples: draws of the reading `mc_mean`.
        progress: `auto`, `bar`, `lines` or `none`.
        validation_samples: draws of the validation after each epoch, which selects the best one;
            of several the metrics are those of `mc_mean`.
        keep_last: whether a finished run keeps the state that a longer training goes on from.
        threads: threads of an operation on a CPU; None: as many as torch takes.
        cuda_graph: whether steps on a GPU are captured in a CUDA graph: `always`, `never`, or
            `auto` (bnn/training/cuda_graph.py).

    Raises:
        ConfigError: for a value that makes no sense, naming its key.
    """

    epochs: int
    batch_size: int
    validation_fraction: float
    precision: str
    evaluation_samples: int
    progress: str
    validation_samples: int = 1
    keep_last: bool = False
    threads: int | None = None
    cuda_graph: str = "auto"

    def __post_init__(self) -> None:
        for key in ("epochs", "evaluation_samples", "validation_samples"):
            if getattr(self, key) < 1:
                raise ConfigError(f"trainer.{key}: expected at least 1, got {getattr(self, key)}")
        if self.threads is not None and self.threads < 1:
            raise ConfigError(
                f"trainer.threads: expected at least 1, or null for torch's own; got {self.threads}"
            )
        if self.batch_size < 2:
            raise ConfigError(
                "trainer.batch_size: expected at least 2 (batch norm needs two), got "
                f"{self.batch_size}"
            )
        if not 0 < self.validation_fraction < 1:
            raise ConfigError(
                "trainer.validation_fraction: expected a share in (0, 1), got "
                f"{self.validation_fraction}"
            )
        for key, valid in (
            ("precision", ("float32", "bf16")),
            ("progress", ("auto", "bar", "lines", "none")),
            ("cuda_graph", ("auto", "always", "never")),
        ):
            if getattr(self, key) not in valid:
                raise ConfigError(
                    f"trainer.{key}: expected one of {', '.join(valid)}; got {getattr(self, key)!r}"
                )


@dataclass(frozen=True)
class TrainingConfig:
    """Training configuration, whatever the network and the data.

    Args:
        task: loss, metrics and evaluation.
        estimator: gradient estimator.
        optimization: optimizer and its learning rate.
        schedule: slope of the neurons by epoch.
        settings: group `trainer`.
        seed: seed of batches, bits, and learned parameters of estimator and task.

    Raises:
        ConfigError: for a mean over draws in validation that the task does not have.
    """

    task: Task
    estimator: Estimator
    optimization: Optimization
    schedule: Schedule
    settings: TrainerSettings
    seed: int

    def __post_init__(self) -> None:
        draws = self.settings.validation_samples
        if draws > 1 and not self.task.scores_samples:
            raise ConfigError(
                "trainer.validation_samples: expected 1 under a task without a mean over draws, "
                f"got {draws}"
            )
