"""Binary weights: their rules, their step as mirror descent, their draws and their readings."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bnn
from bnn.errors import ConfigError
from bnn.nn import ForwardClosure, Stochastic, branching, handling, sampled
from bnn.nn.bop import Bop
from bnn.nn.latent_updates import LatentUpdates
from bnn.nn.noise import NoiseLaw
from bnn.nn.sites import generator_noise
from bnn.nn.weight_draws import LRT, SAMPLED, SIGN, WeightDraws, drawing_weights
from bnn.nn.weight_layers import BinaryConv2d, BinaryLinear, weight_rule
from bnn.nn.weight_sites import WeightSites
from bnn.nn.weights import (
    BopWeights,
    LatentWeights,
    LocalReparameterisation,
    SampledWeights,
    SignWeights,
    WeightRule,
)

LATENTS = torch.tensor([0.3, -0.8, 0.1], dtype=torch.float64)
X = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
BINARY = [name for name in WeightRule.registry if name != "real"]


def layer_of(rule: WeightRule, latents: Tensor) -> BinaryLinear:
    """Linear layer of one output without bias, with given latent weights."""
    layer = BinaryLinear(rule, len(latents), 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(latents[None])
    return layer


def mirror_step(log_odds: float, gradient: float, step: float, decay: float) -> float:
    """New log-odds of one weight after a step of SGD on its latent weight, gradient by θ."""
    layer = layer_of(
        SignWeights(decay=decay, scale="none"), torch.tensor([log_odds / 2], dtype=torch.float64)
    )
    optimizer = torch.optim.SGD(layer.parameters(), lr=step)
    LatentUpdates(layer, optimizer)
    # f = w g / 2, whose derivative by θ is g, since w = 2θ - 1 in the mean
    (layer(torch.ones(1, 1, dtype=torch.float64)) * gradient / 2).sum().backward()
    optimizer.step()
    return 2 * float(layer.weight.detach())


MIRROR = [(1.2, 0.7, 0.5, 0.3, 0.739130), (-2.0, -1.5, 0.2, 1.0, -1.416667)]


@pytest.mark.parametrize(("log_odds", "g", "step", "decay", "expected"), MIRROR)
def test_a_step_of_sgd_on_latent_weights_has_the_published_log_odds(
    log_odds: float, g: float, step: float, decay: float, expected: float
) -> None:
    assert mirror_step(log_odds, g, step, decay) == pytest.approx(expected, abs=1e-6)


def kl(p: Tensor, q: Tensor) -> Tensor:
    return p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()


@pytest.mark.parametrize(("log_odds", "g", "step", "decay", "_"), MIRROR)
def test_it_is_the_multiplicative_update_of_the_odds_and_the_kl_proximal_step(
    log_odds: float, g: float, step: float, decay: float, _: float
) -> None:
    """Latent step, odds^(1/(1+ελ)) · exp(-εg/(1+ελ)), and argmin of the proximal objective."""
    found = mirror_step(log_odds, g, step, decay)
    odds = (math.exp(log_odds) * math.exp(-step * g)) ** (1 / (1 + step * decay))
    assert found == pytest.approx(math.log(odds), abs=1e-12)

    before = torch.tensor(log_odds, dtype=torch.float64).sigmoid()
    theta = torch.tensor(found, dtype=torch.float64).sigmoid().requires_grad_()
    half = torch.tensor(0.5, dtype=torch.float64)
    objective = g * theta + kl(theta, before) / step + decay * kl(theta, half)
    (slope,) = torch.autograd.grad(objective, theta)
    assert abs(float(slope)) < 1e-10  # a convex objective: the minimum


def test_a_step_by_the_gradient_of_the_latent_weights_is_no_mirror_step() -> None:
    """Control: with the density of the law the same step comes to other log-odds."""
    layer = layer_of(SignWeights(step="gradient", scale="none"), torch.tensor([0.6]))
    (layer(torch.ones(1, 1, dtype=torch.float64)) * 0.35).sum().backward()
    assert layer.weight.grad is not None
    expected = 0.35 * (1 - math.tanh(0.6) ** 2)
    assert float(layer.weight.grad) == pytest.approx(expected, rel=1e-6)


def test_the_clipped_recurrence_of_binaryconnect() -> None:
    """η ← clip(η - ε ∂f/∂w), with f = c w, for the uniform law."""
    layer = layer_of(SignWeights(law="uniform", clip=True, scale="none"), torch.tensor([0.9, -0.5]))
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    LatentUpdates(layer, optimizer)
    weights = []
    for slope in (-1.0, 2.0, 1.0):
        optimizer.zero_grad()
        (slope * layer(torch.ones(1, 2, dtype=torch.float64))).sum().backward()
        optimizer.step()
        weights.append(layer.weight.tolist()[0])
    assert weights == [[1.0, 0.0], [0.0, -1.0], [-0.5, -1.0]]


def test_bop_flips_by_the_published_vector() -> None:
    weight = nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = Bop([weight], gamma=0.1, threshold=0.06)
    means, weights = [], []
    for gradient in (0.5, 0.5, -1.0, -1.0, 2.0):
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        means.append(float(optimizer.state[weight]["mean"]))
        weights.append(float(weight))
    assert means == pytest.approx([0.05, 0.095, -0.0145, -0.11305, 0.098255])
    assert weights == [1, -1, -1, 1, -1]


def test_bop_takes_a_closure_as_optimizers_of_torch_do() -> None:
    weight = nn.Parameter(torch.ones(1))
    optimizer = Bop([weight], gamma=1.0)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = weight.sum()
        loss.backward()
        return loss

    assert float(optimizer.step(closure)) == 1 and float(weight) == -1


@pytest.mark.parametrize("settings", [{"gamma": 0.0}, {"gamma": 1.5}, {"threshold": -1.0}])
def test_bop_refuses_settings_that_make_no_sense(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"expected .*{next(iter(settings))}"):
        Bop([nn.Parameter(torch.ones(1))], **settings)


def test_bop_without_a_threshold_follows_the_sign_of_the_mean_gradient() -> None:
    """Hence BayesBiNN at its published temperature: w = -sign of the running mean."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.ones(50))
    optimizer, mean = Bop([weight], gamma=0.2, threshold=0.0), torch.zeros(50)
    for _ in range(20):
        weight.grad = torch.randn(50)
        mean = 0.8 * mean + 0.2 * weight.grad
        optimizer.step()
        assert torch.equal(weight.detach(), -mean.sign())


