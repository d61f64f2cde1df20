"""Properties of single estimators that their papers state: exactness, derivatives, variances."""

from __future__ import annotations

import itertools

import pytest
import torch
from published import gumbel_rao_slope, rodeo
from support.expectation import (
    AT_ONCE,
    REPEATS,
    build,
    distance,
    exact,
    expectation,
    gradient,
    initialized,
    sampled,
    warm_up,
)
from support.toys import Toy, batch, product, quadratic, tangled
from torch import Tensor, nn

from bnn.estimators import Estimator
from bnn.estimators.antithetic import ARM, ARMS, DisARM
from bnn.estimators.concrete import reparameterize
from bnn.estimators.double_cv import DoubleControlVariates
from bnn.estimators.gumbel_rao import conditional_slope
from bnn.estimators.layerwise import LayerSamples
from bnn.estimators.pseudo_derivatives import PSEUDO_DERIVATIVES
from bnn.estimators.rebar import conditional_derivative
from bnn.estimators.relax import ControlVariate
from bnn.estimators.rodeo import LEAK, RODEO, Surrogate
from bnn.estimators.slopes import LayerDraws
from bnn.nn.forward import ForwardClosure
from bnn.nn.neurons import Stochastic
from bnn.nn.noise import NoiseLaw
from bnn.nn.replicas import mean_of_others
from bnn.nn.sites import Site, generator_noise


def test_density_is_exact_for_one_layer_under_a_multilinear_loss() -> None:
    for law in NoiseLaw.registry:
        model = Toy((2,), law)
        with (
            torch.no_grad()
        ):  # each score is one bit, so that their product is multilinear and not additive
            model.readout.weight.copy_(torch.eye(2))
        estimator = Estimator.registry.build({"name": "st", "pseudo_derivative": "density"})
        for one in (expectation(model, estimator, product), exact(model, product)):
            assert max(float(g.abs().max()) for g in one) > 1e-3
        # of the layer below: the read-out itself has the derivative of a product by its own weights
        assert (
            distance(expectation(model, estimator, product)[:2], exact(model, product)[:2]) < 1e-12
        ), law


@pytest.mark.parametrize(
    "law", [name for name, law in NoiseLaw.registry.items() if law.full_support]
)
def test_reinmax_is_exact_for_one_layer_under_a_quadratic_loss(law: str) -> None:
    model = Toy((3,), law)
    true = exact(model, quadratic)[:2]  # of the layer below
    assert max(float(g.abs().max()) for g in true) > 1e-3
    found = {
        tau: expectation(
            model, Estimator.registry.build({"name": "reinmax", "tau": tau}), quadratic
        )
        for tau in (1, 2)
    }
    assert distance(found[1][:2], true) < 1e-12
    assert distance(found[2][:2], true) > 1e-3, "the control: at another temperature it is not"
    straight = expectation(
        model, Estimator.registry.build({"name": "st", "pseudo_derivative": "density"}), quadratic
    )
    assert distance(straight[:2], true) > 1e-3, "and plain straight-through is not"


def test_reinmax_weighs_by_half_the_distance_of_bit_and_probability() -> None:
    """Liu et al. 2023: at temperature 1 the bracket is |b - p| / 2."""
    a = torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
    estimator = Estimator.registry.build({"name": "reinmax", "tau": 1.0})
    for u in (0.0, 1.0):
        site = Site(
            a,
            NoiseLaw.registry.build("logistic"),
            Site.sample,
            noise=lambda like, u=u: torch.full_like(like, u),
        )
        bits = estimator.sample(site)  # type: ignore[attr-defined]
        (found,) = torch.autograd.grad(bits.sum(), a)
        torch.testing.assert_close(
            found, 2 * (bits - site.probs).abs().detach() / 2, rtol=1e-12, atol=1e-14
        )


