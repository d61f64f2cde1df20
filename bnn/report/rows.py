"""One row a run: where each of its values comes from, and the CSV file that keeps rows to the last bit."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_origin, get_type_hints

from bnn import schema
from bnn.errors import BnnError

if TYPE_CHECKING:
    from bnn.tracking.query import FinishedRun

PLACES = ("tracking.uri", "data.root", "hydra.run.dir", "hydra.sweep.dir")
"""Overrides that name a place on one machine: they are left out of the command that a row keeps."""


class ReportError(BnnError):
    """Rows that make no table, or a file of rows or a README that is not what it should be."""


@dataclass(frozen=True)
class From:
    """Where a field of Row comes from: a key among a run's `params`, `tags` or `metrics`."""

    kind: str
    key: str


@dataclass(frozen=True)
class Row:
    """One finished run. Losses in nats, accuracies as shares in [0, 1] (None under a task without), seconds of wall clock.

    `test_*` is the net's own rule; `_mean` averages class probabilities over `evaluation_samples` draws, `_threshold`
    thresholds the units. Both are None for a net without stochastic units.
    """

    experiment: str
    dataset: Annotated[str, From("tags", "dataset")]
    model: Annotated[str, From("params", "model.name")]
    neuron: Annotated[str, From("tags", "neuron")]
    law: Annotated[str, From("tags", "law")]
    estimator: Annotated[str, From("tags", "estimator")]
    estimator_title: Annotated[str, From("tags", "estimator_title")]
    samples_in_training: Annotated[str, From("tags", schema.SAMPLES_IN_TRAINING)]
    """`yes` where training drew bits by the noise law whatever the neuron's rule."""
    evaluations: Annotated[int, From("tags", schema.EVALUATIONS)]
    """Losses a sample in one step, each forward and back."""
    placement: Annotated[str, From("tags", "placement")]
    anneal: Annotated[str, From("tags", "anneal")]
    seed: Annotated[int, From("params", "seed")]
    epochs: Annotated[int, From("params", "trainer.epochs")]
    precision: Annotated[str, From("params", "trainer.precision")]
    norm: Annotated[str, From("params", "model.norm")]
    optimizer: str
    """Compact: `sgd lr 0.1 constant`."""
    evaluation_samples: Annotated[int, From("params", "trainer.evaluation_samples")]
    best_epoch: Annotated[int, From("metrics", "best_epoch")]
    val_loss: Annotated[float, From("metrics", "val_best/loss")]
    val_accuracy: Annotated[float | None, From("metrics", "val_best/accuracy")]
    test_loss: Annotated[float, From("metrics", "test/loss")]
    test_accuracy: Annotated[float | None, From("metrics", "test/accuracy")]
    test_loss_mc_mean: Annotated[float | None, From("metrics", "test/loss_mc_mean")]
    test_accuracy_mc_mean: Annotated[float | None, From("metrics", "test/accuracy_mc_mean")]
    test_loss_threshold: Annotated[float | None, From("metrics", "test/loss_threshold")]
    test_accuracy_threshold: Annotated[float | None, From("metrics", "test/accuracy_threshold")]
    seconds_train: Annotated[float, From("metrics", "seconds/train")]
    seconds_total: Annotated[float, From("metrics", "seconds/total")]
    run_id: str
    digest: Annotated[str, From("tags", schema.DIGEST)]
    commit: Annotated[str, From("tags", schema.COMMIT)]
    hardware: Annotated[str, From("tags", schema.HARDWARE)]
    threads: Annotated[int, From("tags", schema.THREADS)]
    versions: Annotated[str, From("tags", schema.VERSIONS)]
    command: str
    settings: str
    """`key=value; …` of every other parameter that moves the result: two runs that differ in one are not replicas."""


TYPES = get_type_hints(Row)
SOURCES: dict[str, From] = {
    name: hint.__metadata__[0]
    for name, hint in get_type_hints(Row, include_extras=True).items()
    if get_origin(hint) is Annotated
}
OPTIONAL = tuple(name for name, kind in TYPES.items() if kind == float | None)


def _value(name: str, text: Any) -> Any:
    if name in OPTIONAL:
        return None if text in ("", None) else float(text)
    return TYPES[name](text)


