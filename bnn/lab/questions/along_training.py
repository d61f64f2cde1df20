"""Accuracy of each layer's gradient in the course of a training, by a published protocol.

A network of 2-5-5-5-1 with three binary layers is trained by the exact gradient on 200 points of
two classes (Shekhovtsov, Yanush & Flach 2020, gradient estimation accuracy). After some steps, each
layer's relative root-mean-square error and cosine against the exact gradient are measured, as
functions of the number of estimates that are averaged. Here the points are scikit-learn's two
moons, and the read-out is real with a logistic loss.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bnn.lab.questions.command_line import (
    add_figure_option,
    argument_parser,
    heading,
    integer_at_least,
    print_page,
    save_figure,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bnn.lab.measure import Measurement

AVERAGED = (1, 10, 100, 1000)
"""Numbers of estimates that are averaged in the figure."""
TABLED = (1, 100)
"""Numbers of estimates that are averaged in the table."""


def error_figure(measured: Mapping[str, Measurement], layers: Sequence[str], step: int) -> Figure:
    """Error of an average over the number of estimates: a panel for each layer.

    Args:
        measured: measurement by the estimator's display name.
        layers: names of the layers, from the input.
        step: step of the training at which it was measured.
    """
    from bnn.lab.estimate import Estimate
    from bnn.lab.plots import interval_curves

    panels = [
        {
            name: [(n, Estimate.point(one.error(layer, n))) for n in AVERAGED]
            for name, one in measured.items()
        }
        for layer in layers
    ]
    titles = [f"layer {k + 1}, after {step} steps" for k in range(len(layers))]
    labels = ["relative error", *[""] * (len(layers) - 1)]
    return interval_curves(panels, titles, "estimates averaged", labels, log=True, estimators=True)


def page(chosen: argparse.Namespace) -> str:
    """Page of errors and cosines by step, estimator and layer.

    Args:
        chosen: parsed command line.
    """
    from bnn.lab.measure import OF_F
    from bnn.lab.questions.moons_training import POINTS, WIDTHS, along_training
    from bnn.tables import markdown

    found = along_training(chosen.draws)
    layers = [f"layers.{k}" for k in range(len(WIDTHS) - 1)]
    numbers = range(1, len(layers) + 1)
    head = ["step", "loss", "estimator", "evaluations of f"]
    head += [f"error of {n}, layer {k}" for n in TABLED for k in numbers]
    head += [f"cosine, layer {k}" for k in numbers]
    rows = []
    for step, (loss, measured) in found.items():
        for name, one in measured.items():
            errors = [f"{one.error(layer, n):.2f}" for n in TABLED for layer in layers]
            cosines = [str(one.layers[layer].cosine) for layer in layers]
            rows.append([str(step), f"{loss:.3f}", name, str(one.evaluations), *errors, *cosines])
    last = max(found)
    picture = save_figure(lambda: error_figure(found[last][1], layers, last), chosen.figure)
    about = (
        f"{'-'.join(map(str, WIDTHS))}-1 on {POINTS} points, {chosen.draws} estimates after each "
        "of these numbers of steps, of all points at once. `error of n`: relative root-mean-square "
        f"error of the mean of n estimates. Cosines with 95 % intervals. {OF_F}"
    )
    return f"{heading('cpu', about)}\n\n{markdown(head, rows)}{picture}"


def main(words: Sequence[str] | None = None) -> None:
    """Entry of `python -m bnn.lab.questions.along_training`."""
    parser = argument_parser("bnn.lab.questions.along_training", __doc__)
    parser.add_argument(
        "--draws",
        type=integer_at_least(20),
        default=300,
        metavar="N",
        help="estimates by each estimator, each time (%(default)s)",
    )
    add_figure_option(parser)
    chosen = parser.parse_args(words)
    print_page(lambda: page(chosen))


if __name__ == "__main__":
    main()