def test_pseudo_derivatives_send_back_their_derivative_times_that_of_the_loss() -> None:
    a = torch.linspace(-1.7, 1.7, 9, dtype=torch.float64, requires_grad=True)
    slope_of_f = torch.linspace(1, 2, 9, dtype=torch.float64)
    p = torch.sigmoid(2 * a.detach())
    expected = {"identity": torch.ones_like(p), "sigmoid": 2 * p * (1 - p)}
    for name, law in itertools.product(PSEUDO_DERIVATIVES, NoiseLaw.registry):
        site = Site(a, NoiseLaw.registry.build(law), Site.threshold)
        estimator = Estimator.registry.build({"name": "st", "pseudo_derivative": name})
        bits = estimator.sample(site)  # type: ignore[attr-defined]
        assert torch.equal(bits, (a > 0).double())
        (found,) = torch.autograd.grad((slope_of_f * bits).sum(), a)
        derivative = expected.get(name, site.law.density(a.detach()))
        torch.testing.assert_close(found, slope_of_f * derivative, rtol=1e-12, atol=1e-14)


def test_relax_begins_as_rebar_and_learns_to_differ() -> None:
    model, keys = Toy((2, 2)), {"tau": 0.5, "decay": 0.5}
    rebar, relax = (
        build({"name": "rebar", **keys}, model),
        build({"name": "relax", "hidden": 3, **keys}, model),
    )

    def estimates(estimator: Estimator) -> list[Tensor]:
        generator = torch.Generator().manual_seed(1)
        noise = lambda like: torch.empty_like(like).uniform_(generator=generator)  # noqa: E731
        return gradient(model, estimator, ForwardClosure(model, *batch(4), tangled, noise))

    pairs = zip(estimates(rebar), estimates(relax), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    with torch.no_grad():
        relax.controls[0].last.weight.fill_(1)
    assert not torch.equal(estimates(rebar)[0], estimates(relax)[0])


def test_a_control_variate_knows_its_derivative() -> None:
    control = ControlVariate(4, 3).double()
    torch.nn.init.normal_(control.last.weight)
    y = torch.rand(5, 4, dtype=torch.float64, requires_grad=True)
    value, slope = control(y)
    torch.testing.assert_close(
        torch.autograd.grad(value.sum(), y)[0], slope, rtol=1e-12, atol=1e-14
    )


def test_the_conditional_noise_knows_its_derivative() -> None:
    """z̃ of Tucker et al. 2017: derivative by autograd where z̃ = z, and distribution of z̃."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.full((200_000,), 0.8, dtype=torch.float64, requires_grad=True)
    u, v = torch.rand(2, 200_000, generator=generator, dtype=torch.float64)
    p = torch.sigmoid(logits)
    z, bits = reparameterize(logits, u).detach(), (u < p).double()
    assert torch.equal(bits, (z > 0).double())

    def again(v: Tensor) -> Tensor:
        return logits + torch.logit(bits * (1 - p + v * p) + (1 - bits) * v * (1 - p))

    tied = torch.where(bits > 0, 1 - u / p, (1 - u) / (1 - p)).detach()
    torch.testing.assert_close(again(tied), z, rtol=1e-9, atol=1e-9)
    (expected,) = torch.autograd.grad(again(tied).sum(), logits)
    torch.testing.assert_close(
        conditional_derivative(p.detach(), bits, u), expected, rtol=1e-9, atol=1e-12
    )
    cuts = torch.linspace(-3, 4, 15, dtype=torch.float64)
    shares = (again(v).detach()[:, None] < cuts).double().mean(0)
    torch.testing.assert_close(
        shares, torch.sigmoid(cuts - 0.8), rtol=0, atol=4.5 * 0.5 / 200_000**0.5
    )


def test_disarm_is_arm_averaged_over_its_noise_given_the_pair() -> None:
    p = torch.tensor([[0.1, 0.4, 0.6, 0.93]], dtype=torch.float64)
    site = Site(torch.logit(p)[None] / 2, NoiseLaw.registry.build("logistic"), Site.sample)
    u = ((torch.arange(100_000, dtype=torch.float64) + 0.5)[:, None] / 100_000).expand(-1, 4)
    bits = torch.stack([u < p, u > 1 - p]).double()
    loss = torch.tensor([[1.7], [0.4]], dtype=torch.float64)
    layer = LayerSamples(site, bits, loss.expand(2, len(u))[..., None], u[None], None, None)  # type: ignore[arg-type]
    arm, disarm = ARM().gradient(layer), DisARM().gradient(layer)
    for pair in itertools.product((0, 1), repeat=2):
        chosen = (bits[0] == pair[0]) & (bits[1] == pair[1])
        for unit in range(4):
            if chosen[:, unit].any():
                mine = [g[0][chosen[:, unit], unit] for g in (arm, disarm)]
                assert float(mine[0].mean()) == pytest.approx(float(mine[1].mean()), abs=1e-4)
                assert float(mine[1].std()) < 1e-12


def test_arms_of_two_draws_is_disarm() -> None:
    """Equal formulas on equal pairs, of one distribution: below ½ they never fire together."""
    p = torch.rand(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    site = Site(torch.logit(p)[None] / 2, NoiseLaw.registry.build("logistic"), Site.sample)
    u = torch.rand(7, 5, dtype=torch.float64)
    bits, loss = torch.stack([u < p, u > 1 - p]).double(), torch.rand(2, 7, dtype=torch.float64)
    drawn = LayerSamples(site, bits, loss[..., None], u, None, None)  # type: ignore[arg-type]
    torch.testing.assert_close(
        ARMS(samples=2).gradient(drawn), DisARM().gradient(drawn), rtol=1e-10, atol=1e-12
    )


@pytest.mark.numerical
@pytest.mark.parametrize("samples", [2, 3, 5])
def test_draws_of_arms_have_the_probability_and_the_correlation_that_it_says(samples: int) -> None:
    p = torch.tensor([0.05, 0.3, 0.5, 0.8, 0.97], dtype=torch.float64).expand(200_000, 5)
    generator = torch.Generator().manual_seed(0)
    noise = lambda like: torch.empty_like(like).uniform_(generator=generator)  # noqa: E731
    site = Site(torch.logit(p)[None] / 2, NoiseLaw.registry.build("logistic"), Site.sample, noise)
    arms = ARMS(samples=samples)
    bits = arms.draw(site)[0]
    torch.testing.assert_close(bits.mean(1), p[:samples], rtol=0, atol=4.5 * 0.5 / 200_000**0.5)
    away = (bits - p) / (p * (1 - p)).sqrt()
    for k in range(1, samples):
        found = (away[0] * away[k]).mean(0)
        torch.testing.assert_close(found, arms.correlation(p)[0], rtol=0, atol=0.02)


def spread(
    baseline: str | dict, runs: int, widths: tuple[int, ...] = (3,), layer: int = 0
) -> float:
    """Total variance of a layer's weight gradient as the mean of `runs` steps.

    From 400 repetitions of a fixed seed.
    """
    model, generator = Toy(widths), torch.Generator().manual_seed(0)
    estimator = Estimator.registry.build({"name": "reinforce", "baseline": baseline})
    initialized(estimator, model)

    def estimate() -> Tensor:
        forward = ForwardClosure(
            model,
            *batch(1),
            lambda s, t: tangled(s, t) + 5,
            lambda u: torch.empty_like(u).uniform_(generator=generator),
        )
        return gradient(model, estimator, forward)[2 * layer]

    return float(
        torch.stack([sum(estimate() for _ in range(runs)) / runs for _ in range(400)]).var(0).sum()
    )  # type: ignore


@pytest.mark.numerical
def test_leave_one_out_reduces_the_variance_of_plain_reinforce_at_equal_passes() -> None:
    assert spread({"name": "leave_one_out", "samples": 4}, runs=1) < spread("none", runs=4) / 4


@pytest.mark.slow
@pytest.mark.numerical
@pytest.mark.parametrize("layer", [0, 1])
def test_nesting_reduces_the_variance_of_leave_one_out_in_every_layer(layer: int) -> None:
    plain, nested = (
        {"name": "leave_one_out", "samples": 4},
        {"name": "nested_leave_one_out", "samples": 4, "nested": 4},
    )
    assert spread(nested, 1, (3, 3), layer) < spread(plain, 1, (3, 3), layer) * (0.9, 0.5)[layer]


def variances(config: dict, widths: tuple[int, ...] = (3, 3)) -> Tensor:
    """Variance of one estimate of the weights of each binary layer, after a warm-up."""
    model = Toy(widths)
    estimator = warm_up(Estimator.registry.build(config), model)
    errors = sampled(model, estimator)[1]
    return (
        torch.stack([errors[2 * layer].square().sum() for layer in range(len(widths))])
        * REPEATS
        * AT_ONCE
    )


@pytest.mark.numerical
def test_orders_of_variance() -> None:
    """Dong, Mnih & Tucker 2020: DisARM varies less than ARM.

    More antithetic draws vary less than two, and two less than two independent ones.
    """
    leave_one_out = {"name": "reinforce", "baseline": {"name": "leave_one_out", "samples": 2}}
    arm, disarm, loo = (variances(c) for c in ({"name": "arm"}, {"name": "disarm"}, leave_one_out))
    assert (disarm < arm).all()
    assert (variances({"name": "arms", "samples": 4}) < disarm).all()
    assert disarm[0] < loo[0]


@pytest.mark.parametrize("linear, draws", [(True, 3), (False, 2)])
def test_nested_draws_of_a_single_layer_are_leave_one_out(linear: bool, draws: int) -> None:
    """Of M draws below a linear read-out, and else of K; both have the same noise."""
    torch.manual_seed(0)
    above = [nn.Linear(4, 2)] if linear else [nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)]
    model = nn.Sequential(nn.Linear(3, 4), Stochastic(), *above).double()
    inputs, targets = torch.randn(6, 3, dtype=torch.float64), torch.zeros(6, dtype=torch.int64)
    found = []
    for baseline in (
        {"name": "nested_leave_one_out", "samples": 2, "nested": 3},
        {"name": "leave_one_out", "samples": draws},
    ):
        estimator = Estimator.registry.build({"name": "reinforce", "baseline": baseline})
        estimator.init(model, inputs)
        assert estimator.evaluations([4]) == draws
        noise = generator_noise(torch.Generator().manual_seed(1))
        loss = estimator(model, inputs, targets, noise=noise)
        found.append(torch.autograd.grad(loss, list(model.parameters())))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def slopes(config: dict, logits: list[float]) -> tuple[list[float], list[float]]:
    """Factors of f'(b) at given log-odds, for b = 1 and b = 0."""
    found: list[list[float]] = []
    for u in (0.0, 1.0):
        a = (torch.tensor(logits, dtype=torch.float64) / 2).requires_grad_()
        noise = lambda like, u=u: torch.full_like(like, u)  # noqa: E731
        site = Site(a, NoiseLaw.registry.build("logistic"), Site.sample, noise=noise)
        bits = Estimator.registry.build(config).sample(site)  # type: ignore[attr-defined]
        assert set(bits.tolist()) == {1 - u}
        found.append((torch.autograd.grad(bits.sum(), a)[0] / 2).tolist())
    return found[0], found[1]


@pytest.mark.parametrize(
    "config, fired, not_fired",
    [
        ({"name": "st"}, [0.10499, 0.25, 0.19661], [0.10499, 0.25, 0.19661]),
        ({"name": "mve", "t": 1.0}, [0.20419, 0.25, 0.16926], [0.09157, 0.25, 0.27097]),
        ({"name": "gumbel_rao", "tau": 1.0}, [0.18870, 1 / 6, 0.13959], [0.10313, 1 / 6, 0.18182]),
        ({"name": "gumbel_rao", "tau": 0.5}, [0.27252, 0.2146, 0.15516], [0.0922, 0.2146, 0.25342]),
        ({"name": "reinmax", "tau": 1.0}, [0.44040, 0.25, 0.13447], [0.05960, 0.25, 0.36553]),
    ],
)
def test_estimators_of_one_pass_have_their_golden_slopes(
    config: dict, fired: list[float], not_fired: list[float]
) -> None:
    """At log-odds of -2, 0 and 1."""
    one, zero = slopes(config, [-2.0, 0.0, 1.0])
    assert one == pytest.approx(fired, abs=2e-5) and zero == pytest.approx(not_fired, abs=2e-5)


def test_the_quadrature_of_gumbel_rao_agrees_with_a_mean_over_the_noise() -> None:
    logits = torch.tensor([-7.0, -3.0, 0.0, 1.5, 6.0], dtype=torch.float64)
    for tau in (0.1, 0.5, 1.0, 3.0):
        for bit in (0.0, 1.0):
            p, bits = torch.sigmoid(logits), torch.full_like(logits, bit)
            expected = gumbel_rao_slope(p, bits, tau, nodes=200_000)
            found = conditional_slope(logits, bits, tau)
            torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-6)


