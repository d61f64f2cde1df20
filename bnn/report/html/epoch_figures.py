"""Figures by epoch: losses and errors, health of binary units, and the lab's measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from bnn.report.configurations import Configuration
from bnn.report.display_names import placement_name
from bnn.report.histories import (
    Band,
    Histories,
    band,
    error_percent,
    identity,
    layer_names,
    percent,
)
from bnn.report.html.panels import Chart, Scale, panel_figure, shared_scale


@dataclass(frozen=True)
class Measure:
    """A metric as it is drawn.

    Args:
        key: last part of the metric's key.
        label: name with its unit.
        transform: function of the metric that is drawn.
        log: whether its scale is logarithmic, where all values are positive.
        least: where its scale begins, unless values lie below.
    """

    key: str
    label: str
    transform: Callable[[float], float] = identity
    log: bool = False
    least: float | None = None


@dataclass(frozen=True)
class EpochFigure:
    """A figure, and the ids of the runs that it is drawn from."""

    figure: Figure
    runs: frozenset[str]


PARTS = {"train": "training", "val": "validation"}
"""Prefix of a metric -> name of its line."""
LEARNING = (
    Measure("loss", "loss", log=True),
    Measure("accuracy", "error (%)", error_percent, log=True),
)
HEALTH = (
    Measure("firing_rate", "mean firing rate", least=0),
    Measure("dead", "never fire (%)", percent, least=0),
    Measure("saturated", "always fire (%)", percent, least=0),
)
LAB = (
    Measure("bias2", "bias² / |g|²"),
    Measure("variance", "variance / |g|²", log=True),
    Measure("cosine", "cosine with g"),
)
REFERENCE_ERROR = Measure("reference_error", "error of g itself / |g|")
"""Uncertainty of the true gradient, beside the others in a table."""

Bands = Mapping[str, Band]
"""Name of a line -> its band."""
MeasuredBands = Mapping[Measure, Bands]
"""Bands of a configuration, by measure."""


def learning_figures(
    configurations: Sequence[Configuration], histories: Histories
) -> dict[Configuration, EpochFigure]:
    """Training and validation losses and errors of each configuration that has any.

    Validation means of the others with the same neuron and placement stand in grey.
    """

    def bands(c: Configuration, measure: Measure) -> Bands:
        keys = {name: f"{part}/{measure.key}" for part, name in PARTS.items()}
        return _bands(c, histories, keys, measure)

    measured = {c: {m: bands(c, m) for m in LEARNING} for c in configurations}
    return _figures(measured, grey_line=PARTS["val"])


def layer_figures(
    configurations: Sequence[Configuration],
    histories: Histories,
    prefix: str,
    measures: Sequence[Measure],
) -> dict[Configuration, EpochFigure]:
    """Metrics `PREFIX/LAYER/KEY`: a chart for each measure, a line for each layer.

    Args:
        configurations: configurations; those without the metrics get no figure.
        histories: metrics of their runs by epoch.
        prefix: `units` or `lab`.
        measures: charts from left to right.
    """

    def bands(c: Configuration, measure: Measure) -> Bands:
        layers = layer_names(c, histories, prefix)
        keys = {layer: f"{prefix}/{layer}/{measure.key}" for layer in layers}
        return _bands(c, histories, keys, measure)

    return _figures({c: {m: bands(c, m) for m in measures} for c in configurations})


def _bands(
    c: Configuration, histories: Histories, keys: Mapping[str, str], measure: Measure
) -> Bands:
    """Bands of a measure: name of a line -> band, where a run has its metric."""
    found = {name: band(c, histories, key, measure.transform) for name, key in keys.items()}
    return {name: one for name, one in found.items() if one is not None}


def _figures(
    measured: Mapping[Configuration, MeasuredBands], grey_line: str = ""
) -> dict[Configuration, EpochFigure]:
    """A figure for each configuration that has a band, all on the same scales.

    A measure that no configuration has gets no chart: a task may lack an accuracy.

    Args:
        measured: bands of each configuration; all have the same measures.
        grey_line: line that is drawn in grey in figures of the same neuron and placement.
    """
    drawn = {c: by_measure for c, by_measure in measured.items() if any(by_measure.values())}
    scales = _scales(list(drawn.values()))
    every = list(_all_bands(drawn.values()))
    epochs = max((epoch for _, one in every for epoch in one.epochs), default=1)
    names = sorted({name for name, _ in every})
    figures = {}
    for c, by_measure in drawn.items():
        peers = [o for o in drawn if o is not c and placement_name(o) == placement_name(c)]
        grey = [drawn[peer] for peer in peers] if grey_line else []
        charts = [
            Chart(scale, by_measure[m], [one[m][grey_line] for one in grey if grey_line in one[m]])
            for m, scale in scales.items()
        ]
        runs = frozenset(run for _, one in _all_bands([by_measure]) for run in one.runs)
        figures[c] = EpochFigure(panel_figure(charts, names, epochs), runs)
    return figures


def _scales(drawn: Sequence[MeasuredBands]) -> dict[Measure, Scale]:
    """Scale of each measure that has a band."""
    scales = {}
    for measure in drawn[0] if drawn else ():
        bands = [one for by_measure in drawn for one in by_measure[measure].values()]
        if bands:
            label, log, least = measure.label, measure.log, measure.least
            scales[measure] = shared_scale(label, bands, log=log, least=least)
    return scales


def _all_bands(measured: Iterable[MeasuredBands]) -> Iterator[tuple[str, Band]]:
    """Names and bands of every line."""
    for by_measure in measured:
        for bands in by_measure.values():
            yield from bands.items()
