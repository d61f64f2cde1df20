"""ONNX export of a trained network, for other runtimes."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path

import torch

from bnn.data import DatasetSpec
from bnn.errors import ConfigError
from bnn.nn.handlers import threshold
from bnn.restore import Trained
from bnn.tracking.export import Predictor

NEEDED = ("onnx", "onnxscript")


def write_onnx(file: Path, trained: Trained, spec: DatasetSpec) -> int:
    """Write a network as ONNX, from pixels in [0, 1] to the task's prediction.

    Random units are thresholded. The batch may have any size.

    Args:
        file: path, which is replaced.
        trained: network of a checkpoint.
        spec: facts of its data set.

    Returns:
        Size of the file in bytes.

    Raises:
        ConfigError: without the packages that write ONNX.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise ConfigError(
            f"--onnx: expected the package {missing[0]}, which is not installed; write "
            "pip install 'binary-neurons[onnx]'"
        )
    module = Predictor(trained.model, spec.mean, spec.std, trained.task, threshold).eval()
    example = torch.zeros(2, *spec.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (example,),
            str(file),
            input_names=["images"],
            output_names=["prediction"],
            dynamic_shapes={"images": {0: torch.export.Dim("n")}},
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    return file.stat().st_size
