"""Kinds of generated blocks: what a block of a page says, from results, configuration and code."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from bnn.report import (
    across_tasks,
    answer,
    catalogue,
    equal_steps,
    gated_networks,
    gates_figure,
    learning_rates,
)
from bnn.report.configurations import group_by_configuration
from bnn.report.differences import Reference
from bnn.report.document import caption, results_section
from bnn.report.marks import RESULTS, Block, blocks
from bnn.report.row_files import read_csv
from bnn.report.rows import ReportError
from bnn.report.seconds import seconds_table
from bnn.report.weight_readings import weight_readings
from bnn.tables import BLANK, markdown

OF_ROWS = ("results", "gates")
"""Kinds of blocks whose first argument is a file of rows."""
_IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)]+)\)")


def content(block: Block, root: Path) -> str:
    """Text of a block, made anew.

    Raises:
        ReportError: for an unknown kind, arguments that it does not take, or a missing file.
    """
    kind, *arguments = block.words
    if kind not in KINDS:
        raise ReportError(f"{block.title}: expected a kind of {', '.join(KINDS)}, got {kind!r}")
    try:
        return KINDS[kind](arguments, root / block.page, root).rstrip() + "\n"
    except (ValueError, TypeError) as error:
        raise ReportError(f"{block.title}: {error}") from error


def results(arguments: Sequence[str], page: Path, root: Path) -> str:
    """Figure, table and caption of NAME.csv, with differences where `against` names a reference."""
    name, *rest = arguments
    reference = None
    if rest:
        against, field, margin, points = rest
        if (against, margin) != ("against", "margin"):
            raise ValueError("expected NAME [against FIELD=VALUE margin POINTS]")
        reference = Reference.parse(field, float(points))
    rows = read_csv(root / RESULTS / f"{name}.csv")
    return results_section(rows, _relative(root / RESULTS / f"{name}.png", page), reference)


def printed(arguments: Sequence[str], page: Path, root: Path) -> str:
    """NAME.txt, which a command printed: its headings one level down, its pictures by this page."""
    (name,) = arguments
    path = root / RESULTS / f"{name}.txt"
    if not path.is_file():
        raise ReportError(f"{path.name}: no such file in {path.parent}")
    text = re.sub(r"^#", "##", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return _IMAGE.sub(lambda one: f"![{one[1]}]({_relative(root / one[2], page)})", text)


def seconds(arguments: Sequence[str], page: Path, root: Path) -> str:
    """Accuracy and seconds of NAME.csv beside those of EARLIER.csv."""
    rows, earlier = (read_csv(root / RESULTS / f"{name}.csv") for name in arguments)
    return seconds_table(rows, earlier)


def readings(arguments: Sequence[str], page: Path, root: Path) -> str:
    """Test accuracies of NAME.csv under each reading of drawn weights."""
    (name,) = arguments
    return weight_readings(read_csv(root / RESULTS / f"{name}.csv"))


def rates(arguments: Sequence[str], page: Path, root: Path) -> str:
    """Validation losses of TRIED.csv by learning rate; those of NAME.csv have to be the best.

    Names of estimators after the two restrict both tables to them.
    """
    tried_name, chosen_name, *estimators = arguments
    tables = []
    for name in (tried_name, chosen_name):
        rows = read_csv(root / RESULTS / f"{name}.csv")
        missing = sorted({*estimators} - {row.estimator for row in rows})
        if missing:
            raise ReportError(f"{name}.csv: no runs of estimator {', '.join(missing)}")
        tables.append([row for row in rows if not estimators or row.estimator in estimators])
    return learning_rates.rates_table(*tables)


def index(names: Sequence[str], page: Path, root: Path) -> str:
    """Table of result pages: question (title), finding (first paragraph), seeds, page."""
    rows = []
    for name in names:
        path = root / RESULTS / f"{name}.md"
        if not path.is_file():
            raise ReportError(f"{path.name}: no such file in {path.parent}")
        text = path.read_text(encoding="utf-8")
        question, finding = question_and_finding(text)
        link = f"[{name}]({_relative(path, page)})"
        rows.append([question, finding, _seeds(text, path, root), link])
    return markdown(["question", "finding", "seeds", "page"], rows)


def question_and_finding(text: str) -> tuple[str, str]:
    """Title of a page, and its first paragraph on one line."""
    paragraphs = text.split("\n\n")
    if len(paragraphs) < 2 or not paragraphs[0].startswith("# "):
        raise ValueError("expected a page that begins with `# Question` and a paragraph")
    return paragraphs[0].removeprefix("# ").strip(), " ".join(paragraphs[1].split())


def _seeds(text: str, path: Path, root: Path) -> str:
    """Seeds of a configuration of the page's table; a dash for a page that compares none."""
    names = [block.words[1] for block in blocks(text, path) if block.words[0] in OF_ROWS]
    found = [
        c
        for name in names
        for c in group_by_configuration(read_csv(root / RESULTS / f"{name}.csv"))
    ]
    counts = sorted({len(c.rows) for c in found})
    return " to ".join(map(str, dict.fromkeys((counts[0], counts[-1])))) if counts else BLANK


