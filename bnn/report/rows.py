"""Rows: one record of each finished run, and the place in the store that each value comes from."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_origin, get_type_hints

from bnn import schema
from bnn.errors import BnnError

if TYPE_CHECKING:
    from bnn.tracking.query import FinishedRun

MACHINE_KEYS = ("tracking.uri", "data.root", "hydra.run.dir", "hydra.sweep.dir")
"""Overrides that name a place on one machine: the command that a row keeps is without them."""
GATER_UNITS = "units/gater.act/"
"""Beginning of the metrics of a gated network's gates."""


class ReportError(BnnError):
    """Rows that make no table, or a damaged file of rows or README."""


@dataclass(frozen=True)
class From:
    """Source of a field of Row: a key among a run's `params`, `tags` or `metrics`.

    Args:
        kind: `params`, `tags` or `metrics`.
        key: key in it.
        default: value of runs of a version that had no such key.
    """

    kind: str
    key: str
    default: str | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One finished run: losses in nats, accuracies as shares in [0, 1], seconds of wall clock.

    Metrics `test_*` are of the reading `sampled`; `_mc_mean` averages predictions over
    `evaluation_samples` draws, and `_threshold` thresholds the units. Both are None for a network
    without stochastic units, and accuracies are None under a task that has none. Further readings
    are those of weights that are drawn in training (`bnn.tasks.weight_readings`).
    """

    experiment: str
    dataset: Annotated[str, From("tags", schema.DATASET)]
    model: Annotated[str, From("params", "model.name")]
    neuron: Annotated[str, From("tags", schema.NEURON)]
    law: Annotated[str, From("tags", schema.LAW)]
    estimator: Annotated[str, From("tags", schema.ESTIMATOR_NAME)]
    estimator_title: Annotated[str, From("tags", schema.ESTIMATOR_TITLE)]
    samples_in_training: Annotated[str, From("tags", schema.SAMPLES_IN_TRAINING)]
    """`yes` where training drew bits by the noise law whatever the neuron's rule."""
    evaluations: Annotated[int, From("tags", schema.EVALUATIONS)]
    """Forward-backward evaluations of the loss per sample and step."""
    placement: Annotated[str, From("tags", schema.PLACEMENT)]
    weights: Annotated[str, From("tags", schema.WEIGHT_RULE, "real")] = "real"
    anneal: Annotated[str, From("tags", schema.ANNEAL)]
    seed: Annotated[int, From("params", "seed")]
    epochs: Annotated[int, From("params", "trainer.epochs")]
    precision: Annotated[str, From("params", "trainer.precision")]
    norm: Annotated[str, From("params", "model.norm", "none")]
    optimizer: str
    """Compact: `sgd lr 0.1 constant`."""
    evaluation_samples: Annotated[int, From("params", "trainer.evaluation_samples")]
    best_epoch: Annotated[int, From("metrics", schema.BEST_EPOCH)]
    val_loss: Annotated[float, From("metrics", "val_best/loss")]
    val_accuracy: Annotated[float | None, From("metrics", "val_best/accuracy")]
    test_loss: Annotated[float, From("metrics", "test/loss")]
    test_accuracy: Annotated[float | None, From("metrics", "test/accuracy")]
    test_loss_mc_mean: Annotated[float | None, From("metrics", "test/loss_mc_mean")]
    test_accuracy_mc_mean: Annotated[float | None, From("metrics", "test/accuracy_mc_mean")]
    test_loss_threshold: Annotated[float | None, From("metrics", "test/loss_threshold")]
    test_accuracy_threshold: Annotated[float | None, From("metrics", "test/accuracy_threshold")]
    test_accuracy_sign_training_statistics: Annotated[
        float | None, From("metrics", "test/accuracy_sign_training_statistics")
    ] = None
    test_accuracy_drawn_weights: Annotated[
        float | None, From("metrics", "test/accuracy_drawn_weights")
    ] = None
    test_accuracy_drawn_weights_training_statistics: Annotated[
        float | None, From("metrics", "test/accuracy_drawn_weights_training_statistics")
    ] = None
    test_accuracy_ensemble: Annotated[float | None, From("metrics", "test/accuracy_ensemble")] = (
        None
    )
    test_accuracy_ensemble_training_statistics: Annotated[
        float | None, From("metrics", "test/accuracy_ensemble_training_statistics")
    ] = None
    test_accuracy_lrt: Annotated[float | None, From("metrics", "test/accuracy_lrt")] = None
    test_accuracy_lrt_training_statistics: Annotated[
        float | None, From("metrics", "test/accuracy_lrt_training_statistics")
    ] = None
    further: str = ""
    """`name=value; …` of the further test metrics of a task, and of the gates' last epoch."""
    seconds_train: Annotated[float, From("metrics", schema.TRAIN_SECONDS)]
    seconds_total: Annotated[float, From("metrics", schema.TOTAL_SECONDS)]
    run_id: str
    digest: Annotated[str, From("tags", schema.DIGEST)]
    commit: Annotated[str, From("tags", schema.COMMIT)]
    hardware: Annotated[str, From("tags", schema.HARDWARE)]
    threads: Annotated[int, From("tags", schema.THREADS)]
    versions: Annotated[str, From("tags", schema.VERSIONS)]
    command: str
    settings: str
    """`key=value; …` of every other parameter that moves the result: two runs that differ in one
    are no replicas."""

    @property
    def task(self) -> dict[str, str]:
        """Group `task`: the name, and the task's own settings by key."""
        pairs = self._settings.items()
        of_task = {key[5:]: value for key, value in pairs if key.startswith("task.")}
        return {"name": "classification", **of_task}

    @property
    def validation_samples(self) -> int:
        """Draws of the validation that selected the best epoch."""
        return int(self._settings.get("trainer.validation_samples", 1))

    @property
    def _settings(self) -> dict[str, str]:
        pairs = (pair.partition("=") for pair in self.settings.split("; "))
        return {key: value for key, _, value in pairs}

    @property
    def further_metrics(self) -> dict[str, float]:
        """Further metrics by name: `distance_threshold`, `units/gater.act/information`."""
        pairs = (pair.partition("=") for pair in self.further.split("; ") if pair)
        return {name: float(value) for name, _, value in pairs}


