"""Class of one image by a trained network, and a figure of the bits of its binary layers.

The image has the size of the data set in 8-bit grey; with --drawing it is a picture of a sign, of
any size and colours.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bnn.errors import OneLineParser, exit_code

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bnn.training.activations import Activation

SHOWN = 3
"""Classes whose probability is printed."""


def argument_parser() -> argparse.ArgumentParser:
    """Parser of `python -m bnn.predict`."""
    parser = OneLineParser(prog="python -m bnn.predict", description=__doc__)
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="id of a finished run or its first digits, or a checkpoint file (best.pt)",
    )
    parser.add_argument("image", metavar="IMAGE", type=Path, help="image file")
    parser.add_argument(
        "--drawing",
        action="store_true",
        help="bring a drawing of any size and colours to the form of the data set",
    )
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="FILE",
        default=Path("prediction.png"),
        help="file of the figure (%(default)s)",
    )
    parser.add_argument(
        "--uri", help="tracking store (MLFLOW_TRACKING_URI, else mlflow.db in this folder)"
    )
    return parser


def predicted(
    model: nn.Module, image: Tensor, samples: int, seed: int
) -> tuple[Tensor, dict[str, Activation]]:
    """Class probabilities of an image, and the activations of one draw.

    Args:
        model: network.
        image: normalised, [1, c, h, w].
        samples: draws that the probabilities are averaged over, where units are random.
        seed: seed of the draws.

    Returns:
        [classes]; activation layers by name, of another draw.
    """
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
    """Lines with the most probable classes, after the bits were drawn to a file.

    Args:
        model: path of a checkpoint, or id of a run.
        path: image file.
        drawing: whether the image is brought to the form of the data set.
        picture: file of the figure.
        uri: tracking store; None: mlflow.db in the working directory.

    Raises:
        BnnError: for a model or an image that cannot be read, a network that does not classify, or
            a figure that cannot be written.
    """
    import torch

    from bnn.config.titles import run_title
    from bnn.data import recorded_spec
    from bnn.data.image_files import read_drawing, read_image
    from bnn.errors import ConfigError
    from bnn.nn.neurons import Binary, is_stochastic
    from bnn.plots.layers import prediction
    from bnn.tracking.checkpoint_file import trained_classifier

    trained = trained_classifier(model, uri)
    network, config = trained.model, trained.about
    spec, samples = recorded_spec(config), config["trainer"]["evaluation_samples"]
    pixels = torch.from_numpy((read_drawing if drawing else read_image)(path, spec))
    p, layers = predicted(network, (pixels[None] - spec.mean) / spec.std, samples, config["seed"])
    bits = {
        name: layer.output[0] for name, layer in layers.items() if isinstance(layer.neuron, Binary)
    }
    try:
        prediction(pixels, bits, p).savefig(picture, dpi=100)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--picture: {picture} cannot be written ({error})") from error
    names = spec.class_names or [str(number) for number in range(len(p))]
    how = f"the mean of {samples} draws" if is_stochastic(network) else "no unit is random"
    seen = f"bits of {', '.join(bits)} in one draw" if bits else "without binary layers"
    title = f"{run_title(dict(config))} on {spec.title}"
    return f"{summary(p, names, how)}\n{title}, {seen}: {picture}"


def summary(p: Tensor, names: Sequence[str], how: str) -> str:
    """Line with the SHOWN most probable classes, and how their probabilities came about."""
    first, *others = p.argsort(descending=True)[:SHOWN].tolist()
    rest = ", ".join(f"{names[other]} {100 * float(p[other]):.1f} %" for other in others)
    return f"{names[first]}  ({100 * float(p[first]):.1f} %; then {rest}; {how})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of `python -m bnn.predict`; returns the exit code."""
    chosen = argument_parser().parse_args(arguments)
    uri = chosen.uri or os.environ.get("MLFLOW_TRACKING_URI")
    return exit_code(
        lambda: print(predict(chosen.model, chosen.image, chosen.drawing, chosen.picture, uri))
    )


if __name__ == "__main__":
    sys.exit(main())