@pytest.mark.parametrize("tau", [1e-6, 1e-3, 0.01, 0.05])
def test_gumbel_rao_becomes_the_half_estimator_at_low_temperatures(tau: float) -> None:
    """|b - p| / 2, which the conditional slope nears by a distance of the order of τ."""
    logits = torch.tensor([-3.0, 0.0, 1.5], dtype=torch.float64)
    for bit in (0.0, 1.0):
        bits = torch.full_like(logits, bit)
        half = (bits - torch.sigmoid(logits)).abs() / 2
        found = conditional_slope(logits, bits, tau)
        torch.testing.assert_close(found, half, rtol=1.5 * tau + 1e-7, atol=0)


def test_the_quadrature_of_gumbel_rao_holds_for_bits_without_probability() -> None:
    logits = torch.tensor([-300.0, -90.0, -20.0, 20.0, 90.0, 300.0])
    for bit in (0.0, 1.0):
        found = conditional_slope(logits, torch.full_like(logits, bit), 1.0)
        assert found.isfinite().all() and (found >= 0).all()
        improbable = found[:3] if bit else found[3:]
        assert torch.allclose(improbable, improbable[:1], rtol=1e-5), "that of an exponential z"
        assert float(found.min()) < 1e-6 < float(improbable.min())


def expected_slope(config: dict, logits: list[float]) -> list[float]:
    """Mean factor of f'(b), over p (1 - p): 1 where a linear f has no bias."""
    p = torch.sigmoid(torch.tensor(logits, dtype=torch.float64))
    one, zero = (torch.tensor(found, dtype=torch.float64) for found in slopes(config, logits))
    return ((p * one + (1 - p) * zero) / (p * (1 - p))).tolist()


