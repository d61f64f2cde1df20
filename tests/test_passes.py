"""Passes: what an estimator may rely on."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bnn.neurons import Site, Stochastic
from bnn.noise import NoiseLaw
from bnn.passes import Run, forks, replication, sites_of
from bnn.training.updates import cross_entropy


class Counting(nn.Module):
    """Counts the samples that pass below and above its binary layer."""

    def __init__(self) -> None:
        super().__init__()
        self.neuron = Stochastic(law=NoiseLaw.registry.build("logistic"))
        self.below = self.above = 0

    def forward(self, x, draw):
        self.below += len(x)
        x = self.neuron(x, draw)
        self.above += len(x)
        return x


def test_what_lies_below_the_first_binary_layer_is_computed_once() -> None:
    model = Counting()
    result = Run(model, torch.randn(5, 3), torch.zeros(5, dtype=torch.int64), cross_entropy)(Site.sample, forks(4))
    assert (model.below, model.above) == (5, 20)
    assert result.loss.shape == (4, 5)
    assert result.sites[0].a.shape == result.bits[0].shape == (20, 3)


def test_replicas_are_drawn_independently() -> None:
    result = Run(Counting(), torch.zeros(64, 8), torch.zeros(64, dtype=torch.int64), cross_entropy)(Site.sample, forks(2))
    first, second = result.bits[0].view(2, -1)
    assert 0.3 < (first != second).float().mean() < 0.7


def test_a_later_fork_comes_outermost_and_shares_what_lies_below() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lower, self.upper = Counting(), Counting()

        def forward(self, x, draw):
            return self.upper(10 * self.lower(x, draw), draw)

    model = Two()
    result = Run(model, torch.zeros(5, 3), torch.zeros(5, dtype=torch.int64), cross_entropy)(Site.sample, forks(2, 3))
    assert (model.lower.below, model.lower.above, model.upper.above) == (5, 10, 30)
    assert result.loss.shape == (6, 5) and [len(bits) for bits in result.bits] == [10, 30]
    below = result.sites[1].a.view(3, 10, 3)
    assert torch.equal(below[0], below[1]) and torch.equal(below[0], below[2])
    assert torch.equal(below[0], 10 * result.bits[0])


def test_a_reduced_loss_is_refused() -> None:
    run = Run(Counting(), torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64), lambda s, t: cross_entropy(s, t).mean())
    with pytest.raises(ValueError, match="one value per sample"):
        run(Site.sample)


def test_replication_ends_with_its_pass() -> None:
    class Fails(nn.Module):
        def forward(self, x, draw):
            assert replication() is not None
            raise RuntimeError

    with pytest.raises(RuntimeError):
        Run(Fails(), torch.zeros(2, 2), torch.zeros(2), cross_entropy)(Site.sample)
    assert replication() is None


def test_looking_at_the_sites_changes_nothing() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3))
    neuron = Stochastic(law=NoiseLaw.registry.build("logistic"))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.neuron = model, neuron

        def forward(self, x, draw):
            return self.neuron(self.norm(x), draw)

    net = Net().train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    (site,) = sites_of(net, torch.randn(4, 3))
    assert site.a.shape == (4, 3) and net.training and net.norm.training
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in before.items())


def test_correct_counts_the_first_replica() -> None:
    scores = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])

    class Fixed(nn.Module):
        def forward(self, x, draw):
            return scores

    run = Run(Fixed(), torch.zeros(3, 1), torch.tensor([0, 1, 1]), cross_entropy)
    run(Site.sample)
    assert run.correct() == 2


def test_a_path_around_the_first_binary_layer_is_explained() -> None:
    class Residual(Counting):
        def forward(self, x, draw):
            return x + super().forward(x, draw)

    run = Run(Residual(), torch.randn(5, 3), torch.zeros(5, dtype=torch.int64), cross_entropy)
    assert run(Site.sample).loss.shape == (1, 5)
    with pytest.raises(RuntimeError) as caught:
        run(Site.sample, forks(4))
    assert "an estimator of one pass" in caught.value.__notes__[0]