def bayesbinn(gradients: Tensor, rate: float, temperature: float, seed: int) -> Tensor:
    """Weights of the published recurrence (Meng, Bachmann & Khan 2020), single precision.

    Args:
        gradients: [steps, weights].
        rate: α.
        temperature: τ.
        seed: seed of the initial latent weights and the noise.

    Returns:
        Weights of each step, [steps, weights].
    """
    torch.manual_seed(seed)
    latent = 10 * torch.randn(gradients.shape[1]).sign()
    weights = []
    for gradient in gradients:
        delta = torch.logit(torch.rand_like(latent), eps=1e-6) / 2
        weight = torch.tanh((latent + delta) / temperature)
        scale = (1 - weight**2 + 1e-10) / (temperature * (1 - latent.tanh() ** 2 + 1e-10))
        weights.append(weight)
        latent = (1 - rate) * latent - rate * scale * gradient
    return torch.stack(weights)


@pytest.mark.parametrize(("temperature", "alike"), [(1e-10, True), (1.0, False)])
def test_bayesbinn_at_its_published_temperature_is_bop_without_a_threshold(
    temperature: float, alike: bool
) -> None:
    """From the second step on; at temperature 1, the control, it is not."""
    gradients = 0.01 * torch.randn(60, 2000, generator=torch.Generator().manual_seed(0))
    published = bayesbinn(gradients, 0.1, temperature, seed=0)
    weight = nn.Parameter(torch.ones(2000))
    optimizer, weights = Bop([weight], gamma=0.1, threshold=0.0), []
    for gradient in gradients:
        weights.append(weight.detach().clone())
        weight.grad = gradient
        optimizer.step()
    same = (published.sign() == torch.stack(weights))[30:].float().mean()
    assert (same > 0.999) == alike
    if alike:
        assert torch.equal(published.abs(), torch.ones_like(published))


def read(layer: nn.Module, x: Tensor, reading: str, noise: Tensor) -> Tensor:
    with drawing_weights(WeightDraws(lambda like: noise.expand_as(like), reading)):
        output: Tensor = layer(x[None])
    return output


