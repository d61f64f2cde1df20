"""Hydra launcher that uses the machine: joblib's where several jobs pay, else Hydra's own."""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_joblib_launcher.joblib_launcher import JoblibLauncher
from omegaconf import DictConfig

from .sweeper import BasicLauncher


class AutoLauncher(Launcher):
    """Launcher of as many jobs at once as the cores and the memory of this machine take.

    Args:
        n_jobs: jobs at once; None: by cores and memory, and one where the whole sweep takes less
            than two workers need to start.
    """

    def __init__(self, n_jobs: int | None = None) -> None:
        self.n_jobs = n_jobs
        self._setup: dict[str, Any] = {}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra hands to a launcher."""
        self._setup = {
            "hydra_context": hydra_context, "task_function": task_function, "config": config
        }  # fmt: skip

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Results of jobs, in order; the sweeper has settled `n_jobs`."""
        workers = min(self.n_jobs or 1, len(job_overrides))
        launcher = BasicLauncher() if workers == 1 else JoblibLauncher(n_jobs=workers)
        launcher.setup(**self._setup)
        return launcher.launch(job_overrides, initial_job_idx)
