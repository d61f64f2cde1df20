"""Neurons: fire rules, the slope, and its part in the backward pass."""

from __future__ import annotations

import pytest
import torch

from bnn.nn.gradients import replace_gradient
from bnn.nn.handlers import apply, sampled, threshold
from bnn.nn.neurons import (
    Deterministic,
    Neuron,
    NoisyRectifier,
    Real,
    Stochastic,
    StochasticSmooth,
    set_slope,
)
from bnn.nn.noise import NoiseLaw
from bnn.nn.sites import Site, generator_noise
from bnn.paths import folder

LAW = NoiseLaw.registry.build("logistic")
X = torch.linspace(-2, 2, 9, dtype=torch.float64)


def test_ties_fire_zero() -> None:
    neuron = Deterministic(law=LAW)
    assert neuron(torch.tensor([-1.0, 0.0, 1e-30])).tolist() == [0, 0, 1]


@pytest.mark.parametrize("law", sorted(NoiseLaw.registry))
def test_stochastic_units_fire_with_their_probability(law: str) -> None:
    """20,000 draws a unit; |z| < 4.5 fails once in 16,000 such tests, and the seed is fixed."""
    neuron, n = Stochastic(law=NoiseLaw.registry.build(law)), 20_000
    torch.manual_seed(0)
    rate = neuron(X.expand(n, -1)).mean(0)
    p = neuron.law.cdf(X)
    certain = (p == 0) | (p == 1)
    assert torch.equal(rate[certain], p[certain])
    z = (rate - p)[~certain] / (p * (1 - p) / n).sqrt()[~certain]
    assert z.abs().max() < 4.5
    flipped = (1 - rate - p)[~certain] / (p * (1 - p) / n).sqrt()[~certain]
    assert flipped.abs().max() > 4.5, "the control: a unit that fires with 1 - p"


def test_deterministic_units_do_not_see_the_slope_in_the_forward_pass() -> None:
    neuron = Deterministic(law=LAW)
    before = apply(neuron, X, sampled())
    set_slope(neuron, 7.0)
    assert torch.equal(apply(neuron, X, sampled()), before)


def test_slope_sharpens_stochastic_units() -> None:
    neuron = Stochastic(law=LAW)
    set_slope(neuron, 3.0)
    apply(
        neuron,
        X,
        lambda site: torch.testing.assert_close(site.probs, torch.sigmoid(6 * X)) or site.fire(),
    )


@pytest.mark.parametrize("rescale, factor", [(False, 3.0), (True, 1.0)])
def test_rescaled_gradient_takes_the_slope_out(rescale: bool, factor: float) -> None:
    neuron = Stochastic(law=LAW, rescale_gradient=rescale)
    set_slope(neuron, 3.0)
    x = X.clone().requires_grad_()
    apply(neuron, x, lambda site: replace_gradient(site.fire(), site.probs)).sum().backward()
    torch.testing.assert_close(x.grad, factor * LAW.density(3 * X))


def test_slope_is_saved_and_real_neurons_keep_theirs() -> None:
    net = torch.nn.ModuleList([Stochastic(law=LAW), Real(law=LAW)])
    set_slope(net, 2.5)
    assert net[1].slope == 1
    other = torch.nn.ModuleList([Stochastic(law=LAW), Real(law=LAW)])
    other.load_state_dict(net.state_dict())
    assert other[0].slope == 2.5


def test_real_neuron_is_the_mean_of_the_law() -> None:
    torch.testing.assert_close(Real(law=LAW)(X), LAW.cdf(X))


def test_probabilities_are_wide_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):

        def wide(site: Site) -> Tensor:
            assert site.preactivation.dtype == torch.float32
            return site.fire()

        apply(Stochastic(law=LAW), X.bfloat16(), wide)


def test_every_neuron_has_its_yaml() -> None:
    assert set(Neuron.registry) == {
        path.stem for path in (folder("conf") / "neuron").glob("*.yaml")
    }