def test_gumbel_rao_and_reinmax_rao_are_biased_for_a_linear_loss() -> None:
    at = [-3.0, -1.0, 0.0, 1.5]
    for exact_one in ({"name": "st"}, {"name": "reinmax"}, {"name": "mve", "t": 1.0}):
        assert expected_slope(exact_one, at) == pytest.approx([1.0] * 4, abs=1e-12)
    rao = expected_slope({"name": "reinmax_rao", "tau": 1.0}, at)
    assert rao == pytest.approx([1.75, 0.73, 0.59, 0.89], abs=0.006)
    warm, cold = (expected_slope({"name": "gumbel_rao", "tau": t}, at) for t in (1.0, 0.02))
    assert max(abs(one - 1) for one in warm) > 0.3
    assert cold == pytest.approx([1.0] * 4, abs=0.01), "towards 0 it becomes the ½-estimator"
    half = slopes({"name": "reinmax"}, at)
    for found, other in zip(slopes({"name": "gumbel_rao", "tau": 0.02}, at), half, strict=True):
        assert found == pytest.approx(other, abs=0.02)


def test_the_second_control_variate_of_double_cv_is_learned_and_exact_for_a_linear_loss() -> None:
    def linear(output: Tensor, targets: Tensor) -> Tensor:
        return output[:, 0] + targets

    model = Toy((4,))
    estimator = Estimator.registry.build({"name": "double_cv", "samples": 3}).init(
        model, batch(2)[0]
    )
    assert float(estimator.weights()) == 0
    inputs, targets = (one.repeat(500, *[1] * (one.dim() - 1)) for one in batch(1))
    for _ in range(5):
        estimator(model, inputs, targets, linear)
    assert float(estimator.weights()) == pytest.approx(-1, abs=0.1)
    assert list(estimator.metrics()) == ["alpha/neurons.0"]

    def variance(alpha: float) -> float:
        estimator.moments.copy_(torch.tensor([[-alpha, 1.0]]))
        found = []
        for _ in range(400):
            kept = estimator.moments.clone()
            loss = estimator(model, *batch(1), linear)
            estimator.moments.copy_(kept)
            found.append(torch.autograd.grad(loss, model.layers[0].bias)[0])
        return float(torch.stack(found).var(0).sum())

    plain = variance(0.0)
    assert variance(-1.0) < 1e-20
    assert variance(1.0) == pytest.approx(4 * plain, rel=0.25), "the control: the other sign"


