"""python -m bnn.predict MODEL IMAGE [--drawing] [--picture FILE.png]: which class a trained network sees in an image.

MODEL is the id of a run in the tracking store, or a checkpoint. IMAGE is a file of the data set's size in 8-bit grey, or
with --drawing any picture of a sign. The bits of every binary layer are drawn beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bnn.errors import exit_code

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bnn.training.activations import Activation

SHOWN = 3
"""Classes whose probability is printed."""


def parser() -> argparse.ArgumentParser:
    usage, _, about = (__doc__ or "").partition("\n\n")
    made = argparse.ArgumentParser(
        prog="python -m bnn.predict", description=f"{usage.partition(': ')[2]} {about}"
    )
    made.add_argument(
        "model", metavar="MODEL", help="the id of a finished run, or a checkpoint file (best.pt)"
    )
    made.add_argument("image", metavar="IMAGE", type=Path, help="an image file")
    made.add_argument(
        "--drawing",
        action="store_true",
        help="bring a drawing of any size and colours to the data set's form",
    )
    made.add_argument(
        "--picture",
        type=Path,
        default=Path("prediction.png"),
        help="where to draw the bits (%(default)s)",
    )
    made.add_argument(
        "--uri", help="the tracking store (MLFLOW_TRACKING_URI, else mlflow.db in this folder)"
    )
    return made


@contextlib.contextmanager
def _checkpoint(model: str, uri: str | None) -> Iterator[Path]:
    """The checkpoint file that `model` names, by its path or by its run. Errors: TrackingError, CheckpointError."""
    from bnn.errors import CheckpointError
    from bnn.tracking.query import fetch
    from bnn.training.checkpoint import BEST

    if Path(model).is_file():
        yield Path(model)
    elif "/" in model or model.endswith(".pt"):
        raise CheckpointError(f"{model}: no such file; expected a checkpoint, or the id of a run")
    else:
        with tempfile.TemporaryDirectory() as scratch:
            found = fetch(uri, model, f"checkpoint/{BEST}", Path(scratch))
            if found is None:
                raise CheckpointError(
                    f"run {model}: expected a run with a checkpoint, but it keeps none"
                )
            yield found


def predicted(
    model: nn.Module, image: Tensor, samples: int, seed: int
) -> tuple[Tensor, dict[str, Activation]]:
    """Class probabilities [classes], their mean over `samples` draws where units are random, and the activation layers of
    one more draw. image: [1, c, h, w], normalised."""
    import torch

    from bnn.nn.handlers import evaluating, sampled
    from bnn.nn.layers import binary_layers
    from bnn.nn.neurons import is_stochastic
    from bnn.nn.readings import outputs, seeded_noise
    from bnn.training.activations import activations

    reading = sampled(seeded_noise(seed, image.device))
    with torch.no_grad(), evaluating(model):
        draws, chain = samples if is_stochastic(model) else 1, binary_layers(model, image).chain
        p = torch.softmax(outputs(model, image, reading, draws, chain).double(), -1).mean(0)
        return p[0], activations(model, image, reading)[0]


def predict(model: str, path: Path, drawing: bool, picture: Path, uri: str | None) -> str:
    """Draw the bits to `picture`; answers what to print. Errors: BnnError for what cannot be read."""
    import torch

    from bnn.build import build_task
    from bnn.config.titles import run_title
    from bnn.data import recorded_spec
    from bnn.data.image_files import read_drawing, read_image
    from bnn.errors import ConfigError
    from bnn.nn.neurons import Binary, is_stochastic
    from bnn.plots.layers import prediction
    from bnn.restore import load_checkpoint
    from bnn.tasks import Classification

    with _checkpoint(model, uri) as file:
        network, config = load_checkpoint(file)
    if not isinstance(build_task(config), Classification):
        raise ConfigError(
            f"{model}: expected a network that was trained to classify, got task={config['task']['name']}"
        )
    spec, samples = recorded_spec(config), config["trainer"]["evaluation_samples"]
    pixels = torch.from_numpy((read_drawing if drawing else read_image)(path, spec))
    p, layers = predicted(network, (pixels[None] - spec.mean) / spec.std, samples, config["seed"])
    bits = {
        name: layer.output[0]
        for name, layer in layers.items()
        if isinstance(network.get_submodule(name), Binary)
    }
    try:
        prediction(pixels, bits, p).savefig(picture, dpi=100)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--picture: {picture} cannot be written ({error})") from error
    first, *others = p.argsort(descending=True)[:SHOWN].tolist()
    names = spec.class_names or range(len(p))
    rest = ", ".join(f"{names[other]} {100 * float(p[other]):.1f} %" for other in others)
    how = f"the mean of {samples} draws" if is_stochastic(network) else "no unit is random"
    seen = f"bits of {', '.join(bits)} in one draw" if bits else "without binary layers"
    return (
        f"{names[first]}  ({100 * float(p[first]):.1f} %; then {rest}; {how})\n"
        f"{run_title(dict(config))} on {spec.title}, {seen}: {picture}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    asked = parser().parse_args(arguments)
    uri = asked.uri or os.environ.get("MLFLOW_TRACKING_URI")
    return exit_code(
        lambda: print(predict(asked.model, asked.image, asked.drawing, asked.picture, uri))
    )


if __name__ == "__main__":
    sys.exit(main())
