"""python -m bnn.sync [FOLDER] [--to ADDRESS]: bring to a tracking server what it does not have yet.

Without --to: what runs below FOLDER kept while their server was away. With it, also the runs of a local store.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bnn.errors import exit_code


def parser() -> argparse.ArgumentParser:
    about = (__doc__ or "").partition("\n\n")
    made = argparse.ArgumentParser(
        prog="python -m bnn.sync", description=about[0].partition(": ")[2] + "\n\n" + about[2]
    )
    made.add_argument(
        "folder", nargs="?", type=Path, default=Path(), help="where runs were started (here)"
    )
    made.add_argument(
        "--to", metavar="ADDRESS", help="copy the runs of the local store to this server, each once"
    )
    made.add_argument("--uri", help="the store that is copied (mlflow.db in FOLDER)")
    made.add_argument(
        "--experiment",
        action="append",
        default=[],
        help="copy this one only; may be given several times",
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    made = parser()
    asked = made.parse_args(arguments)
    if not asked.folder.is_dir():
        made.error(f"expected a folder, got {asked.folder}")
    if asked.to is None and (asked.uri or asked.experiment):
        made.error("--uri and --experiment say what is copied: expected --to ADDRESS with them")
    return exit_code(lambda: brought(asked))


def brought(asked: argparse.Namespace) -> int:
    """Deliver and copy what is asked for, a line for each; answers 1 where something still waits."""
    from bnn.tracking.sync import copy_runs, flush_outboxes

    said, complete = 0, True
    for done, line in flush_outboxes(asked.folder):
        said, complete = said + 1, complete and done
        print(line, file=sys.stdout if done else sys.stderr, flush=True)
    if asked.to is not None:
        for line in copy_runs(
            asked.uri or f"sqlite:///{asked.folder.resolve()}/mlflow.db", asked.to, asked.experiment
        ):
            said += 1
            print(line, flush=True)
    if not said:
        print("nothing waits, and nothing is new")
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
