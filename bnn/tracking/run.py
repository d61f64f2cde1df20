"""One run in MLflow: parameters, curves, pictures and a checkpoint. The client is used without MLflow's global run, so that
a worker process that is used again does not inherit one."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from matplotlib.figure import Figure
from mlflow import MlflowClient

from bnn import schema
from bnn.config import provenance
from bnn.config.canonical import flat, moves_result
from bnn.data import Dataset
from bnn.errors import Pruned, TrackingError
from bnn.plots import runs
from bnn.tables import markdown
from bnn.tasks import Scores, Task
from bnn.tracking.calls import logged_images
from bnn.tracking.mlflow_adapter import dataset_record
from bnn.tracking.outbox import Outbox
from bnn.tracking.run_dir import claim_run_dir
from bnn.tracking.store import Store
from bnn.training import checkpoint
from bnn.training.activations import Snapshot, fixed_images, snapshot
from bnn.training.callback import Callback, FitContext
from bnn.training.loop import FitResult

READINGS = {
    schema.SAMPLED: "test",
    schema.MC_MEAN: "test, mean of M draws",
    schema.THRESHOLD: "test, thresholded",
}


def test_metrics(scores: Mapping[str, Scores]) -> dict[str, float]:
    """Test metrics under every reading, each under one name: `accuracy`, `accuracy_mc_mean`."""
    return {
        schema.test_metric(name, reading): value
        for reading, score in scores.items()
        for name, value in score.items()
    }


@dataclass(frozen=True)
class RunDescription:
    """Description of a run for MLflow, whoever trains it.

    Args:
        title: name of the run.
        dataset: title of the data set.
        config: nested, plain values; those that move the result become parameters, all of it an artifact.
        tags: tags beside those of its place.
        task: the task, for its metrics.
        heatmaps: whether pictures are logged.
        export: whether the network of the checkpoint is logged as a model.
    """

    title: str
    dataset: str
    config: Mapping[str, Any]
    tags: Mapping[str, str]
    task: Task
    heatmaps: bool = True
    export: bool = False


class MlflowRun(Callback):
    """A Tracker that writes one MLflow run, and ends it as FINISHED, FAILED (with the reason) or KILLED; one that was pruned
    is KILLED and says so. The checkpoints in `folder` go with it, whichever way it ends, but not with a pruned one.

    A store that stops answering does not stop the training: what it was to hear waits in `folder` (bnn.tracking.outbox).
    trial: tags of a trial of a study, which then is of another kind than a run that reads the test set.
    continued: the run to go on with, instead of a new one; what it has already is not logged again.
    """

    def __init__(
        self,
        store: Store,
        about: RunDescription,
        folder: Path,
        parent: str | None = None,
        trial: Mapping[str, str] | None = None,
        continued: str | None = None,
    ) -> None:

        self.about, self._folder, self._continued = about, folder, continued is not None
        self.seconds = {"mlflow": 0.0, "figures": 0.0, "export": 0.0}
        self._client = MlflowClient(store.uri)
        self._started = time.perf_counter()
        self._known: set[str] = set()
        self._epochs: set[int] = set()
        self._logged_images: set[tuple[str, int]] = set()
        with self._timed("mlflow"):
            if continued is None:
                tags = (
                    _place(folder, claim_run_dir(folder))
                    | dict(about.tags)
                    | ({schema.PARENT: parent} if parent else {})
                )
                tags |= {schema.KIND: "trial", **trial} if trial else {}
                name = about.title if trial is None else f"trial {trial['trial']} · {about.title}"
                self.id = self._client.create_run(
                    store.experiment_id, tags=tags, run_name=name
                ).info.run_id
            else:
                self.id = continued
            self._outbox = Outbox(self._client, self.id, folder)
            if continued is not None:
                self._take_up(
                    _place(folder, claim_run_dir(folder))
                    | dict(trial or {})
                    | ({schema.PARENT: parent} if parent else {})
                )

    def _take_up(self, tags: Mapping[str, str]) -> None:
        """Learn what the run has, once it has what an earlier process kept for it."""
        self._outbox.flush()
        if self._outbox:
            raise TrackingError(
                f"the store does not take what waits for run {self.id} in {self._folder}"
            )
        run = self._client.get_run(self.id)
        if run.info.status == "FINISHED":
            raise TrackingError(
                f"run {self.id} was finished by another process a moment ago; the same command shows it"
            )
        self._client.update_run(self.id, status="RUNNING")
        for stale in {schema.REASON, schema.NOTE} & set(run.data.tags):
            self._client.delete_tag(self.id, stale)
        for key, value in tags.items():
            self._client.set_tag(self.id, key, value)
        self._known = {*run.data.params, *run.data.metrics}
        if schema.VALIDATION + "loss" in self._known:  # every task has a loss
            self._epochs = {
                point.step
                for point in self._client.get_metric_history(self.id, schema.VALIDATION + "loss")
            }
        self._logged_images = logged_images(self._client, self.id)

    @contextlib.contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[what] += time.perf_counter() - start

    def _send(self, call: str, payload: bytes = b"", **values: Any) -> None:
        with self._timed("mlflow"):
            self._outbox.send(call, values, payload)

    def _tag(self, key: str, value: str) -> None:
        self._send("tag", key=key, value=value)

    def __enter__(self) -> MlflowRun:
        config = dict(self.about.config)
        if "seed" not in self._known:  # a run's parameters cannot change
            self._send(
                "params",
                params={
                    key: str(value) for key, value in flat(config).items() if moves_result(key)
                },
            )
            self._send("file", json.dumps(config, indent=2).encode(), path="config.json")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        status = "FINISHED"
        if isinstance(error, Pruned):
            status = "KILLED"
            self._tag(schema.PRUNED, "true")
            self._tag(schema.NOTE, f"**PRUNED**: {error}")
        elif error is not None:
            status = "KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED"
            self._tag(schema.REASON, f"{type(error).__name__}: {error}")
            self._tag(schema.NOTE, f"**{status}**: {type(error).__name__}: {error}")
            self._log_checkpoints(checkpoint.BEST, checkpoint.LAST)
        over = error is None or isinstance(error, Pruned)  # nothing is left to go on with
        if over and self._continued:
            self._send("remove", path=f"checkpoint/{checkpoint.LAST}")
        self._send("end", status=status, at=int(time.time() * 1000))
        self._outbox.close()
        if over:
            (self._folder / checkpoint.LAST).unlink(missing_ok=True)
        if isinstance(error, Pruned):
            (self._folder / checkpoint.BEST).unlink(missing_ok=True)

    def dataset(self, data: Dataset) -> None:
        """The training split as the run's input, with a digest of its labels in order and its first images."""

        images, labels = data.train.images.cpu().numpy(), data.train.labels.cpu().numpy()
        digest = hashlib.sha256(labels.tobytes() + images[:100].tobytes()).hexdigest()[:8]
        with self._timed("mlflow"):
            record = dataset_record(images, labels, data.spec.name, digest)
        self._send("dataset", **record)

    def on_fit_start(self, context: FitContext) -> None:
        self._context, test = context, context.data.test
        self._images = fixed_images(test)
        if context.finished_epochs == 0:
            self._log_heatmaps(0)

    def on_epoch_end(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self._log_epoch(epoch, metrics)
        self._log_heatmaps(epoch)

    def _log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch not in self._epochs:
            self._metrics(metrics, epoch)

    def _log_heatmaps(self, epoch: int) -> None:
        """Log each activation layer on the fixed test images, where heatmaps are asked for."""
        if not self.about.heatmaps:
            return
        context, images = self._context, self._images
        inputs = context.task.inputs(images)
        self._log_pictures(epoch, snapshot(context.model, images, context.seed, inputs))

    def _log_pictures(self, epoch: int, view: Snapshot) -> None:
        for layer in view.layers:
            if (key := schema.HEATMAP + layer.name, epoch) in self._logged_images:
                continue
            with self._timed("figures"):
                image = _png(runs.heatmap(view.images, layer))
            self._send("image", image, key=key, step=epoch)

    def finish(self, fit: FitResult, scores: Mapping[str, Scores]) -> float:
        """Final metrics, curves, checkpoint and the model that loads again; answers the seconds since the start."""
        self._finals(fit, scores)
        with self._timed("figures"):
            drawn = {"curves.png": _png(runs.curves(fit.history, self.about.task))}
            if any(key.startswith(schema.UNITS) for key in fit.history[-1]):
                drawn["unit_health.png"] = _png(runs.unit_health(fit.history))
        for name, picture in drawn.items():
            self._send("file", picture, path=f"figures/{name}")
        if self.about.export:
            start = time.perf_counter()
            self._outbox.send("model", {}, (self._folder / checkpoint.BEST).read_bytes())
            self.seconds["export"] += time.perf_counter() - start
        return self._durations(fit)

    def finish_trial(self, fit: FitResult) -> None:
        """Final validation metrics and the checkpoint of one seed of a trial."""
        self._finals(fit, {})
        self._durations(fit)

    def _finals(self, fit: FitResult, scores: Mapping[str, Scores]) -> None:
        final = {schema.BEST_EPOCH: float(fit.best_epoch)}
        final |= {schema.TEST + name: value for name, value in test_metrics(scores).items()}
        best = fit.history[fit.best_epoch - 1]
        final |= {
            schema.best_validation(key): value
            for key, value in best.items()
            if key.startswith(schema.VALIDATION)
        }
        self._metrics(final, len(fit.history))
        self._log_checkpoints(checkpoint.BEST)
        self._tag(schema.NOTE, _note(self.about, fit, scores))

    def _durations(self, fit: FitResult) -> float:
        """Log them, and answer the seconds of the whole run. Only the training's are those of all its processes."""
        seconds = {
            "train": fit.train_seconds,
            **self.seconds,
            "total": time.perf_counter() - self._started,
        }
        self._metrics(
            {schema.SECONDS + what: value for what, value in seconds.items()}, len(fit.history)
        )
        return seconds["total"]

    def _log_checkpoints(self, *names: str) -> None:
        """Those that are there: before the first epoch is over there is none."""
        for name in names:
            if (path := self._folder / name).exists():
                self._send("file", path.read_bytes(), path=f"checkpoint/{name}")

    def _metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Of an epoch all are new together; of the last ones those count that are not there yet."""
        new = {
            key: float(value)
            for key, value in metrics.items()
            if step not in self._epochs or key not in self._known
        }
        if new:
            self._send("metrics", metrics=new, step=step, at=int(time.time() * 1000))


def _place(folder: Path, key: str) -> dict[str, str]:
    return {
        schema.RUN_DIR: str(folder.absolute()),
        schema.RUN_DIR_OWNER: key,
        schema.HOST: socket.gethostname(),
    }


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _note(about: RunDescription, fit: FitResult, scores: Mapping[str, Scores]) -> str:
    metrics, best = about.task.metrics, fit.history[fit.best_epoch - 1]
    validation = {name: best[schema.VALIDATION + name] for name in metrics}
    named = [
        ("validation", validation),
        *((READINGS.get(how, how), score) for how, score in scores.items()),
    ]
    rows = [
        [name, *(metrics[key].format(values[key]) for key in metrics)] for name, values in named
    ]
    table = markdown(
        ["evaluation", *(f"{name} ({metric.unit})" for name, metric in metrics.items())], rows
    )
    return (
        f"{about.title} on {about.dataset}, best epoch {fit.best_epoch} of {len(fit.history)}.\n\n"
        f"{table}\n\n`{provenance.command()}`"
    )
