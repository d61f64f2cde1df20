"""python -m bnn.report EXPERIMENT: an MLflow experiment as HTML page, Markdown and figure.

--results: the generated blocks of the project's pages, and the figures in sweeps/results.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bnn.errors import exit_code


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m bnn.report", description="Tables and figures of finished runs."
    )
    made.add_argument(
        "experiment",
        nargs="?",
        metavar="EXPERIMENT",
        help="an MLflow experiment, e.g. seed_table/mnist",
    )
    made.add_argument(
        "--uri",
        help="the tracking store (default: MLFLOW_TRACKING_URI, else mlflow.db in this folder)",
    )
    made.add_argument(
        "--run",
        action="append",
        default=[],
        metavar="ID",
        help="only this run of it; again for more",
    )
    made.add_argument(
        "--out",
        type=Path,
        default=Path("outputs"),
        help="folder for NAME.html, .md, .png (default: outputs)",
    )
    made.add_argument(
        "--export", action="store_true", help="also write the runs to sweeps/results as CSV"
    )
    made.add_argument(
        "--against", metavar="FIELD=VALUE", help="compare with these rows (default: estimator=st)"
    )
    made.add_argument(
        "--margin", type=float, default=0.0, help="a difference that matters, in points of accuracy"
    )
    made.add_argument(
        "--results",
        action="store_true",
        help="make README.md, docs and sweeps/results anew from the committed tables",
    )
    made.add_argument(
        "--check",
        action="store_true",
        help="with --results: change nothing, fail if a page is out of date",
    )
    return made


def report(asked: argparse.Namespace, uri: str | None) -> None:
    """Print the report of an experiment, and write it with its page and figure to a folder, its rows to sweeps/results."""
    from bnn.report.experiment import gathered
    from bnn.report.figure import figure, save
    from bnn.report.generated import results
    from bnn.report.rows import ReportError, write_csv

    there = next(
        place for place in (asked.out.absolute(), *asked.out.absolute().parents) if place.exists()
    )
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise ReportError(f"--out: expected a folder to write in, got {there}")
    table = results() / f"{asked.experiment.replace('/', '_')}.csv" if asked.export else None
    made = gathered(uri, asked.experiment, asked.run, asked.against, asked.margin)
    name = asked.experiment.replace("/", "_")
    text, page = made.markdown(name), made.html()
    print(text)
    asked.out.mkdir(parents=True, exist_ok=True)
    written = [asked.out / f"{name}{ending}" for ending in (".md", ".png", ".html")]
    written[0].write_text(text, encoding="utf-8")
    save(figure(made.rows), written[1], text.encode())
    written[2].write_text(page, encoding="utf-8")
    if table is not None:
        table.parent.mkdir(exist_ok=True)
        write_csv(table, made.rows)
        written.append(table)
    print("wrote", *written, file=sys.stderr)


def pages(check: bool) -> int:
    """Make the generated blocks of the project's pages anew.

    Returns:
        Exit code: with `check`, which changes nothing, 1 if a page is out of date.
    """
    from bnn.report.generated import COMMAND, outdated, regenerate, source_tree

    if not check:
        print("wrote", *regenerate(source_tree()), file=sys.stderr)
        return 0
    stale = outdated(source_tree())
    for title in stale:
        print(f"out of date: {title}; run {COMMAND}", file=sys.stderr)
    return int(bool(stale))


def main(arguments: Sequence[str] | None = None) -> int:
    made = parser()
    asked = made.parse_args(arguments)
    if asked.results == (asked.experiment is not None) or (asked.check and not asked.results):
        made.error("expected either EXPERIMENT or --results [--check]")
    uri = asked.uri or os.environ.get("MLFLOW_TRACKING_URI")
    return exit_code(lambda: pages(asked.check) if asked.results else report(asked, uri))


if __name__ == "__main__":
    sys.exit(main())
