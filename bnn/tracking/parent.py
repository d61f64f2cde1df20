"""Parent run of a sweep: the runs of its jobs are nested under it, and it describes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from bnn import schema
from bnn.config import provenance
from bnn.errors import TrackingError
from bnn.tables import markdown
from bnn.tracking.failures import best_effort
from bnn.tracking.lost_runs import end_as_killed
from bnn.tracking.mlflow_adapter import delete_artifacts
from bnn.tracking.overview import run_link, view_link
from bnn.tracking.query import kind_filter, search_runs
from bnn.tracking.run_dir import claim_run_dir, lock_run_dir, run_dir_of
from bnn.tracking.store import Store, children_filter
from bnn.training import checkpoint


def open_parent(
    store: Store,
    title: str,
    jobs: int,
    folder: Path | None = None,
    result: str = "",
    resume: bool = False,
) -> str:
    """Start a parent run, or take up an earlier one.

    Args:
        store: tracking store.
        title: name of the run.
        jobs: number of jobs.
        folder: directory of the sweep, locked by its process (`bnn.tracking.run_dir`); None: the
            parent of a study, at which several processes work.
        result: digest of everything that determines the results of the jobs.
        resume: whether to take up the newest parent of the same result, unless another process
            works at it.

    Returns:
        Run id.
    """
    client = MlflowClient(store.uri)
    place = (
        {schema.RUN_DIR: str(folder.absolute()), schema.RUN_DIR_OWNER: claim_run_dir(folder)}
        if folder
        else {}
    )
    search = f"{kind_filter('sweep')} and tags.`{schema.RESULT_KEY}` = '{result}'"
    for earlier in search_runs(client, store.experiment_id, search) if resume else ():
        if earlier.info.status != "RUNNING" or _is_abandoned(earlier.data.tags):
            client.update_run(earlier.info.run_id, status="RUNNING")
            for key, value in place.items():
                client.set_tag(earlier.info.run_id, key, value)
            return earlier.info.run_id
    tags = place | {
        schema.KIND: "sweep",
        schema.RESULT_KEY: result,
        schema.COMMAND: provenance.command(),
        schema.COMMIT: provenance.commit(),
        schema.JOBS: str(jobs),
        schema.SOURCE: "bnn.train",
    }
    return client.create_run(store.experiment_id, tags=tags, run_name=title).info.run_id


def _is_abandoned(tags: Mapping[str, str]) -> bool:
    """Whether the directory of a sweep is on this machine and no process has its lock."""
    if (run_dir := run_dir_of(tags)) is None:
        return False
    try:
        with lock_run_dir(run_dir):
            return True
    except TrackingError:
        return False


def close_parent(
    store: Store, parent: str, about: str, status: str, rows: Sequence[dict[str, str]]
) -> None:
    """End a parent run, with the table of its jobs as its description and as an artifact.

    Args:
        store: tracking store.
        parent: run id.
        about: description of the sweep in a line.
        status: FINISHED, FAILED or KILLED.
        rows: cells of the table by column; `run` has names and `run id` ids, or the reason why a
            job has none.
    """
    client = MlflowClient(store.uri)
    linked = [_linked(store.experiment_id, row) for row in rows]
    if any(row[REASON] for row in linked):
        shown = linked
    else:
        shown = [{key: cell for key, cell in row.items() if key != REASON} for row in linked]
    _describe(store, client, parent, about, shown)
    _log_table(client, parent, f"{about}\n\n{_markdown(rows)}", rows)
    client.set_terminated(parent, status)


REASON = "reason"
"""Column of a sweep's description that says why a job has no result."""
NOTE_LENGTH = 7000
"""Characters of a description; MLflow cuts the tag that holds it at 8000."""


def _linked(experiment: str, row: Mapping[str, str]) -> dict[str, str]:
    """Row of a sweep's table with the name of a run as its link, and without its id."""
    cells = {key: cell for key, cell in row.items() if key != "run id"} | {REASON: ""}
    if re.fullmatch("[0-9a-f]{32}", row["run id"]):
        return cells | {"run": f"[{row['run']}]({run_link(experiment, row['run id'])})"}
    return cells | {REASON: row["run id"]}


def _markdown(rows: Sequence[Mapping[str, str]]) -> str:
    return markdown(list(rows[0]), [list(row.values()) for row in rows]) if rows else ""


