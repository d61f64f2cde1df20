"""Contract tests for gradient estimators, against exact enumeration.

An estimator of your own proves its claims in three lines of pytest:

    from bnn.testing import check_estimator

    def test_mine_keeps_its_claims():
        check_estimator(Mine())

The networks are small and in float64, so that the true gradient is a finite sum; the loss is neither quadratic nor additive
in the bits. Estimates are averaged over fixed seeds, and compared within their standard errors.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnn.errors import ConfigError
from bnn.estimators.base import Estimator
from bnn.nn.forward import ForwardClosure, ForwardPass, Loss, SampleRule
from bnn.nn.handlers import sample
from bnn.nn.layers import binary_layers
from bnn.nn.neurons import Stochastic
from bnn.nn.noise import Logistic
from bnn.nn.replicas import SampleTree
from bnn.nn.sites import Latents, Noise, Site

LIMIT = 14
"""The most binary units whose joint configurations are enumerated."""
STANDARD_ERRORS = 4.5
"""Deviation at which an unbiased estimator is found to be biased, with a probability of 1e-5 for each number."""


class SharedBits(nn.Module):
    """Linear layer without bias whose weights are bits, one draw for the whole batch: w ~ Bernoulli(σ(2η)).

    Args:
        inputs, outputs: number of units.
    """

    binary = True

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.latent = nn.Parameter(torch.randn(outputs, inputs) / 2)

    def forward(self, x: Tensor) -> Tensor:
        weights = sample(Site(self.latent, Logistic(), Site.sample, shared=True, module=self))
        if len(weights) == 1:
            return F.linear(x, weights[0])
        return torch.bmm(x.unflatten(0, (len(weights), -1)), weights.transpose(1, 2)).flatten(0, 1)


class Residual(nn.Module):
    """Two binary layers and a path around both."""

    def __init__(self) -> None:
        super().__init__()
        self.lower, self.upper, self.readout = nn.Linear(3, 2), nn.Linear(2, 2), nn.Linear(5, 2)
        self.first, self.second = Stochastic(), Stochastic()

    def forward(self, x: Tensor) -> Tensor:
        low = self.first(self.lower(x))
        high = self.second(self.upper(low)) + 0.5 * low
        return self.readout(torch.cat([high, x], 1))


class Gated(nn.Module):
    """A binary gate beside what it gates."""

    def __init__(self) -> None:
        super().__init__()
        self.gater, self.gated, self.readout = nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(2, 2)
        self.gate = Stochastic()

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.gate(self.gater(x)) * torch.tanh(self.gated(x)))


def _sequential(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for below, above in itertools.pairwise((3, *widths)):
        layers += [nn.Linear(below, above), Stochastic()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 2))


def _convolution() -> nn.Sequential:
    first = [nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 1, 2, padding=1), Stochastic(), nn.MaxPool1d(2)]
    return nn.Sequential(*first, nn.Conv1d(1, 2, 2), Stochastic(), nn.Flatten(), nn.Linear(2, 2))


NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "one layer": lambda: _sequential(3),
    "two layers": lambda: _sequential(2, 2),
    "three layers": lambda: _sequential(2, 1, 1),
    "convolution": _convolution,
    "residual": Residual,
    "gated": Gated,
    "shared weights": lambda: nn.Sequential(
        SharedBits(3, 1), nn.Linear(1, 2), Stochastic(), nn.Linear(2, 2)
    ),
}
"""Networks of 3 inputs and 2 outputs, by name: chains, a convolution with pooling between binary layers, paths around binary
layers, and weights that the batch shares."""


def network(name: str, seed: int = 0) -> nn.Module:
    """One of NETWORKS in float64, initialised from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[name]().double()


def tangled(output: Tensor, targets: Tensor) -> Tensor:
    """Loss that is neither quadratic nor additive in the bits, [n, 2] and [n] to [n]."""
    s, t = output.unbind(1)
    return torch.exp(0.7 * s) * torch.sin(2 * t + targets) + 0.3 * s**3 * t


def tangled_with_latents(output: Tensor, targets: Tensor, latents: Latents) -> Tensor:
    """`tangled`, with terms that depend on bits and probabilities themselves, as an evidence bound does."""
    loss = tangled(output, targets)
    for site, bits in latents:
        b, p = bits.flatten(1), site.probs.flatten(1)
        loss = loss + 0.5 * torch.sin(b.sum(1) + targets) * p.sum(1) + (b * p).mean(1)
    return loss


def batch(samples: int = 1) -> tuple[Tensor, Tensor]:
    """Inputs [samples, 3] and targets [samples] in float64."""
    generator = torch.Generator().manual_seed(7)
    inputs = torch.randn(samples, 3, generator=generator, dtype=torch.float64)
    return inputs, torch.linspace(0.5, 1.5, samples, dtype=torch.float64)


