"""Bits, memory and multiply-adds of a network, layer by layer.

python -m bnn.summary RUN                          # id of a finished run, or best.pt
python -m bnn.summary model=mlp weights=sign       # overrides of bnn.train, untrained
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnn.errors import OneLineParser, exit_code

if TYPE_CHECKING:
    from torch import nn

IMAGES = 16
"""Random images on which inputs that are bits are told from others."""


def argument_parser() -> argparse.ArgumentParser:
    """Parser of `python -m bnn.summary`."""
    parser = OneLineParser(
        prog="python -m bnn.summary",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "network",
        metavar="RUN|KEY=VALUE",
        nargs="*",
        help="id of a finished run or its first digits, a checkpoint file, or overrides of "
        "bnn.train; none: the default network",
    )
    parser.add_argument(
        "--uri", help="tracking store (MLFLOW_TRACKING_URI, else mlflow.db in this folder)"
    )
    return parser


def network_of(words: Sequence[str], uri: str | None) -> tuple[nn.Module, Mapping[str, Any]]:
    """Network of a run, a checkpoint or overrides, and its configuration.

    Args:
        words: an id or a file, or overrides.
        uri: tracking store; None: mlflow.db in the working directory.

    Raises:
        BnnError: for a network that cannot be read or built.
    """
    from bnn.config.compose import compose
    from bnn.restore import load_checkpoint
    from bnn.specify import setup
    from bnn.tracking.checkpoint_file import checkpoint_file

    if len(words) == 1 and ("=" not in words[0] or Path(words[0]).is_file()):
        with checkpoint_file(words[0], uri) as file:
            return load_checkpoint(file)
    made = setup(compose(["device=cpu", *words]))
    return made.model, made.spec.checkpoint_metadata


def summary(words: Sequence[str], uri: str | None) -> str:
    """Title and table of a network.

    Args:
        words: an id or a file, or overrides.
        uri: tracking store; None: mlflow.db in the working directory.

    Raises:
        BnnError: for a network that cannot be read or built.
    """
    import torch

    from bnn.analysis.summary import gates_note, summarise, summary_table
    from bnn.build import build_task
    from bnn.config.titles import run_title
    from bnn.data import recorded_spec

    model, config = network_of(words, uri)
    spec = recorded_spec(config)
    task = build_task(config)
    task.init(spec)
    images = torch.rand(IMAGES, *spec.shape, generator=torch.Generator().manual_seed(0))
    table = summary_table(summarise(model, task.inputs(images)))
    title = f"{config['model']['name']} · {run_title(dict(config))} on {spec.title}"
    return "\n".join(filter(None, [f"{title}\n", table, gates_note(model, config)]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of `python -m bnn.summary`; returns the exit code."""
    chosen = argument_parser().parse_args(arguments)
    uri = chosen.uri or os.environ.get("MLFLOW_TRACKING_URI")
    return exit_code(lambda: print(summary(chosen.network, uri)))


if __name__ == "__main__":
    sys.exit(main())