TYPES = get_type_hints(Row)
"""Type of each field of Row, in the order of columns."""
SOURCES: dict[str, From] = {
    name: hint.__metadata__[0]
    for name, hint in get_type_hints(Row, include_extras=True).items()
    if get_origin(hint) is Annotated
}
OPTIONAL = tuple(name for name, kind in TYPES.items() if kind == float | None)


def field_value(name: str, text: Any) -> Any:
    """The value of a field of Row from its text.

    Raises:
        ValueError: for text that is no number where the field is one.
    """
    if name in OPTIONAL:
        return None if text in ("", None) else float(text)
    return TYPES[name](text)


def row_of(run: FinishedRun, experiment: str) -> Row:
    """The row of a finished run, which any version may have tracked.

    Raises:
        ReportError: for a run that lacks a value, or has text where a number belongs.
    """
    sources = {
        "params": run.params,
        "tags": schema.current_tags(run.tags),
        "metrics": {schema.current_metric(key): value for key, value in run.metrics.items()},
    }
    try:
        values = {name: _read(name, sources[of.kind], of) for name, of in SOURCES.items()}
        optimizer = _optimizer(run.params)
        command = portable(run.tags[schema.COMMAND])
    except KeyError as error:
        raise ReportError(
            f"{experiment}: the finished run {run.run_id} lacks {error}; delete it, or run it anew"
        ) from error
    except ValueError as error:
        raise ReportError(
            f"{experiment}: the finished run {run.run_id} holds no number: {error}; delete it"
        ) from error
    return Row(
        experiment=experiment,
        run_id=run.run_id,
        optimizer=optimizer,
        command=command,
        settings=_settings(run.params),
        further=_further(sources["metrics"]),
        **values,
    )


def _read(name: str, values: Mapping[str, Any], source: From) -> Any:
    if name in OPTIONAL or source.default is not None:
        return field_value(name, values.get(source.key, source.default))
    return field_value(name, values[source.key])


def _further(metrics: Mapping[str, Any]) -> str:
    in_fields = {source.key for source in SOURCES.values()}
    return "; ".join(
        f"{key.removeprefix(schema.TEST)}={value!r}"
        for key, value in sorted(metrics.items())
        if key.startswith((schema.TEST, GATER_UNITS))
        and key not in in_fields
        and not key.startswith((f"{schema.TEST}error", f"{schema.TEST}loss"))
    )


def _optimizer(params: Mapping[str, str]) -> str:
    name, lr, schedule = (params[f"optimizer.{key}"] for key in ("name", "lr", "lr_schedule"))
    return f"{name} lr {lr} {schedule}"


def _settings(params: Mapping[str, str]) -> str:
    from bnn.config.canonical import in_0_1_0, moves_result

    in_fields = {source.key for source in SOURCES.values()}
    in_fields |= {"data.name", "neuron.name", "neuron.law", "placement.name", "anneal.name"}
    in_fields |= {"weights.name"}
    in_fields |= {"optimizer.name", "optimizer.lr", "optimizer.lr_schedule"}
    return "; ".join(
        f"{key}={value}"
        for key, value in sorted(params.items())
        if key not in in_fields
        and moves_result(key)
        and not in_0_1_0(key, value)
        and not key.startswith("estimator.")  # estimator_title has its group
    )


def portable(command: str) -> str:
    """The command without overrides of MACHINE_KEYS, or as it is where it is no command line."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    kept = [word for word in words if word.lstrip("+~").partition("=")[0] not in MACHINE_KEYS]
    return shlex.join(kept)


def rows_of(runs: Iterable[FinishedRun], experiment: str) -> list[Row]:
    """Rows of runs in a fixed order; of runs with one digest the newest stands.

    Raises:
        ReportError: as `row_of`.
    """
    newest: dict[str, FinishedRun] = {}
    for run in sorted(runs, key=lambda run: (run.ended, run.run_id)):
        newest[run.tags.get(schema.DIGEST, run.run_id)] = run
    return in_order(row_of(run, experiment) for run in newest.values())


def readable_rows(runs: Iterable[FinishedRun], experiment: str) -> tuple[list[Row], dict[str, str]]:
    """Rows of the runs that make one, in the order of `rows_of`, and why others make none.

    Returns:
        Rows, and the reason by id of each run that has none.
    """
    newest: dict[str, Row] = {}
    refused: dict[str, str] = {}
    for run in sorted(runs, key=lambda run: (run.ended, run.run_id)):
        try:
            row = row_of(run, experiment)
            _check_finite(row)
        except ReportError as error:
            refused[run.run_id] = str(error)
        else:
            newest[row.digest] = row
    return in_order(newest.values()), refused


def _check_finite(row: Row) -> None:
    """Raise ReportError for a metric that is infinite; a store keeps it as its largest number."""
    for name in TYPES:
        value = getattr(row, name)
        if isinstance(value, float) and not abs(value) < sys.float_info.max:
            raise ReportError(
                f"{row.experiment}: the finished run {row.run_id} has no finite {name}; delete it"
            )


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Rows in the order of a file: by configuration, then by seed."""
    return sorted(
        rows,
        key=lambda r: (
            r.neuron,
            r.estimator_title,
            r.placement,
            r.weights,
            r.anneal,
            r.settings,
            r.seed,
            r.digest,
        ),
    )
