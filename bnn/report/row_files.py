"""CSV files that keep rows to the last bit, as sweeps/results has them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from bnn.report.rows import TYPES, ReportError, Row, field_value, in_order


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write rows in a fixed order; numbers with all digits (repr), None as an empty cell."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(TYPES)
        for row in in_order(rows):
            cells = (getattr(row, name) for name in TYPES)
            writer.writerow(
                "" if cell is None else cell if isinstance(cell, str) else repr(cell)
                for cell in cells
            )


def read_csv(path: Path) -> list[Row]:
    """Rows of a file that `write_csv` wrote.

    Raises:
        ReportError: for a missing file, other columns, or a cell that cannot be read; the message
            names its line and its column.
    """
    if not path.is_file():
        raise ReportError(
            f"{path.name}: no such file in {path.parent}; "
            "python -m bnn.report EXPERIMENT --export writes it"
        )
    with path.open(newline="", encoding="utf-8") as file:
        head, *lines = list(csv.reader(file)) or [[]]
    if head != list(TYPES):
        odd = ", ".join(sorted(set(head) ^ set(TYPES))) or "their order"
        raise ReportError(
            f"{path.name}: expected the columns of bnn.report.rows.Row, it differs in {odd}; "
            "export it anew"
        )
    return [_parse(path.name, number, line) for number, line in enumerate(lines, 2)]


def _parse(file: str, number: int, cells: Sequence[str]) -> Row:
    if len(cells) != len(TYPES):
        raise ReportError(f"{file}: row {number}: expected {len(TYPES)} cells, got {len(cells)}")
    values = {}
    for name, cell in zip(TYPES, cells, strict=True):
        try:
            values[name] = field_value(name, cell)
        except ValueError as error:
            raise ReportError(
                f"{file}: row {number}, {name}: expected a number, got {cell!r}"
            ) from error
    return Row(**values)
