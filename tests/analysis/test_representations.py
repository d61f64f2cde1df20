"""Responses of layers, weights of the first layer, and separability of the classes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bnn.analysis import PIXELS, SCORES, first_layer_weights, responses, separability
from bnn.analysis.separability import separability_of
from bnn.config.compose import compose
from bnn.data import Split, load
from bnn.errors import ConfigError
from bnn.nn.handlers import apply, sampled
from bnn.specify import setup


def network(*overrides: str) -> nn.Module:
    return setup(compose(["device=cpu", "data=digits", *overrides])).model.double().eval()


def pictures(count: int) -> torch.Tensor:
    return torch.randn(
        count, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )


def clusters(count: int, classes: int, spread: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Points around a centre of their class, in 20 dimensions."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, 20, generator=generator)
    labels = torch.randint(classes, (count,), generator=generator)
    return centres[labels] + spread * torch.randn(count, 20, generator=generator), labels


def test_planted_clusters_are_told_apart_and_shuffled_labels_are_not() -> None:
    values, labels = clusters(3000, 10, 0.3)
    found = separability_of(values, labels, 1000)
    assert (
        found.centroid == found.neighbour == 1.0
        and found.images == 2000
        and found.standard_error(found.centroid) == 0
    )
    shuffled = separability_of(
        values, labels[torch.randperm(3000, generator=torch.Generator().manual_seed(2))], 1000
    )
    for accuracy in (shuffled.centroid, shuffled.neighbour):
        # 5 standard errors, and 20 for neighbours: images of one cluster share theirs
        assert abs(accuracy - 0.1) < 0.035, accuracy


def test_the_two_classifiers_measure_different_things() -> None:
    """A class on both sides of the other has no centroid of its own, but neighbours."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (600,), generator=generator)
    side = torch.randint(2, (600,), generator=generator) * 2.0 - 1
    values = (labels * side)[:, None] + 0.05 * torch.randn(600, 3, generator=generator)
    found = separability_of(values, labels, 300)
    assert found.neighbour == 1.0 and found.centroid < 0.9


def test_classifiers_are_measured_on_images_that_they_were_not_fitted_on() -> None:
    """Exchanged labels in the training part make every prediction on the others wrong."""
    values, labels = clusters(400, 2, 0.1)
    exchanged = torch.cat([1 - labels[:200], labels[200:]])
    assert (
        separability_of(values, exchanged, 200).neighbour
        == separability_of(values, exchanged, 200).centroid
        == 0.0
    )


def test_accuracies_are_those_of_a_plain_search_over_each_layer() -> None:
    model, data = network("neuron=deterministic"), load({"name": "digits", "limit": None}, 0, 0.1)
    training, validation = (
        Split(split.images[:].double(), split.labels) for split in (data.train, data.validation)
    )
    found = separability(model, training, validation, limit=100, draws=1, seed=0)
    assert list(found) == [PIXELS, "act1", "act2", SCORES]
    with torch.no_grad():
        images = torch.cat([training.images[:100], validation.images[:100]])
        first = (model.pool(model.norm1(model.conv1(images))) > 0).double()
    x, y = first.flatten(1)[:100], first.flatten(1)[100:]
    distances = (y[:, None] - x[None]).square().sum(2)
    nearest = training.labels[:100][distances.argmin(1)]
    # a prediction is right if the reference's own nearest has the label, up to ties of bits
    tied = (distances == distances.min(1, keepdim=True).values).sum(1) > 1
    right = nearest == validation.labels[:100]
    assert (
        right[~tied].sum() <= 100 * found["act1"].neighbour <= right[~tied].sum() + tied.sum()
        and tied.sum() < 20
    )
    means = torch.stack([x[training.labels[:100] == c].mean(0) for c in range(10)])
    closest = (y[:, None] - means[None]).square().sum(2).argmin(1)
    assert float((closest == validation.labels[:100]).double().mean()) == pytest.approx(
        found["act1"].centroid
    )


def test_responses_are_the_outputs_of_the_modules() -> None:
    model, images = network("placement=none"), pictures(700)
    found = responses(model, images, draws=1, seed=0)
    assert list(found) == [PIXELS, "act1", "act2", SCORES] and torch.equal(found[PIXELS], images)
    with torch.no_grad():
        a = model.pool(model.norm1(model.conv1(images)))
        torch.testing.assert_close(found["act1"], apply(model.act1, a, sampled()))
        torch.testing.assert_close(found[SCORES], apply(model, images, sampled()))


def test_the_mean_of_draws_comes_to_the_firing_probability() -> None:
    model, images = network("neuron=stochastic"), pictures(20)
    once, mean = (responses(model, images, draws=draws, seed=0)["act1"] for draws in (1, 400))
    with torch.no_grad():
        p = model.act1.law.cdf(model.pool(model.norm1(model.conv1(images))))
    z = (mean - p) / (p * (1 - p) / 400).sqrt()
    assert 0.9 < float(z.square().mean()) < 1.1
    assert set(once.unique().tolist()) == {0.0, 1.0} and float((once - p).abs().mean()) > 0.1


@pytest.mark.parametrize("model, shape", [("cnn", (16, 1, 5, 5)), ("mlp", (256, 1, 8, 8))])
def test_first_weights_are_the_ones_that_meet_the_pixels(
    model: str, shape: tuple[int, ...]
) -> None:
    net = network(f"model={model}")
    weights = first_layer_weights(net, pictures(2))
    assert weights.shape == shape and torch.equal(
        weights.flatten(), next(net.parameters()).flatten()
    )


class Weightless(nn.Module):
    def forward(self, x):
        return x.flatten(1)


def test_first_weights_follow_the_pass_and_not_the_order_of_the_modules() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.readout, self.conv = nn.Linear(36, 2), nn.Conv2d(1, 1, 3)

        def forward(self, x):
            return self.readout(self.conv(x).flatten(1))

    net = Backwards().double()
    assert torch.equal(first_layer_weights(net, pictures(1)), net.conv.weight)
    with pytest.raises(ConfigError, match="found none"):
        first_layer_weights(Weightless(), pictures(1))
