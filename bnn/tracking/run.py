"""One run in MLflow: parameters, metrics, images and checkpoints.

MLflow's global run is not used, so that a worker process that trains several runs does not mix
them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from mlflow import MlflowClient

from bnn import schema
from bnn.config.canonical import flat, moves_result
from bnn.data import Dataset
from bnn.errors import Pruned, Superseded, TrackingError
from bnn.interruption import uninterrupted
from bnn.tasks import Scores
from bnn.tracking.calls import logged_images
from bnn.tracking.description import RunDescription, error_metrics, note, test_metrics
from bnn.tracking.mlflow_adapter import dataset_record
from bnn.tracking.outbox import Outbox
from bnn.tracking.pictures import RunPictures
from bnn.tracking.run_dir import claim_run_dir, run_dir_of
from bnn.tracking.store import Store
from bnn.training import checkpoint
from bnn.training.activations import Snapshot
from bnn.training.callback import Callback, FitContext
from bnn.training.loop import FitResult

INTERRUPTIONS = (KeyboardInterrupt, SystemExit, Superseded)
"""Errors after which a run ends as KILLED, and can go on."""


class MlflowRun(Callback):
    """Callback and context manager that writes one MLflow run.

    The run ends as FINISHED, as FAILED with the reason, or as KILLED after an interruption or a
    pruner's decision, which a tag tells apart. Its checkpoints are logged whichever way it ends,
    unless it was pruned. A store that cannot be reached does not stop the training: the calls wait
    in the run directory (`bnn.tracking.outbox`).

    Args:
        store: tracking store.
        about: description of the run.
        folder: run directory, which holds the checkpoints.
        parent: run id of the parent.
        trial: tags of a trial of a study; None: the run is no trial, and reads the test split.
        continued: id of an interrupted run to continue; None: a new run.
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
        self._pictures = RunPictures(folder)
        self.seconds = {"mlflow": 0.0, "figures": 0.0, "export": 0.0}
        self._client = MlflowClient(store.uri)
        self._started = time.perf_counter()
        self._known: set[str] = set()
        self._epochs: set[int] = set()
        self._logged_images: set[tuple[str, int]] = set()
        self.id = continued or ""
        self._place = store, parent, trial
        self._name = about.title if trial is None else f"trial {trial['trial']} · {about.title}"

    def _begin(self) -> None:
        """Create the run, or take up the one that is continued."""
        store, parent, trial = self._place
        if not self._continued:
            self.id = self._create(store, self.about, parent, trial)
        self._outbox = Outbox(self._client, self.id, self._folder)
        if self._continued:
            self._continue(dict(trial or {}) | ({schema.PARENT: parent} if parent else {}))

    def _create(
        self,
        store: Store,
        about: RunDescription,
        parent: str | None,
        trial: Mapping[str, str] | None,
    ) -> str:
        """Id of a new MLflow run."""
        tags = _place_tags(self._folder) | dict(about.tags)
        tags |= {schema.PARENT: parent} if parent else {}
        tags |= {schema.KIND: "trial", **trial} if trial else {}
        # the page shows tags in this order: what a person filters by, choices, the rest
        ordered = sorted(tags, key=lambda tag: (tag not in schema.FILTERS, tag.startswith("bnn.")))
        tags = {tag: tags[tag] for tag in ordered}
        run = self._client.create_run(store.experiment_id, tags=tags, run_name=self._name)
        return str(run.info.run_id)

    def _continue(self, tags: Mapping[str, str]) -> None:
        """Deliver what an earlier process kept for the run, then read what the run has already."""
        self._outbox.flush()
        if self._outbox:
            raise TrackingError(
                f"the store does not take what waits for run {self.id} in {self._folder}"
            )
        run = self._client.get_run(self.id)
        if run.info.status == "FINISHED":
            raise TrackingError(
                f"run {self.id} was finished by another process a moment ago; "
                "the same command shows it"
            )
        self._client.update_run(self.id, status="RUNNING", name=self._name)
        for stale in {schema.REASON, schema.NOTE} & set(run.data.tags):
            self._client.delete_tag(self.id, stale)
        # not its own directory again: between the claim and the tag it would look like another's
        if run_dir_of(run.data.tags) != self._folder.absolute():
            tags = _place_tags(self._folder) | dict(tags)
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
        begun = False
        try:
            with uninterrupted(), self._timed("mlflow"):
                self._begin()
                begun = True
            self._log_config()
        except BaseException as error:  # __exit__ is not called for an error of __enter__
            if begun:
                self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def _log_config(self) -> None:
        config = dict(self.about.config)
        if "seed" not in self._known:  # a run's parameters cannot change
            self._send(
                "params",
                params={
                    key: str(value) for key, value in flat(config).items() if moves_result(key)
                },
            )
            self._send("file", json.dumps(config, indent=2).encode(), path="config.json")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        with uninterrupted():
            self._end(error)

    def _end(self, error: BaseException | None) -> None:
        status = "FINISHED"
        if isinstance(error, Pruned):
            status = "KILLED"
            self._tag(schema.PRUNED, "true")
            self._tag(schema.NOTE, f"**PRUNED**: {error}")
        elif error is not None:
            status = "KILLED" if isinstance(error, INTERRUPTIONS) else "FAILED"
            self._tag(schema.REASON, f"{type(error).__name__}: {error}")
            self._tag(schema.NOTE, f"**{status}**: {type(error).__name__}: {error}")
            self._log_checkpoints(checkpoint.BEST, checkpoint.LAST)
        over = error is None or isinstance(error, Pruned)  # nothing is left to go on with
        if over and self._continued:
            self._send("remove", path=f"checkpoint/{checkpoint.LAST}")
        self._send("end", status=status, at=int(time.time() * 1000))
        self._outbox.close()
        keeps = error is None and self.about.config.get("trainer", {}).get("keep_last")
        if over and not keeps:
            (self._folder / checkpoint.LAST).unlink(missing_ok=True)
            self._pictures.remove()
        if isinstance(error, Pruned):
            (self._folder / checkpoint.BEST).unlink(missing_ok=True)

    def dataset(self, data: Dataset) -> None:
        """Log the training split as the run's input.

        Its digest covers the labels in order and the first 100 images.

        Args:
            data: the data set.
        """
        images, labels = data.train.images[:].cpu().numpy(), data.train.labels.cpu().numpy()
        digest = hashlib.sha256(labels.tobytes() + images[:100].tobytes()).hexdigest()[:8]
        with self._timed("mlflow"):
            record = dataset_record(images, labels, data.spec.name, digest)
        self._send("dataset", **record)

    def on_fit_start(self, context: FitContext) -> None:
        self._pictures.start(context)
        if context.finished_epochs == 0:
            self._log_heatmaps(0)

    def log_history(self, history: Sequence[Mapping[str, float]]) -> None:
        """Log the metrics of the epochs of a finished run that this one goes on from.

        Args:
            history: metrics of each epoch.
        """
        for epoch, metrics in enumerate(history, 1):
            self._log_epoch(epoch, metrics)

    def on_epoch_end(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self._log_epoch(epoch, metrics)
        self._log_heatmaps(epoch)
        self._pictures.add_epoch()

    def _log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch not in self._epochs:
            self._metrics(metrics, epoch)

    def _log_heatmaps(self, epoch: int) -> None:
        """Log an image of each binary layer, and the task's pictures, if heatmaps are asked for."""
        if self.about.heatmaps:
            self._log_images(epoch, self._pictures.snapshot())

    def _log_images(self, epoch: int, view: Snapshot) -> None:
        with self._timed("figures"):
            images = list(self._pictures.images(view, epoch, self._logged_images))
        for key, image in images:
            self._send("image", image, key=key, step=epoch)

    def finish(self, fit: FitResult, scores: Mapping[str, Scores]) -> float:
        """Log the final metrics, the figures, the checkpoint and, where asked for, the model.

        Args:
            fit: result of the training.
            scores: test metrics by reading.

        Returns:
            Seconds since the start of the run.
        """
        self._finals(fit, scores)
        with self._timed("figures"):
            figures = self._pictures.figures(fit)
        for name, content in figures.items():
            self._send("file", content, path=f"figures/{name}")
        if self.about.export:
            start = time.perf_counter()
            self._outbox.send("model", {}, (self._folder / checkpoint.BEST).read_bytes())
            self.seconds["export"] += time.perf_counter() - start
        return self._durations(fit)

    def finish_trial(self, fit: FitResult) -> None:
        """Log the final validation metrics and the checkpoint of one seed of a trial.

        Args:
            fit: result of the training.
        """
        self._finals(fit, {})
        self._durations(fit)

    def _finals(self, fit: FitResult, scores: Mapping[str, Scores]) -> None:
        final = {schema.BEST_EPOCH: float(fit.best_epoch)}
        tested = test_metrics(scores) | error_metrics(scores)
        final |= {schema.TEST + name: value for name, value in tested.items()}
        best = fit.history[fit.best_epoch - 1]
        final |= {
            schema.best_validation(key): value
            for key, value in best.items()
            if key.startswith(schema.VALIDATION)
        }
        self._metrics(final, len(fit.history))
        self._log_checkpoints(checkpoint.BEST)
        self._tag(schema.NOTE, note(self.about, fit, scores))

    def _durations(self, fit: FitResult) -> float:
        """Log the seconds of each part of the run.

        Training counts the processes before an interruption too; the other parts do not.

        Returns:
            Seconds of the whole run in this process.
        """
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
        """Log the checkpoints that exist: before the first epoch is over there is none."""
        for name in names:
            if (path := self._folder / name).exists():
                self._send("file", path.read_bytes(), path=f"checkpoint/{name}")

    def _metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log metrics, without those that a continued run has at this step."""
        new = {
            key: float(value)
            for key, value in metrics.items()
            if step not in self._epochs or key not in self._known
        }
        if new:
            self._send("metrics", metrics=new, step=step, at=int(time.time() * 1000))


def _place_tags(folder: Path) -> dict[str, str]:
    """Tags of a run's directory, which it claims, and of its machine."""
    return {
        schema.RUN_DIR: str(folder.absolute()),
        schema.RUN_DIR_OWNER: claim_run_dir(folder),
        schema.HOST: socket.gethostname(),
    }
