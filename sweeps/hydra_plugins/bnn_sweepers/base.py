"""What the sweepers of this project share: a cell, how it is checked, one data set a sweep, and what a job is handed."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from bnn import plugins
from bnn.config import quoted, refuse_ignored
from bnn.errors import BnnError, ConfigError

SETTLED = ("data", "data.name", "data.root", "data.offline_fallback")
"""Keys that a fallback to a bundled data set replaces; a limit stays."""


@dataclass(frozen=True)
class Cell:
    """One configuration of a sweep: its overrides, what they compose to, and the plan that was checked (bnn.build.Plan)."""

    overrides: list[str]
    config: DictConfig
    plan: Any


class ProjectSweeper(BasicSweeper):
    """A sweeper whose refusals are one line, and that checks configurations before it launches them."""

    def sweep(self, arguments: list[str]) -> Any:
        try:
            return self._sweep(arguments)
        except BnnError as error:
            raise SystemExit(f"error: {error}") from error
        except KeyboardInterrupt:
            raise SystemExit(128 + signal.SIGINT) from None

    def _sweep(self, arguments: list[str]) -> Any:
        raise NotImplementedError

    def _overrides(self, arguments: list[str]) -> list[Override]:
        """The choices of `hydra.sweeper.params` and of the command line, the latter last."""
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        return parser.parse_overrides([*self._parse_config(), *arguments])

    def cell(self, overrides: list[str]) -> Cell:
        assert self.hydra_context is not None and self.config is not None
        from bnn.build import plan

        config = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
        try:
            refuse_ignored(config, overrides)
            return Cell(overrides, config, plan(config))
        except ConfigError as error:
            raise ConfigError(f"{error} (in the cell {' '.join(overrides)})") from error

    def handed(self, uri: str, values: Mapping[str, str]) -> list[str]:
        """Overrides that give a job its environment, the way to its plug-ins and the tracking store."""
        environment = {**values, **plugins.handed()}
        handed = [
            f"++hydra.job.env_set.{key}={quoted(value)}" for key, value in environment.items()
        ]
        return [*handed, f"tracking.uri={quoted(uri)}"]  # a job may run in another directory

    def _folder(self) -> Path:
        """The sweep's folder, with the sweep's own configuration in it."""
        assert self.config is not None
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        return folder


def without_data(overrides: list[str]) -> list[str]:
    """`overrides` without those that a fallback to another data set replaces."""
    return [word for word in overrides if key_of(word) not in SETTLED]


def key_of(override: str) -> str:
    """The key or group that an override is about, without its sign."""
    return override.partition("=")[0].lstrip("+~")
