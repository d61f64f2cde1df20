"""One step on the real network: layers that it must move, and layers that it must leave."""

from __future__ import annotations

import itertools
from functools import partial

import pytest
import torch
from support.matrix import one_in

from bnn.config.compose import compose
from bnn.errors import ConfigError
from bnn.estimators import Baseline, Estimator, StraightThrough
from bnn.nn.forward import ForwardClosure
from bnn.nn.layers import BinaryLayers
from bnn.nn.neurons import Binary
from bnn.nn.noise import Logistic
from bnn.nn.sites import Site
from bnn.specify import setup
from bnn.tasks.classification import cross_entropy
from bnn.training import initialisation
from bnn.training.initialisation import init_estimator
from bnn.training.step import train_step

ROUNDING = 1e-6
"""Size below which gradients are rounding: float32 sums of thousands of terms of order one."""
SMALL = ("enumeration", "local_expectation")
"""They cannot hold the CNN's layers, or not at every placement."""
ESTIMATORS = [
    *(
        [f"estimator={name}"]
        for name in sorted(set(Estimator.registry) - {"none", "frozen", "reinforce", *SMALL})
    ),
    *(["estimator=reinforce", f"estimator/baseline={name}"] for name in sorted(Baseline.registry)),
]
PLACEMENTS = ("first", "last", "both")
NEURONS = ("stochastic", "deterministic")
CELLS = [*itertools.product(NEURONS, ESTIMATORS, PLACEMENTS)]
"""Cells of the test of every layer, of which every fourth runs on every change."""


def _named(value: str | list[str]) -> str:
    return value if isinstance(value, str) else value[-1].partition("=")[2]


def one_step(*overrides: str) -> tuple[dict[str, tuple[float, float]], list[str]]:
    """Gradient norm and change of each layer's weights after one step on the CNN.

    Beside them the layers below the highest binary one.
    """
    checked = setup(compose(["device=cpu", *overrides, "optimizer.warmup=0"]))
    return step(checked.model, checked)


def step(model, checked) -> tuple[dict[str, tuple[float, float]], list[str]]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(16, 1, 28, 28, generator=generator)
    labels = torch.randint(10, (16,), generator=generator)
    recipe = checked.training
    init_estimator(recipe.estimator, model, images[:2], seed=0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer, _ = recipe.optimization.start({"network": list(model.parameters())}, 10)
    model.train()
    forward = ForwardClosure(model, images, labels, cross_entropy, layers=recipe.estimator.layers)
    train_step(forward, recipe.estimator, optimizer, "float32")
    moved = {
        name.removesuffix(".weight"): (
            float(p.grad.norm()) if p.grad is not None else 0.0,
            float((p.detach() - before[name]).abs().max()),
        )
        for name, p in model.named_parameters()
        if name.endswith("weight")
    }
    below = (
        ["conv1", "norm1"]
        if not isinstance(model.act2, Binary)
        else ["conv1", "norm1", "conv2", "norm2"]
    )
    return moved, below


@pytest.mark.numerical
@pytest.mark.parametrize("neuron, estimator, placement", one_in(4, CELLS), ids=_named)
def test_every_layer_receives_gradient_and_moves(
    neuron: str, estimator: list[str], placement: str
) -> None:
    if estimator == ["estimator=disarm_bound"] and placement == "both":
        pytest.skip("it takes one binary layer")
    moved, _ = one_step(f"neuron={neuron}", f"placement={placement}", *estimator)
    assert set(moved) == {"conv1", "norm1", "conv2", "norm2", "linear"}
    for layer, (norm, change) in moved.items():
        assert norm > 100 * ROUNDING, layer
        assert change > 0, layer


def test_every_estimator_has_a_cell_that_runs_on_every_change() -> None:
    fast = [cell for cell in one_in(4, CELLS) if cell in CELLS]
    assert {words[-1] for _, words, _ in fast} == {words[-1] for words in ESTIMATORS}
    assert {placement for _, _, placement in fast} == set(PLACEMENTS)


@pytest.mark.parametrize("neuron, placement", itertools.product(NEURONS, PLACEMENTS))
def test_frozen_sends_exactly_nothing_below_the_highest_binary_layer(
    neuron: str, placement: str
) -> None:
    moved, below = one_step(f"neuron={neuron}", f"placement={placement}", "estimator=frozen")
    for layer, (norm, change) in moved.items():
        assert (norm == 0 and change == 0) == (layer in below), layer


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_without_the_score_term_the_layers_below_stay(
    placement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the first test: its claim about REINFORCE is false without log q."""
    monkeypatch.setattr(Site, "credited_score", lambda *arguments: torch.zeros(()))
    moved, below = one_step(f"placement={placement}", "estimator=reinforce")
    assert all(moved[layer] == (0.0, 0.0) for layer in below)


@pytest.mark.parametrize("shared, fits", [(True, True), (False, False)])
def test_memory_is_checked_by_bits_and_counts_shared_weights_once(
    shared: bool, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initialisation, "machine_bytes", lambda: 10**7)
    site = Site(torch.zeros(2, 3), Logistic(), Site.sample, shared=shared)
    estimator = StraightThrough()
    estimator.layers = BinaryLayers(("act",), (10**6,), True, (site,))
    check = partial(initialisation.check_memory, estimator, 512)
    check(torch.device("meta"))
    if fits:
        check(torch.device("cpu"))
    else:
        with pytest.raises(ConfigError, match=r"1 evaluations .* at trainer\.batch_size=512"):
            check(torch.device("cpu"))
