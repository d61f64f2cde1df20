"""Delivery of runs to a tracking server: records that wait, and the runs of a local store.

Without --to: what runs below FOLDER kept while their server was away, to the store in which they
began. With it, records go to the server at ADDRESS where it has their run, and the runs of a local
store that have ended are copied there, each once. Nothing is deleted before a store shows the run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bnn.errors import OneLineParser, exit_code


def argument_parser() -> argparse.ArgumentParser:
    """Parser of `python -m bnn.sync`."""
    parser = OneLineParser(
        prog="python -m bnn.sync",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=Path(),
        metavar="FOLDER",
        help="folder in which runs were started (the working directory)",
    )
    parser.add_argument(
        "--to",
        metavar="ADDRESS",
        help="server for the records of its runs, and for copies of local runs",
    )
    parser.add_argument("--uri", help="store that is copied (mlflow.db in FOLDER)")
    parser.add_argument(
        "--experiment",
        action="append",
        default=[],
        metavar="NAME",
        help="copy this experiment alone; may be repeated (default: all)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of `python -m bnn.sync`; returns the exit code."""
    parser = argument_parser()
    chosen = parser.parse_args(arguments)
    if not chosen.folder.is_dir():
        parser.error(f"expected a folder, got {chosen.folder}")
    if chosen.to is None and (chosen.uri or chosen.experiment):
        parser.error("--uri and --experiment say what is copied: expected --to ADDRESS with them")
    return exit_code(lambda: deliver(chosen.folder, chosen.to, chosen.uri, chosen.experiment))


def deliver(folder: Path, target: str | None, uri: str | None, experiments: Sequence[str]) -> int:
    """Deliver and copy, printing a line for each run.

    Args:
        folder: folder in which runs were started.
        target: server to which records are delivered and runs copied; None: records go to the
            store in which their run began, and nothing is copied.
        uri: store that is copied; None: mlflow.db in `folder`.
        experiments: names of the experiments that are copied; empty: all.

    Returns:
        Exit code: 1 where records still wait.

    Raises:
        TrackingError: for a store that is not there, or an experiment that it does not have.
    """
    from bnn.tracking.sync import copy_runs, flush_outboxes

    lines, complete = 0, True
    for done, line in flush_outboxes(folder, target):
        lines, complete = lines + 1, complete and done
        print(line, file=sys.stdout if done else sys.stderr, flush=True)
    here = folder.resolve() / "mlflow.db"
    # a machine that has tracked on a server has no store of its own
    if target is not None and (uri is not None or here.is_file() or not lines):
        for line in copy_runs(uri or f"sqlite:///{here}", target, experiments):
            lines += 1
            print(line, flush=True)
    if not lines:
        print("nothing waits, and nothing is new")
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
