"""Markdown tables with padded columns, which line up on a terminal too."""

from __future__ import annotations

import re
from collections.abc import Sequence

BLANK = "–"
"""Cell without a value."""
ID_DIGITS = 8
"""Digits of a run id that are printed; commands take any beginning that one run alone has."""
NUMBER = re.compile(r"[-+]?[\d.,:]+(e[-+]?\d+)?( ± [\d.]+)?[†%]?|–|")


def numeric(cells: Sequence[object]) -> bool:
    """Whether a column is one of numbers, which is set to the right."""
    return bool(cells) and all(NUMBER.fullmatch(str(cell)) for cell in cells)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown table with padded columns; a column of numbers is set to the right.

    Args:
        head: names of the columns.
        rows: cells of each row.
    """
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(3, *(len(line[i]) for line in (head, *rows))) for i in range(len(head))]
    right = [numeric([row[i] for row in rows]) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        columns = zip(cells, widths, right, strict=True)
        padded = (c.rjust(width) if r else c.ljust(width) for c, width, r in columns)
        return f"| {' | '.join(padded)} |"

    columns = zip(widths, right, strict=True)
    rule = "|".join("-" * (width + 1) + (":" if r else "-") for width, r in columns)
    return "\n".join([line(head), f"|{rule}|", *map(line, rows)])


def clock(seconds: float) -> str:
    """Duration as m:ss, or h:mm:ss from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def with_unit(title: str, unit: str) -> str:
    """Title with its unit in brackets, where there is one."""
    return f"{title} ({unit})" if unit else title
