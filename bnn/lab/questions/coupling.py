"""Bias of REINFORCE under batch norm above a binary layer.

Batch norm lets the bits of one sample change the losses of the others. An estimator that credits
each sample with its own loss alone, as REINFORCE does, drops those terms. Their size is measured
twice: exactly, on a small network (linear - norm - bits, twice, on three samples), by summing over
all joint configurations of the batch's bits; and on the network of the configuration, by comparing
the projections of estimates with the slope of the expected loss along a few directions, which comes
from differences of losses that share their noise.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bnn.lab.questions.command_line import add_counts, argument_parser, heading, print_page

if TYPE_CHECKING:
    from omegaconf import DictConfig

MEASURED = (["estimator=st"], ["estimator=arms"], ["estimator=reinforce"])
"""Overrides of the estimators whose projections are compared."""
COUNTS = (
    ("directions", 2, 4, "directions along which slopes are compared"),
    ("pairs", 2, 2000, "differences of losses behind a slope"),
    ("draws", 2, 500, "estimates by each estimator"),
    ("batch", 2, 64, "validation images"),
    ("epochs", 0, 1, "epochs of training before"),
)


def slope_rows(config: DictConfig, chosen: argparse.Namespace) -> tuple[list[str], list[list[str]]]:
    """Slopes along directions and projections of each estimator, on one trained network.

    Returns:
        Display names of the estimators; for each direction its name, slope and projections.
    """
    from bnn.config.compose import compose, with_values
    from bnn.config.titles import estimator_title
    from bnn.fitted import fit_network
    from bnn.lab.gradient_sampler import validation_sampler
    from bnn.lab.questions.directional_slopes import directions, projections, slope_along
    from bnn.specify import setup

    network = fit_network(config, chosen.epochs, title="before measuring")
    sampler = validation_sampler(network, chosen.batch)
    along = directions(sampler, chosen.directions)
    projected = {}
    for words in MEASURED:
        one = setup(with_values(config, estimator=compose(words).estimator))
        title = estimator_title(dict(one.spec.config))
        projected[title] = projections(sampler, one.training.estimator, along, chosen.draws)
    rows = []
    for name, direction in along.items():
        slope = slope_along(sampler, direction, chosen.pairs)
        rows.append([name, str(slope), *(str(found[name]) for found in projected.values())])
    return list(projected), rows


def page(chosen: argparse.Namespace) -> str:
    """Page of both measurements.

    Args:
        chosen: parsed command line.
    """
    from bnn.config.compose import compose
    from bnn.data import use_data
    from bnn.lab.questions.directional_slopes import STEP
    from bnn.lab.questions.joint_enumeration import HIDDEN, PLACEMENTS, SAMPLES, bias_rows
    from bnn.specify import setup
    from bnn.tables import markdown

    small = markdown(*bias_rows())
    pairs = list(itertools.product(chosen.norms.split(","), PLACEMENTS))
    configs = [
        compose([*chosen.overrides, f"model.norm={norm}", f"placement={placement}"])
        for norm, placement in pairs
    ]
    setups = [setup(config) for config in configs]  # refuses before anything is trained
    titles: list[str] = []
    rows = []
    for (norm, placement), config in zip(pairs, configs, strict=True):
        if warning := use_data(config):
            print(warning, flush=True)
        titles, found = slope_rows(config, chosen)
        rows += [[norm, placement, *row] for row in found]
    question = "Bias of estimators that credit each sample with its own loss, under norms."
    large = markdown(["norm", "placement", "direction", "true slope", *titles], rows)
    return (
        f"{heading(setups[0].spec.general.device, question)}\n\n"
        f"{SAMPLES} samples, linear - norm - {HIDDEN} units, twice; all configurations of the "
        "batch's bits are summed. Bias of the mean estimate below the highest binary layer, over "
        f"the norm of the true gradient:\n\n{small}\n\n"
        f"The network of the configuration ({' '.join(chosen.overrides) or 'its defaults'}) after "
        f"training, epochs: {chosen.epochs}; {chosen.batch} validation images. Slope of the "
        f"expected loss along unit directions, from {chosen.pairs} central differences of step "
        f"{STEP} with common noise; each estimator's mean projection, from {chosen.draws} "
        f"estimates; each with its 95 % interval.\n\n{large}"
    )


def main(words: Sequence[str] | None = None) -> None:
    """Entry of `python -m bnn.lab.questions.coupling`."""
    parser = argument_parser(
        "bnn.lab.questions.coupling", __doc__, overrides="overrides of bnn.train"
    )
    parser.add_argument(
        "--norms",
        default="batch,running,group",
        metavar="LIST",
        help="choices of model.norm, separated by commas (%(default)s)",
    )
    add_counts(parser, COUNTS)
    chosen = parser.parse_intermixed_args(words)
    print_page(lambda: page(chosen))


if __name__ == "__main__":
    main()
