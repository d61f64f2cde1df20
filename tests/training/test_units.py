"""The one look at activations that heatmaps, unit health and bnn.analysis share."""

from __future__ import annotations

import pytest
import torch

from bnn.config.compose import compose
from bnn.nn.handlers import apply, sampled
from bnn.nn.neurons import Neuron, Stochastic, set_slope
from bnn.specify import setup
from bnn.training.activations import activations, snapshot, unit_health


def network(*overrides: str) -> torch.nn.Module:
    return setup(compose(["device=cpu", "data=digits", *overrides])).model.double()


IMAGES = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_activations_are_those_of_one_pass_in_evaluation_mode() -> None:
    model = network("neuron=deterministic").train()
    set_slope(model, 3.0)
    layers, scores = activations(model, IMAGES, sampled())
    assert model.training, "and the network is as it was"
    model.eval()
    a = 3 * model.pool(model.norm1(model.conv1(IMAGES)))
    assert list(layers) == ["act1", "act2"]
    torch.testing.assert_close(layers["act1"].preactivation, a)
    assert torch.equal(layers["act1"].output, (a > 0).double())
    assert torch.equal(scores, apply(model, IMAGES, sampled()))


def test_gradients_reach_the_images_unless_they_are_switched_off() -> None:
    images = IMAGES.clone().requires_grad_()
    activations(network(), images, sampled())[0]["act1"].preactivation.sum().backward()
    assert images.grad.any()
    with torch.no_grad():
        assert not activations(network(), images, sampled())[0]["act1"].preactivation.requires_grad


def test_a_pass_that_fails_leaves_no_hooks_behind() -> None:
    model = network().train()
    with pytest.raises(RuntimeError):
        activations(model, IMAGES[:, :, :3], sampled())
    assert model.training and not any(
        module._forward_hooks for module in model.modules() if isinstance(module, Neuron)
    )


def test_a_neuron_that_a_pass_calls_twice_is_measured_in_both_calls() -> None:
    class Recurrent(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = Stochastic()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.cell(self.cell(x) + 100)

    images = torch.full((64, 1, 2, 2), -100.0)
    health = unit_health(Recurrent(), images, seed=0)
    assert health["cell/firing_rate"] == 0 and health["cell-2/firing_rate"] == 1
    assert [layer.name for layer in snapshot(Recurrent(), images, 0).layers] == ["cell", "cell-2"]
