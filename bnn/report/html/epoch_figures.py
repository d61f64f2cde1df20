"""What is drawn by epoch: losses and errors, the health of binary units, and the lab's measurements along training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from bnn.report.configurations import Configuration
from bnn.report.histories import Band, History, band, error, itself, layers, percent
from bnn.report.display_names import place
from bnn.report.html.panels import Chart, Scale, figure, scale


@dataclass(frozen=True)
class Measure:
    """A metric as it is drawn: the last part of its key, its name with its unit, and how a value is shown."""

    key: str
    label: str
    shown: Callable[[float], float] = itself
    log: bool = False
    least: float | None = None


@dataclass(frozen=True)
class Drawn:
    """A figure, and the runs that it is drawn from."""

    figure: Figure
    runs: frozenset[str]


PARTS = {"train": "training", "val": "validation"}
LEARNING = (
    Measure("loss", "loss (nats)", log=True),
    Measure("accuracy", "error (%)", error, log=True),
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
KNOWN = Measure("reference_error", "error of g itself / |g|")
"""Beside the others in a table: by how much the true gradient is uncertain."""
Bands = Mapping[str, Band]


def learning(
    found: Sequence[Configuration], histories: Mapping[str, History]
) -> dict[Configuration, Drawn]:
    """Training and validation loss and error; in grey the validation means of the others of the same `place`."""

    def bands(c: Configuration, measure: Measure) -> Bands:
        made = {
            name: band(c, histories, f"{part}/{measure.key}", measure.shown)
            for part, name in PARTS.items()
        }
        return {name: one for name, one in made.items() if one}

    return _figures(found, LEARNING, bands, PARTS["val"])


def by_layer(
    found: Sequence[Configuration],
    histories: Mapping[str, History],
    kind: str,
    measures: Sequence[Measure],
) -> dict[Configuration, Drawn]:
    """The metrics `kind/LAYER/KEY`: a chart for each of `measures`, a line for each layer."""

    def bands(c: Configuration, measure: Measure) -> Bands:
        made = {name: band(c, histories, f"{kind}/{name}/{measure.key}", measure.shown)
                for name in layers(c, histories, kind)}  # fmt: skip
        return {name: one for name, one in made.items() if one}

    return _figures(found, measures, bands)


def _figures(
    found: Sequence[Configuration],
    measures: Sequence[Measure],
    bands: Callable[[Configuration, Measure], Bands],
    compared: str = "",
) -> dict[Configuration, Drawn]:
    """A figure for each configuration that has any of the measures, all on the same scales."""
    made = {c: {m.key: bands(c, m) for m in measures} for c in found}
    measures = [
        m for m in measures if any(each[m.key] for each in made.values())
    ]  # a task may lack an accuracy
    made = {
        c: {m.key: each[m.key] for m in measures} for c, each in made.items() if any(each.values())
    }
    every = [one for each in made.values() for named in each.values() for one in named.values()]
    epochs = max((epoch for one in every for epoch in one.epochs), default=1)
    scales = {m.key: _scale(m, [each[m.key] for each in made.values()]) for m in measures}

    def charts(c: Configuration) -> list[Chart]:
        others = [made[o] for o in made if o is not c and place(o) == place(c)] if compared else []
        return [Chart(scales[key], named, [other[key][compared] for other in others if compared in other[key]])
                for key, named in made[c].items()]  # fmt: skip

    runs = {
        c: {run for named in each.values() for one in named.values() for run in one.runs}
        for c, each in made.items()
    }
    names = sorted({name for each in made.values() for named in each.values() for name in named})
    return {c: Drawn(figure(charts(c), names, epochs), frozenset(runs[c])) for c in made}


def _scale(measure: Measure, named: Sequence[Bands]) -> Scale:
    return scale(
        measure.label,
        [one for each in named for one in each.values()],
        log=measure.log,
        least=measure.least,
    )
