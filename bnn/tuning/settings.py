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
"""Objective without a value after each epoch, by which no trial can be pruned."""


def objectives(directions: Mapping[str, str]) -> dict[str, str]:
    """Objectives of a study with their directions: the task's validation metrics at the best epoch, and the seconds.

    Nothing that reads the test set is among them.

    Args:
        directions: `minimize` or `maximize` by metric of the task.
    """
    found = {
        schema.VALIDATION + name: direction
        for name, direction in sorted(directions.items(), reverse=True)
    }
    return {**found, SECONDS: "minimize"}


def _list(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) or not isinstance(value, Sequence) else list(value)


@dataclass(frozen=True)
class StudySettings:
    """The settings of a study. Errors: ConfigError, naming the key."""

    n_trials: int
    """Trials of the whole study that end complete or pruned, whoever runs them."""
    seeds: int
    """Seeds of a trial, from the configuration's `seed` upwards; their mean is the trial's value."""
    metric: str | Sequence[str]
    direction: str | Sequence[str] | None
    """None: the metric's own."""
    sampler: Mapping[str, Any]
    pruner: Mapping[str, Any]
    study_name: str | None
    storage: str | None
    n_jobs: int | None
    """Trials that the launcher gets at a time; None: as many as it runs at once."""
    max_failures: int
    stale_after: float
    """Seconds without a sign of life after which a running trial counts as lost."""
    keep_checkpoints: int
    """Trials whose checkpoints stay: the best so many, and with several objectives those that no other beats in all."""
    objectives: Mapping[str, str] | None = None
    """Directions of the objectives that the task offers (`objectives`); None until the task is known."""

    def __post_init__(self) -> None:
        for key, least in (
            ("n_trials", 1),
            ("seeds", 1),
            ("max_failures", 0),
            ("keep_checkpoints", 1),
            ("n_jobs", 1),
        ):
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
                f"hydra.sweeper.stale_after: expected a positive number of seconds, got {self.stale_after!r}"
            )
        for key in ("study_name", "storage"):
            if not isinstance(getattr(self, key), str | None):
                raise ConfigError(
                    f"hydra.sweeper.{key}: expected text or null, got {getattr(self, key)!r}"
                )
        for key in ("sampler", "pruner"):
            if not isinstance(getattr(self, key), Mapping):
                raise ConfigError(
                    f"hydra/sweeper/{key}: expected a choice of this group, got {getattr(self, key)!r}"
                )
        self._check_objectives()

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
                f"hydra/sweeper/pruner: {', '.join(self.metrics)} gives no order by which to stop a trial after an epoch; "
                "write hydra/sweeper/pruner=none"
            )

    def _check_metrics(self, there: Mapping[str, str]) -> None:
        for metric in self.metrics:
            if metric.startswith("test"):
                raise ConfigError(
                    f"hydra.sweeper.metric: {metric} would select on the test set; expected one of {', '.join(there)}"
                )
            if metric not in there:
                raise ConfigError(
                    f"hydra.sweeper.metric: expected one of {', '.join(there)}; got {metric!r}"
                )
        own = [there[metric] for metric in self.metrics]
        if self.directions != own:
            raise ConfigError(
                f"hydra.sweeper.direction: expected {', '.join(own)} for {', '.join(self.metrics)} (or null), got "
                f"{', '.join(self.directions)}"
            )

    @property
    def metrics(self) -> list[str]:
        return [str(metric) for metric in _list(self.metric)]

    @property
    def directions(self) -> list[str]:
        if self.direction is None:
            assert self.objectives is not None, "known once the task is"
            return [self.objectives[metric] for metric in self.metrics]
        return [str(direction) for direction in _list(self.direction)]


IDENTITY, PROVENANCE = "identity", "facts"
"""Attributes of a study: what it is a study of, as JSON; the command, commit, hardware and versions that made it."""


def metrics_of(attributes: Mapping[str, Any]) -> list[str]:
    """The objectives of a study, from its attributes."""
    return (
        list(json.loads(attributes[IDENTITY])["metric"].split(", "))
        if IDENTITY in attributes
        else ["value"]
    )


@dataclass(frozen=True)
class Assignment:
    """Trial of a study as a sweeper hands it to a job.

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