def test_local_reparameterisation_has_the_moments_of_drawn_weights() -> None:
    layer = layer_of(LocalReparameterisation(scale="none"), LATENTS)
    median = torch.tensor(0.5, dtype=torch.float64)
    assert float(read(layer, X, LRT, median)) == pytest.approx(0.822667, abs=1e-6)
    # one deviation above the mean
    above = torch.special.ndtr(torch.ones((), dtype=torch.float64))
    variance = (float(read(layer, X, LRT, above)) - 0.822667) ** 2
    assert variance == pytest.approx(5.015166, abs=1e-4)
    probability = torch.special.ndtr(torch.tensor(0.822667 / math.sqrt(5.015166)))
    assert float(probability) == pytest.approx(0.643321, abs=1e-6)


def test_sampled_weights_have_the_exact_expectations_of_enumeration() -> None:
    """E f, its gradient by θ, and the mean of the identity straight-through gradient."""
    layer, means = (
        layer_of(SampledWeights(scale="none"), LATENTS),
        2 * torch.sigmoid(2 * LATENTS) - 1,
    )
    expected, gradient = 0.0, torch.zeros(3, dtype=torch.float64)
    exact = torch.zeros(3, dtype=torch.float64)
    positive = 0.0
    for bits in itertools.product((0.0, 1.0), repeat=3):
        b = torch.tensor(bits, dtype=torch.float64)
        weight = float(torch.where(b == 1, (1 + means) / 2, (1 - means) / 2).prod())
        layer.zero_grad()
        # u < p gives 1 for u = 0, and 0 for u just below 1
        z = read(layer, X, SAMPLED, (1 - b) * (1 - 1e-9))
        loss = F.softplus(-z).sum()
        loss.backward()
        assert layer.weight.grad is not None
        expected += weight * float(loss)
        gradient += weight * 2 * layer.weight.grad[0]
        exact += weight * float(loss) * (b / ((1 + means) / 2) - (1 - b) / ((1 - means) / 2))
        positive += weight * float(z > 0)
    assert expected == pytest.approx(0.817133, abs=1e-6)
    assert positive == pytest.approx(0.549834, abs=1e-6)
    assert gradient.tolist() == pytest.approx([-0.788431, 0.394215, -1.576862], abs=1e-6)
    assert exact.tolist() == pytest.approx([-0.854366, 0.433645, -1.566079], abs=1e-6)


