"""Markdown pages of an experiment: table, caption, differences, and the runs of each row."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

from bnn.report.configurations import (
    COLUMNS_IF_VARYING,
    EVALUATIONS,
    group_by_configuration,
    varying,
)
from bnn.report.differences import Reference, difference_table
from bnn.report.display_names import full_names, placement_name
from bnn.report.headline import ACCURACY, BOUND, headline
from bnn.report.rows import Row
from bnn.report.table import (
    columns_with_intervals,
    footnotes,
    interval_note,
    markdown_table,
    table,
)


def results_section(rows: Sequence[Row], picture: str, reference: Reference | None = None) -> str:
    """Figure, table, differences and caption, as a page of committed results has them.

    Args:
        rows: runs of one data set.
        picture: address of the figure.
        reference: configuration to compare with; None leaves the differences out.

    Raises:
        ReportError: as `differences`.
    """
    rows = [escape_markdown(row) for row in rows]
    parts = [_image(rows, picture), table(rows)]
    if reference is not None:
        parts.append(difference_table(rows, reference))
    return "\n\n".join([*parts, f"{caption(rows)}\n"])


def document(rows: Sequence[Row], name: str, comparison: str) -> str:
    """The report of an experiment as NAME.md, beside NAME.png and NAME.html.

    Args:
        rows: runs of one data set, with texts as the store has them.
        name: file name without its ending.
        comparison: paragraphs on differences.
    """
    rows = [escape_markdown(row) for row in rows]
    page, configurations = quote(name), group_by_configuration(rows)
    parts = [
        summary(rows),
        _image(rows, f"{page}.png"),
        markdown_table(columns_with_intervals(configurations)),
        interval_note(configurations),
        comparison,
        caption(rows),
        f"[All values of the runs]({page}.csv), [the table for LaTeX]({page}.tex).",
        "The runs behind each row; a difference is of those of both rows at their common seeds:",
        run_list(rows),
        "Costs, curves, heatmaps, unit health and the lab's measurements: "
        f"[the page]({page}.html).\n",
    ]
    return "\n\n".join(filter(None, parts))


def summary(rows: Sequence[Row]) -> str:
    """A sentence on what is compared: metric, configurations, data set, and what differs."""
    configurations = group_by_configuration(rows)
    metric, dataset = headline(rows), f"data set `{rows[0].dataset}`"
    title = "Test bound" if metric is BOUND else f"Test {metric.name}"
    if len(configurations) == 1:
        return f"{title} of one configuration on the {dataset}."
    differing = [
        field
        for field in ("neuron", "estimator", "placement", "law")
        if len({getattr(c.first, "estimator_title" if field == "estimator" else field)
                for c in configurations if not c.real_valued}) > 1
    ]  # fmt: skip
    differing += [head for head in varying(configurations) if head != EVALUATIONS]
    return (
        f"{title} of {len(configurations)} configurations on the {dataset}, which "
        f"differ in {_listed(differing) or 'binary layers'}."
    )


def _image(rows: Sequence[Row], address: str) -> str:
    return f"![{headline(rows).plot_title} by configuration]({address})"


def caption(rows: Sequence[Row]) -> str:
    """Paragraphs and commands below a table."""
    return "\n\n".join([*caption_paragraphs(rows), _code(rows)])


def caption_of_runs(rows: Sequence[Row]) -> str:
    """Number of runs, seconds, machines, versions, commits and commands alone."""
    return f"{_origin(rows)}\n\n{_code(rows)}"


def _code(rows: Sequence[Row]) -> str:
    return f"```bash\n{commands(rows)}\n```"


EVALUATIONS_NOTE = (
    "f is the loss of a sample as a function of its bits; its evaluations, forward and backward, "
    "are those of a training step."
)


def caption_paragraphs(rows: Sequence[Row]) -> list[str]:
    """Paragraphs on data set, protocol, meaning of the numbers, hardware, versions and commits."""
    several_seeds = any(not c.preliminary for c in group_by_configuration(rows))
    paragraphs = [
        _protocol(rows),
        _readings(rows),
        EVALUATIONS_NOTE,
        "± is the sample standard deviation over seeds." if several_seeds else "",
        *footnotes(rows),
        _origin(rows),
    ]
    return [paragraph for paragraph in paragraphs if paragraph]


def _protocol(rows: Sequence[Row]) -> str:
    """Data set, and fields that every configuration shares."""
    columns = varying(group_by_configuration(rows))
    shared = [
        f"{head} {_listed(getattr(row, field) for row in rows)}"
        for field, head in COLUMNS_IF_VARYING.items()
        if head not in columns and head not in ("M", "experiment")
    ]
    task = task_of(rows)
    named = [] if task == "classification" else [f"task {task}"]
    return f"Data set `{rows[0].dataset}`; {', '.join([*named, *shared])}."


def task_of(rows: Sequence[Row]) -> str:
    """Tasks of the rows with their settings: `vae binarize dynamic kl analytic`.

    A value that one estimator alone has is followed by its title: `kl analytic or sampled (nvil)`.
    """
    tasks: dict[str, dict[str, dict[str, set[str]]]] = {}
    for row in rows:
        settings = tasks.setdefault(row.task["name"], {})
        for key, value in row.task.items():
            if key != "name":
                settings.setdefault(key, {}).setdefault(value, set()).add(row.estimator_title)
    return ", ".join(
        " ".join([name, *(f"{key} {_alternatives(of)}" for key, of in settings.items())])
        for name, settings in sorted(tasks.items())
    )


def _alternatives(titles: Mapping[str, set[str]]) -> str:
    """Values of a setting, with the estimator that has one of several for itself.

    Args:
        titles: value -> titles of the estimators that have it.
    """
    counts = Counter(title for of in titles.values() for title in of)
    own = {value for value, of in titles.items() if len(of) == 1 and counts[min(of)] == 1}
    return " or ".join(
        f"{value} ({min(of)})" if value in own and len(own) < len(titles) else value
        for value, of in sorted(titles.items())
    )


def _readings(rows: Sequence[Row]) -> str:
    metric = headline(rows)
    if metric is BOUND:
        thresholded = any(row.test_loss_threshold is not None for row in rows)
        thresholds = " `threshold` thresholds stochastic units." if thresholded else ""
        draws = _listed(str(row.evaluation_samples) for row in rows)
        return (
            f"The test bound is -log of the mean, over {draws} draws of the stochastic units, of a "
            "sample's likelihood or importance weight, at the epoch of "
            f"{_best_validation(rows)}; of units that do not draw it is their loss.{thresholds}"
        )
    if metric.name not in ("accuracy", "loss"):
        return (
            "Test metrics are those of the net's own rule at the epoch of "
            f"{_best_validation(rows)}: stochastic units sampled once, deterministic ones "
            f"thresholded; `thresholded` is the {metric.name} where stochastic units are "
            "thresholded too."
        )
    accuracy = metric is ACCURACY
    return (
        f"{'Test accuracy and loss are those' if accuracy else 'The test loss is that'} of the "
        f"net's own rule at the epoch of {_best_validation(rows)}: stochastic units sampled once, "
        "deterministic ones thresholded; `mean of` averages "
        f"{'class probabilities' if accuracy else 'predictions'} over draws, `threshold` "
        "thresholds stochastic units."
    )


def _best_validation(rows: Sequence[Row]) -> str:
    """Metric, and its draws where there are several, that selects the best epoch."""
    from bnn.tasks import Task

    draws = sorted({row.validation_samples for row in rows})
    by = "" if draws == [1] else f" by {' or '.join(map(str, draws))} draws"
    name = rows[0].task["name"]  # that of a plug-in may be missing here
    metric = Task.registry.attribute(name, "selection") if name in Task.registry else "metric"
    return f"best validation {metric}{by}"


def _origin(rows: Sequence[Row]) -> str:
    """Number of runs, seconds, machines, versions and commits."""
    machines = [
        f"{row.hardware}, {row.threads} thread{'' if row.threads == 1 else 's'} a run"
        for row in rows
    ]
    dirty = any(row.commit.endswith("+") for row in rows)
    seconds = sum(row.seconds_total for row in rows)
    return (
        f"{len(rows)} run{'' if len(rows) == 1 else 's'}, {seconds:,.0f} s in total, "
        f"on {_listed(machines, '; ')}; {_listed((row.versions for row in rows), '; ')}; "
        f"commit {_listed(sorted(row.commit for row in rows))}"
        f"{' (+: with uncommitted changes)' if dirty else ''}:"
    )


def _listed(values: Iterable[object], separator: str = ", ") -> str:
    return separator.join(dict.fromkeys(map(str, values)))


def commands(rows: Sequence[Row]) -> str:
    """Command lines that made the runs, each once."""
    return "\n".join(sorted({" ".join(row.command.splitlines()) for row in rows}))


def run_list(rows: Sequence[Row]) -> str:
    """A Markdown list of configurations in the order of the table, with seeds and run ids."""
    configurations = group_by_configuration(rows)
    lines: list[str] = []
    for c, name in zip(configurations, full_names(configurations), strict=True):
        runs = ", ".join(f"seed {row.seed} `{row.run_id}`" for row in c.rows)
        lines.append(f"{len(lines) + 1}. {placement_name(c)}, {name}: {runs}")
    return "\n".join(lines)


def escape_markdown(row: Row) -> Row:
    """The row with texts that stay text in Markdown: no tags, links or code, one line each.

    Its command is left alone, since it is shown as code.
    """

    def escape(value: str) -> str:
        line = " ".join(value.split()).replace("<", "&lt;").replace("`", "'")
        return re.sub(r"\]([(\[])", r"]\\\1", line)

    texts = {
        key: escape(value)
        for key, value in vars(row).items()
        if isinstance(value, str) and key != "command"
    }
    return dataclasses.replace(row, **texts)  # type: ignore[arg-type]
