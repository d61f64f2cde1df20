"""Tables of sweeps/results as the sentences about them read them."""

from __future__ import annotations

import re
import statistics
from pathlib import Path

from bnn.paths import folder
from bnn.report.against import Reference, differences
from bnn.report.configurations import Configuration, configurations
from bnn.report.rows import read_csv

RESULTS = folder("sweeps") / "results"


def of(name: str, **values: str) -> list[Configuration]:
    """Configurations of NAME.csv with these fields; `__` stands for the point of a setting."""

    def value(c: Configuration, key: str) -> str | None:
        return c.settings().get(key.replace("__", ".")) if "__" in key else getattr(c.first, key)

    found = configurations(read_csv(RESULTS / f"{name}.csv"))
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


def verdicts(name: str, against: str, margin: float, **values: str) -> dict[str, str]:
    """Verdict of each configuration with these fields, by the title of its estimator and place."""
    found = differences(read_csv(RESULTS / f"{name}.csv"), Reference.parse(against, margin))
    chosen = of(name, **values)
    return {
        f"{one.configuration.first.estimator_title} {one.configuration.first.placement} "
        f"{one.configuration.first.norm} {i}": one.verdict
        for i, one in enumerate(found)
        if one.configuration in chosen and not one.is_reference
    }


def printed(name: str, column: str, at: int = 0) -> list[dict[str, str]]:
    """Rows of a table of NAME.txt that has this column; `at` counts such tables."""
    tables, lines = [], (RESULTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    for i, line in enumerate(lines[:-1]):
        head = _cells(line)
        if column in head and re.fullmatch(r"[|:-]+", lines[i + 1]):
            rows = []
            for row in lines[i + 2 :]:
                if not row.startswith("|"):
                    break
                rows.append(dict(zip(head, _cells(row), strict=True)))
            tables.append(rows)
    return tables[at]


def figure(name: str, column: str, at: int = 0, **values: str) -> float:
    """First number of a cell, in the one row that has these values."""
    rows = [r for r in printed(name, column, at) if all(r[k] == v for k, v in values.items())]
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
        r"(?m)^\|.*$",
        r"<[^>]+>",
    ):
        text = re.sub(part, "", text, flags=re.DOTALL)
    return " ".join(text.split())


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
