"""Export of a trained network as an MLflow model, with its normalisation and its random units."""

from __future__ import annotations

import warnings
from importlib.metadata import version
from typing import BinaryIO

import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput
from torch import Tensor, nn

from bnn.data import recorded_spec
from bnn.errors import format_error
from bnn.nn.handlers import SiteHandler, apply, sampled
from bnn.restore import load_trained
from bnn.tasks import Task
from bnn.tracking.failures import STORE_ERRORS, DamagedRecord
from bnn.tracking.store import Store


class Predictor(nn.Module):
    """Network from raw images to the task's prediction.

    `forward` takes images [n, c, h, w] with pixels in [0, 1], and returns the task's prediction,
    such as class probabilities [n, classes].

    Args:
        model: trained network.
        mean: mean of the training pixels.
        std: standard deviation of the training pixels.
        task: task, for its inputs and its prediction.
        handler: site handler; None: random units fire by their own rule.
    """

    def __init__(
        self,
        model: nn.Module,
        mean: float,
        std: float,
        task: Task,
        handler: SiteHandler | None = None,
    ) -> None:
        super().__init__()
        self.model, self.mean, self.std, self.task = model, mean, std, task
        self.handler = sampled() if handler is None else handler

    def forward(self, images: Tensor) -> Tensor:
        inputs = self.task.inputs((images - self.mean) / self.std)
        return self.task.predict(apply(self.model, inputs, self.handler))


def log_model(client: MlflowClient, run_id: str, checkpoint: BinaryIO) -> None:
    """Log the network of a checkpoint as an exported graph, which is loaded without running code.

    A run that has a model keeps it; models of interrupted attempts are removed.

    Args:
        client: client of the tracking store.
        run_id: run to which the model belongs.
        checkpoint: checkpoint of the network.

    Raises:
        DamagedRecord: for a network that cannot be exported.
    """
    import mlflow.pytorch

    run = client.get_run(run_id)
    if run.outputs and run.outputs.model_outputs:
        return
    experiment = run.info.experiment_id
    for incomplete in client.search_logged_models([experiment], f"source_run_id = '{run_id}'"):
        client.delete_logged_model(incomplete.model_id)
    trained = load_trained(checkpoint)
    spec = recorded_spec(trained.about)
    logged = client.create_logged_model(experiment, name="model", source_run_id=run_id)
    mlflow.set_tracking_uri(client.tracking_uri)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            mlflow.pytorch.log_model(
                Predictor(trained.model, spec.mean, spec.std, trained.task).eval(),
                name="model",
                model_id=logged.model_id,
                input_example=torch.zeros(2, *spec.shape).numpy(),
                pip_requirements=[f"torch=={version('torch')}"],
            )
        except STORE_ERRORS:
            raise
        except Exception as error:  # torch.export has no exception of its own
            client.delete_logged_model(logged.model_id)
            raise DamagedRecord(
                f"torch.export does not take the network: {format_error(error)}; "
                "tracking.model=false logs the checkpoint alone"
            ) from error
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])


def model_uris(store: Store, run_id: str) -> list[str]:
    """Addresses of the exported models of a run, as MLflow's loaders take them: `models:/m-…`."""
    outputs = MlflowClient(store.uri).get_run(run_id).outputs
    return [f"models:/{one.model_id}" for one in (outputs.model_outputs if outputs else [])]
