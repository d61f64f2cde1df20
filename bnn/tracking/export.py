"""The model that a run leaves behind: a network with its normalisation and its own way of drawing bits."""

from __future__ import annotations

import warnings
from importlib.metadata import version
from typing import BinaryIO

import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput
from torch import Tensor, nn

from bnn.data import recorded_spec
from bnn.nn.handlers import apply, sampled
from bnn.restore import load_trained
from bnn.tasks import Task


class Predictor(nn.Module):
    """Images [n, c, h, w] with pixels in [0, 1] to the task's prediction, such as class probabilities [n, classes]; units by
    each neuron's own rule."""

    def __init__(self, model: nn.Module, mean: float, std: float, task: Task) -> None:
        super().__init__()
        self.model, self.mean, self.std, self.task = model, mean, std, task

    def forward(self, images: Tensor) -> Tensor:
        inputs = self.task.inputs((images - self.mean) / self.std)
        return self.task.predict(apply(self.model, inputs, sampled()))


def log_model(client: MlflowClient, run_id: str, checkpoint: BinaryIO) -> None:
    """Give a run the network of its checkpoint as an exported graph, not a pickle: loading that runs no code of ours or of
    anybody else's. A run that has it is left as it is, and what an attempt that was cut off left is removed."""
    import mlflow.pytorch

    run = client.get_run(run_id)
    if run.outputs and run.outputs.model_outputs:
        return
    experiment = run.info.experiment_id
    for cut_off in client.search_logged_models([experiment], f"source_run_id = '{run_id}'"):
        client.delete_logged_model(cut_off.model_id)
    trained = load_trained(checkpoint)
    spec = recorded_spec(trained.about)
    logged = client.create_logged_model(experiment, name="model", source_run_id=run_id)
    mlflow.set_tracking_uri(client.tracking_uri)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.pytorch.log_model(
            Predictor(trained.model, spec.mean, spec.std, trained.task).eval(),
            name="model",
            model_id=logged.model_id,
            input_example=torch.zeros(2, *spec.shape).numpy(),
            pip_requirements=[f"torch=={version('torch')}"],
        )
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