def small_network(rule: str, **settings: object) -> nn.Module:
    """Convolution, stochastic units and two linear layers; the middle layers are binary."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), Stochastic(), nn.Conv2d(2, 3, 3), nn.Flatten(), Stochastic(),
        nn.Linear(3 * 4, 5), Stochastic(), nn.Linear(5, 3),
    )  # fmt: skip
    return bnn.binarize(net, {"name": rule, **settings})


INPUTS = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([0, 1, 2, 0])


@pytest.mark.parametrize("rule", BINARY)
def test_weights_in_evaluation_are_exactly_plus_and_minus_one(rule: str) -> None:
    net = small_network(rule, scale="none").eval()
    seen: list[Tensor] = []
    for layer in net.modules():
        if isinstance(layer, BinaryConv2d | BinaryLinear):
            operation = layer.operation
            layer.operation = lambda x, w, b, op=operation: seen.append(w) or op(x, w, b)  # type: ignore[method-assign, func-returns-value]
    net(INPUTS)
    assert len(seen) == 2
    assert all(set(weight.flatten().tolist()) == {-1.0, 1.0} for weight in seen)


def test_the_scale_is_that_of_the_inputs_or_of_the_latent_weights() -> None:
    latents, one = torch.tensor([[0.5, -1.5], [0.2, 0.4]]), torch.ones(1, 2)
    outputs = {}
    for scale in ("none", "fan_in", "mean"):
        layer = BinaryLinear(SignWeights(scale=scale), 2, 2, bias=False)
        layer.weight.data.copy_(latents)
        outputs[scale] = layer(one)[0].tolist()
    assert outputs["none"] == [0, 2]
    assert outputs["fan_in"] == pytest.approx([0, 2 / math.sqrt(2)])
    assert outputs["mean"] == pytest.approx([0, 0.6])


@pytest.mark.parametrize("rule", ["sample", "lrt"])
def test_one_step_draws_weights_once_for_all_its_passes_and_replicas(rule: str) -> None:
    """Replicas of a sample that have the same bits have the same loss; so have two passes."""
    net = small_network(rule).train()
    noise = generator_noise(torch.Generator().manual_seed(0))

    def losses() -> tuple[Tensor, Tensor]:
        forward = ForwardClosure(net, INPUTS, LABELS, bnn.tasks.classification.cross_entropy, noise)
        replicas = forward(lambda site: site.threshold(), branching(2, 1, 1)).loss
        return replicas, forward(lambda site: site.threshold()).loss

    (two, again), (others, _) = losses(), losses()
    assert torch.allclose(two[0], two[1])
    assert torch.allclose(two[0], again[0])
    assert not torch.allclose(two[0], others[0])  # the next step draws anew


@pytest.mark.parametrize("rule", BINARY)
def test_every_estimator_of_one_or_several_passes_trains_the_weights(rule: str) -> None:
    for estimator in (
        bnn.estimators.StraightThrough(),
        bnn.estimators.DisARM(),
        bnn.estimators.RELAX(),
    ):
        net = small_network(rule).train()
        estimator(net, INPUTS, LABELS).backward()
        gradients = [p.grad for name, p in net.named_parameters() if name.endswith("weight")]
        assert all(g is not None and g.isfinite().all() for g in gradients)
        assert all(float(g.abs().sum()) > 0 for g in gradients if g is not None)


def test_layers_are_chosen_by_their_place_or_their_name() -> None:
    def binary(layers: object, count: int = 4) -> list[str]:
        net = nn.Sequential(*[nn.Linear(2, 2) for _ in range(count)])
        bnn.binarize(net, "sign", layers)  # type: ignore[arg-type]
        return [name for name, one in net.named_modules() if isinstance(one, BinaryLinear)]

    assert binary("hidden") == ["1", "2"]
    assert binary("all") == ["0", "1", "2", "3"]
    assert binary(["2"]) == ["2"]
    with pytest.raises(ConfigError, match="none between the first and the last"):
        binary("hidden", 2)
    with pytest.raises(ConfigError, match="9 is no module of the network"):
        binary(["9"])
    with pytest.raises(ConfigError, match=r"hidden, all, or names of layers such as .* got '12'"):
        binary("12")  # no list of "1" and "2"
    for layers in ("hidden", "all"):
        with pytest.raises(ConfigError, match="layers, got one without; write weights=real"):
            binary(layers, 0)
    with pytest.raises(ConfigError, match="act is a Stochastic of the network"):
        bnn.binarize(nn.ModuleDict({"act": Stochastic(), "a": nn.Linear(2, 2)}), "sign", ["act"])


def test_binary_layers_keep_biases_geometry_and_names() -> None:
    net = nn.Sequential(
        nn.Linear(3, 3), nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2), nn.Linear(3, 3)
    )
    bias, names, x = net[1].bias, list(net.state_dict()), torch.rand(1, 2, 8, 8)
    shape = net[1](x).shape
    bnn.binarize(net, "sign")
    assert list(net.state_dict()) == names
    assert net[1].bias is bias
    assert net[1](x).shape == shape


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip": True}, "weights.clip=true with weights.law=logistic"),
        ({"clip": True, "law": "uniform", "init": 2.0}, "weights.init: expected"),
        ({"scale": "big"}, "weights.scale: expected one of fan_in, mean, none"),
        ({"step": "newton"}, "weights.step: expected one of mirror, gradient"),
        ({"lr": 0.0}, "weights.lr: expected a positive number"),
        ({"decay": -1.0}, "weights.decay: expected a number >= 0"),
        ({"momentum": 1.0}, "weights.momentum: expected a number in"),
        ({"layers": "some"}, "weights.layers: expected hidden, all, or names"),
        ({"law": "cauchy"}, "law: expected one of"),
    ],
)
def test_parameters_that_make_no_sense_are_one_line(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        WeightRule.registry.build({"name": "sign", **settings})


def test_parameters_of_bop_that_make_no_sense_are_one_line() -> None:
    for key, value in (("gamma", 0.0), ("gamma", 2.0), ("threshold", -1.0)):
        with pytest.raises(ConfigError, match=f"weights.{key}: expected"):
            WeightRule.registry.build({"name": "bop", key: value})


def test_a_network_has_one_rule() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    bnn.binarize(bnn.binarize(net, "sign", ["0"]), "bop", ["1"])
    with pytest.raises(ConfigError, match="expected one rule"):
        weight_rule(net)


def test_statistics_are_those_of_the_distribution() -> None:
    rule = SampledWeights(law="uniform", clip=True)
    found = {k: float(v) for k, v in rule.statistics(torch.tensor([1.0, -1.0, 0.0, 0.5])).items()}
    assert found["mean_abs"] == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    assert found["clipped"] == pytest.approx(0.5)
    quarter = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert found["entropy"] == pytest.approx((math.log(2) + quarter) / 4, rel=1e-5)


@pytest.mark.parametrize("law", sorted(NoiseLaw.registry))
def test_latent_weights_are_drawn_with_the_law(law: str) -> None:
    """20,000 draws; |z| < 4.5 fails once in 16,000 such tests, and the seed is fixed."""
    latent = torch.full((20_000, 1), 0.4)
    rule: LatentWeights = SampledWeights(law=law)
    torch.manual_seed(0)
    p = float(rule.site(latent[:1]).probs)
    rate = float(rule.site(latent).sample().mean())
    assert abs(rate - p) < 4.5 * math.sqrt(p * (1 - p) / 20_000)


def test_bop_starts_with_weights_of_either_sign() -> None:
    weight = torch.empty(1000)
    BopWeights().initialise(weight)
    assert set(weight.tolist()) == {-1.0, 1.0}
    assert BopWeights.reading == SIGN


@pytest.mark.slow
def test_weights_as_sites_are_trained_without_bias_by_a_score_function() -> None:
    """Mean of 4,000 estimates; |z| < 4.5, and the seed is fixed."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 1, bias=False), nn.Linear(1, 1, bias=False)).double()
    bnn.binarize(net, WeightSites(scale="none", layers=["0"]))
    with torch.no_grad():
        net[0].weight.copy_(LATENTS[None])
        net[1].weight.fill_(1.0)

    def loss(output: Tensor, targets: Tensor) -> Tensor:
        return F.softplus(-output[:, 0])

    x, labels = X[None].expand(2, -1), torch.zeros(2, dtype=torch.long)
    estimator = bnn.estimators.Reinforce(baseline=bnn.estimators.LeaveOneOut(samples=4))
    estimates = []
    for _ in range(4000):
        net.zero_grad()
        estimator(net, x, labels, loss).backward()
        estimates.append(net[0].weight.grad[0].clone())
    found = torch.stack(estimates)
    theta = torch.sigmoid(2 * LATENTS)
    exact = torch.tensor([-0.854366, 0.433645, -1.566079]) * 2 * theta * (1 - theta)
    z = (found.mean(0) - exact) / (found.std(0) / math.sqrt(len(found)))
    assert float(z.abs().max()) < 4.5


