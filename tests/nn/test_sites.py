"""Score terms of a site, by formula and in fewer operations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bnn.nn.forward import ForwardClosure, ForwardPass
from bnn.nn.neurons import Stochastic
from bnn.nn.replicas import branching
from bnn.nn.sites import Site
from bnn.tasks.classification import cross_entropy


def passed(*counts: int) -> tuple[ForwardPass, nn.Module, Tensor]:
    """Pass through two binary layers, branched by `counts`; the network, and its loss by sample."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(3, 4), Stochastic(), nn.Linear(4, 3), Stochastic(), nn.Linear(3, 2)
    ).double()
    inputs = torch.randn(5, 3, dtype=torch.float64)
    forward = ForwardClosure(model, inputs, torch.zeros(5, dtype=torch.int64), cross_entropy)
    drawn = forward(Site.sample, branching(*counts))
    return drawn, model, drawn.loss.detach()


@pytest.mark.parametrize("counts", [(1, 1), (4, 1), (3, 2), (1, 3)], ids=str)
def test_a_credited_score_is_the_sum_of_credit_times_score(counts: tuple[int, int]) -> None:
    drawn, model, loss = passed(*counts)
    for site, bits in zip(drawn.sites, drawn.bits, strict=True):
        credit = site.credit(loss, 0.3)
        by_unit = credit * torch.rand_like(site.preactivation)  # a baseline that differs by unit
        for weight in (credit, by_unit):
            parameters = [one for one in model.parameters()]
            expected = (weight * site.score(bits)).sum()
            found = site.credited_score(bits, weight)
            torch.testing.assert_close(found, expected)
            for one, other in zip(
                torch.autograd.grad(found, parameters, retain_graph=True, allow_unused=True),
                torch.autograd.grad(expected, parameters, retain_graph=True, allow_unused=True),
                strict=True,
            ):
                assert (one is None) == (other is None)
                if one is not None:
                    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_draws_that_branch_have_noise_of_their_own_and_a_pre_activation_in_common() -> None:
    drawn, _, _ = passed(6, 5)
    first, second = drawn.sites
    assert first.branched is not None and len(first.branched) == 1
    assert second.branched is not None and len(second.branched) == 6
    for site, bits in zip(drawn.sites, drawn.bits, strict=True):
        assert bits.shape == site.preactivation.shape == site.probs.shape
        torch.testing.assert_close(site.probs, site.law.cdf(site.preactivation))
        assert len(bits.flatten(1).unique(dim=0)) > 1


def test_a_replica_that_goes_on_alone_has_nothing_in_common() -> None:
    drawn, _, _ = passed(1, 1)
    assert all(site.branched is None for site in drawn.sites)
    several, _, _ = passed(4, 1)
    assert several.sites[0].replicas(1, 3).branched is None
