"""Style of figures: logarithmic axes have plain labels that fit, and curves stay told apart."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bnn.plots.style import (
    COLOURS,
    ESTIMATORS,
    LINE_STYLES,
    MARKERS,
    epoch_axis,
    estimator_curves,
    estimator_styles,
    line_style,
    log_axis,
    style,
    tidy,
)


def drawn_labels(which: str, low: float, high: float, inches: float) -> tuple[list[str], list]:
    """Texts and boxes of the labels inside the limits of an axis of this length."""
    size = (inches, 2.0) if which == "x" else (2.0, inches)
    figure = Figure(figsize=size)
    canvas = FigureCanvasAgg(figure)
    axis = figure.add_axes((0, 0, 1, 1))
    log_axis(axis, which)  # type: ignore[arg-type]
    axis.set(**{f"{which}lim": (low, high)})
    canvas.draw()
    ticks = (axis.xaxis if which == "x" else axis.yaxis).get_major_ticks()
    inside = [tick.label1 for tick in ticks if low <= tick.get_loc() <= high]
    return [text.get_text() for text in inside], [text.get_window_extent() for text in inside]


@pytest.mark.parametrize("which", ["x", "y"])
@pytest.mark.parametrize("inches", [1.5, 3.5, 6.0])
@pytest.mark.parametrize("low, high", [(1.05, 1.9), (0.8, 25), (0.03, 40), (2e-4, 3), (1.31, 1.38)])
def test_labels_of_a_logarithmic_axis_are_two_or_more_and_do_not_overlap(
    which: str, inches: float, low: float, high: float
) -> None:
    texts, boxes = drawn_labels(which, low, high, inches)
    assert len(texts) >= 2 and all(float(text) > 0 for text in texts)
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]


def test_a_longer_axis_has_more_labels() -> None:
    counts = [len(drawn_labels("x", 0.8, 25, inches)[0]) for inches in (1.0, 3.0, 8.0)]
    assert counts == sorted(counts) and len(set(counts)) == 3


def test_ticks_follow_limits_that_are_set_later() -> None:
    figure = Figure()
    axis = figure.add_subplot()
    log_axis(axis, "y")
    for low, high in ((1, 10), (100, 1000)):
        axis.set_ylim(low, high)
        FigureCanvasAgg(figure).draw()
        ticks = [tick for tick in axis.get_yticks() if low <= tick <= high]
        assert len(ticks) >= 4


def test_curves_have_a_style_of_their_own_until_all_pairs_are_used() -> None:
    markers = [(one["color"], one["marker"]) for one in map(style, range(42))]
    assert len(COLOURS) * len(MARKERS) == 42 == len(set(markers))
    lines = [(one["color"], one["ls"]) for one in map(line_style, range(12))]
    assert len(COLOURS) * len(LINE_STYLES) == 24 and len(set(lines)) == 12


def test_a_tidy_axis_has_labels_and_no_frame_above_and_on_the_right() -> None:
    axis = tidy(Figure().subplots(), "epoch", "loss")
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("epoch", "loss")
    visible = {side: spine.get_visible() for side, spine in axis.spines.items()}
    assert visible == {"left": True, "bottom": True, "top": False, "right": False}


def test_an_estimator_looks_the_same_whatever_stands_beside_it_and_unlike_every_other() -> None:
    files = (Path(__file__).parents[2] / "conf/estimator").glob("*.yaml")
    assert {*ESTIMATORS, "none"} == {file.stem for file in files}
    every = estimator_styles([*ESTIMATORS, "mine", "yours"])
    assert len(set(every.values())) == len(ESTIMATORS) + 2
    for name in ESTIMATORS:
        assert estimator_styles(["mine", name])[name] == every[name]
    assert every["st"][0] == "#0072B2" and every["reinmax"][0] == "#009E73"


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 40])
def test_epochs_are_whole_numbers_on_their_axis(epochs: int) -> None:
    axis = Figure().subplots()
    epoch_axis(axis)
    axis.set_xlim(0.5, epochs + 0.5)
    ticks = [tick for tick in axis.get_xticks() if 0.5 <= tick <= epochs + 0.5]
    assert ticks and all(tick == round(tick) for tick in ticks)


def test_curves_of_an_estimator_have_its_colour_and_lines_of_their_own() -> None:
    names = ["reinforce none", "st density", "reinforce leave_one_out 4"]
    none, straight, leave = (estimator_curves(names)[name] for name in names)
    colour, marker = estimator_styles(["reinforce"])["reinforce"]
    assert (none["color"], none["marker"]) == (leave["color"], leave["marker"]) == (colour, marker)
    assert none["ls"] != leave["ls"] and straight["color"] != colour
