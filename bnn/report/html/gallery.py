"""The sections of the page that are pictures first: curves, heatmaps, unit health, the gradient lab."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bnn.plots.runs import heatmaps as drawn_heatmaps
from bnn.report.configurations import Configuration
from bnn.report.html.epoch_figures import HEALTH, KNOWN, LAB, Drawn, Measure, by_layer, learning
from bnn.report.histories import History, last, layers, without
from bnn.report.display_names import plain
from bnn.report.html.markup import (
    Html,
    captioned,
    drawing,
    element,
    folded,
    joined,
    pixels,
    prose,
    table,
)
from bnn.report.html.heatmaps import Pictures
from bnn.report.html.sections import Section, behind, named
from bnn.report.table import number

Histories = Mapping[str, History]
BAND = "Lines are means over seeds; bands reach from the lowest seed to the highest. All panels share their axes."


def _panels(
    found: Sequence[Configuration], drawn: Mapping[Configuration, Drawn], what: str
) -> Html:
    names = named(found)
    figures = [
        captioned(
            drawing(one.figure, f"{what} by epoch: {names[c]}"),
            element("strong", names[c]),
            behind(row for row in c.rows if row.run_id in one.runs),
        )
        for c, one in drawn.items()
    ]
    return element("div", *figures, class_="panels")


def _ends(
    found: Sequence[Configuration], histories: Histories, kind: str, measures: Sequence[Measure]
) -> Html:
    """The measures of every layer at the last epoch that has them, as a table on demand."""
    names = named(found)
    lines = [
        [names[c], layer, *(number(last(c, histories, f"{kind}/{layer}/{m.key}", m.shown), 3) for m in measures),
         behind(row for row in c.rows if any(key.startswith(f"{kind}/{layer}/") for key in histories.get(row.run_id, {})))]
        for c in found
        for layer in layers(c, histories, kind)
    ]  # fmt: skip
    return folded(
        "the numbers at the last epoch",
        table(["configuration", "layer", *(m.label for m in measures), "runs"], lines),
    )


def curves(found: Sequence[Configuration], histories: Histories) -> Section:
    drawn = learning(found, histories)
    if not drawn:
        return Section(
            "curves", "Curves", prose("These runs have no losses and accuracies by epoch.")
        )
    grey = "Grey: the validation means of the other configurations of the same units and placement."
    return Section(
        "curves",
        "Curves",
        joined([prose(f"{BAND} {grey}"), _panels(found, drawn, "Loss and error")]),
    )


def heatmaps(found: Sequence[Configuration], pictures: Pictures) -> Section:
    parts: list[Html] = [prose(sentence) for sentence in pictures.missing]
    if pictures.images is not None and pictures.layers:
        names = named(found)
        about = (
            "Each row is one network at its best epoch, made anew from its checkpoint: the same images for all, one colour "
            "scale a layer. A row is of one seed, which is named. Real-valued layers have no firing probability."
        )
        parts.append(prose(about))
        for layer in pictures.names():
            seeds = {pictures.rows[c].seed for c in pictures.views(layer)}
            told = f", seed {seeds.pop()}" if len(seeds) == 1 else ""
            views = [(plain(names[c] if told else f"{names[c]}, seed {pictures.rows[c].seed}"), view)
                     for c, view in pictures.views(layer).items()]  # fmt: skip
            image = pixels(
                drawn_heatmaps(pictures.images, views),
                f"Channel means of {layer}, a row a configuration",
            )
            rows = [pictures.rows[c] for c in pictures.views(layer)]
            parts += [
                element("h3", f"Layer {layer}{told}"),
                captioned(image, behind(rows), wide=True),
            ]
    return Section("heatmaps", "What the layers see", joined(parts))


def health(found: Sequence[Configuration], histories: Histories) -> Section:
    about = "By binary layer, on validation images, one draw each."
    missing = (
        "These runs have no record of their units; those without binary layers never have one."
    )
    drawn = by_layer(found, histories, "units", HEALTH)
    parts = _by_layer(
        found, histories, "units", drawn, "Firing rate and idle units", about, missing, HEALTH
    )
    return Section("health", "Unit health", parts)


def lab(found: Sequence[Configuration], histories: Histories) -> Section:
    about = (
        "The training's own estimator against the true gradient g on one batch of validation images, by layer; `below` is "
        "all parameters below the highest binary layer. An estimate of bias² scatters around 0 where there is none."
    )
    missing = "The gradient was not measured during these trainings: `lab.every=1` does so in every epoch."
    drawn = by_layer(found, histories, "lab", LAB)
    parts = _by_layer(
        found, histories, "lab", drawn, "Bias, variance and cosine", about, missing, (*LAB, KNOWN)
    )
    return Section("lab", "The gradient during training", parts)


def _by_layer(
    found: Sequence[Configuration],
    histories: Histories,
    kind: str,
    drawn: Mapping[Configuration, Drawn],
    what: str,
    about: str,
    missing: str,
    measures: Sequence[Measure],
) -> Html:
    """Panels of what was measured layer by layer, its last numbers, and what lacks it; `missing` where all do."""
    if not drawn:
        return prose(missing)
    ends = _ends(found, histories, kind, measures)
    return joined(
        [
            prose(f"{about} {BAND}"),
            _panels(found, drawn, what),
            ends,
            _lacking(found, histories, kind),
        ]
    )


def _lacking(found: Sequence[Configuration], histories: Histories, kind: str) -> Html:
    names = [named(found)[c] for c in without(found, histories, kind)]
    return element("p", f"Without such a record: {'; '.join(names)}.") if names else Html("")
