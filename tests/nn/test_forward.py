"""Forward passes: replicas, paths around a binary layer, and the guarantees to estimators."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bnn.nn.forward import ForwardClosure
from bnn.nn.handlers import replication
from bnn.nn.layers import binary_layers, sites_of
from bnn.nn.neurons import NoisyRectifier, Stochastic
from bnn.nn.replicas import ancestors, branching, flatten, join, select, split
from bnn.nn.sites import Latents, Site
from bnn.tasks.classification import cross_entropy

ZEROS = torch.zeros(5, dtype=torch.int64)


class Counting(nn.Module):
    """One binary layer that counts the rows below and above it."""

    def __init__(self) -> None:
        super().__init__()
        self.neuron = Stochastic()
        self.below = self.above = 0

    def forward(self, x: Tensor) -> Tensor:
        self.below = len(x)
        x = self.neuron(x)
        self.above = len(x)
        return x


class Two(nn.Module):
    """Two counting layers in a chain."""

    def __init__(self) -> None:
        super().__init__()
        self.lower, self.upper = Counting(), Counting()

    def forward(self, x: Tensor) -> Tensor:
        return self.upper(10 * self.lower(x))


class Residual(nn.Module):
    """Two binary layers, and a path around both."""

    def __init__(self) -> None:
        super().__init__()
        self.lower, self.upper = Stochastic(), Stochastic()

    def forward(self, x: Tensor) -> Tensor:
        h = self.lower(x) + 0.1 * x
        return self.upper(h) + h


def test_layers_below_the_first_binary_one_are_computed_once() -> None:
    model = Counting()
    drawn = ForwardClosure(model, torch.randn(5, 3), ZEROS, cross_entropy)(
        Site.sample, branching(4)
    )
    assert (model.below, model.above) == (5, 20)
    assert drawn.loss.shape == (4, 5)
    assert drawn.sites[0].preactivation.shape == drawn.bits[0].shape == (4, 5, 3)


def test_replicas_are_drawn_independently() -> None:
    closure = ForwardClosure(
        Counting(), torch.zeros(64, 8), torch.zeros(64, dtype=torch.int64), cross_entropy
    )
    first, second = closure(Site.sample, branching(2)).bits[0]
    assert 0.4 < float((first == second).float().mean()) < 0.6


def test_a_later_branch_shares_the_layers_below_it() -> None:
    model = Two()
    drawn = ForwardClosure(model, torch.zeros(5, 3), ZEROS, cross_entropy)(
        Site.sample, branching(2, 3)
    )
    assert (model.lower.below, model.lower.above, model.upper.above) == (5, 10, 30)
    assert drawn.loss.shape == (6, 5) and [len(bits) for bits in drawn.bits] == [2, 6]
    below = drawn.sites[1].preactivation
    assert torch.equal(below[0], below[2]) and torch.equal(below[0], below[4])
    assert torch.equal(below[0], 10 * drawn.bits[0][0])


@pytest.mark.parametrize("counts", [(3,), (2, 3), (1, 4)])
def test_a_path_around_a_layer_repeats_the_batch_and_replays_the_bits_below(
    counts: tuple[int, ...],
) -> None:
    """Every replica is one forward pass of the network with that replica's bits."""
    model, inputs = Residual(), torch.randn(5, 3)
    assert not binary_layers(model, inputs).chain
    tree = branching(*counts)
    drawn = ForwardClosure(model, inputs, ZEROS, cross_entropy)(Site.sample, tree)
    assert drawn.loss.shape == (len(tree[-1]), 5)
    assert len(drawn.bits[0]) == counts[0]
    for replica, output in enumerate(split(drawn.output, len(tree[-1]))):
        lower = drawn.bits[0][ancestors(tree, 0)[replica]]
        upper = drawn.bits[1][ancestors(tree, 1)[replica]]
        h = lower + 0.1 * inputs
        torch.testing.assert_close(output, upper + h)
        torch.testing.assert_close(drawn.sites[1].preactivation[ancestors(tree, 1)[replica]], h)


