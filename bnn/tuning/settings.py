"""What a study is asked for: the `hydra.sweeper` node of `bnn_optuna`, checked. No optuna here."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bnn.errors import ConfigError

DIRECTIONS = ("minimize", "maximize")
OBJECTIVES = {
    "val/loss": "validation loss in nats at the epoch where it is lowest, by the net's own rule",
    "val/accuracy": "validation accuracy in [0, 1] at that epoch",
    "seconds/train": "seconds of training",
}
"""What a study may optimise. Nothing that reads the test set is among it."""


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
    direction: str | Sequence[str]
    sampler: Mapping[str, Any]
    pruner: Mapping[str, Any]
    study_name: str | None
    storage: str | None
    n_jobs: int | None
    """Trials that the launcher gets at a time; None: as many as it runs at once."""
    max_failures: int
    stale_after: float
    """Seconds without a sign of life after which a running trial counts as lost."""

    def __post_init__(self) -> None:
        for key, least in (("n_trials", 1), ("seeds", 1), ("max_failures", 0)):
            value = getattr(self, key)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(f"hydra.sweeper.{key}: expected an integer of at least {least}, got {value!r}")
        if self.n_jobs is not None and (not isinstance(self.n_jobs, int) or self.n_jobs < 1):
            raise ConfigError(f"hydra.sweeper.n_jobs: expected an integer of at least 1 or null, got {self.n_jobs!r}")
        if not (isinstance(self.stale_after, int | float) and self.stale_after > 0 and math.isfinite(self.stale_after)):
            raise ConfigError(f"hydra.sweeper.stale_after: expected a positive number of seconds, got {self.stale_after!r}")
        self._check_objectives()

    def _check_objectives(self) -> None:
        for metric in self.metrics:
            if metric.startswith("test"):
                raise ConfigError(
                    f"hydra.sweeper.metric: {metric} would select on the test set; expected one of {', '.join(OBJECTIVES)}"
                )
            if metric not in OBJECTIVES:
                raise ConfigError(f"hydra.sweeper.metric: expected one of {', '.join(OBJECTIVES)}; got {metric!r}")
        for direction in self.directions:
            if direction not in DIRECTIONS:
                raise ConfigError(f"hydra.sweeper.direction: expected one of {', '.join(DIRECTIONS)}; got {direction!r}")
        if len(self.metrics) != len(self.directions):
            raise ConfigError(
                "hydra.sweeper.direction: expected one for each metric, got "
                f"{len(self.directions)} for {', '.join(self.metrics)}"
            )
        if len(self.metrics) > 1 and self.pruner.get("name") != "none":
            raise ConfigError(
                "hydra/sweeper/pruner: a study of several metrics has no order by which to prune; write "
                "hydra/sweeper/pruner=none"
            )

    @property
    def metrics(self) -> list[str]:
        return [str(metric) for metric in _list(self.metric)]

    @property
    def directions(self) -> list[str]:
        return [str(direction) for direction in _list(self.direction)]


TRIAL = "BNN_TRIAL"
"""The environment variable by which a sweeper hands a job its trial."""


@dataclass(frozen=True)
class Assignment:
    """A trial as a sweeper hands it to a job."""

    storage: str
    study: str
    number: int
    metrics: Sequence[str]
    seeds: Sequence[int]
    stride: int
    """Epoch e of the j-th seed is step j · stride + e: at least the epochs of any trial."""
    stale_after: float
    params: Mapping[str, Any]
    """What the trial has of the searched keys."""
    pruner: Mapping[str, Any] = field(default_factory=lambda: {"name": "none"})

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Assignment:
        return Assignment(**json.loads(text))