def exact_loss(model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss = tangled) -> Tensor:
    """Expected loss of a network as a sum over the joint configurations of all its bits, differentiable.

    Unlike `enumeration` it takes any network, with paths around binary layers and shared weights too; batch statistics
    above a binary layer must not couple the samples.

    Args:
        model: the network.
        inputs, targets: [n, …].
        loss: loss of each row of the output.

    Raises:
        ConfigError: above LIMIT bits.
    """
    layers = binary_layers(model, inputs)
    if sum(layers.units) > LIMIT:
        raise ConfigError(
            f"expected at most {LIMIT} binary units in all, the network has {sum(layers.units)}"
        )
    table = torch.tensor(
        list(itertools.product((0, 1), repeat=sum(layers.units))), dtype=inputs.dtype
    )
    columns = table.split(list(layers.units), dim=1)
    tree: SampleTree = [[0] * len(table), *[range(len(table))] * (len(layers.units) - 1)]

    def rule(site: Site) -> Tensor:
        return (
            columns[site.index]
            .view(-1, 1, *site.preactivation.shape[2:])
            .expand_as(site.preactivation)
        )

    drawn = ForwardClosure(model, inputs, targets, loss, layers=layers)(rule, tree)
    weight = torch.ones_like(drawn.loss)
    for site, bits in zip(drawn.sites, drawn.bits, strict=True):
        weight = weight * torch.where(bits > 0, site.probs, 1 - site.probs).flatten(2).prod(2)
    return (weight * drawn.loss).sum(0).mean()


def gradient(model: nn.Module, loss: Tensor) -> list[Tensor]:
    """Gradient of a scalar by the parameters of a network; zeros where it does not depend on one."""
    parameters = list(model.parameters())
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def seeded(seed: int) -> Noise:
    """Noise from a generator of its own."""
    generator = torch.Generator().manual_seed(seed)
    return lambda like: torch.empty_like(like).uniform_(generator=generator)


@dataclass(frozen=True)
class Sampled:
    """Mean of estimates and its standard error, by parameter."""

    mean: list[Tensor]
    error: list[Tensor]

    def deviation(self, expected: Sequence[Tensor]) -> float:
        """Largest distance from `expected` in standard errors; infinite where there is no error and a difference."""
        worst = 0.0
        for mean, error, true in zip(self.mean, self.error, expected, strict=True):
            distance = (mean - true).abs()
            exact = distance <= 1e-9 * (1 + true.abs())
            worst = max(
                worst,
                float(torch.where(exact, 0.0, distance / error).nan_to_num(nan=math.inf).max()),
            )
        return worst