def test_weights_as_sites_are_their_signs_in_evaluation() -> None:
    torch.manual_seed(0)
    net = bnn.binarize(nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 1)), WeightSites(layers=["0"]))
    layer, x = net.eval()[0], torch.rand(3, 4)
    expected = F.linear(x, layer.binary_weight, layer.bias)
    for _ in range(8):
        torch.testing.assert_close(layer(x), expected)
    with handling(sampled()):
        drawn = torch.stack([layer(x) for _ in range(8)])
    assert float(drawn.std(0).min()) > 0


def test_many_weights_as_sites_are_refused() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
    bnn.binarize(net, WeightSites(layers=["0"]))
    with pytest.raises(ConfigError, match="at most 12 weights"):
        bnn.estimators.Reinforce()(net, torch.rand(2, 4), torch.zeros(2, dtype=torch.long))


def test_a_layer_of_two_names_stays_one_layer() -> None:
    shared = nn.Linear(8, 8)
    net = bnn.binarize(nn.Sequential(nn.Linear(4, 8), shared, nn.Tanh(), shared), layers="all")
    assert isinstance(net[1], BinaryLinear) and net[1] is net[3]


@pytest.mark.parametrize("scale", ["none", "fan_in", "mean"])
def test_the_gradient_of_bop_is_that_of_the_weights(scale: str) -> None:
    """Weights ±1 have a mean of 1 by size, which the gradient does not pass through."""
    torch.manual_seed(0)
    layer = BinaryLinear(BopWeights(scale=scale), 5, 3, bias=False, dtype=torch.float64)
    x = torch.randn(7, 5, dtype=torch.float64)
    layer(x).square().sum().backward()
    weight = layer.weight.detach().clone().requires_grad_()
    factor = 1 / math.sqrt(5) if scale == "fan_in" else 1.0
    (factor * F.linear(x, weight)).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, weight.grad)
