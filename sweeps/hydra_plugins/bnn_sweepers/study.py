"""Hydra sweeper over an Optuna study; `bnn.tuning.study` does the work."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.utils import JobReturn
from omegaconf import DictConfig, ListConfig, OmegaConf

from bnn import runs, tuning
from bnn.config.canonical import flat
from bnn.errors import ConfigError

from .sweeper import OneLineSweeper


class StudySweeper(OneLineSweeper):
    """Sweeper over trials of an Optuna study; the command line adds to the space in `params`."""

    def __init__(self, params: Mapping[str, str | None] | None = None, **settings: Any) -> None:
        # {optimizer: {lr: …}} and {optimizer.lr: …} are the same; null removes a key of the file
        given: Any = OmegaConf.to_container(OmegaConf.create(dict(params or {})))
        searched = {key: value for key, value in flat(given).items() if value is not None}
        super().__init__(max_batch_size=None, params=searched)
        self._given, self._launched = settings, 0

    def run(self, arguments: list[str]) -> None:
        """Take part in the study until it has all its trials."""
        settings = self._settings()
        study = tuning.study
        request = study.StudyRequest(self.parsed(arguments), arguments, self.defaults())
        composer = runs.jobs.JobComposer(self.loader, self.config)

        def at_once(seconds: float, threads: int | None) -> int:
            by_launcher = self.at_once(settings.n_trials, seconds, threads)
            return settings.n_jobs or by_launcher

        study.run_study(composer, settings, request, self.launch, at_once, self.folder)

    def _settings(self) -> Any:
        """Settings of the study; checked here, since Hydra would bury an error of `__init__`."""
        kind = tuning.settings.StudySettings
        keys = [field.name for field in dataclasses.fields(kind) if field.name != "objectives"]
        if unknown := sorted(set(self._given) - set(keys)):
            raise ConfigError(
                f"hydra.sweeper.{unknown[0]}: no such setting; there are {', '.join(keys)}, params"
            )
        nodes = (DictConfig, ListConfig)
        plain = {
            key: OmegaConf.to_container(value) if isinstance(value, nodes) else value
            for key, value in self._given.items()
        }
        return kind(**plain)

    def launch(self, jobs: Sequence[Sequence[str]]) -> Sequence[JobReturn]:
        """Results of a batch of jobs."""
        words = [list(job) for job in jobs]
        results = self.launcher.launch(words, initial_job_idx=self._launched)
        self._launched += len(jobs)
        return results
