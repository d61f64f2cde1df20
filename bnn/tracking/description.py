"""Description of a run for MLflow: its facts, its test metrics by name, and its note."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bnn import schema
from bnn.config import provenance
from bnn.tables import markdown, with_unit
from bnn.tasks import Scores, Task
from bnn.training.loop import FitResult

READINGS = {
    schema.SAMPLED: "test",
    schema.MC_MEAN: "test, mean of M draws",
    schema.THRESHOLD: "test, thresholded",
    schema.SIGN_WEIGHTS: "test, signs of the weights",
    schema.DRAWN_WEIGHTS: "test, drawn weights",
    schema.ENSEMBLE: "test, mean of M drawn networks",
    schema.LRT: "test, Gaussian pre-activations",
}


def test_metrics(scores: Mapping[str, Scores]) -> dict[str, float]:
    """Test metrics under every reading, each under one name: `accuracy`, `accuracy_mc_mean`."""
    return {
        schema.test_metric(name, reading): value
        for reading, score in scores.items()
        for name, value in score.items()
    }


def error_metrics(scores: Mapping[str, Scores]) -> dict[str, float]:
    """Test errors in percent under every reading; none of a task without an accuracy."""
    return {
        schema.test_metric(schema.ERROR, reading): 100 * (1 - score[schema.ACCURACY])
        for reading, score in scores.items()
        if schema.ACCURACY in score
    }


@dataclass(frozen=True)
class RunDescription:
    """Description of a run for MLflow, whoever trains it.

    Args:
        title: name of the run.
        dataset: title of the data set.
        config: nested, plain values; those that the result depends on become parameters, all of
            them an artifact.
        tags: tags, without those of the run directory and the machine.
        task: task, for its metrics.
        heatmaps: whether images of the binary layers, and the task's pictures, are logged.
        export: whether the network of the checkpoint is logged as a model.
    """

    title: str
    dataset: str
    config: Mapping[str, Any]
    tags: Mapping[str, str]
    task: Task
    heatmaps: bool = True
    export: bool = False


def _reading_title(reading: str) -> str:
    """Title of a reading in the note of a run."""
    name = reading.removesuffix(schema.TRAINING_STATISTICS)
    suffix = ", statistics of the training" if name != reading else ""
    return READINGS.get(name, name) + suffix


def note(about: RunDescription, fit: FitResult, scores: Mapping[str, Scores]) -> str:
    """Description of a finished run in Markdown: a table of its metrics, and its command."""
    metrics, best = about.task.metrics, fit.history[fit.best_epoch - 1]
    validation = {name: best[schema.VALIDATION + name] for name in metrics}
    readings = [(_reading_title(reading), score) for reading, score in scores.items()]
    rows = [
        [name, *(metrics[key].format(values[key]) for key in metrics)]
        for name, values in [("validation", validation), *readings]
    ]
    heads = [with_unit(name, metric.unit) for name, metric in metrics.items()]
    table = markdown(["evaluation", *heads], rows)
    return (
        f"{about.title} on {about.dataset}, best epoch {fit.best_epoch} of {len(fit.history)}.\n\n"
        f"{table}\n\n`{provenance.command()}`"
    )