def test_the_score_has_the_gradient_of_log_prob() -> None:
    """And only that: its value is another."""
    for law in (law() for law in NoiseLaw.registry.values() if law.full_support):
        for bit in (0.0, 1.0):
            a = X.clone().requires_grad_()
            site = Site(a, law, Site.sample)
            bits = torch.full_like(X, bit)
            (expected,) = torch.autograd.grad(site.log_prob(bits).sum(), a, retain_graph=True)
            (found,) = torch.autograd.grad(site.score(bits).sum(), a)
            torch.testing.assert_close(found, expected)
            assert expected.abs().min() > 0


def test_log_prob_is_that_of_the_bits() -> None:
    for name, law in NoiseLaw.registry.items():
        if law.full_support:
            site = Site(X, NoiseLaw.registry.build(name), Site.sample)
            for bit in (0.0, 1.0):
                q = site.probs if bit else 1 - site.probs
                torch.testing.assert_close(site.log_prob(torch.full_like(X, bit)), q.log())


LAWS = [law() for law in NoiseLaw.registry.values()]
U = torch.linspace(0.003, 0.997, 41, dtype=torch.float64)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_quantiles_invert_the_law(law: NoiseLaw) -> None:
    torch.testing.assert_close(law.cdf(law.quantile(U)), U, rtol=1e-12, atol=1e-14)
    assert torch.isfinite(law.quantile(torch.tensor([0.0, 1.0]))).all(), (
        "what rand can return has a finite quantile"
    )


def noisy(neuron: Neuron, x: torch.Tensor, seed: int = 0) -> torch.Tensor:
    noise = generator_noise(torch.Generator().manual_seed(seed))
    return apply(neuron, x, sampled(noise))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_stochastic_times_smooth_has_the_mean_of_the_law_and_the_gradient_of_its_root(
    law: NoiseLaw,
) -> None:
    """Bengio, Léonard & Courville 2013: h = b √p, b ~ Bernoulli(√p)."""
    x = (
        torch.tensor([-0.7, 0.1, 0.6], dtype=torch.float64)
        .expand(200_000, 3)
        .clone()
        .requires_grad_()
    )
    h = noisy(StochasticSmooth(law=law), x)
    p = law.cdf(x.detach())
    torch.testing.assert_close(h.detach().mean(0), p[0], rtol=0, atol=4.5 * 0.5 / 200_000**0.5)
    (found,) = torch.autograd.grad(h.sum(), x)
    fired = h.detach() > 0
    torch.testing.assert_close(
        found, fired * law.density(x.detach()) / (2 * p.sqrt()), rtol=1e-9, atol=1e-12
    )


def test_noisy_rectifier_adds_or_multiplies_and_rectifies() -> None:
    law = NoiseLaw.registry.build("gaussian")
    x = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64).expand(100_000, 3)
    additive = noisy(NoisyRectifier(law=law, noise="additive"), x)
    assert (additive >= 0).all()
    # P(h = 0) = P(z < -a) = F(-a)
    torch.testing.assert_close((additive == 0).double().mean(0), law.cdf(-x[0]), rtol=0, atol=0.008)
    multiplied = noisy(NoisyRectifier(law=law, noise="multiplicative"), x)
    # P(h = 0) = P(1 + z < 0) for a > 0, P(1 + z > 0) for a < 0
    one = float(law.cdf(torch.tensor(1.0)))
    expected = torch.tensor([one, 1 - one, 1 - one], dtype=torch.float64)
    torch.testing.assert_close((multiplied == 0).double().mean(0), expected, rtol=0, atol=0.008)


@pytest.mark.parametrize("neuron", [StochasticSmooth, NoisyRectifier])
def test_without_noise_random_units_repeat_themselves(neuron: type[Neuron]) -> None:
    unit = Neuron.registry.build(
        {"name": "noisy_rectifier", "law": "logistic", "noise": "additive"}
    )
    if neuron is StochasticSmooth:
        unit = StochasticSmooth(law=NoiseLaw.registry.build("logistic"))
    quiet = [apply(unit, X, threshold) for _ in range(2)]
    assert torch.equal(*quiet) and not torch.equal(noisy(unit, X), noisy(unit, X, seed=1))
