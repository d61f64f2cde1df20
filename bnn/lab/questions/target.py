"""Resting point of a training by a biased gradient, beside the optimum.

Every estimator minimises E|b - c|^p with Adam, averaged over 128 units with a bit each, c = 0.45.
The best units never fire, and the loss is then c^p. Straight-through stops where its own expected
gradient vanishes, at the firing probability c^(p-1) / (c^(p-1) + (1-c)^(p-1)).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bnn.lab.questions.command_line import (
    argument_parser,
    heading,
    integer_at_least,
    print_page,
)

if TYPE_CHECKING:
    from omegaconf import DictConfig


def known_row(name: str, probability: Callable[[float], float]) -> list[str]:
    """Row of a point in closed form, whose firing probability is a function of the power."""
    from bnn.lab.questions.power_target import POWERS, expected_loss

    points = [(expected_loss(probability(power), power), probability(power)) for power in POWERS]
    return [name, *_cells(points)]


def measured_row(config: DictConfig, steps: int) -> list[str]:
    """Row of an estimator, on FEW units where it cannot hold UNITS.

    Args:
        config: group `estimator`.
        steps: steps of the descent.

    Raises:
        ConfigError: for an estimator of several layers.
    """
    from omegaconf import OmegaConf

    from bnn.config.titles import estimator_title
    from bnn.errors import ConfigError
    from bnn.estimators import Estimator
    from bnn.lab.questions.power_target import FEW, POWERS, UNITS, descend

    title = estimator_title({"estimator": OmegaConf.to_container(config)})

    def points(units: int) -> list[tuple[float, float]]:
        build = Estimator.registry.build
        return [descend(build(config), power, steps, units) for power in POWERS]

    try:
        return [title, *_cells(points(UNITS))]
    except ConfigError:
        return [f"{title} ({FEW} units)", *_cells(points(FEW))]


def _cells(points: Sequence[tuple[float, float]]) -> list[str]:
    return [cell for loss, p in points for cell in (f"{loss:.4f}", f"{p:.3f}")]


def page(chosen: argparse.Namespace) -> str:
    """Page of all estimators.

    Args:
        chosen: parsed command line.
    """
    from bnn.config.compose import compose
    from bnn.errors import ConfigError
    from bnn.lab.questions.power_target import POWERS, RATE, SAMPLES, UNITS, C, resting_probability
    from bnn.specify import estimator_choices
    from bnn.tables import markdown

    rows = [
        known_row("the optimum", lambda power: 0.0),
        known_row("straight-through's rest", resting_probability),
    ]
    refused = []
    for words in estimator_choices():
        try:
            rows.append(measured_row(compose(words).estimator, chosen.steps))
        except ConfigError as error:
            refused.append(f"Not measured: {error}.")
    head = ["", *(cell for power in POWERS for cell in (f"loss, p = {power:g}", "fires"))]
    about = (
        f"{UNITS} units, c = {C}, {SAMPLES} samples a step, {chosen.steps} steps of Adam at "
        f"{RATE}, falling to 0; expected loss and mean firing probability over the last tenth of "
        "the steps."
    )
    return "\n\n".join([heading("cpu", about), markdown(head, rows), *refused])


def main(words: Sequence[str] | None = None) -> None:
    """Entry of `python -m bnn.lab.questions.target`."""
    parser = argument_parser("bnn.lab.questions.target", __doc__)
    parser.add_argument(
        "--steps",
        type=integer_at_least(1),
        default=2000,
        metavar="N",
        help="steps of each descent (%(default)s)",
    )
    chosen = parser.parse_args(words)
    print_page(lambda: page(chosen))


if __name__ == "__main__":
    main()
