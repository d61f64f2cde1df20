"""A run from a composed configuration: alone, or as a job of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from bnn.build import build_task
from bnn.config.specification import RunSpec
from bnn.data import use_data
from bnn.errors import ConfigError
from bnn.job_environment import JobEnvironment
from bnn.runs.dry_run import dry_run, notes_for, warnings_for
from bnn.runs.execute import RunSummary, execute, format_metrics
from bnn.specify import specify
from bnn.tables import ID_DIGITS, clock
from bnn.tracking.export import model_uris
from bnn.tracking.failures import best_effort
from bnn.tracking.store import open_store
from bnn.tracking.view import save_run_view
from bnn.training.shared_display import progress_of


def refuse_fresh(spec: RunSpec) -> None:
    """Refusal of `fresh` where there is nothing to forget.

    Raises:
        ConfigError: naming the key.
    """
    if spec.general.fresh:
        raise ConfigError(
            "fresh=true: only a study keeps trials that it could forget; "
            "write -m study=NAME beside it"
        )


def run_single(
    config: DictConfig, folder: Path, number: int, words: Sequence[str] = ()
) -> dict[str, Any] | None:
    """Check, announce, train and track one configuration.

    Args:
        config: composed configuration.
        folder: run directory.
        number: number of the job in its sweep, from 0.
        words: overrides that it was composed from.

    Returns:
        The summary as plain values; None for a dry run.

    Raises:
        BnnError: for anything that a user can act on.
    """
    spec = specify(config, number)
    refuse_fresh(spec)
    job = JobEnvironment.current()
    if job is not None:  # the sweep has printed warnings and chosen the data set
        spec = replace(spec, varying=tuple(job.varying))
        return asdict(_run(spec, folder, job, number))
    if config.dry_run:
        print(dry_run([spec]))
        return None
    warning = use_data(config)
    if warning:
        spec = specify(config, number)
    fallback = [warning] if warning else []
    for line in [
        *fallback,
        *warnings_for([spec], words),
        f"1 run on {spec.data.title}, experiment {spec.experiment}",
    ]:
        print(line, flush=True)
    summary = _run(spec, folder, None, number)
    for line in [*notes_for([spec]), *fallback, *_places(spec, summary)]:
        print(line, flush=True)
    return asdict(summary)


def _places(spec: RunSpec, summary: RunSummary) -> list[str]:
    """Lines on where a finished run is looked at, and by which address its model is loaded."""
    link, models = summary.ui_url, []
    with best_effort("the view of the run"):
        store = open_store(spec.tracking.uri, spec.experiment)
        save_run_view(store, summary.run_id)
        link = store.ui_url(summary.run_id, sweep=True)
        models = [f"model {uri}" for uri in model_uris(store, summary.run_id)]
    return [*models, f"open {link}"]


def _run(spec: RunSpec, folder: Path, job: JobEnvironment | None, number: int) -> RunSummary:
    """Execute a run, and print its result in one line.

    Args:
        spec: specification of the run.
        folder: run directory.
        job: values of its sweep; None: the run stands alone.
        number: number of the job in its sweep, from 0.
    """
    title = spec.title if job is None else f"[{number + 1}/{job.jobs}] {spec.title}"
    left = None if job is None else partial(job.time_left, number)
    with progress_of(spec.config["trainer"]["progress"], job, number, left) as progress:
        summary = execute(spec, folder, job.parent if job else None, title, progress=progress)
        metrics = format_metrics(build_task(spec.config), summary.test)
        before = "" if summary.trained else " (finished before)"
        seconds = left(1.0) if left is not None else None
        rest = f", about {clock(seconds)} left of the sweep" if seconds else ""
        words = f"test {metrics}, {summary.seconds:.0f} s, run {summary.run_id[:ID_DIGITS]}"
        print(f"{title}: {words}{before}{rest}", flush=True)
    return summary
