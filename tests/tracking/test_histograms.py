"""Histograms by epoch: of all epochs, also of a run that was resumed."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

import bnn
from bnn.nn.weight_layers import binary_weight_layers
from bnn.plots.runs import unit_histograms, weight_histograms
from bnn.tracking.histograms import BINS, EpochHistograms, unit_probabilities, weight_means

FILE = "histograms.json"


def network(rule: str = "sample") -> nn.Module:
    torch.manual_seed(0)
    return bnn.binarize(nn.Sequential(*[nn.Linear(20, 20) for _ in range(3)]), rule)


def test_shares_sum_to_one_and_follow_the_weights(tmp_path: Path) -> None:
    model = network()
    ((name, layer),) = binary_weight_layers(model)
    histograms = EpochHistograms(tmp_path / FILE, -1, 1)
    histograms.start(0, weight_means(model))
    with torch.no_grad():
        layer.weight.fill_(10.0)  # certain: every mean is 1
    histograms.add(weight_means(model))
    first, last = histograms.shares[name]
    assert abs(sum(first) - 1) < 1e-6 and len(first) == BINS
    assert last[-1] == 1 and first[-1] < 0.5


def test_a_resumed_run_goes_on_with_the_epochs_before(tmp_path: Path) -> None:
    before = EpochHistograms(tmp_path / FILE, -1, 1)
    values = weight_means(network())
    before.start(0, values)
    for _ in range(3):
        before.add(values)
    (name,) = before.shares
    after = EpochHistograms(tmp_path / FILE, -1, 1)
    after.start(2, values)  # the third epoch had no checkpoint
    assert after.shares[name] == before.shares[name][:3]
    after.remove()
    assert not (tmp_path / FILE).exists()


def test_real_weights_leave_no_file(tmp_path: Path) -> None:
    histograms = EpochHistograms(tmp_path / FILE, -1, 1)
    histograms.start(0, weight_means(nn.Linear(2, 2)))
    assert histograms.shares == {} and list(tmp_path.iterdir()) == []


def test_probabilities_are_those_of_the_noise_law_in_every_activation_layer() -> None:
    net = nn.Sequential(nn.Linear(3, 4), bnn.Stochastic(), nn.Linear(4, 2), bnn.Deterministic())
    x = torch.randn(5, 3)
    found = unit_probabilities(net, x)
    assert list(found) == ["1", "3"] and net.training
    assert torch.allclose(found["1"], torch.sigmoid(2 * net[0](x)))
    bits = (net[0](x) > 0).float()
    assert torch.allclose(found["3"], net[3].law.cdf(net[2](bits)))
    (axis,) = [a for a in unit_histograms({"1": [[1.0, 0.0]]}).axes if a.get_title()]
    assert axis.get_ylim() == (0, 1) and axis.get_ylabel() == "P(bit = 1)"


def test_the_figure_has_a_panel_for_each_layer() -> None:
    rows = [[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]]
    figure = weight_histograms({"conv2": rows, "linear": rows})
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == ["conv2", "linear"]
    (image,) = figure.axes[0].get_images()
    assert image.get_array().tolist() == [[0.5, 1.0, 0.0], [0.5, 0.0, 1.0]]  # type: ignore[union-attr]
