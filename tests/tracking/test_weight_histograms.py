"""Histograms of binary weights by epoch: of all epochs, also of a run that was resumed."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

import bnn
from bnn.nn.weight_layers import binary_weight_layers
from bnn.plots.runs import weight_histograms
from bnn.tracking.weight_histograms import BINS, FILE, WeightHistograms


def network(rule: str = "sample") -> nn.Module:
    torch.manual_seed(0)
    return bnn.binarize(nn.Sequential(*[nn.Linear(20, 20) for _ in range(3)]), rule)


def test_shares_sum_to_one_and_follow_the_weights(tmp_path: Path) -> None:
    model = network()
    ((name, layer),) = binary_weight_layers(model)
    histograms = WeightHistograms(tmp_path)
    histograms.start(model, 0)
    with torch.no_grad():
        layer.weight.fill_(10.0)  # certain: every mean is 1
    histograms.add(model)
    first, last = histograms.shares[name]
    assert abs(sum(first) - 1) < 1e-6 and len(first) == BINS
    assert last[-1] == 1 and first[-1] < 0.5


def test_a_resumed_run_goes_on_with_the_epochs_before(tmp_path: Path) -> None:
    model, before = network(), WeightHistograms(tmp_path)
    before.start(model, 0)
    for _ in range(3):
        before.add(model)
    (name,) = before.shares
    after = WeightHistograms(tmp_path)
    after.start(model, 2)  # the third epoch had no checkpoint
    assert after.shares[name] == before.shares[name][:3]
    after.remove()
    assert not (tmp_path / FILE).exists()


def test_real_weights_leave_no_file(tmp_path: Path) -> None:
    histograms = WeightHistograms(tmp_path)
    histograms.start(nn.Linear(2, 2), 0)
    assert histograms.shares == {} and list(tmp_path.iterdir()) == []


def test_the_figure_has_a_panel_for_each_layer() -> None:
    rows = [[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]]
    figure = weight_histograms({"conv2": rows, "linear": rows})
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == ["conv2", "linear"]
    (image,) = figure.axes[0].get_images()
    assert image.get_array().tolist() == [[0.5, 1.0, 0.0], [0.5, 0.0, 1.0]]  # type: ignore[union-attr]
