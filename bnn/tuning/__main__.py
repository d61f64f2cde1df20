"""python -m bnn.tuning [STUDY ...]: studies of a storage, trials of one, comparison of several."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from bnn.errors import BnnError, OneLineParser, without_password


def parser() -> argparse.ArgumentParser:
    """Parser of the command line."""
    made = OneLineParser(
        prog="python -m bnn.tuning",
        description="List the studies of a storage, the trials of one, or compare several.",
    )
    made.add_argument(
        "studies",
        nargs="*",
        metavar="STUDY",
        help="one: its trials; several: a comparison (default: list all)",
    )
    made.add_argument(
        "--storage", help="storage of the studies (default: optuna.journal in this folder)"
    )
    made.add_argument(
        "--trials", action="store_true", help="with several: also a table of the trials of each"
    )
    return made


def page(studies: Sequence[str], storage: str | None, trials: bool) -> str:
    """Output of the command in Markdown.

    Args:
        studies: names of studies to show or compare; empty: list all.
        storage: path or address of the storage; None: optuna.journal in the working directory.
        trials: whether to add a table of each study's trials, which one study always has.

    Raises:
        StudyError: for a storage or a study that does not exist.
    """
    import optuna

    from bnn.tuning.listing import overview
    from bnn.tuning.settings import metrics_of
    from bnn.tuning.storage import StudyError, open_existing_storage, storage_address
    from bnn.tuning.summary import comparison, rows, table

    found = open_existing_storage(storage_address(storage, ""))
    names = optuna.get_all_study_names(found)
    if not studies:
        listed = [optuna.load_study(study_name=name, storage=found) for name in names]
        return overview(listed) if listed else "no studies"
    for name in studies:
        if name not in names:
            there = ", ".join(map(repr, names)) or "none"
            raise StudyError(f"study {name!r} does not exist; those that do: {there}")
    opened = [optuna.load_study(study_name=name, storage=found) for name in studies]
    parts = [comparison(opened)]
    if trials or len(opened) == 1:
        parts += [
            f"#### {s.study_name}\n\n{table(rows(s, metrics_of(s.user_attrs)))}" for s in opened
        ]
    return "\n\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit code."""
    asked = parser().parse_args(arguments)
    try:
        print(page(asked.studies, asked.storage, asked.trials))
    except (BnnError, json.JSONDecodeError) as error:
        print(f"error: {without_password(str(error))}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
