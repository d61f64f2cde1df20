"""Settings of a study: the `hydra.sweeper` node of `bnn_optuna`, checked; imports no optuna."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bnn import schema
from bnn.errors import ConfigError

SECONDS = schema.TRAIN_SECONDS
"""Objective that has no value after each epoch, so that trials cannot be pruned by it."""


def objectives(directions: Mapping[str, str]) -> dict[str, str]:
    """Objectives that a study may have, with their directions; none reads the test set.

    These are the task's validation metrics at the best epoch, and the seconds of training.

    Args:
        directions: `minimize` or `maximize` by metric of the task.
    """
    ordered = sorted(directions.items(), reverse=True)
    found = {schema.VALIDATION + name: direction for name, direction in ordered}
    return {**found, SECONDS: "minimize"}


def _list(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) or not isinstance(value, Sequence) else list(value)


@dataclass(frozen=True)
class StudySettings:
    """Settings of a study.

    Args:
        n_trials: complete or pruned trials of the whole study, of all workers together.
        seeds: seeds of a trial, from the configuration's `seed` upwards; a trial's value is their
            mean.
        metric: objective, or several.
        direction: `minimize` or `maximize` for each objective; None: the task's own.
        sampler: node of the sampler.
        pruner: node of the pruner.
        study_name: name of the study; None: made from the command line.
        storage: storage of the study; None: a journal beside the tracking file.
        n_jobs: trials that are launched together; None: as many as the launcher runs in parallel.
        max_failures: failed trials after which a worker stops.
        stale_after: seconds of silence after which a running trial counts as stale.
        keep_checkpoints: best trials whose checkpoints are kept; those of a Pareto front are too.
        objectives: directions of the objectives that the task has (`objectives`); None until the
            task is known.

    Raises:
        ConfigError: naming the key.
    """

    n_trials: int
    seeds: int
    metric: str | Sequence[str]
    direction: str | Sequence[str] | None
    sampler: Mapping[str, Any]
    pruner: Mapping[str, Any]
    study_name: str | None
    storage: str | None
    n_jobs: int | None
    max_failures: int
    stale_after: float
    keep_checkpoints: int
    objectives: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        self._check_numbers()
        for key in ("study_name", "storage"):
            if not isinstance(getattr(self, key), str | None):
                raise ConfigError(
                    f"hydra.sweeper.{key}: expected text or null, got {getattr(self, key)!r}"
                )
        for key in ("sampler", "pruner"):
            if not isinstance(getattr(self, key), Mapping):
                raise ConfigError(
                    f"hydra/sweeper/{key}: expected a choice of this group, "
                    f"got {getattr(self, key)!r}"
                )
        self._check_objectives()

    def _check_numbers(self) -> None:
        least_values = {
            "n_trials": 1,
            "seeds": 1,
            "max_failures": 0,
            "keep_checkpoints": 1,
            "n_jobs": 1,
        }
        for key, least in least_values.items():
            value = getattr(self, key)
            if key == "n_jobs" and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(
                    f"hydra.sweeper.{key}: expected an integer of at least {least}, got {value!r}"
                )
        if not (
            isinstance(self.stale_after, int | float)
            and self.stale_after > 0
            and math.isfinite(self.stale_after)
        ):
            raise ConfigError(
                "hydra.sweeper.stale_after: expected a positive number of seconds, "
                f"got {self.stale_after!r}"
            )

    def _check_objectives(self) -> None:
        if not self.metrics or len(set(self.metrics)) < len(self.metrics):
            raise ConfigError(
                f"hydra.sweeper.metric: expected metrics, each once, got {self.metric!r}"
            )
        if self.objectives is not None:
            self._check_metrics(self.objectives)
        if self.pruner.get("name") != "none" and (
            len(self.metrics) > 1 or self.metrics[0] == SECONDS
        ):
            raise ConfigError(
                f"hydra/sweeper/pruner: {', '.join(self.metrics)} gives no order by which to stop "
                "a trial after an epoch; write hydra/sweeper/pruner=none"
            )

    def _check_metrics(self, there: Mapping[str, str]) -> None:
        expected = ", ".join(there)
        for metric in self.metrics:
            if metric.startswith("test"):
                raise ConfigError(
                    f"hydra.sweeper.metric: {metric} would select on the test set; "
                    f"expected one of {expected}"
                )
            if metric not in there:
                raise ConfigError(
                    f"hydra.sweeper.metric: expected one of {expected}; got {metric!r}"
                )
        own = [there[metric] for metric in self.metrics]
        if self.directions != own:
            raise ConfigError(
                f"hydra.sweeper.direction: expected {', '.join(own)} for "
                f"{', '.join(self.metrics)} (or null), got {', '.join(self.directions)}"
            )

    @property
    def metrics(self) -> list[str]:
        """Objectives, in order."""
        return [str(metric) for metric in _list(self.metric)]

    @property
    def directions(self) -> list[str]:
        """Directions of the objectives, in order."""
        if self.direction is None:
            assert self.objectives is not None, "known once the task is"
            return [self.objectives[metric] for metric in self.metrics]
        return [str(direction) for direction in _list(self.direction)]


IDENTITY, PROVENANCE = "identity", "facts"
"""Attributes of a study: its identity as JSON; its command, commit, hardware and versions."""


def metrics_of(attributes: Mapping[str, Any]) -> list[str]:
    """Objectives of a study from its attributes; `value` for a study of another program."""
    if IDENTITY not in attributes:
        return ["value"]
    return list(json.loads(attributes[IDENTITY])["metric"].split(", "))


@dataclass(frozen=True)
class Assignment:
    """Trial of a study, as a worker passes it to a job.

    Args:
        storage: address of the study's storage.
        study: its name.
        number: number of the trial.
        metrics: objectives, by the keys of a run's metrics.
        seeds: seeds on which the trial is trained.
        stride: epoch e of the j-th seed is step j · stride + e; at least the epochs of any trial.
        stale_after: seconds of silence after which the trial counts as stale.
        params: values of the searched keys.
        pruner: node of the pruner.
    """

    storage: str
    study: str
    number: int
    metrics: Sequence[str]
    seeds: Sequence[int]
    stride: int
    stale_after: float
    params: Mapping[str, Any]
    pruner: Mapping[str, Any] = field(default_factory=lambda: {"name": "none"})
