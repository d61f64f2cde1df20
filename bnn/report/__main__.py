"""python -m bnn.report EXPERIMENT: an MLflow experiment as HTML page, Markdown and figure.

--results: the generated blocks of the project's pages, and the figures in sweeps/results.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bnn.errors import OneLineParser, exit_code


def parser() -> argparse.ArgumentParser:
    """Command-line parser."""
    command = OneLineParser(
        prog="python -m bnn.report", description="Tables and figures of finished runs."
    )
    command.add_argument(
        "experiment",
        nargs="?",
        metavar="EXPERIMENT",
        help="an MLflow experiment, e.g. seed_table/mnist",
    )
    command.add_argument(
        "--uri",
        help="the tracking store (default: MLFLOW_TRACKING_URI, else mlflow.db in this folder)",
    )
    command.add_argument(
        "--run",
        action="append",
        default=[],
        metavar="ID",
        help="only this run of it, by its id or the first digits; again for more",
    )
    command.add_argument(
        "--out",
        type=Path,
        default=Path("outputs"),
        help="folder for NAME.html, .md, .png (default: outputs)",
    )
    command.add_argument(
        "--export", action="store_true", help="also write the runs to sweeps/results as CSV"
    )
    command.add_argument(
        "--against", metavar="FIELD=VALUE", help="compare with these rows (default: estimator=st)"
    )
    command.add_argument(
        "--margin", type=float, default=0.0, help="a difference that matters, in points of accuracy"
    )
    command.add_argument(
        "--results",
        action="store_true",
        help="make README.md, docs and sweeps/results anew from the committed tables",
    )
    command.add_argument(
        "--check",
        action="store_true",
        help="with --results: change nothing, fail if a page is out of date",
    )
    command.add_argument("--readme", action="store_true", help=argparse.SUPPRESS)  # of 0.1.0
    return command


def report(options: argparse.Namespace, uri: str | None) -> None:
    """Print an experiment as Markdown; write it with its page, its figure and, if asked, its rows.

    Raises:
        ReportError: for a folder that cannot be written to, and as `read_experiment`.
        TrackingError: as `read_experiment`.
    """
    from bnn.report.dot_plot import dot_plot, save
    from bnn.report.experiment import read_experiment
    from bnn.report.generated import results
    from bnn.report.row_files import write_csv

    _check_writable(options.out.absolute())
    name = options.experiment.replace("/", "_")
    table = results() / f"{name}.csv" if options.export else None
    experiment = read_experiment(
        uri, options.experiment, options.run, options.against, options.margin
    )
    text, page = experiment.markdown(name), experiment.html_page()
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    written = [options.out / f"{name}{ending}" for ending in (".md", ".png", ".html")]
    written[0].write_text(text, encoding="utf-8")
    save(dot_plot(experiment.rows), written[1], text.encode())
    written[2].write_text(page, encoding="utf-8")
    if table is not None:
        table.parent.mkdir(exist_ok=True)
        write_csv(table, experiment.rows)
        written.append(table)
    print("wrote", *written, file=sys.stderr)


def _check_writable(folder: Path) -> None:
    """Raise ReportError unless a folder, or the one it would be made in, can be written to."""
    from bnn.report.rows import ReportError

    existing = next(place for place in (folder, *folder.parents) if place.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        raise ReportError(f"--out: expected a folder to write in, got {existing}")


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
    """Exit code of the command line `arguments`, by default that of the process."""
    command = parser()
    options = command.parse_args(arguments)
    if options.readme:
        command.error("--readme: this option is called --results now; write --results")
    if options.results == (options.experiment is not None) or (
        options.check and not options.results
    ):
        command.error("expected either EXPERIMENT or --results [--check]")
    uri = options.uri or os.environ.get("MLFLOW_TRACKING_URI")
    return exit_code(lambda: pages(options.check) if options.results else report(options, uri))


if __name__ == "__main__":
    sys.exit(main())