def _describe(
    store: Store, client: MlflowClient, parent: str, about: str, rows: Sequence[Mapping[str, str]]
) -> None:
    """Set the description of a parent: a link to its charts, its table, and its command.

    The page does not break a code block into lines, so commands stand as code within text.
    """
    charts = f"[Charts of these runs]({view_link(store.experiment_id, parent)})"
    about = re.sub(r"^ {4}(.+)$", r"`\1`", about, flags=re.MULTILINE)
    command = f"`{provenance.command()}`"
    size = len(about) + len(command)
    kept = len(rows)
    while kept and size + len(_markdown(rows[:kept])) > NOTE_LENGTH:
        kept = kept * 3 // 4
    left = f"{len(rows) - kept} more rows in the artifact table.md" if kept < len(rows) else ""
    parts = [charts, about, _markdown(rows[:kept]), left, command]
    client.set_tag(parent, schema.NOTE, "\n\n".join(filter(None, parts)))


def _log_table(
    client: MlflowClient, parent: str, text: str, rows: Sequence[Mapping[str, str]]
) -> None:
    """Log a table as artifacts, as text and as cells."""
    client.log_text(parent, text, "table.md")
    if not rows:
        return
    names = [item.path for item in client.list_artifacts(parent)]
    if "table.json" in names:  # log_table would append to it
        data = [[str(row.get(key)) for key in rows[0]] for row in rows]
        client.log_dict(parent, {"columns": list(rows[0]), "data": data}, "table.json")
    else:
        columns = {key: [str(row.get(key)) for row in rows] for key in rows[0]}
        client.log_table(parent, columns, "table.json")


def run_exists(store: Store, run_id: str) -> bool:
    """Whether the store has a run of this id that is not deleted."""
    try:
        return MlflowClient(store.uri).get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException:
        return False


def set_parent_status(store: Store, parent: str, status: str) -> None:
    """Set the status of a parent run.

    Args:
        store: tracking store.
        parent: run id.
        status: FINISHED, FAILED, KILLED, or RUNNING where other processes still work at it.
    """
    client = MlflowClient(store.uri)
    if status == "RUNNING":
        client.update_run(parent, status=status)
    else:
        client.set_terminated(parent, status)


def end_trial_runs(store: Store, parent: str, trial: int, reason: str) -> None:
    """End the runs of a trial whose process has died, as KILLED.

    Args:
        store: tracking store.
        parent: run id of the study.
        trial: number of the trial.
        reason: one line, for a tag.
    """
    client = MlflowClient(store.uri)
    search = (
        f"{children_filter(parent)} and tags.trial = '{trial}' and attributes.status = 'RUNNING'"
    )
    for run in search_runs(client, store.experiment_id, search):
        end_as_killed(client, run.info.run_id, reason)


def remove_checkpoints(store: Store, run_id: str, reason: str) -> bool:
    """Remove the checkpoints of a run from the store, and from its directory on this machine.

    Args:
        store: tracking store.
        run_id: MLflow run id.
        reason: one line, for a tag.

    Returns:
        Whether there were any.
    """
    client = MlflowClient(store.uri)
    # the run may be in another store, deleted, or not ours to change
    with best_effort(f"the removal of the checkpoints of run {run_id}"):
        run = client.get_run(run_id)
        if run.info.lifecycle_stage != "active" or not client.list_artifacts(run_id, "checkpoint"):
            return False
        delete_artifacts(client, run_id, "checkpoint")
        client.set_tag(run_id, schema.CHECKPOINT, f"removed: {reason}")
        if run_dir := run_dir_of(run.data.tags):
            for name in (checkpoint.BEST, checkpoint.LAST):
                (run_dir / name).unlink(missing_ok=True)
        return True
    return False


def _trial_linked(
    experiment: str, row: Mapping[str, str], runs: Mapping[str | None, str]
) -> dict[str, str]:
    """Row of a study's table with the number of a trial as the link of its first seed's run."""
    number = row["trial"]
    if number not in runs:
        return dict(row)
    return {**row, "trial": f"[{number}]({run_link(experiment, runs[number])})"}


def describe_study(
    store: Store,
    parent: str,
    description: str,
    rows: Sequence[dict[str, str]],
    figures: Iterable[tuple[str, Figure]],
) -> None:
    """Log the summary of a study on its parent run.

    Args:
        store: tracking store.
        parent: run id.
        description: Markdown without the table of trials.
        rows: cells of the table of trials, by column.
        figures: figures by name, logged as artifacts.
    """
    client = MlflowClient(store.uri)
    trials = {
        run.data.tags.get(schema.TRIAL): run.info.run_id
        for run in search_runs(client, store.experiment_id, children_filter(parent))
    }
    linked = [_trial_linked(store.experiment_id, row, trials) for row in rows]
    _describe(store, client, parent, description, linked)
    _log_table(client, parent, f"{description}\n\n{_markdown(rows)}", rows)
    options = {"bbox_inches": "tight", "dpi": 110}
    for name, figure in figures:
        client.log_figure(parent, figure, f"figures/{name}.png", save_kwargs=options)
