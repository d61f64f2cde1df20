"""Rows -> Markdown: the table, its footnotes, a caption that says what the numbers stand on, and the runs behind them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from bnn.report.differences import Reference, against, interval
from bnn.report.configurations import (
    SHOWN_IF_VARYING,
    Configuration,
    Spread,
    configurations,
    varying,
)
from bnn.report.headline import ACCURACY, headline
from bnn.report.display_names import labels, place
from bnn.report.reference import misnamed, reported
from bnn.report.rows import Row
from bnn.tables import markdown

MISSING = "–"
PRELIMINARY, MISNAMED = "†", "‡"


def number(value: Spread | None, digits: int, scale: float = 1.0) -> str:
    """`98.29 ± 0.05`, without the spread for one seed, a dash for no value."""
    if value is None:
        return MISSING
    mean = f"{scale * value.mean:.{digits}f}"
    return mean if value.sd is None else f"{mean} ± {scale * value.sd:.{digits}f}"


def columns(found: Sequence[Configuration]) -> dict[str, list[str]]:
    """The table of an experiment: head -> cells."""
    first = [c.first for c in found]
    draws = {row.evaluation_samples for row in first}
    metric = headline(row for c in found for row in c.rows)
    mean = f"mean of {draws.pop() if len(draws) == 1 else 'M'} ({metric.unit})"
    made = {
        "neuron": [row.neuron for row in first],
        "estimator": [row.estimator_title for row in first],
        "placement": [row.placement for row in first],
        "law": [row.law for row in first],
        **varying(found),
        "seeds": [
            f"{len(c.rows)} {PRELIMINARY}" if c.preliminary else str(len(c.rows)) for c in found
        ],
        metric.title: [number(c.spread(metric.field), metric.digits, metric.scale) for c in found],
        mean: [
            number(c.spread(f"{metric.field}_mc_mean"), metric.digits, metric.scale) for c in found
        ],
        f"threshold ({metric.unit})": [
            number(c.spread(f"{metric.field}_threshold"), metric.digits, metric.scale)
            for c in found
        ],
        **(
            {"test loss (nats)": [number(c.spread("test_loss"), 4) for c in found]}
            if metric is ACCURACY
            else {}
        ),
    }
    if len({row.evaluations for row in first}) > 1:
        made["s to train"] = [number(c.spread("seconds_train"), 0) for c in found]
    theirs = [(reported(row), f" {MISNAMED}" if misnamed(row) else "") for row in first]
    if any(r for r, _ in theirs):
        made["reported (%)"] = [f"{r.accuracy:.2f}{mark}" if r else MISSING for r, mark in theirs]
        made["reported loss"] = [f"{r.loss:.4f}{mark}" if r else MISSING for r, mark in theirs]
    return made


def intervals(found: Sequence[Configuration]) -> list[str]:
    """The 95 % interval of the mean of the headline, Student's t over seeds; a dash for one seed."""
    metric = headline(row for c in found for row in c.rows)
    known = [interval([metric.value(row) for row in c.rows]) for c in found]
    return [MISSING if one is None else f"{one.low:.2f} to {one.high:.2f}" for one in known]


def with_intervals(found: Sequence[Configuration]) -> dict[str, list[str]]:
    """`columns`, and the interval beside the headline that it is of."""
    metric = headline(row for c in found for row in c.rows)
    return {head: cells for column in columns(found).items() for head, cells in (
        [column, (f"95 % interval ({metric.unit})", intervals(found))] if column[0] == metric.title else [column])
    }  # fmt: skip


def table(rows: Iterable[Row]) -> str:
    """A row per configuration. Errors: ReportError as `configurations`."""
    made = columns(configurations(rows))
    return markdown(list(made), list(zip(*made.values(), strict=True)))


def footnotes(rows: Iterable[Row]) -> list[str]:
    """What the marks in the table mean, and what a name in it could be taken for."""
    found = configurations(rows)
    first = [c.first for c in found]
    notes = []
    if any(c.preliminary for c in found):
        notes.append(f"{PRELIMINARY} Preliminary: one seed, hence no spread.")
    if any(map(reported, first)):
        notes.append(
            "Reported: the sources' single unseeded runs, under their own protocol (bnn/report/reference.py)."
        )
    if any(misnamed(row) and reported(row) for row in first):
        notes.append(
            f"{MISNAMED} The sources' rows of this name. Their code never uses log q and sends nothing below the unit: "
            "these are numbers of the control `frozen`, and none is known for REINFORCE itself."
        )
    if exploring := [
        row.estimator
        for row in first
        if row.neuron == "deterministic" and row.samples_in_training == "yes"
    ]:
        names = _listed(sorted(exploring))
        notes.append(
            f"Deterministic with {names}: bits are sampled from the noise law in training, thresholded at test."
        )
    return notes


