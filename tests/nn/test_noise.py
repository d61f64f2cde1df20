"""Noise laws: one object gives the firing probability and its density."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from bnn.nn.noise import NoiseLaw

LAWS = sorted(NoiseLaw.registry)
A = torch.tensor(
    [-7.3, -1.9, -1.01, -0.99, -0.3, 0.0, 0.2, 0.7, 1.3, 2.1, 5.5], dtype=torch.float64
)


@pytest.mark.parametrize("name", LAWS)
def test_density_is_the_derivative_of_the_probability(name: str) -> None:
    law, h = NoiseLaw.registry.build(name), 1e-6
    difference = (law.cdf(A + h) - law.cdf(A - h)) / (2 * h)
    torch.testing.assert_close(law.density(A), difference, rtol=1e-7, atol=2e-7)  # F' has a kink
    a = A.clone().requires_grad_()
    (derivative,) = torch.autograd.grad(law.cdf(a).sum(), a)
    torch.testing.assert_close(derivative, law.density(A), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", LAWS)
def test_laws_are_symmetric_and_share_their_slope_at_the_threshold(name: str) -> None:
    law = NoiseLaw.registry.build(name)
    torch.testing.assert_close(law.cdf(A) + law.cdf(-A), torch.ones_like(A))
    zero = torch.zeros(1, dtype=torch.float64)
    assert law.cdf(zero).item() == 0.5
    assert law.density(zero).item() == pytest.approx(0.5, abs=1e-15)
    assert (law.cdf(A).diff() >= 0).all()


@pytest.mark.parametrize("name", LAWS)
def test_logits_belong_to_the_probability(name: str) -> None:
    law = NoiseLaw.registry.build(name)
    inside = A[A.abs() < 0.9]
    torch.testing.assert_close(torch.sigmoid(law.logits(inside)), law.cdf(inside))


def test_the_claim_of_full_support_is_true() -> None:
    far = torch.tensor([-3.0, 3.0], dtype=torch.float64)
    for name in LAWS:
        law = NoiseLaw.registry.build(name)
        p = law.cdf(far)
        assert bool(((p > 0) & (p < 1)).all()) == law.full_support, name
        assert bool(law.logits(far * 5).isfinite().all()) == law.full_support, name


def test_gaussian_logits_keep_their_digits_in_the_tails() -> None:
    law = NoiseLaw.registry.build("gaussian")
    a = torch.tensor([-9.0, 9.0], dtype=torch.float64, requires_grad=True)
    assert law.logits(a).isfinite().all() and torch.logit(law.cdf(a)).isinf().any()
    assert gradcheck(law.logits, a)
