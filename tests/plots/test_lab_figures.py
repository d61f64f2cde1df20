"""Figures of the lab: the legend of all estimators is inside of the figure."""

from __future__ import annotations

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bnn.lab.accuracy import Accuracy
from bnn.lab.estimate import Estimate
from bnn.lab.gradient_sampler import BELOW
from bnn.lab.measure import Measurement
from bnn.lab.plots import error_against_cost, interval_curves
from bnn.plots.style import ESTIMATORS


def test_the_legend_of_two_settings_of_all_estimators_is_inside_of_the_figure() -> None:
    one = Estimate(1.0, 0.9, 1.1)
    accuracy = Accuracy(one, one, one, one, one)
    names = [f"{name} {samples}" for name in ESTIMATORS for samples in (1, 4)]
    figure = error_against_cost(
        {name: Measurement(False, 1, 0.1, {BELOW: accuracy}) for name in names}, BELOW
    )
    assert_legend_inside(figure, len(names))


def test_the_legend_of_curves_with_intervals_is_inside_of_the_figure() -> None:
    points = [(1, Estimate(1.0, 0.9, 1.1)), (2, Estimate(2.0, 1.9, 2.1))]
    curves = dict.fromkeys(ESTIMATORS, points)
    figure = interval_curves([curves, curves], ["t = 0.45", "t = 0.499"], "step", ["y", ""])
    assert_legend_inside(figure, len(ESTIMATORS))


def assert_legend_inside(figure: Figure, lines: int) -> None:
    FigureCanvasAgg(figure).draw()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert len(legend.get_texts()) == lines > 20
    assert box.y0 >= 0 and box.y1 <= figure.bbox.height and box.x1 <= figure.bbox.width
