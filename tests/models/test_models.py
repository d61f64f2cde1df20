"""Networks and their norms."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bnn.config.compose import compose
from bnn.errors import ConfigError
from bnn.models import MODELS
from bnn.nn.forward import ForwardClosure
from bnn.nn.handlers import apply, sampled
from bnn.nn.layers import sites_of
from bnn.nn.neurons import Stochastic
from bnn.nn.norms import NORMS, BatchNorm, couples_above_binary, refuse_torch_batch_norms
from bnn.nn.replicas import branching
from bnn.nn.sites import Site
from bnn.specify import setup
from bnn.tasks.classification import cross_entropy


def network(*overrides: str) -> nn.Module:
    return setup(compose(["device=cpu", *overrides])).model


def test_reference_network_has_29034_parameters() -> None:
    assert sum(p.numel() for p in network("model=cnn").parameters()) == 29_034


@pytest.mark.parametrize("norm", sorted(NORMS))
def test_norms_have_the_same_parameters(norm: str) -> None:
    """A scale and a shift for each of 16 + 32 channels; `none` has none."""
    expected = 29_034 - (96 if norm == "none" else 0)
    assert sum(p.numel() for p in network(f"model.norm={norm}").parameters()) == expected


@pytest.mark.parametrize("data", ["mnist", "digits"])
@pytest.mark.parametrize("model", ["cnn", "mlp"])
def test_networks_take_every_shape(model: str, data: str) -> None:
    checked = setup(compose([f"model={model}", f"data={data}"]))
    scores = apply(checked.model, torch.zeros(3, *checked.spec.data.shape), sampled())
    assert scores.shape == (3, 10)


@pytest.mark.parametrize(
    "placement, expected", [("none", 0), ("first", 1), ("last", 1), ("both", 2)]
)
def test_placement_decides_which_activations_fire(placement: str, expected: int) -> None:
    checked = setup(compose([f"placement={placement}"]))
    sites = sites_of(checked.model, torch.zeros(2, 1, 28, 28))
    assert len(sites) == expected
    shapes = {
        "first": [(16, 14, 14)],
        "last": [(32, 7, 7)],
        "both": [(16, 14, 14), (32, 7, 7)],
        "none": [],
    }
    assert [tuple(site.preactivation.shape[1:]) for site in sites] == shapes[placement]


def test_replicas_are_normalised_apart() -> None:
    """Two replicas in one pass give the outputs of two passes, for the same bits."""
    model = network("placement=first").train()
    images, labels = torch.randn(8, 1, 28, 28), torch.arange(8)
    bits = (torch.rand(2, 8, 16, 14, 14) < torch.tensor([0.2, 0.8]).view(2, 1, 1, 1, 1)).float()
    together = ForwardClosure(model, images, labels, cross_entropy)(lambda site: bits, branching(2))
    apart = [
        ForwardClosure(model, images, labels, cross_entropy)(lambda site, k=k: bits[k : k + 1]).loss
        for k in range(2)
    ]
    torch.testing.assert_close(together.loss, torch.cat(apart))
    plain = nn.BatchNorm2d(32)
    plain.load_state_dict(model.norm2.state_dict())
    model.norm2 = plain
    mixed = ForwardClosure(model, images, labels, cross_entropy)(lambda site: bits, branching(2))
    assert (mixed.loss - together.loss).abs().max() > 1e-2, (
        "the control: torch's own batch norm mixes the replicas"
    )
    with pytest.raises(ConfigError, match="norm2"):
        refuse_torch_batch_norms(model)


def test_only_the_base_pass_updates_running_statistics() -> None:
    for norm in ("batch", "running"):
        model = network(f"model.norm={norm}", "placement=first").train()
        forward = ForwardClosure(model, torch.randn(8, 1, 28, 28), torch.arange(8), cross_entropy)
        forward(Site.sample, branching(3))
        after = {k: v.clone() for k, v in model.state_dict().items() if "running" in k}
        assert any((v != 0).any() for k, v in after.items() if "mean" in k)
        forward(Site.sample)
        assert all(torch.equal(v, model.state_dict()[k]) for k, v in after.items())


def test_base_pass_statistics_are_those_of_the_first_replica() -> None:
    norm, reference = BatchNorm(4).train(), nn.BatchNorm2d(4).train()
    x = torch.randn(6, 4, 3, 3)
    torch.testing.assert_close(norm(x), reference(x))
    torch.testing.assert_close(norm.running_var, reference.running_var)


@pytest.mark.parametrize("norm", ["running", "group", "none"])
def test_decoupled_norms_keep_samples_apart(norm: str) -> None:
    layer = NORMS[norm](4).train()
    x = torch.randn(6, 4, 3, 3, requires_grad=True)
    layer(x)[0].sum().backward()
    assert (x.grad[1:] == 0).all()
    y = torch.randn(6, 4, 3, 3, requires_grad=True)
    BatchNorm(4).train()(y)[0].square().sum().backward()
    assert (y.grad[1:] != 0).any(), "the control: batch statistics couple them"


def test_coupling_is_seen_only_above_a_binary_layer() -> None:
    zeros = torch.zeros(2, 1, 28, 28)
    assert couples_above_binary(network("placement=first"), zeros)
    assert couples_above_binary(network("placement=both"), zeros)
    assert not couples_above_binary(network("placement=last"), zeros)
    assert not couples_above_binary(network("placement=both", "model.norm=running"), zeros)
    assert not couples_above_binary(network("placement=both", "model.norm=group"), zeros)


def test_a_forward_pass_that_fails_leaves_no_hooks() -> None:
    net = nn.Sequential(nn.Linear(2, 3), Stochastic(), nn.Linear(4, 1))
    with pytest.raises(RuntimeError, match="shapes"):
        couples_above_binary(net, torch.zeros(1, 2))
    assert not net[1]._forward_hooks


@pytest.mark.parametrize("name", ["cnn", "gated_cnn"])
def test_images_that_two_poolings_leave_nothing_of_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"at least 4×4 pixels .* got 3×28; write model=mlp"):
        MODELS[name]((1, 3, 28), 10, [Stochastic()] * MODELS.attribute(name, "depth"))