def across(names: Sequence[str], page: Path, root: Path) -> str:
    """Figure and table of the estimators of several NAME.csv, each of another task."""
    tables = _by_task(names, root)
    picture = _relative(root / RESULTS / f"{page.stem}.png", page)
    return f"![Estimators across tasks]({picture})\n\n{across_tasks.table(tables)}"


def _by_task(names: Sequence[str], root: Path) -> list[across_tasks.TaskResults]:
    return across_tasks.results_by_task(
        {name: read_csv(root / RESULTS / f"{name}.csv") for name in names}
    )


def steps(names: Sequence[str], page: Path, root: Path) -> str:
    """Table of the estimators of COST.csv at equal cost and of STEPS.csv at equal steps."""
    cost, further = (read_csv(root / RESULTS / f"{name}.csv") for name in names)
    return f"{equal_steps.table(cost, further)}\n\n{caption(further)}"


def gates(names: Sequence[str], page: Path, root: Path) -> str:
    """Figure and table of the gated networks of NAME.csv, timed in TIMES.txt, and their caption."""
    name, _ = names
    rows = read_csv(root / RESULTS / f"{name}.csv")
    picture = _relative(root / RESULTS / f"{name}.png", page)
    table = gated_networks.table(rows)
    return f"![Error by cost of an image]({picture})\n\n{table}\n\n{caption(rows)}"


def _gates_figure(table: Path, times: Path) -> Figure:
    rows = read_csv(table)
    found = gates_figure.milliseconds(times.read_text(encoding="utf-8"), rows[0].model)
    return gates_figure.figure(rows, found)


@dataclass(frozen=True)
class Picture:
    """Picture that a block shows.

    Args:
        path: its file.
        sources: files that it is drawn from.
        draw: draws it.
    """

    path: Path
    sources: tuple[Path, ...]
    draw: Callable[[], Figure]

    @property
    def content(self) -> bytes:
        """Content of all sources, by whose fingerprint an outdated picture is told."""
        return b"".join(path.read_bytes() for path in self.sources)


def picture(block: Block, root: Path) -> Picture | None:
    """Picture that a block shows and that is drawn from tables; None for other kinds."""
    from bnn.report.dot_plot import dot_plot

    kind, *names = block.words
    if kind == "results":
        table = root / RESULTS / f"{names[0]}.csv"
        return Picture(table.with_suffix(".png"), (table,), lambda: dot_plot(read_csv(table)))
    if kind == "across_tasks":
        sources = tuple(root / RESULTS / f"{name}.csv" for name in names)
        path = root / RESULTS / f"{block.page.stem}.png"
        return Picture(path, sources, lambda: across_tasks.figure(_by_task(names, root)))
    if kind == "gates":
        table, times = root / RESULTS / f"{names[0]}.csv", root / RESULTS / f"{names[1]}.txt"
        draw = partial(_gates_figure, table, times)
        return Picture(table.with_suffix(".png"), (table, times), draw)
    return None


def _relative(path: Path, page: Path) -> str:
    return Path(os.path.relpath(path, page.parent)).as_posix()


KINDS: dict[str, Callable[[Sequence[str], Path, Path], str]] = {
    "results": results,
    "printed": printed,
    "seconds": seconds,
    "weight_readings": readings,
    "learning_rates": rates,
    "index": index,
    "across_tasks": across,
    "equal_steps": steps,
    "gates": gates,
    "answer": lambda arguments, page, root: answer.table(root / RESULTS, *arguments),
    "choices": lambda arguments, page, root: catalogue.choices(*arguments),
    "keys": lambda arguments, page, root: catalogue.keys(*arguments),
    "recipes": lambda arguments, page, root: catalogue.recipes(*arguments),
    "estimators": lambda arguments, page, root: catalogue.estimators(*arguments),
    "renamed_tags": lambda arguments, page, root: catalogue.renamed_tags(*arguments),
}
"""Kinds of blocks: `(arguments, path of the page, source tree) -> Markdown`."""
