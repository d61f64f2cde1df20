"""Table of a sweep: a row for each job, for MLflow in full and for a terminal in 100 columns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bnn import schema
from bnn.build import build_task
from bnn.config.canonical import flat
from bnn.config.titles import differing_keys, estimator_title, run_title, varying_keys
from bnn.errors import format_error
from bnn.runs.jobs import Job
from bnn.tables import BLANK, ID_DIGITS, markdown, with_unit
from bnn.tasks import Task

RUN, SECONDS, RUN_ID = "run", "seconds", "run id"
NOT_RUN, INTERRUPTED, FAILED = "not run", "interrupted", "failed"
MEAN_OF_DRAWS = "mean of M"
WIDTH = 100
"""Characters of a line on a terminal."""


def metric_columns(task: Task, test: Mapping[str, float]) -> dict[str, str]:
    """Columns of a task's test metrics; the headline also as the mean of M draws."""

    def cell(name: str, key: str) -> str:
        return task.metrics[name].format(test[key]) if key in test else BLANK

    cells = {}
    for name, metric in task.metrics.items():
        cells[name if metric.unit == "nats" else with_unit(name, metric.unit)] = cell(name, name)
        if name == task.headline:
            key = schema.test_metric(name, schema.MC_MEAN)
            cells[with_unit(MEAN_OF_DRAWS, metric.unit)] = cell(name, key)
    return cells


def table_rows(jobs: Sequence[Job], outcomes: Sequence[Any]) -> list[dict[str, str]]:
    """Rows of a sweep's table, a cell by column.

    Args:
        jobs: jobs of the sweep.
        outcomes: of each job its summary as a mapping, the exception that ended it, INTERRUPTED, or
            None where it never ran.
    """
    rows: list[dict[str, str]] = []
    configs = [job.spec.config for job in jobs]
    keys, varying = differing_keys(configs), varying_keys(configs)
    task = build_task(jobs[0].spec.config)
    tasks = {config["task"]["name"] for config in configs}
    binary_weights = any(config["weights"]["name"] != "real" for config in configs)
    for job, outcome in zip(jobs, outcomes, strict=True):
        config = dict(job.spec.config)
        done = outcome if isinstance(outcome, Mapping) else None
        row = {
            RUN: run_title(config, varying),
            **({"task": config["task"]["name"]} if tasks != {"classification"} else {}),
            "estimator": estimator_title(config),
            "placement": config["placement"]["name"],
            "neuron": config["neuron"]["name"],
            "law": config["neuron"]["law"],
            **({"weights": config["weights"]["name"]} if binary_weights else {}),
            **{key: str(flat(config).get(key, BLANK)) for key in keys},
            "seed": str(config["seed"]),
            **metric_columns(task, done["test"] if done else {}),
            SECONDS: f"{done['seconds']:.0f}" if done else BLANK,
            RUN_ID: done["run_id"] if done else failure(outcome),
        }
        rows.append(row)
    return rows


def terminal_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Table of a sweep in 100 columns: settings that all runs share stand in a line above it.

    Where it would still be wider, it is without the loss.

    Args:
        rows: rows of `table_rows`.

    Returns:
        Line, Markdown table, and a line for each run that has no result.
    """
    columns = list(rows[0])
    settings = columns[1 : columns.index("seed") + 1]
    shared = {key: rows[0][key] for key in settings if len({row[key] for row in rows}) == 1}
    kept = [key for key in columns if key not in shared and key != RUN]
    without = [key for key in kept if key.startswith(MEAN_OF_DRAWS) and not _any(rows, key)]
    kept = [key for key in kept if key not in without]
    ids = {row[RUN_ID]: short_id(row[RUN_ID]) for row in rows}

    def table(kept: Sequence[str]) -> str:
        cells = [[ids[row[key]] if key == RUN_ID else row[key] for key in kept] for row in rows]
        return markdown(["s" if key == SECONDS else key for key in kept], cells)

    shown = table(kept)
    if len(shown.partition("\n")[0]) > WIDTH:
        shown = table([key for key in kept if key != "loss"])
    above = ", ".join(f"{key} {value}" for key, value in shared.items())
    below = [f"{row[RUN]}: {row[RUN_ID]}" for row in rows if ids[row[RUN_ID]] == FAILED]
    return "\n".join([*([f"all with {above}\n"] if above else []), shown, *below])


def _any(rows: Sequence[Mapping[str, str]], key: str) -> bool:
    """Whether any run has a value in a column."""
    return any(row[key] != BLANK for row in rows)


def short_id(cell: str) -> str:
    """Cell of a run id on a terminal: its first digits, or `failed` for the reason of a failure."""
    if re.fullmatch(r"[0-9a-f]{32}", cell):
        return cell[:ID_DIGITS]
    return cell if cell in (NOT_RUN, INTERRUPTED) else FAILED


def failure(outcome: object) -> str:
    """Why a job has no result, in one line."""
    if isinstance(outcome, BaseException):
        return format_error(outcome)
    return NOT_RUN if outcome is None else str(outcome)
