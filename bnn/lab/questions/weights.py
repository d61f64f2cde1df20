r"""Bias, variance and noise floor of the gradient of binary weights.

One linear layer is small enough to enumerate: the identity straight-through gradient of drawn
weights, local reparameterisation and the score function are compared with the exact gradient. On a
network that trains, all samples of a batch have one draw of the weights in common, so that a larger
batch lowers the variance to a floor alone. The network is that of `python -m bnn.train` with the
same overrides, without binary neurons:

  python -m bnn.lab.questions.weights model.norm=running --figure weights.png
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bnn.lab.questions.command_line import (
    add_counts,
    add_figure_option,
    argument_parser,
    heading,
    integer_at_least,
    print_page,
    save_figure,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bnn.lab.estimate import Estimate

FAN_INS, BATCH, PROBLEMS = (3, 6, 10), 8, 20
"""Weights of the small layer, its batch size, and the number of random problems."""
SIZES = (1, 4, 16, 64, 256)
"""Batch sizes on the network that trains."""
RULES = {"one draw a batch": "sample", "local reparameterisation": "lrt"}
PER_SAMPLE = "one draw a sample"
COUNTS = (("draws", 10, 200, "gradients for each batch size"),)


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """Parsed command line."""
    parser = argument_parser(
        "bnn.lab.questions.weights", __doc__, overrides="overrides of bnn.train"
    )
    add_counts(parser, COUNTS)
    parser.add_argument(
        "--epochs",
        type=integer_at_least(0),
        default=1,
        metavar="N",
        help="epochs of training before (%(default)s)",
    )
    add_figure_option(parser)
    return parser.parse_intermixed_args(words)


def exact_table() -> tuple[list[str], list[list[str]]]:
    """Table of the small layer: bias, cosine and variance by rule and number of weights.

    Returns:
        Head and rows; means over PROBLEMS random problems.
    """
    import torch

    from bnn.lab.weight_gradients import LinearProblem, cosine, relative_bias

    rows = []
    for weights in FAN_INS:
        found: dict[str, list[list[float]]] = {}
        for seed in range(PROBLEMS):
            moments = LinearProblem.random(weights, BATCH, seed).exact_moments()
            exact = moments.pop("exact")
            for name, one in moments.items():
                squared = float(exact.mean.square().sum())
                found.setdefault(name, []).append(
                    [relative_bias(one, exact), cosine(one, exact), one.variance / squared]
                )
        for name, values in found.items():
            bias, angle, variance = torch.tensor(values).mean(0).tolist()
            rows.append(
                [str(weights), name, f"{100 * bias:.1f}", f"{angle:.4f}", f"{variance:.2f}"]
            )
    return ["weights", "estimate", "bias (%)", "cosine", "variance"], rows


def noise_curves(chosen: argparse.Namespace) -> tuple[str, str, dict[str, dict[int, Estimate]]]:
    """Variance of the gradient of a layer of the network that trains, by batch size.

    Args:
        chosen: result of `arguments`.

    Returns:
        Device, sentence on the network, and the variance by name and batch size, with intervals.
    """
    import torch

    from bnn.config.compose import compose
    from bnn.data import use_data
    from bnn.errors import ConfigError
    from bnn.fitted import fit_network
    from bnn.lab.weight_gradients import ruled, sampled_gradients, total_variance
    from bnn.nn.norms import BatchNorm
    from bnn.nn.sites import host_noise
    from bnn.nn.weight_layers import binary_weight_layers
    from bnn.nn.weights import WeightRule

    words = ["placement=none", "weights=sample", "trainer.progress=none", *chosen.overrides]
    config = compose(words)
    if warning := use_data(config):
        print(warning, flush=True)
    network = fit_network(config, chosen.epochs)
    model, task, train = network.model, network.setup.training.task, network.data.train
    layers = [name for name, _ in binary_weight_layers(model)]
    if not layers or any(isinstance(module, BatchNorm) for module in model.modules()):
        raise ConfigError(
            "bnn.lab.questions.weights: expected binary weights and a norm that does not couple "
            "the samples of a batch; write weights=sample and model.norm=running"
        )
    layer, node = layers[0], network.setup.spec.config["weights"]

    def batch(size: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        index = torch.randint(len(train.images), (size,), generator=generator)
        index = index.to(train.images.device)
        return task.batch(train.images[index], train.labels[index], host_noise(generator))

    seed, curves = network.setup.spec.general.seed, {}
    for name, rule in RULES.items():
        with ruled(model, WeightRule.registry.build({**node, "name": rule})):
            curves[name] = {
                size: total_variance(
                    sampled_gradients(
                        model, layer, task, functools.partial(batch, size), chosen.draws, seed
                    )
                )
                for size in SIZES
            }
    trained = f"after {chosen.epochs} epoch{'' if chosen.epochs == 1 else 's'} of training"
    about = (
        f"Gradient of {layer} of {network.setup.spec.title}, {trained}, by "
        f"plain backpropagation; {chosen.draws} gradients for each batch size, each on a fresh "
        f"batch. `{PER_SAMPLE}` is the variance of the gradient of one sample over the batch size: "
        "weights drawn for each sample alone are no option for a convolution."
    )
    of_one = curves["one draw a batch"][1]
    curves[PER_SAMPLE] = {size: of_one.transform(functools.partial(_share, size)) for size in SIZES}
    return network.setup.spec.general.device, about, curves


def _share(size: int, variance: float) -> float:
    """Variance of the mean of independent samples."""
    return variance / size


def page(chosen: argparse.Namespace) -> str:
    """Page with the exact comparison and the noise over the batch size.

    Args:
        chosen: result of `arguments`.
    """
    from bnn.tables import markdown

    device, about, curves = noise_curves(chosen)

    def figure() -> Figure:
        from bnn.lab.plots import interval_curves

        points = {name: list(of.items()) for name, of in curves.items()}
        return interval_curves(
            [points], ["gradient of binary weights"], "batch size", ["variance"], log=True
        )

    picture = save_figure(figure, chosen.figure)
    rows = [[name, *(str(of[size]) for size in SIZES)] for name, of in curves.items()]
    exact = (
        f"Logistic loss of one linear layer, {BATCH} samples, means over {PROBLEMS} random "
        "problems, by exact enumeration; variance over the squared norm of the exact gradient. "
        "The score function has the expected loss as its baseline."
    )
    head = heading(device, exact)
    return (
        "\n\n".join(
            [
                head,
                markdown(*exact_table()),
                about,
                markdown(["variance", *(f"batch {size}" for size in SIZES)], rows),
            ]
        )
        + picture
    )


def main(words: Sequence[str] | None = None) -> None:
    """Entry of `python -m bnn.lab.questions.weights`."""
    chosen = arguments(words)
    print_page(lambda: page(chosen))


if __name__ == "__main__":
    main()
