"""Base of the sweepers of this project, and Hydra's own launcher.

Hydra has no public base class for a sweeper that expands choices, and no public name of its basic
launcher. The private ones are imported here and nowhere else: Hydra executes its own plug-ins anew
whenever it looks for plug-ins, and this file after them, so that the classes are the current ones.
"""

import signal
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from bnn.config.hydra_adapter import Override, parsed
from bnn.errors import BnnError, without_password
from bnn.paths import remove_unused
from bnn.runs import concurrency

__all__ = ["BasicLauncher", "OneLineSweeper"]


class OneLineSweeper(BasicSweeper):
    """Base sweeper that reports an error as one line."""

    config: DictConfig
    launcher: Any

    def sweep(self, arguments: list[str]) -> Any:
        """Entry that Hydra calls."""
        try:
            return self.run(arguments)
        except (BnnError, HydraException) as error:
            remove_unused(Path(self.config.hydra.sweep.dir))
            if isinstance(error, HydraException):
                raise
            raise SystemExit(f"error: {without_password(str(error))}") from error
        except KeyboardInterrupt:
            raise SystemExit(128 + signal.SIGINT) from None

    def run(self, arguments: list[str]) -> Any:
        """Run the sweep."""
        raise NotImplementedError

    @property
    def loader(self) -> ConfigLoader:
        """Hydra's loader of configurations."""
        assert self.hydra_context is not None
        return self.hydra_context.config_loader

    def defaults(self) -> list[str]:
        """Choices of `hydra.sweeper.params`."""
        return self._parse_config()

    def parsed(self, arguments: list[str]) -> list[Override]:
        """Choices of `hydra.sweeper.params` and of the command line, the latter last."""
        return parsed([*self.defaults(), *arguments], self.loader)

    def at_once(self, jobs: int, seconds: float | None, threads: int | None) -> int:
        """Jobs that the launcher runs at once, see `bnn.runs.concurrency.jobs_at_once`."""
        count = concurrency.jobs_at_once(self.config.hydra.launcher, jobs, seconds, threads)
        if hasattr(self.launcher, "n_jobs"):  # of hydra/launcher=auto
            self.launcher.n_jobs = count
        return count

    def folder(self) -> Path:
        """Directory of the sweep, with the configuration of the sweep in it."""
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        return folder
