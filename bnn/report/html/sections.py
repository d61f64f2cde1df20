"""Sections of the page with tables: results, differences, cost, and a list of all runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from bnn.report import gated_networks
from bnn.report.configurations import Configuration
from bnn.report.cost import COSTS, evaluations, known_costs, seconds
from bnn.report.cost_plot import cost_plot
from bnn.report.differences import (
    Difference,
    Reference,
    difference_columns,
    difference_note,
)
from bnn.report.display_names import display_names, full_names, placement_name
from bnn.report.document import caption_paragraphs, commands, summary
from bnn.report.dot_plot import dot_plot
from bnn.report.gated_networks import GatedNetworks
from bnn.report.headline import Headline, headline
from bnn.report.html.markup import (
    Html,
    details,
    element,
    figure_element,
    join,
    paragraph,
    svg_image,
    table_element,
)
from bnn.report.html.page import Section
from bnn.report.numbers import format_spread, spread
from bnn.report.rows import Row
from bnn.report.table import PRELIMINARY, columns_with_intervals, footnotes, interval_note

BARS = "A point is a mean over seeds; its bars reach from the lowest seed to the highest."
SECONDS = "Seconds are of the optimizer steps alone, without validation and test."
Columns = Mapping[str, Sequence[object]]


def run_list(rows: Iterable[Row]) -> Html:
    """Seeds and run ids of a number, folded under their count; a single run is preliminary."""
    rows = list(rows)
    count = f"{len(rows)} runs" if len(rows) > 1 else f"1 run {PRELIMINARY}"
    items = (element("li", f"seed {row.seed} ", element("code", row.run_id)) for row in rows)
    return details(count, element("ul", *items))


def lead(rows: Sequence[Row], configurations: Sequence[Configuration], left_out: str) -> Html:
    """Elements above the sections: what is compared, runs, protocol, hardware and commands.

    Args:
        rows: runs of the page.
        configurations: these runs, grouped.
        left_out: sentence on runs that are not on the page, or empty.
    """
    seeds = ", ".join(map(str, sorted({row.seed for row in rows})))
    counts = (
        f"{len(rows)} finished runs of {len(configurations)} configurations, seeds {seeds}. "
        f"{left_out}Every row of a table names the runs behind it, and every curve; they are all "
        "listed in the last section."
    )
    notes = footnotes(rows)
    captions = [paragraph(text) for text in caption_paragraphs(rows) if text not in notes]
    code = element("pre", element("code", commands(rows)))
    return join([paragraph(summary(rows)), element("p", counts), *captions, code])


def results_section(rows: Sequence[Row], configurations: Sequence[Configuration]) -> Section:
    """Headline of every configuration: the figure and the table."""
    metric = headline(rows)
    title = metric.plot_title.capitalize()
    plot = svg_image(dot_plot(rows), f"{title} of every configuration, each seed a dot")
    figure = figure_element(
        plot, f"{title} by configuration: each seed, and their mean.", wide=True
    )
    shared, columns = _headline_first(
        metric,
        columns_with_intervals(configurations),
        list(display_names(configurations).values()),
        [run_list(c.rows) for c in configurations],
    )
    notes = map(paragraph, filter(None, [interval_note(configurations), *footnotes(rows)]))
    body = join([figure, shared, table_element(columns), *notes])
    return Section("results", _heading(metric), body)


def _heading(metric: Headline) -> str:
    return f"Test {metric.name}"


def differences_section(
    compared: Sequence[Difference],
    names: Mapping[Configuration, str],
    reference: Reference | None,
    reason: str,
) -> Section:
    """Differences to a reference.

    Args:
        compared: differences in the order of the table.
        names: display name of every configuration.
        reference: configuration that the others are compared with, if there is one.
        reason: sentence why it is that one, or why there is none; may be empty.
    """
    anchor, title = "differences", "Differences, paired by seed"
    if reference is None:
        return Section(anchor, title, paragraph(reason))
    runs = []
    for one in compared:
        paired = [base for _, base in one.pairs()]
        runs.append(run_list(dict.fromkeys([*one.configuration.rows, *paired])))
    metric = headline(row for one in compared for row in one.configuration.rows)
    shared, columns = _headline_first(
        metric, difference_columns(compared), [names[one.configuration] for one in compared], runs
    )
    notes = [paragraph(text) for text in (reason, difference_note(reference, metric)) if text]
    return Section(anchor, title, join([*notes, shared, table_element(columns)]))


def gates_section(networks: GatedNetworks) -> Section:
    """Gated networks beside the controls of their share."""
    runs = [run_list(c.rows) for _, _, c in networks.in_order()]
    found = gated_networks.columns(networks)
    del found["seeds"]
    body = join([table_element({**found, "runs": runs}), paragraph(gated_networks.NOTE)])
    return Section("gates", "Gates beside their controls", body)


def _headline_first(
    metric: Headline, columns: Columns, names: Sequence[str], runs: Sequence[Html]
) -> tuple[Html, Columns]:
    """Columns of a table in the order of the page, and a sentence for what all rows share.

    The page begins with a name, the headline and the runs, then has the other results, and the
    settings last, which `columns` has before its results.

    Args:
        metric: the headline.
        columns: head -> cells, settings first.
        names: display name of each row.
        runs: run list of each row.
    """
    title = metric.title
    before_results = itertools.takewhile(lambda head: head not in ("seeds", title), columns)
    settings = list(before_results)
    shared = {head: columns[head][0] for head in settings if len(set(columns[head])) == 1}
    kept = {
        head: cells
        for head, cells in columns.items()
        if head not in ("seeds", title, *shared) and list(cells) != names
    }
    ordered = sorted(kept, key=lambda head: head in settings)
    texts = ", ".join(f"{head} {value}" for head, value in shared.items())
    sentence = element("p", f"In every row: {texts}.") if shared else Html("")
    first = {"configuration": names, title: columns[title], "runs": runs}
    return sentence, {**first, **{head: kept[head] for head in ordered}}


def cost_section(configurations: Sequence[Configuration]) -> Section:
    """Headline against evaluations and against seconds, for each neuron, and a table of costs."""
    metric = headline(row for c in configurations for row in c.rows)
    equal = len({evaluations(c.first) for c in configurations}) == 1
    machines = {(row.hardware, row.threads) for c in configurations for row in c.rows}
    notes = [f"{BARS} {SECONDS}"]
    if equal:
        notes.append("All configurations have equally many evaluations, which are not drawn.")
    if len(machines) > 1:
        notes.append("The runs are of several machines: their seconds do not compare.")
    known = known_costs(row for c in configurations for row in c.rows)
    costs = [name for name in known if COSTS[name] is not evaluations or not equal]
    figures = element("div", *_cost_figures(configurations, costs, metric), class_="panels")
    table = table_element(_cost_columns(configurations, metric))
    body = join([figures, *map(paragraph, notes), table])
    return Section("cost", f"{metric.name.capitalize()} against cost", body)


def _cost_figures(
    configurations: Sequence[Configuration], costs: Sequence[str], metric: Headline
) -> list[Html]:
    title = metric.plot_title.capitalize()
    neurons = dict.fromkeys(c.first.neuron for c in configurations if not c.real_valued)
    return [
        figure_element(
            svg_image(
                cost_plot(configurations, neuron, cost), f"{title} against {cost}: {neuron} units"
            ),
            f"{neuron} units",
        )
        for neuron in neurons or ["real"]
        for cost in costs
    ]


def _cost_columns(configurations: Sequence[Configuration], metric: Headline) -> Columns:
    training = [spread([seconds(row) for row in c.rows]) for c in configurations]
    errors = [spread([metric.error(row) for row in c.rows]) for c in configurations]
    return {
        "configuration": list(display_names(configurations).values()),
        "evaluations of f a step": [str(c.first.evaluations) for c in configurations],
        "epochs": [str(c.first.epochs) for c in configurations],
        "evaluations × epochs": [f"{evaluations(c.first):,.0f}" for c in configurations],
        "training (s)": [format_spread(one, 1) for one in training],
        metric.plot_label: [format_spread(one, metric.digits) for one in errors],
        "runs": [run_list(c.rows) for c in configurations],
    }


def runs_section(configurations: Sequence[Configuration]) -> Section:
    """Table of every run, by configuration."""
    metric = headline(row for c in configurations for row in c.rows)
    named = zip(configurations, full_names(configurations), strict=True)
    lines = [(f"{placement_name(c)}, {name}", row) for c, name in named for row in c.rows]
    rows = [row for _, row in lines]
    columns: Columns = {
        "configuration": [name for name, _ in lines],
        "seed": [str(row.seed) for row in rows],
        "run": [element("code", row.run_id) for row in rows],
        metric.title: [f"{metric.value(row):.{metric.digits}f}" for row in rows],
        "best epoch": [str(row.best_epoch) for row in rows],
        "training (s)": [f"{row.seconds_train:.1f}" for row in rows],
        "total (s)": [f"{row.seconds_total:.1f}" for row in rows],
        "commit": [row.commit for row in rows],
    }
    return Section("runs", "The runs", table_element(columns))
