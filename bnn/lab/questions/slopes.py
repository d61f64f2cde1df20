"""Effect of the neurons' slope on the gradient of straight-through, apart from its length.

On one trained network that can be enumerated, at each slope: bias and variance against the exact
gradient of the loss expected at that slope; the cosine of the mean estimate, which is what remains
of the bias once the learning rate is tuned; and its length, which a tuned learning rate takes out.
Stochastic neurons fire by the law of that slope. Deterministic ones fire by their threshold at any
slope, so that their estimate has no noise, and its bias is that of the pseudo-derivative.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bnn.lab.questions.command_line import (
    add_figure_option,
    argument_parser,
    heading,
    integer_at_least,
    print_page,
    save_figure,
)

DEFAULTS = (
    "data=digits",
    "model=mlp",
    "model.hidden=8",
    "model.norm=none",
    "anneal=none",
    "optimizer=adam",
    "optimizer.lr=0.002",
    "trainer.epochs=20",
)
"""Overrides that stand before those of the command line: a network that can be enumerated."""


def page(chosen: argparse.Namespace) -> str:
    """Page of the accuracies at each slope.

    Args:
        chosen: parsed command line.
    """
    from bnn.lab.questions.slope_accuracy import (
        COLUMNS,
        SAMPLES,
        SLOPES,
        accuracy_by_slope,
        accuracy_figure,
    )
    from bnn.tables import markdown

    overrides = [*DEFAULTS, *chosen.overrides]
    checked, found = accuracy_by_slope(overrides, chosen.draws)
    rows = [
        [neuron, f"{slope:g}", *(str(getattr(one, field)) for field in COLUMNS.values())]
        for neuron, accuracies in found.items()
        for slope, one in zip(SLOPES, accuracies, strict=True)
    ]
    picture = save_figure(lambda: accuracy_figure(found), chosen.figure)
    about = (
        f"`{' '.join(overrides)}`; all parameters below the highest binary layer, {SAMPLES} "
        f"images, {chosen.draws} estimates; bias² and variance over the squared norm of the exact "
        "gradient, with 95 % intervals."
    )
    head = heading(checked.spec.general.device, about)
    return f"{head}\n\n{markdown(['neuron', 'slope', *COLUMNS], rows)}{picture}"


def main(words: Sequence[str] | None = None) -> None:
    """Entry of `python -m bnn.lab.questions.slopes`."""
    parser = argument_parser(
        "bnn.lab.questions.slopes",
        __doc__,
        overrides=f"overrides of bnn.train, after {' '.join(DEFAULTS)}",
    )
    parser.add_argument(
        "--draws",
        type=integer_at_least(20),
        default=500,
        metavar="N",
        help="estimates at each slope (%(default)s)",
    )
    add_figure_option(parser)
    chosen = parser.parse_intermixed_args(words)
    print_page(lambda: page(chosen))


if __name__ == "__main__":
    main()
