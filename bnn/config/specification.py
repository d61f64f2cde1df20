"""Specification of a run: its checked configuration, without the objects that are built from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bnn.config import provenance
from bnn.config.canonical import digest
from bnn.config.titles import run_title
from bnn.data import DatasetSpec
from bnn.data.datasets import FACTS
from bnn.errors import ConfigError, without_password
from bnn.plugins import Plugin


@dataclass(frozen=True)
class TrackingSettings:
    """Group `tracking`."""

    uri: str | None
    experiment: str
    heatmaps: bool
    model: bool


@dataclass(frozen=True)
class LabSettings:
    """Group `lab`: measurements of gradients during training."""

    every: int
    batch: int
    draws: int
    reference: int

    def __post_init__(self) -> None:
        for key, least in (("every", 0), ("batch", 2), ("draws", 2), ("reference", 2)):
            if getattr(self, key) < least:
                raise ConfigError(f"lab.{key}: expected at least {least}, got {getattr(self, key)}")


@dataclass(frozen=True)
class GeneralSettings:
    """Keys outside the groups."""

    seed: int
    device: str
    dry_run: bool
    fresh: bool
    resume: bool

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed: expected an integer in [0, 2^32), got {self.seed}")
        if self.fresh and self.resume:
            raise ConfigError(
                "fresh=true with resume=true: one forgets what the other goes on with; "
                "leave one of them out"
            )


@dataclass(frozen=True)
class NetworkFacts:
    """Facts of a network and its estimator, found by building the network once.

    Args:
        units: number of units of each binary layer, from the input.
        couples_samples: whether a norm above a binary layer couples the samples of a batch.
        assumes_independent_samples: whether the estimator gives each sample its own credit.
        parameter_groups: names of the optimizer's groups that have parameters.
    """

    units: tuple[int, ...]
    couples_samples: bool
    assumes_independent_samples: bool
    parameter_groups: frozenset[str]


@dataclass(frozen=True)
class RunSpec:
    """Specification of one run: plain values that have passed every check.

    Args:
        config: canonical, resolved configuration.
        general: keys outside the groups; `device` is the one that this machine uses.
        data: facts of the data set.
        network: facts of the network.
        tracking: group `tracking`.
        lab: group `lab`.
        plugins: loaded plug-ins, from which choices may come.
        initial: digest of the checkpoint file that `model.init_from` names; None where it names a
            run, whose id tells, or nothing.
        varying: keys that vary in the sweep of the run, for its display name.
    """

    config: Mapping[str, Any]
    general: GeneralSettings
    data: DatasetSpec
    network: NetworkFacts
    tracking: TrackingSettings
    lab: LabSettings
    plugins: tuple[Plugin, ...] = ()
    initial: str | None = None
    varying: tuple[str, ...] = ()

    @property
    def units(self) -> tuple[int, ...]:
        """Number of units of each binary layer, from the input."""
        return self.network.units

    @property
    def public_config(self) -> dict[str, Any]:
        """Configuration without passwords, as it is written down."""
        tracking = dict(self.config["tracking"])
        if isinstance(tracking.get("uri"), str):
            tracking["uri"] = without_password(tracking["uri"])
        return {**self.config, "tracking": tracking}

    @property
    def checkpoint_metadata(self) -> dict[str, Any]:
        """Configuration and facts of the data set, from which a checkpoint's network is rebuilt."""
        return {**self.public_config, FACTS: self.data.plain()}

    @cached_property
    def digest(self) -> str:
        """Digest of the configuration, and of the examples where their name does not tell them."""
        config = dict(self.config)
        if self.data.content is not None:
            config["data"] = {**config["data"], "content": self.data.content}
        if self.initial is not None:  # wherever the file lies
            config["model"] = {**config["model"], "init_from": self.initial}
        return digest(config)

    @cached_property
    def result_key(self) -> str:
        """Digest of everything that determines the result; see `provenance.result_key`."""
        return provenance.result_key(self.digest, self.plugins)

    @property
    def title(self) -> str:
        """Display name: `stochastic · st · both · s0`; what varies in a sweep comes first."""
        return run_title(dict(self.config), self.varying)

    @property
    def experiment(self) -> str:
        """Name of the MLflow experiment."""
        return f"{self.tracking.experiment}/{self.data.name}"