def test_a_chain_and_its_repetition_from_the_input_agree() -> None:
    """A branch at the layer and a batch repeated from the input give the same losses of bits."""
    model, inputs = Two(), torch.randn(5, 3)
    chain = binary_layers(model, inputs)
    repeated = type(chain)(chain.names, chain.units, False, chain.sites)
    tree, found = branching(2, 3), []
    for layers in (chain, repeated):
        generator = torch.Generator().manual_seed(0)
        noise = lambda like, g=generator: torch.empty_like(like).uniform_(generator=g)  # noqa: E731
        found.append(
            ForwardClosure(model, inputs, ZEROS, cross_entropy, noise, layers=layers)(
                Site.sample, tree
            )
        )
    assert all(
        torch.equal(one, other) for one, other in zip(found[0].bits, found[1].bits, strict=True)
    )
    torch.testing.assert_close(found[0].loss, found[1].loss)
    assert model.lower.below == 5 * 6


class Branches(nn.Module):
    """Two binary layers side by side, and a third above both."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.top = Stochastic(), Stochastic(), Stochastic()

    def forward(self, x: Tensor) -> Tensor:
        return self.top(self.left(x) - self.right(2 * x))


class ZeroPath(Two):
    """A path around the upper layer whose weight is zero for now."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        below = self.lower(x)
        return self.upper(10 * below) + self.gain * below


class NoisyPath(nn.Module):
    """A path around random units that are no bits."""

    def __init__(self) -> None:
        super().__init__()
        self.noisy, self.binary = NoisyRectifier(), Stochastic()

    def forward(self, x: Tensor) -> Tensor:
        return self.binary(x + self.noisy(x))


