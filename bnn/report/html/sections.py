"""The sections of the page that are tables first: results, differences, cost, and the runs behind every number."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bnn.report.differences import Difference, Reference, columns, note
from bnn.report.configurations import Configuration, spread
from bnn.report.cost import COSTS, figure, passes, seconds
from bnn.report.dot_plot import figure as errors
from bnn.report.headline import ACCURACY, LOSS, headline
from bnn.report.display_names import labels, place, short
from bnn.report.html.markup import Html, captioned, drawing, element, folded, joined, prose, table
from bnn.report.rows import Row
from bnn.report.table import PRELIMINARY, commands, footnotes, number, said, with_intervals

BARS = "A point is a mean over seeds; its bars reach from the lowest seed to the highest."


@dataclass(frozen=True)
class Section:
    """A part of the page: the word that an address ends in, its heading, and what is below."""

    anchor: str
    title: str
    body: Html


def named(found: Sequence[Configuration]) -> dict[Configuration, str]:
    """What the page calls each configuration: `stochastic · both, st density`, or less where that tells it."""
    binary = [c.first for c in found if c.first.neuron != "real"]
    told = [
        field
        for field in ("neuron", "placement")
        if len({getattr(row, field) for row in binary}) > 1
    ]
    names = {}
    for c, label in zip(found, short(found), strict=True):
        where = (
            " · ".join(getattr(c.first, field) for field in told)
            if c.first.neuron != "real"
            else ""
        )
        names[c] = ", ".join(filter(None, [where, label]))
    return names


def behind(rows: Iterable[Row]) -> Html:
    """The runs that a number is of, on demand; one alone is preliminary."""
    rows = list(rows)
    count = f"{len(rows)} runs" if len(rows) > 1 else f"1 run {PRELIMINARY}"
    return folded(
        count,
        element(
            "ul", *(element("li", f"seed {row.seed} ", element("code", row.run_id)) for row in rows)
        ),
    )


def lead(rows: Sequence[Row], found: Sequence[Configuration], left_out: str) -> Html:
    """What the page is about, and what its numbers stand on."""
    seeds = ", ".join(map(str, sorted({row.seed for row in rows})))
    first = (
        f"{len(rows)} finished runs of {len(found)} configurations, seeds {seeds}. {left_out}Every row of a "
        "table names the runs behind it, and every curve; they are all listed in the last section."
    )
    code = element("pre", element("code", commands(rows)))
    stands_on = [paragraph for paragraph in said(rows) if paragraph not in footnotes(rows)]
    return joined([element("p", first), *map(prose, stands_on), code])


def results(rows: Sequence[Row], found: Sequence[Configuration]) -> Section:
    metric = headline(rows)
    drawn = metric.drawn.partition(" (")[0].capitalize()
    same, made = _results_first(
        with_intervals(found), named(found).values(), [behind(c.rows) for c in found]
    )
    figure = captioned(
        drawing(errors(rows), f"{drawn} of every configuration, each seed a dot"),
        f"{drawn} by configuration: each seed, and their mean.",
        wide=True,
    )
    notes = ["95 % interval: of the mean, by Student's t over seeds.", *footnotes(rows)]
    return Section(
        "results",
        metric.title.partition(" (")[0].capitalize(),
        joined([figure, same, table(*_cells(made)), *map(prose, notes)]),
    )


def _results_first(
    columns: Mapping[str, Sequence[object]], names: Iterable[str], runs: Sequence[Html]
) -> tuple[Html, dict[str, Sequence[object]]]:
    """A sentence for what every row has in common, and the columns: a row's name, its accuracy, the runs behind it, the
    other results, then the settings, which stood before them."""
    title = next(head for head in columns if head in (ACCURACY.title, LOSS.title))
    settings = dict(
        itertools.takewhile(lambda column: column[0] not in ("seeds", title), columns.items())
    )
    common = {head: cells[0] for head, cells in settings.items() if len(set(cells)) == 1}
    told = ", ".join(f"{head} {value}" for head, value in common.items())
    called = list(names)
    rest = {
        head: cells
        for head, cells in columns.items()
        if head not in ("seeds", *common) and cells != called
    }
    first = {"configuration": called, title: columns[title], "runs": runs}
    results = {head: cells for head, cells in rest.items() if head not in settings}
    sentence = element("p", f"In every row: {told}.") if common else Html("")
    return sentence, {
        **first,
        **{head: cells for head, cells in {**results, **rest}.items() if head != title},
    }


def _cells(columns: Mapping[str, Sequence[object]]) -> tuple[list[str], list[tuple[object, ...]]]:
    return list(columns), list(zip(*columns.values(), strict=True))


def compared(
    found: Sequence[Difference],
    every: Mapping[Configuration, str],
    reference: Reference | None,
    why: str,
) -> Section:
    """The differences to a reference, and why it is that one, or why there is none. every: names of configurations."""
    anchor, title = "differences", "Differences, paired by seed"
    if reference is None:
        return Section(anchor, title, prose(why))
    rows = [
        list(dict.fromkeys([*one.configuration.rows, *(base for _, base in one.pairs())]))
        for one in found
    ]
    names = [every[one.configuration] for one in found]
    same, made = _results_first(columns(found), names, [behind(each) for each in rows])
    said_before = [prose(sentence) for sentence in (why, note(reference)) if sentence]
    return Section(anchor, title, joined([*said_before, same, table(*_cells(made))]))


def cost(found: Sequence[Configuration]) -> Section:
    """Test error against passes and against seconds, a pair of figures for each neuron."""
    metric = headline(row for c in found for row in c.rows)
    drawn = metric.drawn.partition(" (")[0].capitalize()
    costs = {passes(c.first) for c in found}
    neurons = list(dict.fromkeys(c.first.neuron for c in found if c.first.neuron != "real")) or [
        "real"
    ]
    figures = [
        captioned(
            drawing(figure(found, neuron, name), f"{drawn} against {name}: {neuron} units"),
            f"{neuron} units",
        )
        for neuron in neurons
        for name, cost_of in COSTS.items()
        if cost_of is not passes or len(costs) > 1
    ]
    same = (
        ""
        if len(costs) > 1
        else "All configurations cost the same number of passes, so that only seconds are drawn."
    )
    machines = {(row.hardware, row.threads) for c in found for row in c.rows}
    other = (
        "The runs are of several machines: their seconds do not compare."
        if len(machines) > 1
        else ""
    )
    made: dict[str, Sequence[object]] = {
        "configuration": list(named(found).values()),
        "passes a step": [str(c.first.evaluations) for c in found],
        "epochs": [str(c.first.epochs) for c in found],
        "passes × epochs": [f"{passes(c.first):,.0f}" for c in found],
        "training (s)": [number(spread([seconds(row) for row in c.rows]), 1) for c in found],
        metric.drawn: [number(spread([metric.error(row) for row in c.rows]), 2) for c in found],
        "runs": [behind(c.rows) for c in found],
    }
    passing = "A pass: one loss of a sample, forward and back. Seconds are of the updates alone, without evaluation."
    notes = map(prose, filter(None, [f"{BARS} {passing}", same, other]))
    body = joined([element("div", *figures, class_="panels"), *notes, table(*_cells(made))])
    return Section("cost", f"{metric.name.capitalize()} against cost", body)


def runs(found: Sequence[Configuration]) -> Section:
    """Every run, by configuration."""
    metric = headline(row for c in found for row in c.rows)
    names = [f"{place(c)}, {label}" for c, label in zip(found, labels(found), strict=True)]
    head = [
        "configuration",
        "seed",
        "run",
        metric.title,
        "best epoch",
        "training (s)",
        "total (s)",
        "commit",
    ]
    lines = [
        [name, str(row.seed), element("code", row.run_id), f"{metric.value(row):.{metric.digits}f}", str(row.best_epoch),
         f"{row.seconds_train:.1f}", f"{row.seconds_total:.1f}", row.commit]
        for c, name in zip(found, names, strict=True)
        for row in c.rows
    ]  # fmt: skip
    return Section("runs", "The runs", table(head, lines))