def network(surrogate: Surrogate, change: Tensor, loss: Tensor) -> Tensor:
    """Surrogates (h, h̃), hidden unit by hidden unit."""
    hidden = surrogate.first(torch.stack([change, loss], -1))
    return surrogate.last(torch.nn.functional.leaky_relu(hidden, LEAK))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_surrogates_by_segments_are_the_network_and_have_its_gradient(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    surrogate = Surrogate(32).to(dtype)
    for parameter in surrogate.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    with torch.no_grad():
        # hidden units that do not follow the change
        surrogate.first.weight[:4, 0] = torch.tensor([0.0, -0.0, 1e-39, -1e-39])
    loss = torch.randn(2, 3, generator=generator, dtype=dtype)
    change = 2 * torch.randn(2, 3, 50, generator=generator, dtype=dtype)
    change[..., 0], change[..., 1] = -1e3, 1e3
    found = surrogate(change, loss)
    expected = network(surrogate, change, loss[..., None].expand_as(change))
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    cotangent = torch.randn(expected.shape, generator=generator, dtype=dtype)
    cotangent[..., :2, :] *= 1e-3
    torch.testing.assert_close(
        torch.autograd.grad(found, list(surrogate.parameters()), cotangent),
        torch.autograd.grad(expected, list(surrogate.parameters()), cotangent),
        rtol=tolerance,
        atol=tolerance,
    )


def draws_with_slopes(shape: tuple[int, ...], generator: torch.Generator) -> LayerDraws:
    """Draws of one layer, [K, samples, units], with random losses and slopes."""
    logits = torch.randn(shape[1:], generator=generator, dtype=torch.float64)
    site = Site(logits.expand(shape) / 2, NoiseLaw.registry.build("logistic"), Site.sample)
    bits, slope = (
        torch.randn(shape, generator=generator, dtype=torch.float64).gt(0).double(),
        torch.randn(shape, generator=generator, dtype=torch.float64),
    )
    loss = torch.randn(shape[:2], generator=generator, dtype=torch.float64)
    return LayerDraws(site, bits, slope, loss)


def rodeo_with_random_surrogates(layer: LayerDraws, generator: torch.Generator) -> RODEO:
    estimator = RODEO(samples=len(layer.loss), hidden=3)
    estimator.build([layer.site], torch.zeros(1))
    for parameter in estimator.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    return estimator


def test_rodeo_is_leave_one_out_on_its_first_batch() -> None:
    """Losses have not been standardised yet, whatever the surrogates are."""
    generator = torch.Generator().manual_seed(2)
    layer = draws_with_slopes((3, 5, 4), generator)
    estimator = rodeo_with_random_surrogates(layer, generator)
    leave_one_out = (layer.loss - mean_of_others(layer.loss))[..., None] * layer.b_minus_p
    torch.testing.assert_close(estimator.gradient(layer), leave_one_out)
    assert not torch.allclose(estimator.gradient(layer), leave_one_out), "the second batch"


def test_curvature_of_rodeos_fit_does_not_grow_with_the_hidden_units() -> None:
    def curvature(hidden: int) -> float:
        """Trace of the fit's second derivative by the output weights, over several networks."""
        total, generator = 0.0, torch.Generator().manual_seed(3)
        for _ in range(10):
            layer = draws_with_slopes((2, 50, 4), generator)
            estimator = RODEO(samples=2, hidden=hidden)
            estimator.build([layer.site], torch.zeros(1))
            torch.nn.init.uniform_(estimator.surrogates[0].first.weight, -1, 1, generator=generator)
            for _ in range(2):
                fit = estimator.auxiliary_loss([estimator.gradient(layer)])
            weight = estimator.surrogates[0].last.weight
            (slope,) = torch.autograd.grad(fit, weight, create_graph=True)
            for index, one in enumerate(slope.flatten()):
                (second,) = torch.autograd.grad(one, weight, retain_graph=True)
                total += float(second.flatten()[index])
        return total

    assert curvature(64) == pytest.approx(curvature(8), rel=0.5)


@pytest.mark.parametrize("samples", [2, 3])
def test_rodeo_is_its_published_formula(samples: int) -> None:
    """Estimates of given draws, beside those of the sums over neighbours written out."""
    generator = torch.Generator().manual_seed(2)
    layer = draws_with_slopes((samples, 5, 4), generator)
    estimator = rodeo_with_random_surrogates(layer, generator)
    mean, second, between = 0.5, 1.25, 0.64  # standardised losses (f - 0.5), in units of 0.8
    estimator.moments.copy_(torch.tensor([[1.0, mean, second, between]], dtype=torch.float64))

    def surrogate(change: Tensor, loss: Tensor) -> Tensor:
        return 0.8 * network(estimator.surrogates[0], change / 0.8, loss - 0.5)

    found = estimator.gradient(layer).mean(0)
    for sample in range(layer.loss.shape[1]):
        drawn, losses, slopes = (one[:, sample] for one in (layer.bits, layer.loss, layer.slope))
        expected = rodeo(drawn, layer.site.probs[0, sample], losses, slopes, surrogate)
        torch.testing.assert_close(found[sample], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("widths", [(6,), (4, 4)], ids=str)
def test_rodeo_learns_to_have_less_variance_than_double_control_variates(
    widths: tuple[int, ...],
) -> None:
    model = Toy(widths)
    rodeo = initialized(RODEO(samples=2, hidden=16), model)
    double = initialized(DoubleControlVariates(samples=2), model)
    optimizer = torch.optim.Adam(rodeo.parameters(), 0.01)

    def copies(count: int) -> tuple[Tensor, ...]:
        return tuple(one.repeat(count, *[1] * (one.dim() - 1)) for one in batch(1))

    def variance(estimator: Estimator, count: int = 4000) -> float:
        """Total variance of the gradient by the first layer's pre-activations."""
        outputs: list[Tensor] = []
        hook = model.layers[0].register_forward_hook(lambda *call: outputs.append(call[2]))
        noise = generator_noise(torch.Generator().manual_seed(4))
        surrogate = estimator(model, *copies(count), tangled, noise=noise)
        hook.remove()
        (found,) = torch.autograd.grad(count * surrogate, outputs)
        return float(found.unflatten(0, (-1, count)).sum(0).var(0).sum())

    before = variance(rodeo)
    torch.manual_seed(0)
    for _ in range(200):
        optimizer.zero_grad()
        rodeo(model, *copies(64), tangled).backward()
        optimizer.step()
        double(model, *copies(64), tangled)
    assert variance(rodeo) < 0.6 * before
    assert variance(rodeo) < 0.7 * variance(double)


@pytest.mark.slow
@pytest.mark.numerical
def test_local_expectations_over_several_draws_have_less_variance() -> None:
    """Independent draws that share everything below: the variance is that of one over K."""
    model, spreads = Toy((4,)), {}
    for samples in (1, 4):
        config = {"name": "local_expectation", "samples": samples}
        estimator, noise = build(config, model), generator_noise(torch.Generator().manual_seed(3))
        found = []
        for _ in range(600):
            loss = estimator(model, *batch(1), tangled, noise=noise)
            found.append(torch.autograd.grad(loss, model.layers[0].bias)[0])
        spreads[samples] = float(torch.stack(found).var(0).sum())
    assert spreads[4] == pytest.approx(spreads[1] / 4, rel=0.25)
