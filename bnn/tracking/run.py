"""One run in MLflow: parameters, curves, pictures and a checkpoint. The client is used without MLflow's global run, so that
a worker process that is used again does not inherit one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from bnn import facts, figures
from bnn.build import Plan
from bnn.config import estimator_title, flat
from bnn.data import Dataset
from bnn.errors import Pruned
from bnn.tracking.export import Predictor
from bnn.tracking.store import Store
from bnn.training.evaluation import Score
from bnn.training.loop import Fit
from bnn.training.units import Snapshot

EVALUATIONS = {"own": "test", "mean": "test, mean of M draws", "threshold": "test, thresholded"}


class MlflowRun:
    """A Tracker that writes one MLflow run, and ends it as FINISHED, FAILED (with the reason) or KILLED; one that was pruned
    is KILLED and says so. The checkpoint in `folder` goes with it, whichever way it ends, but not with a pruned one.

    trial: tags of a trial of a study, which then is of another kind than a run that reads the test set.
    """

    def __init__(
        self, store: Store, plan: Plan, folder: Path, parent: str | None = None, trial: Mapping[str, str] | None = None
    ) -> None:
        from mlflow import MlflowClient

        self.plan, self._folder = plan, folder
        self.pictures = plan.tracking.heatmaps
        self.seconds = {"mlflow": 0.0, "figures": 0.0, "export": 0.0}
        self._store = store
        self._client = MlflowClient(store.uri)
        self._started = time.perf_counter()
        config = dict(plan.config)
        tags = {
            "mlflow.source.name": "bnn.train",
            "bnn.kind": "run" if trial is None else "trial",
            "bnn.digest": plan.digest,
            "bnn.commit": facts.commit(),
            "bnn.command": facts.command(),
            "bnn.hardware": facts.hardware(plan.general.device),
            "bnn.versions": facts.versions(),
            "bnn.threads": str(torch.get_num_threads()),
            "dataset": plan.data.name,
            "neuron": config["neuron"]["name"],
            "estimator": config["estimator"]["name"],
            "estimator_title": estimator_title(config),
            "bnn.explores": "yes" if plan.recipe.estimator.explores else "no",
            "bnn.passes": str(plan.recipe.estimator.passes(plan.units) if plan.units else 1),
            "placement": config["placement"]["name"],
            "anneal": config["anneal"]["name"],
            "law": config["neuron"]["law"],
        }
        tags |= trial or {}
        if parent:
            tags["mlflow.parentRunId"] = parent
        name = plan.title if trial is None else f"trial {trial['trial']} · {plan.title}"
        with self._timed("mlflow"):
            self.id = self._client.create_run(store.experiment_id, tags=tags, run_name=name).info.run_id

    @contextlib.contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[what] += time.perf_counter() - start

    def __enter__(self) -> MlflowRun:
        from mlflow.entities import Param

        config = dict(self.plan.config)
        with self._timed("mlflow"):
            self._client.log_batch(self.id, params=[Param(key, str(value)) for key, value in flat(config).items()])
            self._client.log_text(self.id, json.dumps(config, indent=2), "config.json")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        status = "FINISHED"
        if isinstance(error, Pruned):
            status = "KILLED"
            self._client.set_tag(self.id, "bnn.pruned", "true")
            self._client.set_tag(self.id, "mlflow.note.content", f"**PRUNED**: {error}")
        elif error is not None:
            status = "KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED"
            self._client.set_tag(self.id, "bnn.reason", f"{type(error).__name__}: {error}")
            self._client.set_tag(self.id, "mlflow.note.content", f"**{status}**: {type(error).__name__}: {error}")
            self._log_checkpoint()
        self._client.set_terminated(self.id, status)

    def dataset(self, data: Dataset) -> None:
        """The training split as the run's input, with a digest of its labels in order and its first images."""
        from mlflow.data.numpy_dataset import from_numpy
        from mlflow.entities import DatasetInput, InputTag

        with self._timed("mlflow"):
            images, labels = data.train.images.cpu().numpy(), data.train.labels.cpu().numpy()
            digest = hashlib.sha256(labels.tobytes() + images[:100].tobytes()).hexdigest()[:8]
            described = from_numpy(images, targets=labels, name=data.spec.name, digest=digest)
            tag = InputTag("mlflow.data.context", "training")
            self._client.log_inputs(self.id, [DatasetInput(described._to_mlflow_entity(), [tag])])

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self._metrics(metrics, epoch)

    def picture(self, epoch: int, view: Snapshot) -> None:
        for layer in view.layers:
            with self._timed("figures"):
                image = _pixels(figures.heatmap(view.images, layer))
            with self._timed("mlflow"):
                self._client.log_image(self.id, image, key=f"heatmap/{layer.name}", step=epoch)

    def finish(self, fit: Fit, scores: Mapping[str, Score]) -> float:
        """Final metrics, curves, checkpoint and the model that loads again; answers the seconds since the start."""
        self._finals(fit, scores)
        with self._timed("figures"):
            pictures = {"curves.png": figures.curves(fit.history)}
            if any(key.startswith("units/") for key in fit.history[-1]):
                pictures["unit_health.png"] = figures.unit_health(fit.history)
            for name, figure in pictures.items():
                self._client.log_figure(self.id, figure, f"figures/{name}")
        self._log_model()
        return self._durations(fit)

    def finish_trial(self, fit: Fit) -> None:
        """Final validation metrics and the checkpoint of one seed of a trial."""
        self._finals(fit, {})
        self._durations(fit)

    def _finals(self, fit: Fit, scores: Mapping[str, Score]) -> None:
        final = {"best_epoch": float(fit.best_epoch)}
        for how, score in scores.items():
            suffix = "" if how == "own" else f"_{how}"
            final |= {f"test/loss{suffix}": score.loss, f"test/accuracy{suffix}": score.accuracy}
        final |= {f"val_best/{key}": fit.history[fit.best_epoch - 1][f"val/{key}"] for key in ("loss", "accuracy")}
        self._metrics(final, len(fit.history))
        with self._timed("mlflow"):
            self._log_checkpoint()
            self._client.set_tag(self.id, "mlflow.note.content", _description(self.plan, fit, scores))

    def _durations(self, fit: Fit) -> float:
        seconds = {"train": fit.train_seconds, **self.seconds, "total": time.perf_counter() - self._started}
        self._metrics({f"seconds/{what}": value for what, value in seconds.items()}, len(fit.history))
        return seconds["total"]

    def _log_checkpoint(self) -> None:
        """The best checkpoint so far, if an epoch was finished."""
        if (best := self._folder / "best.pt").exists():
            self._client.log_artifact(self.id, str(best), "checkpoint")

    def _metrics(self, metrics: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        with self._timed("mlflow"):
            self._client.log_batch(self.id, metrics=[Metric(k, float(v), now, step) for k, v in metrics.items()])

    def _log_model(self) -> None:
        """The exported graph, not a pickle: loading it runs no code of ours or of anybody else's."""
        import mlflow
        import mlflow.pytorch

        start = time.perf_counter()
        predictor = Predictor(self.plan.model, self.plan.data.mean, self.plan.data.std).cpu().eval()
        example = torch.zeros(2, *self.plan.data.shape).numpy()
        inherited = os.environ.pop("MLFLOW_RUN_ID", None)  # it would override ours
        mlflow.set_tracking_uri(self._store.uri)
        requirements = [f"torch=={version('torch')}"]
        with mlflow.start_run(run_id=self.id), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mlflow.pytorch.log_model(predictor, name="model", input_example=example, pip_requirements=requirements)
        if inherited is not None:
            os.environ["MLFLOW_RUN_ID"] = inherited
        self.seconds["export"] += time.perf_counter() - start


def _pixels(figure: Any) -> Any:
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _description(plan: Plan, fit: Fit, scores: Mapping[str, Score]) -> str:
    validation = fit.history[fit.best_epoch - 1]
    table = [("validation", validation["val/accuracy"], validation["val/loss"])]
    table += [(EVALUATIONS[how], score.accuracy, score.loss) for how, score in scores.items()]
    rows = "\n".join(f"| {name} | {100 * accuracy:.2f} | {loss:.4f} |" for name, accuracy, loss in table)
    return (
        f"{plan.title} on {plan.data.title}, best epoch {fit.best_epoch} of {len(fit.history)}.\n\n"
        f"| evaluation | accuracy (%) | loss (nats) |\n|---|---|---|\n{rows}\n\n`{facts.command()}`"
    )
