r"""Variance of each estimator's gradient in the course of its own training.

Each estimator trains a network of its own from the same initial weights, with the settings of
`python -m bnn.train` and the same overrides. After each epoch it is asked for the gradient of one
validation batch again and again; the variance is the mean squared distance of an estimate from
their mean, over all parameters below the highest binary layer:

  python -m bnn.lab.questions.gradient_variance task=vae trainer.epochs=5 optimizer.lr=0.003
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bnn.lab.questions.command_line import (
    add_counts,
    add_figure_option,
    argument_parser,
    heading,
    print_page,
    save_figure,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bnn.lab.training_variance import TrainingVariance

COUNTS = (
    ("draws", 2, 30, "estimates after each epoch"),
    ("batch", 2, 100, "validation images"),
)
SHOWN = ("data.name", "model.name", "neuron.name", "neuron.law")
"""Keys of the configuration whose values the page names."""


def variance_figure(found: Mapping[str, TrainingVariance], metric: str) -> Figure:
    """Variance and validation loss by epoch, a curve for each estimator.

    Args:
        found: result by the estimator's display name.
        metric: label of the validation loss.
    """
    from matplotlib.figure import Figure

    from bnn.plots.style import epoch_axis, estimator_styles, log_axis, tidy

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    styles = estimator_styles(one.estimator for one in found.values())
    for name, one in found.items():
        colour, marker = styles[one.estimator]
        drawn = {"color": colour, "marker": marker, "ms": 4, "lw": 1.4, "label": name}
        epochs = range(1, len(one.variances) + 1)
        if min(one.variances) > 0:
            left.plot(epochs, one.variances, **drawn)
        right.plot(epochs, one.losses, **drawn)
    log_axis(tidy(left, "epoch", "variance of the gradient, log scale"), "y")
    tidy(right, "epoch", metric)
    for axis in (left, right):
        epoch_axis(axis)
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=9)
    return figure


def page(chosen: argparse.Namespace) -> str:
    """Page of variances by epoch and estimator.

    Args:
        chosen: parsed command line.
    """
    from bnn.config.canonical import canonical, flat
    from bnn.config.compose import compose
    from bnn.data import use_data
    from bnn.lab.measure import OF_F
    from bnn.lab.training_variance import training_variances
    from bnn.tables import markdown

    config = compose(chosen.overrides)
    if warning := use_data(config):
        print(warning, flush=True)
    found, refused = training_variances(
        config, chosen.estimator or (), draws=chosen.draws, batch=chosen.batch
    )
    plain = canonical(config)
    values = flat(plain)
    last = plain["trainer"]["epochs"]
    rows = [
        [
            name,
            str(one.evaluations),
            f"{one.variances[0]:.3g}",
            f"{one.variances[-1]:.3g}",
            f"{one.evaluations * one.variances[-1]:.3g}",
            f"{one.losses[-1]:.2f}",
        ]
        for name, one in sorted(found.items(), key=lambda item: item[1].variances[-1])
    ]
    head = ["estimator", "evaluations of f", "variance, epoch 1", f"variance, epoch {last}"]
    table = markdown(
        [*head, f"variance × evaluations, epoch {last}", "validation loss (nats)"], rows
    )
    picture = save_figure(lambda: variance_figure(found, "validation loss (nats)"), chosen.figure)
    shown = ", ".join(str(values[key]) for key in SHOWN if key in values)
    optimizer = plain["optimizer"]
    about = (
        f"task {' '.join(map(str, plain['task'].values()))}, {shown}, placement "
        f"{plain['placement']['name']}; {optimizer['name']} at {optimizer['lr']} for all, seed "
        f"{plain['seed']}; {chosen.draws} estimates of the gradient of {chosen.batch} validation "
        f"images after each epoch. {OF_F}"
    )
    device = next((one.device for one in found.values()), "cpu")
    return "\n\n".join([heading(device, about), table, *refused]) + picture


def main(words: Sequence[str] | None = None) -> None:
    """Entry of `python -m bnn.lab.questions.gradient_variance`."""
    parser = argument_parser(
        "bnn.lab.questions.gradient_variance", __doc__, overrides="overrides of bnn.train"
    )
    parser.add_argument(
        "--estimator",
        action="append",
        metavar="WORDS",
        help="overrides that choose one estimator, in quotes; may be repeated (default: all)",
    )
    add_counts(parser, COUNTS)
    add_figure_option(parser)
    chosen = parser.parse_intermixed_args(words)
    print_page(lambda: page(chosen))


if __name__ == "__main__":
    main()