def sampled_gradient(
    estimator: Estimator,
    model: nn.Module,
    loss: Loss = tangled,
    *,
    estimates: int = 50_000,
    seed: int = 1,
) -> Sampled:
    """Mean and standard error of an estimator's gradient for one sample.

    Args:
        estimator: initialised for the network; each estimate begins with a copy of its state.
        model: the network.
        loss: loss of each row of the output.
        estimates: number of samples in all, in batches of 500 copies; a hundredth of them in batches of two where the batch
            shares weights, since one batch is then one draw of them.
        seed: of the noise.
    """
    copies, batches = (2, estimates // 100) if _shares(model) else (500, estimates // 500)
    inputs, targets = (one.repeat(copies, *[1] * (one.dim() - 1)) for one in batch(1))
    noise, found = seeded(seed), []
    for _ in range(batches):
        again = copy.deepcopy(estimator)
        found.append(gradient(model, again(model, inputs, targets, loss, noise=noise)))
    stacked = [torch.stack(of_one) for of_one in zip(*found, strict=True)]
    return Sampled([one.mean(0) for one in stacked], [one.std(0) / batches**0.5 for one in stacked])


def _shares(model: nn.Module) -> bool:
    """Whether the batch shares any binary variables of `model`."""
    return any(site.shared for site in binary_layers(model, batch(2)[0]).sites)


def warmed(
    estimator: Estimator, model: nn.Module, loss: Loss = tangled, *, steps: int = 3
) -> Estimator:
    """A copy of `estimator`, initialised for `model`, whose averages have seen some batches and whose learned parameters are
    not at their initial values."""
    estimator = copy.deepcopy(estimator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        estimator.init(model, batch(2)[0])
        for parameter in estimator.parameters():
            nn.init.normal_(parameter)
    noise = seeded(3)
    for _ in range(steps):
        estimator(model, *batch(4), loss, noise=noise)
    return estimator


def serves(estimator: Estimator, model: nn.Module, loss: Loss = tangled) -> bool:
    """Whether an estimator takes a network and a loss; those that it does not take it refuses by a ConfigError."""
    try:
        copy.deepcopy(estimator).init(model, batch(2)[0])(model, *batch(2), loss)
    except ConfigError:
        return False
    return True


def check_unbiased(
    estimator: Estimator, name: str = "two layers", loss: Loss = tangled, *, estimates: int = 50_000
) -> None:
    """Assert that the mean estimate is the exact gradient of the expected loss, within its standard error.

    Of an estimator that is unbiased up to a positive scale (`up_to_scale`) the scale is taken off first.

    Args:
        estimator: the estimator.
        name: one of NETWORKS.
        loss: loss of each row of the output.
        estimates: samples that are averaged.

    Raises:
        AssertionError: naming the network and the deviation.
        ConfigError: for a network that the estimator refuses.
    """
    model = network(name)
    ready = warmed(estimator, model, loss)
    true = gradient(model, exact_loss(model, *batch(1), loss))
    found = sampled_gradient(ready, model, loss, estimates=estimates)
    if estimator.up_to_scale:
        found = _rescaled(found, true)
    deviation = found.deviation(true)
    assert deviation < STANDARD_ERRORS, (
        f"{type(estimator).__name__} on {name!r}: the mean estimate is {deviation:.1f} standard errors from the exact one"
    )


def _rescaled(found: Sampled, true: Sequence[Tensor]) -> Sampled:
    """Estimates with one positive factor for all parameters taken off that do not agree as they are (those below)."""
    mean, error = list(found.mean), list(found.error)
    off = [
        k
        for k in range(len(mean))
        if Sampled([mean[k]], [error[k]]).deviation([true[k]]) >= STANDARD_ERRORS
    ]
    if off:
        flat, goal = (torch.cat([one[k].flatten() for k in off]) for one in (mean, true))
        scale = float(flat @ goal / (goal @ goal))
        assert scale > 0, "the scale has to be positive"
        for k in off:
            mean[k], error[k] = mean[k] / scale, error[k] / scale
    return Sampled(mean, error)


def check_value(
    estimator: Estimator, name: str = "two layers", loss: Loss = tangled, *, copies: int = 20_000
) -> None:
    """Assert that the value of the surrogate loss is the expected loss, within its standard error.

    Raises:
        AssertionError: naming the network, the value and the expected loss.
        ConfigError: for a network that the estimator refuses.
    """
    model = network(name)
    expected = float(exact_loss(model, *batch(1), loss).detach())
    inputs, targets = (one.repeat(copies, *[1] * (one.dim() - 1)) for one in batch(1))
    once = ForwardClosure(model, inputs, targets, loss, seeded(4))(Site.sample).loss
    ready = copy.deepcopy(estimator).init(model, inputs[:2])
    value = float(ready(model, inputs, targets, loss, noise=seeded(2)).detach())
    error = float(once.detach().std()) / (1 if _shares(model) else copies**0.5)
    assert abs(value - expected) <= STANDARD_ERRORS * error + 1e-9, (
        f"{type(estimator).__name__} on {name!r}: the surrogate loss is {value:.4f}, the expected loss {expected:.4f}"
    )


def check_evaluations(estimator: Estimator, name: str = "two layers", loss: Loss = tangled) -> None:
    """Assert that one step computes as many losses for each sample as `Estimator.evaluations` says.

    Raises:
        AssertionError: naming the network and both numbers.
        ConfigError: for a network that the estimator refuses.
    """
    model = network(name)
    ready = copy.deepcopy(estimator).init(model, batch(2)[0])
    assert ready.layers is not None
    counted = _Counted(model, *batch(5), loss, layers=ready.layers)
    ready.surrogate_loss(counted).backward()
    said = ready.evaluations(ready.layers.units)
    assert counted.count == said, (
        f"{type(estimator).__name__} on {name!r}: {counted.count} evaluations a step, it says {said}"
    )


class _Counted(ForwardClosure):
    """Forward closure that counts the losses of its passes."""

    count = 0

    def __call__(self, rule: SampleRule, tree: SampleTree = ()) -> ForwardPass:
        drawn = super().__call__(rule, tree)
        self.count += len(drawn.loss)
        return drawn


def check_estimator(estimator: Estimator, names: Sequence[str] = tuple(NETWORKS)) -> None:
    """Assert every claim of an estimator on every network that it takes.

    An unbiased one has to be unbiased, also where the loss depends on the bits themselves; the value has to be the expected
    loss (where the loss is not evaluated at fractional bits alone); `evaluations` has to be what a step computes.

    Args:
        estimator: the estimator, with the parameters that are to be tested.
        names: networks of NETWORKS.

    Raises:
        AssertionError: for a claim that does not hold, or if none of the networks is taken.
    """
    losses: tuple[Loss, ...] = (tangled, tangled_with_latents)
    cases = itertools.product(names, losses)
    taken = [(name, loss) for name, loss in cases if serves(estimator, network(name), loss)]
    assert taken, f"{type(estimator).__name__} takes none of the networks {', '.join(names)}"
    for name, loss in taken:
        check_evaluations(estimator, name, loss)
        if estimator.unbiased:
            check_value(estimator, name, loss)
        # a scale is of the score alone, and not of what a loss takes from the sites themselves
        if estimator.unbiased and not (estimator.up_to_scale and loss is tangled_with_latents):
            check_unbiased(estimator, name, loss)