def _settings(params: Mapping[str, str]) -> str:
    from bnn.config.canonical import moves_result

    shown = {source.key for source in SOURCES.values()}
    shown |= {"data.name", "neuron.name", "neuron.law", "placement.name", "anneal.name"}
    shown |= {"optimizer.name", "optimizer.lr", "optimizer.lr_schedule"}
    return "; ".join(
        f"{key}={value}"
        for key, value in sorted(params.items())
        if key not in shown
        and moves_result(key)
        and not key.startswith("estimator.")  # estimator_title has its group
    )


def portable(command: str) -> str:
    """`command` without the overrides of PLACES; as it is where it is no command line."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    return shlex.join(word for word in words if word.lstrip("+~").partition("=")[0] not in PLACES)


def row_of(run: FinishedRun, experiment: str) -> Row:
    """The row of a finished run. Errors: ReportError for a run that lacks a value or has another kind of it, naming it."""
    sources = {
        "params": run.params,
        "tags": schema.current_tags(run.tags),
        "metrics": {schema.current_metric(key): value for key, value in run.metrics.items()},
    }
    try:
        values = {
            name: _value(
                name, sources[of.kind].get(of.key) if name in OPTIONAL else sources[of.kind][of.key]
            )
            for name, of in SOURCES.items()
        }
        optimizer = f"{run.params['optimizer.name']} lr {run.params['optimizer.lr']} {run.params['optimizer.lr_schedule']}"
        command = portable(run.tags[schema.COMMAND])
    except KeyError as error:
        raise ReportError(
            f"{experiment}: the finished run {run.run_id} lacks {error}; delete it, or run it anew"
        ) from error
    except ValueError as error:
        raise ReportError(
            f"{experiment}: the finished run {run.run_id} holds no number: {error}; delete it"
        ) from error
    settings = _settings(run.params)
    return Row(
        experiment=experiment,
        run_id=run.run_id,
        optimizer=optimizer,
        command=command,
        settings=settings,
        **values,
    )


def rows_of(runs: Iterable[FinishedRun], experiment: str) -> list[Row]:
    """Rows in a fixed order. Of runs with one digest the newest stands."""
    newest: dict[str, FinishedRun] = {}
    for run in sorted(runs, key=lambda run: (run.ended, run.run_id)):
        newest[run.tags.get(schema.DIGEST, run.run_id)] = run
    return in_order(row_of(run, experiment) for run in newest.values())


def in_order(rows: Iterable[Row]) -> list[Row]:
    return sorted(
        rows,
        key=lambda r: (
            r.neuron,
            r.estimator_title,
            r.placement,
            r.anneal,
            r.settings,
            r.seed,
            r.digest,
        ),
    )


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write rows in a fixed order; numbers with all their digits (repr), None as an empty cell."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(TYPES)
        for row in in_order(rows):
            cells = (getattr(row, name) for name in TYPES)
            writer.writerow(
                "" if cell is None else cell if isinstance(cell, str) else repr(cell)
                for cell in cells
            )


def read_csv(path: Path) -> list[Row]:
    """Errors: ReportError for a missing file, other columns or a cell that cannot be read, naming line and column."""
    if not path.is_file():
        raise ReportError(
            f"{path.name}: no such file in {path.parent}; python -m bnn.report EXPERIMENT --export writes it"
        )
    with path.open(newline="", encoding="utf-8") as file:
        head, *lines = list(csv.reader(file)) or [[]]
    if head != list(TYPES):
        odd = ", ".join(sorted(set(head) ^ set(TYPES))) or "their order"
        raise ReportError(
            f"{path.name}: expected the columns of bnn.report.rows.Row, it differs in {odd}; export it anew"
        )
    return [_row(path.name, number, line) for number, line in enumerate(lines, 2)]


def _row(file: str, number: int, cells: Sequence[str]) -> Row:
    if len(cells) != len(TYPES):
        raise ReportError(f"{file}: row {number}: expected {len(TYPES)} cells, got {len(cells)}")
    values = {}
    for name, cell in zip(TYPES, cells, strict=True):
        try:
            values[name] = _value(name, cell)
        except ValueError as error:
            raise ReportError(
                f"{file}: row {number}, {name}: expected a number, got {cell!r}"
            ) from error
    return Row(**values)
