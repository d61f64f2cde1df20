"""python -m bnn.report EXPERIMENT …: MLflow experiments as page, Markdown, figure, CSV and LaTeX.

--results: the generated blocks of the project's pages, and the figures in sweeps/results.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bnn.errors import OneLineParser, exit_code

if TYPE_CHECKING:
    from bnn.report.experiment import Experiment

LONGEST_NAME = 80
"""Characters of a report's file name, before a digest and an ending."""


def parser() -> argparse.ArgumentParser:
    """Command-line parser."""
    command = OneLineParser(
        prog="python -m bnn.report", description="Tables and figures of finished runs."
    )
    command.add_argument(
        "experiments",
        nargs="*",
        metavar="EXPERIMENT",
        help="an MLflow experiment, e.g. seed_table/mnist; several on one data set make one page",
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
        help="folder for NAME.html, .md, .png, .csv, .tex (default: outputs)",
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
    """Print experiments as Markdown; write each data set's page, figure and tables.

    Raises:
        ReportError: for a folder that cannot be written to, and as `read_experiments`.
        TrackingError: as `read_experiments`.
    """
    from bnn.report.experiment import read_experiments
    from bnn.report.generated import results
    from bnn.report.row_files import write_csv

    _check_writable(options.out.absolute())
    tables = results() if options.export else None
    written: list[Path] = []
    for experiment in read_experiments(
        uri, options.experiments, options.run, options.against, options.margin
    ):
        written += write_report(experiment, options.out)
        if tables is not None:
            tables.mkdir(exist_ok=True)
            written.append(tables / f"{file_name(experiment.names)}.csv")
            write_csv(written[-1], experiment.rows)
    print("wrote", *written, file=sys.stderr)


def file_name(names: Sequence[str]) -> str:
    """File name of a report without its ending: `bnn_mnist` for the experiment bnn/mnist.

    Where other experiments could have the same name, or it is long or has other signs than
    letters, digits, dots and hyphens, a digest of the experiments' names is its end.
    """
    plain = "+".join(name.replace("/", "_") for name in names)
    if all(map(_is_plain, names)) and plain.isascii() and len(plain) <= LONGEST_NAME:
        return plain
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '_', plain)[:LONGEST_NAME]}-{digest}"


def _is_plain(name: str) -> bool:
    """Whether a name with `_` for `/` is that of no other experiment: bnn/fashion_mnist."""
    from bnn.data.datasets import DATASETS

    if not re.fullmatch(r"(\w[\w.-]*/)?[a-zA-Z0-9][\w.-]*", name):
        return False
    ends = [data for data in DATASETS if name.replace("/", "_").endswith(f"_{data}")]
    last = name.rpartition("/")[2]
    return last == max(ends, key=len) if ends else "_" not in last


def write_report(experiment: Experiment, out: Path) -> list[Path]:
    """Print a report as Markdown and write its files into a folder.

    Returns:
        The files.
    """
    from bnn.report.dot_plot import dot_plot, save
    from bnn.report.row_files import write_csv

    name = file_name(experiment.names)
    text, page, table = experiment.markdown(name), experiment.html_page(), experiment.latex()
    print(text)
    out.mkdir(parents=True, exist_ok=True)
    for ending, content in ((".md", text), (".html", page), (".tex", table)):
        (out / f"{name}{ending}").write_text(content, encoding="utf-8")
    save(dot_plot(experiment.rows), out / f"{name}.png", text.encode())
    write_csv(out / f"{name}.csv", experiment.rows)
    return [out / f"{name}{ending}" for ending in (".md", ".png", ".html", ".csv", ".tex")]


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
    if options.results == bool(options.experiments) or (options.check and not options.results):
        command.error("expected either EXPERIMENT or --results [--check]")
    if options.run and len(options.experiments) > 1:
        command.error("--run: expected one EXPERIMENT, whose runs these are; got several")
    uri = options.uri or os.environ.get("MLFLOW_TRACKING_URI")
    return exit_code(lambda: pages(options.check) if options.results else report(options, uri))


if __name__ == "__main__":
    sys.exit(main())
