"""Sections of the page with figures first: learning curves, heatmaps, unit health, gradient lab."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bnn.plots.runs import heatmaps
from bnn.report.configurations import Configuration
from bnn.report.display_names import display_names, plot_text
from bnn.report.histories import Histories, last_spread, layer_names, without_metrics
from bnn.report.html.epoch_figures import (
    HEALTH,
    LAB,
    REFERENCE_ERROR,
    EpochFigure,
    Measure,
    layer_figures,
    learning_figures,
)
from bnn.report.html.heatmaps import LayerViews
from bnn.report.html.markup import (
    Html,
    details,
    element,
    figure_element,
    join,
    paragraph,
    png_image,
    svg_image,
    table_element,
)
from bnn.report.html.page import Section
from bnn.report.html.sections import run_list
from bnn.report.numbers import format_spread

BAND = (
    "Lines are means over seeds; bands reach from the lowest seed to the highest. All panels "
    "share their axes."
)
GREY = "Grey: the validation means of the other configurations of the same units and placement."
HEATMAPS = (
    "Each row is one network at its best epoch, made anew from its checkpoint: the same images for "
    "all, one colour scale a layer. A row is of one seed, which is named. Real-valued layers have "
    "no firing probability."
)
HEALTH_NOTE = "By binary layer, on validation images, one draw each."
NO_HEALTH = "These runs have no record of their units; those without binary layers never have one."
LAB_NOTE = (
    "The training's own estimator against the true gradient g on one batch of validation images, "
    "by layer; `below` is all parameters below the highest binary layer. An estimate of bias² "
    "scatters around 0 where there is none."
)
NO_LAB = (
    "The gradient was not measured during these trainings: `lab.every=1` does so in every epoch."
)


def learning_section(configurations: Sequence[Configuration], histories: Histories) -> Section:
    """Losses and errors by epoch, a figure for each configuration."""
    figures = learning_figures(configurations, histories)
    if figures:
        panels = _panels(configurations, figures, "Loss and error")
        body = join([paragraph(f"{BAND} {GREY}"), panels])
    else:
        body = paragraph("These runs have no losses and accuracies by epoch.")
    return Section("curves", "Curves", body)


def heatmap_section(configurations: Sequence[Configuration], views: LayerViews) -> Section:
    """Each layer on the same images, a row for each configuration."""
    parts = [paragraph(sentence) for sentence in views.missing]
    if views.images is not None and views.layers:
        names = display_names(configurations)
        parts.append(paragraph(HEATMAPS))
        for layer in views.names():
            parts += _layer_heatmaps(layer, views, names)
    return Section("heatmaps", "What the layers see", join(parts))


def _layer_heatmaps(
    layer: str, views: LayerViews, names: Mapping[Configuration, str]
) -> list[Html]:
    """Heading and figure of one layer; the seed stands in the heading if all rows share it."""
    assert views.images is not None
    by_configuration = views.named(layer)
    rows = [views.rows[c] for c in by_configuration]
    one_seed = len({row.seed for row in rows}) == 1
    labelled = [
        (plot_text(names[c] if one_seed else f"{names[c]}, seed {row.seed}"), view)
        for (c, view), row in zip(by_configuration.items(), rows, strict=True)
    ]
    alt = f"Channel means of {layer}, a row a configuration"
    image = png_image(heatmaps(views.images, labelled), alt)
    seed = f", seed {rows[0].seed}" if one_seed else ""
    heading = element("h3", f"Layer {layer}{seed}")
    return [heading, figure_element(image, run_list(rows), wide=True)]


def health_section(configurations: Sequence[Configuration], histories: Histories) -> Section:
    """Firing rates, dead and saturated units of each binary layer by epoch."""
    figures = layer_figures(configurations, histories, "units", HEALTH)
    if not figures:
        return Section("health", "Unit health", paragraph(NO_HEALTH))
    body = [
        paragraph(f"{HEALTH_NOTE} {BAND}"),
        _panels(configurations, figures, "Firing rate and idle units"),
        _last_values(configurations, histories, "units", HEALTH),
        _lacking(configurations, histories, "units"),
    ]
    return Section("health", "Unit health", join(body))


def lab_section(configurations: Sequence[Configuration], histories: Histories) -> Section:
    """Bias, variance and cosine of the training's estimator by layer and epoch."""
    title = "The gradient during training"
    figures = layer_figures(configurations, histories, "lab", LAB)
    if not figures:
        return Section("lab", title, paragraph(NO_LAB))
    body = [
        paragraph(f"{LAB_NOTE} {BAND}"),
        _panels(configurations, figures, "Bias, variance and cosine"),
        _last_values(configurations, histories, "lab", (*LAB, REFERENCE_ERROR)),
        _lacking(configurations, histories, "lab"),
    ]
    return Section("lab", title, join(body))


def _panels(
    configurations: Sequence[Configuration],
    figures: Mapping[Configuration, EpochFigure],
    subject: str,
) -> Html:
    """Figures side by side, each below its configuration's name and its run list."""
    names = display_names(configurations)
    panels = []
    for c, one in figures.items():
        image = svg_image(one.figure, f"{subject} by epoch: {names[c]}")
        runs = run_list(row for row in c.rows if row.run_id in one.runs)
        panels.append(figure_element(image, element("strong", names[c]), runs))
    return element("div", *panels, class_="panels")


def _last_values(
    configurations: Sequence[Configuration],
    histories: Histories,
    prefix: str,
    measures: Sequence[Measure],
) -> Html:
    """Folded table of each layer's measures at the last epoch that its seeds share."""
    names = display_names(configurations)
    columns: dict[str, list[object]] = {
        head: [] for head in ("configuration", "layer", *(m.label for m in measures), "runs")
    }
    for c in configurations:
        for layer in layer_names(c, histories, prefix):
            start = f"{prefix}/{layer}/"
            columns["configuration"].append(names[c])
            columns["layer"].append(layer)
            for measure in measures:
                value = last_spread(c, histories, start + measure.key, measure.transform)
                columns[measure.label].append(format_spread(value, 3))
            runs = [
                row
                for row in c.rows
                if any(key.startswith(start) for key in histories.get(row.run_id, {}))
            ]
            columns["runs"].append(run_list(runs))
    return details("the numbers at the last epoch", table_element(columns))


def _lacking(configurations: Sequence[Configuration], histories: Histories, prefix: str) -> Html:
    """A sentence that names the configurations without such metrics, or nothing."""
    names = display_names(configurations)
    lacking = [names[c] for c in without_metrics(configurations, histories, prefix)]
    return element("p", f"Without such a record: {'; '.join(lacking)}.") if lacking else Html("")
