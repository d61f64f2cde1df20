"""Tables of sweeps/results, read for the sentences about them."""

from __future__ import annotations

import re
import statistics
from pathlib import Path

from bnn.paths import folder
from bnn.report.configurations import Configuration, group_by_configuration
from bnn.report.differences import Difference, Reference, differences
from bnn.report.numbers import Interval, format_interval
from bnn.report.row_files import read_csv

RESULTS = folder("sweeps") / "results"

UNBIASED = (
    "arm",
    "arms 4",
    "disarm",
    "double_cv 4 0.99",
    "local_expectation",
    "muprop 0.9 conditional",
    "nvil 100 0.9",
    "rebar learned 0.99",
    "relax learned 0.99 32",
    "rodeo 2 0.99 32",
    "reinforce leave_one_out 4",
    "reinforce min_variance 0.9",
    "reinforce moving_average 0.9",
    "reinforce none",
    "reinforce nested_leave_one_out 4 4",
)
BIASED = (
    "concrete 0.5",
    "gumbel_rao 1.0",
    "mve 1.0",
    "reinmax 1.0",
    "reinmax_rao 1.0",
    "st density",
    "st_gumbel 1.0",
)
"""Titles of estimators in the tables."""


def of(name: str, **values: str) -> list[Configuration]:
    """Configurations of NAME.csv with these fields; `__` stands for the point of a setting."""

    def value(c: Configuration, key: str) -> str | None:
        return c.settings().get(key.replace("__", ".")) if "__" in key else getattr(c.first, key)

    found = group_by_configuration(read_csv(RESULTS / f"{name}.csv"))
    return [c for c in found if all(value(c, key) == v for key, v in values.items())]


def accuracy(name: str, **values: str) -> float:
    """Mean test accuracy in % of the one configuration with these fields."""
    (only,) = of(name, **values)
    return 100 * statistics.fmean(row.test_accuracy or 0 for row in only.rows)


def with_spread(name: str, **values: str) -> str:
    """`98.44 ± 0.11`."""
    (only,) = of(name, **values)
    sd = statistics.stdev(100 * (row.test_accuracy or 0) for row in only.rows)
    return f"{accuracy(name, **values):.2f} ± {sd:.2f}"


def compared(name: str, against: str, margin: float) -> list[Difference]:
    """Configurations beside their reference, those that are a reference left out."""
    found = differences(read_csv(RESULTS / f"{name}.csv"), Reference.parse(against, margin))
    return [one for one in found if not one.is_reference]


def bracketed(found: Interval, digits: int = 2) -> str:
    """`2.28 [1.93, 2.64]`."""
    return format_interval(found, digits=digits)


def undecided(found: Interval) -> bool:
    """Whether an interval of differences has 0 in it."""
    return found.low < 0 < found.high


def text(name: str) -> str:
    """NAME.txt, as a command printed it."""
    return (RESULTS / f"{name}.txt").read_text(encoding="utf-8")


def printed(name: str, column: str, at: int = 0) -> list[dict[str, str]]:
    """Rows of a table of NAME.txt that has this column; `at` counts such tables.

    Of columns with one head the first keeps it, the next one is `head 2`.
    """
    tables, lines = [], text(name).splitlines()
    for i, line in enumerate(lines[:-1]):
        head = _distinct(_cells(line))
        if column in head and re.fullmatch(r"[|:-]+", lines[i + 1]):
            rows = []
            for row in lines[i + 2 :]:
                if not row.startswith("|"):
                    break
                rows.append(dict(zip(head, _cells(row), strict=True)))
            tables.append(rows)
    return tables[at]


def figure(name: str, column: str, **values: str) -> float:
    """First number of a cell, in the one row that has these values."""
    rows = [r for r in printed(name, column) if all(r[k] == v for k, v in values.items())]
    (only,) = rows
    found = re.match(r"-?[\d.]+", only[column])
    assert found, only[column]
    return float(found[0])


def prose(path: Path) -> str:
    """Sentences of a page on one line: no generated blocks, tables, code, paths or link targets."""
    text = path.read_text(encoding="utf-8")
    for part in (
        r"<!-- generated: .*?<!-- /generated -->",
        r"```.*?```",
        r"`[^`\n]*`",
        r"(?<=\])\([^)]*\)",
        r"(?m)^\|[^\n]*$",
        r"<[^>]+>",
    ):
        text = re.sub(part, "", text, flags=re.DOTALL)
    return " ".join(text.split())


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _distinct(heads: list[str]) -> list[str]:
    counts = [heads[:i].count(head) for i, head in enumerate(heads)]
    return [f"{head} {n + 1}" if n else head for head, n in zip(heads, counts, strict=True)]
