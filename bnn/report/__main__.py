"""python -m bnn.report EXPERIMENT: the table and the figure of an MLflow experiment. --readme: those of the README."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bnn.errors import BnnError


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m bnn.report", description="Tables and figures of finished runs.")
    made.add_argument("experiment", nargs="?", metavar="EXPERIMENT", help="an MLflow experiment, e.g. seed_table/mnist")
    made.add_argument("--uri", help="the tracking store (default: MLFLOW_TRACKING_URI, else mlflow.db in this folder)")
    made.add_argument("--out", type=Path, default=Path("outputs"), help="folder for table and figure (default: outputs)")
    made.add_argument("--export", action="store_true", help="also write the runs to sweeps/results as CSV")
    made.add_argument("--against", metavar="FIELD=VALUE", help="also the differences to these rows, e.g. estimator=frozen")
    made.add_argument("--margin", type=float, default=0.0, help="a difference that matters, in points of accuracy")
    made.add_argument("--readme", action="store_true", help="make the README's results anew from sweeps/results")
    made.add_argument("--check", action="store_true", help="with --readme: change nothing, fail if it is out of date")
    return made


def report(experiment: str, uri: str | None, out: Path, export: bool, against: str | None, margin: float) -> None:
    """Print the report of an experiment, and write it with its figure to `out`, its rows to sweeps/results."""
    from bnn.report.rows import rows_of, write_csv
    from bnn.tracking.query import finished_runs

    rows = rows_of(finished_runs(uri, experiment), experiment)
    from bnn.report.against import Reference
    from bnn.report.figure import figure, save
    from bnn.report.readme import results
    from bnn.report.table import section

    name = experiment.replace("/", "_")
    text = section(rows, f"{name}.png", Reference.parse(against, margin) if against else None)
    print(text)
    out.mkdir(parents=True, exist_ok=True)
    written = [out / f"{name}.md", out / f"{name}.png"]
    written[0].write_text(text, encoding="utf-8")
    save(figure(rows), written[1], text.encode())
    if export:
        written.append(results() / f"{name}.csv")
        written[-1].parent.mkdir(exist_ok=True)
        write_csv(written[-1], rows)
    print("wrote", *written, file=sys.stderr)


def readme(check: bool) -> int:
    """Make the README's sections anew, or answer 1 if they are out of date."""
    from bnn.report.readme import outdated, regenerate, source_tree

    if not check:
        print("wrote", *regenerate(source_tree()), file=sys.stderr)
        return 0
    if names := outdated(source_tree()):
        print(f"README.md: out of date: {', '.join(names)}; run python -m bnn.report --readme", file=sys.stderr)
    return int(bool(names))


def main(arguments: Sequence[str] | None = None) -> int:
    made = parser()
    asked = made.parse_args(arguments)
    if asked.readme == (asked.experiment is not None) or (asked.check and not asked.readme):
        made.error("expected either EXPERIMENT or --readme [--check]")
    try:
        if asked.readme:
            return readme(asked.check)
        uri = asked.uri or os.environ.get("MLFLOW_TRACKING_URI")
        report(asked.experiment, uri, asked.out, asked.export, asked.against, asked.margin)
    except BnnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
