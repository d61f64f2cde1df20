"""A trained network as a file of packed bits, which NumPy alone evaluates, or as ONNX.

The packed file has ±1 weights as bits and batch norms folded into thresholds; random units are
thresholded. It is evaluated by bnn/export/runner.py, which needs NumPy and nothing else.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bnn.errors import OneLineParser, exit_code

if TYPE_CHECKING:
    from bnn.data import DatasetSpec
    from bnn.restore import Trained

RUNNER = "runner.py"
CHECKED = 200
"""Random images on which the file is compared with the network."""


def argument_parser() -> argparse.ArgumentParser:
    """Parser of `python -m bnn.export`."""
    parser = OneLineParser(prog="python -m bnn.export", description=__doc__)
    parser.add_argument(
        "models",
        metavar="RUN",
        nargs="+",
        help="id of a finished run or its first digits, or a checkpoint file (best.pt)",
    )
    parser.add_argument("--onnx", action="store_true", help="ONNX in place of packed bits")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="file to write (network.npz, with --onnx network.onnx)",
    )
    parser.add_argument(
        "--runner", action="store_true", help="also copy the runner, runner.py, beside the file"
    )
    parser.add_argument(
        "--table",
        action="store_true",
        help="write nothing: print the sizes and the test accuracies of packed files of these runs",
    )
    parser.add_argument(
        "--uri", help="tracking store (MLFLOW_TRACKING_URI, else mlflow.db in this folder)"
    )
    return parser


def sizes(models: Sequence[str], uri: str | None) -> str:
    """Table of the packed files of several runs; see `bnn.export.table`.

    Args:
        models: ids of runs, or paths of checkpoints.
        uri: tracking store; None: mlflow.db in the working directory.
    """
    from bnn.export.table import table
    from bnn.tracking.checkpoint_file import trained_classifier

    return table([trained_classifier(model, uri) for model in models])


def export(model: str, output: Path | None, onnx: bool, runner: bool, uri: str | None) -> str:
    """Lines on the file that was written.

    Args:
        model: id of a run, or path of a checkpoint.
        output: file to write; None: `network.npz` or `network.onnx`.
        onnx: whether to write ONNX.
        runner: whether to copy the runner beside it.
        uri: tracking store; None: mlflow.db in the working directory.

    Raises:
        BnnError: for a network that cannot be read or has another form, or a file that cannot be
            written.
    """
    import torch

    from bnn.analysis.summary import summarise
    from bnn.data import recorded_spec
    from bnn.errors import ConfigError
    from bnn.export.onnx import write_onnx
    from bnn.export.packed import packed_arrays, write_packed
    from bnn.tracking.checkpoint_file import trained_classifier

    if onnx and runner:
        raise ConfigError("--runner: the runner reads packed files; leave --onnx or --runner out")
    path = output or Path("network.onnx" if onnx else "network.npz")
    if runner and path.name == RUNNER:
        raise ConfigError(f"--output: {path} is the name of the runner's own file; write another")
    trained = trained_classifier(model, uri)
    spec = recorded_spec(trained.about)
    try:
        if onnx:
            written = write_onnx(path, trained, spec)
        else:
            written = write_packed(path, packed_arrays(trained, spec))
        if runner:
            shutil.copy(Path(__file__).with_name(RUNNER), path.with_name(RUNNER))
    except OSError as error:
        raise ConfigError(f"--output: {path} cannot be written ({error})") from error
    images = torch.rand(16, *spec.shape, generator=torch.Generator().manual_seed(0))
    floats = sum(one.float_bytes for one in summarise(trained.model, images))
    lines = [
        f"{path}: {written:,} bytes; the network's numbers as float32: {floats:,} "
        f"({floats / written:.1f} times as much)"
    ]
    if not onnx:
        agreeing = _agreeing(path, trained, spec)
        lines.append(f"classes of {CHECKED} random images: {agreeing} as those of the network")
        beside = path.with_name(RUNNER)
        lines.append(
            f"python {beside} {path} images.npy   # classes of images by NumPy alone"
            if runner
            else f"--runner puts {RUNNER} beside it, which gives the classes by NumPy alone"
        )
    return "\n".join(lines)


def _agreeing(file: Path, trained: Trained, spec: DatasetSpec) -> int:
    """Number of CHECKED random images that the file gives the class of the network."""
    import torch

    from bnn.export.runner import PackedNetwork
    from bnn.nn.readings import Reading

    generator = torch.Generator().manual_seed(0)
    shape = (CHECKED, *spec.shape)
    pixels = torch.randint(spec.max_value + 1, shape, generator=generator)
    inputs = trained.task.inputs((pixels / spec.max_value - spec.mean) / spec.std)
    classes = Reading.threshold().outputs(trained.model, inputs)[0].argmax(1)
    found = PackedNetwork(str(file)).classes(pixels.numpy())
    return int((torch.from_numpy(found) == classes).sum())


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of `python -m bnn.export`; returns the exit code."""
    parser = argument_parser()
    chosen = parser.parse_args(arguments)
    uri = chosen.uri or os.environ.get("MLFLOW_TRACKING_URI")
    if chosen.table and (chosen.onnx or chosen.runner or chosen.output):
        parser.error("--table writes nothing; leave --onnx, --runner and --output out")
    if chosen.table:
        return exit_code(lambda: print(sizes(chosen.models, uri)))
    if len(chosen.models) > 1:
        parser.error(f"expected one RUN, got {len(chosen.models)}; --table compares several")
    (model,) = chosen.models
    return exit_code(lambda: print(export(model, chosen.output, chosen.onnx, chosen.runner, uri)))


if __name__ == "__main__":
    sys.exit(main())
