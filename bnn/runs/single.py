"""A run from a composed configuration: alone, or as a job of a sweep."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from bnn.build import build_task
from bnn.config.specification import RunSpec
from bnn.data import use_data
from bnn.errors import ConfigError
from bnn.job_environment import JobEnvironment
from bnn.runs.dry_run import dry_run, warnings_for
from bnn.runs.execute import RunSummary, execute, format_metrics
from bnn.specify import specify
from bnn.tracking.export import model_uris
from bnn.tracking.failures import best_effort
from bnn.tracking.store import open_store
from bnn.tracking.view import save_run_view


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


def run_single(config: DictConfig, folder: Path, number: int) -> dict[str, Any] | None:
    """Check, announce, train and track one configuration.

    Args:
        config: composed configuration.
        folder: run directory.
        number: number of the job in its sweep, from 0.

    Returns:
        The summary as plain values; None for a dry run.

    Raises:
        BnnError: for anything that a user can act on.
    """
    spec = specify(config, number)
    refuse_fresh(spec)
    job = JobEnvironment.current()
    if job is not None:  # the sweep has printed warnings and chosen the data set
        title = f"[{number + 1}/{job.jobs}] {spec.title}"
        return asdict(_run(spec, folder, job.parent, title))
    if config.dry_run:
        print(dry_run([spec]))
        return None
    warning = use_data(config)
    if warning:
        spec = specify(config, number)
    for line in [*([warning] if warning else []), *warnings_for([spec])]:
        print(line, flush=True)
    summary = _run(spec, folder, None, spec.title)
    print(*_places(spec, summary), *([warning] if warning else []), sep="\n", flush=True)
    return asdict(summary)


def _places(spec: RunSpec, summary: RunSummary) -> list[str]:
    """Lines on where a finished run is looked at, and by which address its model is loaded."""
    link, models = summary.ui_url, []
    with best_effort("the view of the run"):
        store = open_store(spec.tracking.uri, spec.experiment)
        save_run_view(store, summary.run_id)
        link = store.ui_url(summary.run_id, sweep=True)
        models = [f"model {uri}" for uri in model_uris(store, summary.run_id)]
    return [f"open {link}", *models]


def _run(spec: RunSpec, folder: Path, parent: str | None, title: str) -> RunSummary:
    summary = execute(spec, folder, parent, title)
    metrics = format_metrics(build_task(spec.config), summary.test)
    before = "" if summary.trained else " (finished before)"
    print(
        f"{title}: test {metrics}, {summary.seconds:.0f} s, run {summary.run_id}{before}",
        flush=True,
    )
    return summary
