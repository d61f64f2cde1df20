r"""Latent weights as mirror descent on probabilities.

One weight is trained by SGD on its latent weight, with the layers and the optimizer hooks that
train networks. Its probabilities are compared with the multiplicative update of its odds and with
the minimum of the proximal objective; and a saturated weight is turned round under each law:

  python -m bnn.lab.questions.mirror_descent --figure mirror.png
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bnn.lab.questions.command_line import (
    add_figure_option,
    argument_parser,
    heading,
    print_page,
    save_figure,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

START, STEP, STEPS = 0.6, 0.3, 40
"""Initial latent weight, learning rate and number of steps of the comparison."""
DECAYS = (0.0, 0.3)
SATURATED = -2.0
"""Initial latent weight of the weight that is turned round."""
TURN_STEPS = 60
LAWS = ("logistic", "gaussian", "triangular", "uniform")


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """Parsed command line."""
    parser = argument_parser("bnn.lab.questions.mirror_descent", __doc__)
    add_figure_option(parser)
    return parser.parse_args(words)


def agreement() -> tuple[list[str], list[list[str]]]:
    """Table of the largest differences between three ways to the same probabilities.

    Returns:
        Head and rows, by decay.
    """
    import torch

    from bnn.lab.mirror_descent import (
        multiplicative_probabilities,
        proximal_probabilities,
        trained_probabilities,
    )
    from bnn.nn.weights import SignWeights

    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(STEPS, generator=generator, dtype=torch.float64).tolist()
    rows = []
    for decay in DECAYS:
        trained = trained_probabilities(
            SignWeights(decay=decay, scale="none"), START, gradients, STEP
        )
        other = trained_probabilities(
            SignWeights(decay=decay, scale="none", step="gradient"), START, gradients, STEP
        )
        ways = (
            multiplicative_probabilities(START, gradients, STEP, decay),
            proximal_probabilities(START, gradients, STEP, decay),
            other,
        )
        largest = [max(abs(a - b) for a, b in zip(trained, way, strict=True)) for way in ways]
        rows.append([f"{decay:g}", *(f"{one:.0e}" for one in largest)])
    head = ["λ", "multiplicative update", "proximal minimum", "control: gradient by η"]
    return head, rows


def clip_table() -> tuple[list[str], list[list[str]]]:
    """Table of the probability and the entropy at a clip of the latent weight to [-1, 1], by law.

    Returns:
        Head and rows.
    """
    import torch

    from bnn.lab.mirror_descent import clipped_probability
    from bnn.nn.weights import entropy

    rows = []
    for law in LAWS:
        most = clipped_probability(law)
        left = float(entropy(torch.tensor(most, dtype=torch.float64)))
        rows.append([law, f"{most:.3f}", f"{left:.3f}"])
    return ["law", "largest probability", "entropy (nats)"], rows


def turning_curves() -> dict[str, list[float]]:
    """Probability by step of a saturated weight under a steady gradient, by rule."""
    from bnn.lab.mirror_descent import trained_probabilities
    from bnn.nn.weights import SignWeights

    clipped = SignWeights(scale="none", law="uniform", clip=True)
    rules = {
        "logistic, mirror step": (SignWeights(scale="none"), SATURATED),
        "logistic, gradient by η": (SignWeights(scale="none", step="gradient"), SATURATED),
        "gaussian, mirror step": (SignWeights(scale="none", law="gaussian"), SATURATED),
        "uniform, mirror step": (SignWeights(scale="none", law="uniform"), SATURATED),
        "uniform, mirror step and clip": (clipped, -1.0),
    }
    gradients = [-1.0] * TURN_STEPS
    return {
        name: trained_probabilities(rule, start, gradients, 0.1)
        for name, (rule, start) in rules.items()
    }


def figure() -> Figure:
    """Figure of `turning_curves`."""
    from matplotlib.figure import Figure

    from bnn.plots.style import line_style, tidy

    drawn = Figure(figsize=(8, 3.8), layout="constrained")
    axis = tidy(drawn.subplots(), "step", "P(w = 1)")
    for number, (name, values) in enumerate(turning_curves().items()):
        axis.plot(values, label=name, **line_style(number))
    drawn.legend(loc="outside right center", frameon=False, fontsize=9)
    return drawn


def page(chosen: argparse.Namespace) -> str:
    """Page with the agreement of three ways, the clip under each law, and the figure.

    Args:
        chosen: result of `arguments`.
    """
    from bnn.tables import markdown

    about = (
        f"One weight, {STEPS} steps of SGD with ε = {STEP:g} on its latent weight from {START:g}, "
        "standard normal gradients: largest difference of its probability from that of each other "
        "way."
    )
    parts = [
        heading("cpu", about),
        markdown(*agreement()),
        "Latent weights clipped to [-1, 1]:",
        markdown(*clip_table()),
    ]
    return "\n\n".join(parts) + save_figure(figure, chosen.figure)


def main(words: Sequence[str] | None = None) -> None:
    """Entry of `python -m bnn.lab.questions.mirror_descent`."""
    chosen = arguments(words)
    print_page(lambda: page(chosen))


if __name__ == "__main__":
    main()