@pytest.mark.parametrize(
    "model, chain",
    [
        (Counting(), True),
        (Two(), True),
        (nn.Sequential(NoisyRectifier(), Stochastic()), True),
        (nn.Identity(), True),
        (Residual(), False),
        (Branches(), False),
        (ZeroPath(), False),
        (NoisyPath(), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
@pytest.mark.parametrize("rows", [1, 2])
def test_a_chain_is_told_from_a_network_with_a_path_around_a_layer(
    model: nn.Module, chain: bool, rows: int
) -> None:
    assert binary_layers(model, torch.randn(rows, 3)).chain == chain
    assert binary_layers(model, torch.zeros(rows, 3)).chain == chain


def test_names_are_of_modules_and_calls_and_not_of_the_order() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.last = Stochastic(), Stochastic()

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.cell(self.cell(x)))

    assert binary_layers(Recurrent(), torch.randn(2, 3)).names == ("cell", "cell-2", "last")
    assert binary_layers(Branches(), torch.randn(2, 3)).names == ("left", "right", "top")


def test_layers_met_in_another_order_are_refused_where_replicas_branch_by_it() -> None:
    model, inputs = Branches(), torch.randn(2, 3)
    layers = binary_layers(model, inputs)
    model.left, model.right = model.right, model.left
    swapped = type(layers)(("right", "left", "top"), layers.units, layers.chain, layers.sites)
    closure = ForwardClosure(model, inputs, ZEROS[:2], cross_entropy, layers=swapped)
    assert [site.index for site in closure(Site.sample).sites] == [1, 0, 2], (
        "one pass knows a layer by its name"
    )
    with pytest.raises(ValueError, match="the same layers in every pass"):
        closure(Site.sample, branching(2))


def test_replicas_keep_channels_last() -> None:
    flat = torch.randn(6, 4, 3, 3).to(memory_format=torch.channels_last)
    named = split(flat, 2)
    again = flatten(select(named, [1, 1, 0]))
    assert named.shape == (2, 3, 4, 3, 3) and again.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(again[:3], flat[3:]) and torch.equal(again[6:], flat[:3])
    assert flatten(join([named, named])).is_contiguous(memory_format=torch.channels_last)
    assert (
        not torch.cat([named, named]).flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    ), "the control"


def test_losses_receive_sites_and_bits_at_the_replicas_of_the_top() -> None:
    for model in (Two(), Residual()):
        seen: list[Latents] = []

        def loss(output: Tensor, targets: Tensor, latents: Latents, seen: list = seen) -> Tensor:
            seen.append(latents)
            return latents[0].bits.sum(1) + latents[-1].site.probs.sum(1)

        drawn = ForwardClosure(model, torch.randn(5, 3), ZEROS, loss)(Site.sample, branching(2, 3))
        (latents,) = seen
        assert len(latents) == 2 and [one.bits.shape for one in latents] == [(30, 3), (30, 3)]
        lineage = ancestors(branching(2, 3), 0)
        assert torch.equal(latents[0].bits.view(6, 5, 3), drawn.bits[0][lineage])
        assert torch.equal(latents[1].bits, flatten(drawn.bits[1]))
        torch.testing.assert_close(
            drawn.loss,
            drawn.bits[0][lineage].sum(2)
            + drawn.sites[1].probs.sum(2)[ancestors(branching(2, 3), 1)],
        )


def test_a_reduced_loss_is_refused() -> None:
    closure = ForwardClosure(
        Counting(), torch.zeros(5, 3), ZEROS, lambda s, t: cross_entropy(s, t).mean()
    )
    with pytest.raises(ValueError, match="one value per sample"):
        closure(Site.sample)


def test_a_batch_that_is_not_along_the_first_axis_is_refused() -> None:
    class Transposed(Counting):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.T).T

    closure = ForwardClosure(Transposed(), torch.zeros(5, 3), ZEROS, cross_entropy)
    assert closure(Site.sample).loss.shape == (1, 5), "one pass needs no axes"
    with pytest.raises(ValueError, match="first axis"):
        closure(Site.sample, branching(2))


def test_dropout_beside_a_path_around_a_layer_is_refused() -> None:
    class Dropped(Residual):
        def __init__(self) -> None:
            super().__init__()
            self.dropout = nn.Dropout(0.5)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(self.dropout(x))

    model = Dropped()
    closure = ForwardClosure(model, torch.randn(5, 3), ZEROS, cross_entropy)
    assert closure(Site.sample).loss.shape == (1, 5)
    with pytest.raises(ValueError, match="dropout"):
        closure(Site.sample, branching(2))
    model.dropout.eval()
    assert closure(Site.sample, branching(2)).loss.shape == (2, 5)


def test_random_units_share_their_noise_where_replicas_share_their_ancestors() -> None:
    """A noisy rectifier below the branch is one draw, also where the batch is repeated."""

    class Noisy(Residual):
        def __init__(self) -> None:
            super().__init__()
            self.noisy = NoisyRectifier()

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(self.noisy(x))

    drawn = ForwardClosure(Noisy(), torch.ones(5, 3), ZEROS, cross_entropy)(
        Site.sample, branching(2, 3)
    )
    below = drawn.sites[0].preactivation
    assert torch.equal(below[0], below[1])
    above = split(drawn.output, 6) - drawn.bits[1] - drawn.bits[0][ancestors(branching(2, 3), 0)]
    assert all(torch.allclose(above[0], one, atol=1e-6) for one in above)


def test_replication_ends_with_its_pass() -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert replication() is not None
            raise RuntimeError

    with pytest.raises(RuntimeError):
        ForwardClosure(Fails(), torch.zeros(2, 2), torch.zeros(2), cross_entropy)(Site.sample)
    assert replication() is None


def test_looking_at_the_sites_changes_nothing() -> None:
    net = nn.Sequential(nn.BatchNorm1d(3), Stochastic()).train()
    net[1].eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    state = torch.get_rng_state()
    (site,) = sites_of(net, torch.randn(4, 3))
    binary_layers(net, torch.zeros(2, 3))
    assert site.preactivation.shape == (4, 3) and net[0].training and not net[1].training
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in before.items())
    torch.set_rng_state(state)


def test_the_output_kept_is_that_of_the_first_replica() -> None:
    closure = ForwardClosure(Counting(), torch.randn(5, 3), ZEROS, cross_entropy)
    assert closure.output is None
    drawn = closure(Site.sample, branching(3))
    assert torch.equal(closure.output, drawn.output[:5])
    closure(Site.sample)
    assert torch.equal(closure.output, drawn.output[:5]), "of the first pass"
