"""Figures of the lab: the legend of all estimators is inside of the figure."""

from __future__ import annotations

from matplotlib.backends.backend_agg import FigureCanvasAgg

from bnn.lab.accuracy import Accuracy
from bnn.lab.estimate import Estimate
from bnn.lab.gradient_sampler import BELOW
from bnn.lab.measure import Measurement
from bnn.lab.plots import error_against_cost
from bnn.plots.style import ESTIMATORS


def test_the_legend_of_two_settings_of_all_estimators_is_inside_of_the_figure() -> None:
    one = Estimate(1.0, 0.9, 1.1)
    accuracy = Accuracy(one, one, one, one, one)
    names = [f"{name} {samples}" for name in ESTIMATORS for samples in (1, 4)]
    figure = error_against_cost(
        {name: Measurement(False, 1, 0.1, {BELOW: accuracy}) for name in names}, BELOW
    )
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert len(legend.get_texts()) == len(names) > 40
    assert box.y0 >= 0 and box.y1 <= figure.bbox.height and box.x1 <= figure.bbox.width
