r"""Bias and variance of each gradient estimator, on a network that trains.

Each estimator is asked for the gradient of one batch again and again. Its estimates are compared
with exact enumeration where the network is small enough, and elsewhere with the mean of many
unbiased estimates. The network is that of `python -m bnn.train` with the same overrides:

  python -m bnn.lab data=digits model=mlp model.hidden=5 model.norm=none
  python -m bnn.lab model.norm=running --estimator estimator=st \
      --estimator "estimator=arms estimator.samples=8"
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bnn.lab.questions import QUESTIONS
from bnn.lab.questions.command_line import (
    add_counts,
    add_figure_option,
    argument_parser,
    heading,
    integer_at_least,
    print_page,
    save_figure,
)

SHOWN = ("data.name", "model.name", "model.norm", "neuron.name", "neuron.law")
"""Keys of the configuration whose values the page names."""
COUNTS = (
    ("draws", 2, 200, "estimates by each estimator"),
    ("warm", 0, 50, "training batches before, for what an estimator averages or learns"),
    ("reference", 2, 1000, "unbiased estimates of the true gradient, where it is not enumerated"),
    ("batch", 2, 64, "validation images"),
    ("evaluations", 1, 64, "budget of the column `error`, in evaluations of the loss per sample"),
)


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """Parsed command line; one that contradicts itself ends the command."""
    width = max(map(len, QUESTIONS))
    questions = [f"  {name:{width}}  {question}" for name, question in QUESTIONS.items()]
    epilog = "Other questions, each a command `python -m bnn.lab.questions.NAME`:\n"
    parser = argument_parser(
        "bnn.lab",
        __doc__,
        overrides="overrides of bnn.train",
        epilog="\n".join([epilog, *questions]),
    )
    parser.add_argument(
        "--estimator",
        action="append",
        metavar="WORDS",
        help="overrides that choose one estimator, in quotes; may be repeated (default: all)",
    )
    add_counts(parser, COUNTS)
    parser.add_argument(
        "--epochs", type=integer_at_least(0), metavar="N", help="epochs of training before (1)"
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="measure the network of this checkpoint (best.pt), with its own configuration",
    )
    add_figure_option(parser)
    chosen = parser.parse_intermixed_args(words)
    if chosen.checkpoint is not None and (chosen.overrides or chosen.epochs is not None):
        parser.error(
            "--checkpoint: it has its own configuration and training; "
            "leave out the overrides and --epochs"
        )
    chosen.epochs = 1 if chosen.epochs is None else chosen.epochs
    return chosen


def page(chosen: argparse.Namespace) -> str:
    """Page of a comparison: how it was made, its tables, and what was not measured.

    Args:
        chosen: result of `arguments`.
    """
    from bnn.config.compose import compose
    from bnn.data import use_data
    from bnn.fitted import checkpoint_config
    from bnn.lab.comparison import compare
    from bnn.lab.comparison_tables import tables
    from bnn.lab.gradient_sampler import BELOW
    from bnn.lab.plots import error_against_cost

    file = chosen.checkpoint
    config = compose(chosen.overrides) if file is None else checkpoint_config(file)
    if warning := use_data(config):
        print(warning, flush=True)
    compared = compare(
        config,
        chosen.estimator or (),
        draws=chosen.draws,
        warm=chosen.warm,
        reference=chosen.reference,
        batch=chosen.batch,
        epochs=chosen.epochs,
        checkpoint=file,
    )
    picture = save_figure(lambda: error_against_cost(compared.measured, BELOW), chosen.figure)
    spec = compared.setup.spec
    head = heading(spec.general.device, caption(chosen, spec.config, spec.title))
    return "\n\n".join([head, tables(compared, chosen.evaluations), *compared.refused]) + picture


def caption(chosen: argparse.Namespace, config: Mapping[str, Any], title: str) -> str:
    """Sentence with the network, the batch, the numbers of estimates and the training.

    Args:
        chosen: result of `arguments`.
        config: canonical configuration.
        title: display name of the run.
    """
    from bnn.config.canonical import flat

    values = flat(dict(config))
    named = [str(values[key]) for key in SHOWN if key in values]  # not every network has a norm
    if config["task"]["name"] != "classification":
        named.insert(0, "task " + " ".join(map(str, config["task"].values())))
    shown = ", ".join(named)
    file = chosen.checkpoint
    before = f"{chosen.epochs} epochs with {title}" if file is None else f"checkpoint {file.name}"
    return (
        f"{shown}, placement {config['placement']['name']}, {chosen.batch} validation images, "
        f"{chosen.draws} estimates of each after {chosen.warm} steps of warming on training "
        f"batches; trained for {before}."
    )


def main(words: Sequence[str] | None = None) -> None:
    """Entry of `python -m bnn.lab`."""
    chosen = arguments(words)
    print_page(lambda: page(chosen))


if __name__ == "__main__":
    main()
