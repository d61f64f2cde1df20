"""Task function of Hydra: runs one configuration, alone, as a job of a sweep, or as a trial."""

from __future__ import annotations

import threading
import traceback
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from bnn import runs, tuning
from bnn.closed_pipe import lasting_output
from bnn.config.compose import check_choices
from bnn.errors import BnnError, ConfigError, without_password
from bnn.interruption import ends_with_sweep
from bnn.job_environment import JobEnvironment
from bnn.paths import remove_unused

_interrupted = threading.Event()
"""Set in a worker of a launcher that was interrupted: it starts no further job of its queue."""


def run(config: DictConfig) -> dict[str, Any] | None:
    """Run a composed configuration.

    Args:
        config: composed configuration.

    Returns:
        Summary of the run, or number and state of a trial, as plain values; None for a dry run.

    Raises:
        SystemExit: with the message, where a run that is no job of a sweep fails.
        BnnError: in a job of a sweep.
    """
    job = JobEnvironment.current()
    if job is None:
        return _run(config, None)
    if _interrupted.is_set():
        raise KeyboardInterrupt
    with ends_with_sweep(job.process), lasting_output():
        return _run(config, job)


def _run(config: DictConfig, job: JobEnvironment | None) -> dict[str, Any] | None:
    settings = HydraConfig.get()
    alone = settings.mode == RunMode.RUN
    try:
        check_choices(config, settings.overrides.task)
        if alone and (study := settings.runtime.choices.get("study")):
            raise ConfigError(
                f"study={study}: a study is many runs; write -m: "
                f"python -m bnn.train -m study={study} …"
            )
        directory = Path(settings.runtime.output_dir)
        if job is not None and job.trial is not None:
            return tuning.objective.run_trial(config, directory, job)
        number = 0 if alone else int(settings.job.num)
        return runs.single.run_single(config, directory, number, settings.overrides.task)
    except BnnError as error:
        if alone:
            remove_unused(Path(settings.runtime.output_dir))
            raise SystemExit(f"error: {without_password(str(error))}") from error
        raise
    except KeyboardInterrupt:
        if job is not None and job.shares_terminal:
            _interrupted.set()
        raise
    except Exception:
        if not alone:
            traceback.print_exc()  # the table of the sweep has one line for it
        raise