def _listed(values: Iterable[object], separator: str = ", ") -> str:
    return separator.join(dict.fromkeys(map(str, values)))


def said(rows: Sequence[Row]) -> list[str]:
    """Paragraphs: data set, protocol, what the numbers mean, hardware, versions, commits and seconds."""
    found, classified = configurations(rows), headline(rows) is ACCURACY
    same = {
        head: _listed(getattr(row, field) for row in rows)
        for field, head in SHOWN_IF_VARYING.items()
    }
    protocol = [
        f"{head} {value}"
        for head, value in same.items()
        if head not in varying(found) and head != "M"
    ]
    machines = [
        f"{row.hardware}, {row.threads} thread{'' if row.threads == 1 else 's'} a run"
        for row in rows
    ]
    dirty = (
        " (+: with uncommitted changes)" if any(row.commit.endswith("+") for row in rows) else ""
    )
    paragraphs = [
        f"Data set `{rows[0].dataset}`; {', '.join(protocol)}.",
        f"{'Test accuracy and loss are those' if classified else 'The test loss is that'} of the net's own rule at the "
        "epoch of best validation loss: stochastic units sampled once, deterministic ones thresholded; `mean of` averages "
        f"{'class probabilities' if classified else 'predictions'} over draws, `threshold` thresholds stochastic units.",
        "± is the sample standard deviation over seeds."
        if any(not c.preliminary for c in found)
        else "",
        *footnotes(rows),
        f"{len(rows)} run{'' if len(rows) == 1 else 's'}, {sum(row.seconds_total for row in rows):,.0f} s in total, on "
        f"{_listed(machines, '; ')}; {_listed((row.versions for row in rows), '; ')}; commit "
        f"{_listed(sorted(row.commit for row in rows))}{dirty}:",
    ]
    return [paragraph for paragraph in paragraphs if paragraph]


def commands(rows: Sequence[Row]) -> str:
    """The command lines that made the runs, each once."""
    return "\n".join(sorted({" ".join(row.command.splitlines()) for row in rows}))


def caption(rows: Sequence[Row]) -> str:
    """What the rows are and stand on, and the commands."""
    return "\n\n".join([*said(rows), f"```bash\n{commands(rows)}\n```"])


def section(rows: Sequence[Row], picture: str, reference: Reference | None = None) -> str:
    """A section of the README, with the picture at the address `picture`, and the differences to a reference."""
    rows = [inert(row) for row in rows]
    parts = [
        f"![{headline(rows).drawn.partition(' (')[0]} by configuration]({picture})",
        table(rows),
    ]
    if reference is not None:
        parts.append(against(rows, reference))
    return "\n\n".join([*parts, f"{caption(rows)}\n"])


def document(rows: Sequence[Row], name: str, differences: str) -> str:
    """The report of an experiment as NAME.md, beside NAME.png and NAME.html: what a section has, with intervals and the
    paragraphs `differences`, and for every row of the table the runs behind it."""
    rows = [inert(row) for row in rows]
    made = with_intervals(configurations(rows))
    parts = [
        f"![{headline(rows).drawn.partition(' (')[0]} by configuration]({quote(name)}.png)",
        markdown(list(made), list(zip(*made.values(), strict=True))),
        "95 % interval: of the mean, by Student's t over seeds.",
        differences,
        caption(rows),
        "The runs behind each row; a difference is of those of both rows at their common seeds:",
        runs(rows),
        f"Costs, curves, heatmaps, unit health and the lab's measurements: [the page]({quote(name)}.html).\n",
    ]
    return "\n\n".join(parts)


def runs(rows: Sequence[Row]) -> str:
    """A Markdown list: the configurations in the order of the table, each with its seeds and their run ids."""
    found = configurations(rows)
    return "\n".join(
        f"{number}. {place(c)}, {label}: "
        + ", ".join(f"seed {row.seed} `{row.run_id}`" for row in c.rows)
        for number, (c, label) in enumerate(zip(found, labels(found), strict=True), 1)
    )


def inert(row: Row) -> Row:
    """A row whose texts stay text in Markdown: no tags, no links, no code, one line each. Its command is shown as code."""

    def text(value: str) -> str:
        line = " ".join(value.split()).replace("<", "&lt;").replace("`", "'")
        return re.sub(r"\]([(\[])", r"]\\\1", line)

    texts = {
        key: text(value)
        for key, value in vars(row).items()
        if isinstance(value, str) and key != "command"
    }
    return dataclasses.replace(row, **texts)  # type: ignore[arg-type]
