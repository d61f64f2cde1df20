"""Gradient estimators as their papers print them, for fully connected nets with a linear read-out.

Written from the papers (and the authors' code, where a paper leaves several layers open), not from
`bnn`: plain float64 tensors, one sample of data, and many independent draws of an estimate at once.
Each estimator returns the estimates of the weight gradients, a tensor [draws, units, inputs] for
every binary layer.

Notation: ℓ are the logits of a layer and p = σ(ℓ); a bit is b = 1[u < p] for a uniform number u; f
is the loss. The layers above a layer always fire by the same uniform numbers, whatever is tried
below them (common random numbers: the option `shared_randomness` of the multi-layer code of Dong,
Mnih & Tucker 2020), so that differences of losses hold no noise from above.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

Gradients = list[Tensor]


@dataclass(frozen=True)
class Net:
    """Binary layers of Bernoulli-logistic units and a linear read-out, at one sample of data.

    p = σ(2 (W b + c)).

    Args:
        layers: weight [units, inputs] and bias [units] of each binary layer, from the input.
        readout: weight and bias of the read-out.
        x: the input, [inputs].
        target: [].
        loss: loss of each row of scores, [n, scores] and [n] to [n].
    """

    layers: Sequence[tuple[Tensor, Tensor]]
    readout: tuple[Tensor, Tensor]
    x: Tensor
    target: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]

    def logits(self, layer: int, below: Tensor) -> Tensor:
        """Logits ℓ of a layer, [..., units], given the bits below."""
        weight, bias = self.layers[layer]
        return 2 * (below @ weight.T + bias)

    def probs(self, layer: int, below: Tensor) -> Tensor:
        return torch.sigmoid(self.logits(layer, below))

    def uniform(self, layer: int, generator: Generator, *shape: int) -> Tensor:
        """Uniform numbers for the units of a layer, [*shape, units]."""
        return torch.rand(
            *shape, len(self.layers[layer][1]), generator=generator, dtype=torch.float64
        )

    def uniforms(self, generator: Generator, *shape: int) -> list[Tensor]:
        """Uniform numbers for every layer."""
        return [self.uniform(layer, generator, *shape) for layer in range(len(self.layers))]

    def loss_of(self, top: Tensor) -> Tensor:
        """Loss f of the highest layer's values, [..., units] to [...]."""
        weight, bias = self.readout
        scores = (top @ weight.T + bias).flatten(0, -2)
        return self.loss(scores, self.target.expand(len(scores))).view(top.shape[:-1])

    def sample(self, u: Sequence[Tensor]) -> list[Tensor]:
        """Input [inputs], and bits of every layer that uniform numbers fire, [..., units] each."""
        values = [self.x]
        for layer, numbers in enumerate(u):
            values.append((numbers < self.probs(layer, values[-1])).double())
        return values

    def continued(self, layer: int, bits: Tensor, u: Sequence[Tensor]) -> Tensor:
        """Loss f when a layer has these bits and uniform numbers fire those above."""
        for above in range(layer + 1, len(self.layers)):
            bits = (u[above] < self.probs(above, bits)).double()
        return self.loss_of(bits)

    def relaxed(self, layer: int, y: Tensor, u: Sequence[Tensor], tau: float) -> Tensor:
        """Loss f when a layer has the values y in (0, 1), and those above are relaxed.

        They are relaxed by the uniform numbers that fire them.
        """
        for above in range(layer + 1, len(self.layers)):
            y = torch.sigmoid((self.logits(above, y) - torch.logit(u[above])) / tau)
        return self.loss_of(y)


def _weights(by_logits: Tensor, below: Tensor) -> Tensor:
    """Gradient by the weights of a layer, 2 dℓ ⊗ inputs, [draws, units, inputs].

    The mean over axes before the draws.
    """
    below = below.expand(*by_logits.shape[:-1], -1)
    products = 2 * by_logits[..., :, None] * below[..., None, :]
    return products.flatten(0, -4).mean(0) if products.dim() > 3 else products


def leave_one_out(net: Net, draws: int, generator: Generator, *, samples: int = 4) -> Gradients:
    """REINFORCE with leave-one-out baseline (Kool, van Hoof & Welling 2019).

    Σ_k (f_k - f̄) ∇ log q(b_k) / (K - 1).
    """
    values = net.sample(net.uniforms(generator, samples, draws))
    loss = net.loss_of(values[-1])
    credit = (loss - loss.mean(0)) * samples / (samples - 1)
    steps = enumerate(itertools.pairwise(values))
    return [
        _weights(credit[..., None] * (b - net.probs(k, below)), below) for k, (below, b) in steps
    ]


def nested_leave_one_out(
    net: Net, draws: int, generator: Generator, *, samples: int = 2, nested: int = 2
) -> Gradients:
    """Leave-one-out at every layer, among the draws that share the bits below.

    K draws of the first layer and M of each further one: the leave-one-out estimator of Kool et al.
    2019 for each conditional distribution, the loss of a draw being the mean over the draws above.
    """
    layers = range(len(net.layers))
    values = net.sample([net.uniform(k, generator, *[nested] * k, samples, draws) for k in layers])
    loss, found = net.loss_of(values[-1]), []
    for k in layers:
        drawn = loss.flatten(0, len(layers) - 2 - k).mean(0) if k < len(layers) - 1 else loss
        credit = (drawn - drawn.mean(0)) * len(drawn) / (len(drawn) - 1)
        found.append(
            _weights(credit[..., None] * (values[k + 1] - net.probs(k, values[k])), values[k])
        )
    return found


def nvil(net: Net, draws: int, generator: Generator, *, learned: tuple[float, float]) -> Gradients:
    """NVIL, (f - C(x) - c) ∇ log q(b) / max(1, sd) (Mnih & Gregor 2014).

    Of one input, where C(x) + c is a constant.

    Args:
        learned: E[f] and the standard deviation of f, to which baseline and normalisation converge.
    """
    values = net.sample(net.uniforms(generator, draws))
    mean, deviation = learned
    credit = (net.loss_of(values[-1]) - mean) / max(1.0, deviation)
    steps = enumerate(itertools.pairwise(values))
    return [_weights(credit[:, None] * (b - net.probs(k, below)), below) for k, (below, b) in steps]


def moments_of_loss(net: Net, draws: int, generator: Generator) -> tuple[float, float]:
    """Mean and standard deviation of f."""
    loss = net.loss_of(net.sample(net.uniforms(generator, draws))[-1])
    return float(loss.mean()), float(loss.std())


def muprop(
    net: Net,
    draws: int,
    generator: Generator,
    *,
    learned: Sequence[float],
    conditional: bool = False,
) -> Gradients:
    """MuProp, (f(b) - f(m) - f'(m)(b - m) - c) ∇ log q(b) + f'(m) ∇p (Gu et al. 2016).

    m are the probabilities of a mean-field pass.

    Args:
        learned: c of each layer, the mean of its residual, to which a running baseline converges.
        conditional: Σ f'(m)(b - p) over all layers, p given the bits below, in place of the layer's
            own f'(m)(b - m).
    """
    values = net.sample(net.uniforms(generator, draws))
    found = []
    for k, (residual, slope) in enumerate(_residuals(net, values, conditional)):
        p = net.probs(k, values[k])
        found.append(
            _weights(
                (residual - learned[k])[:, None] * (values[k + 1] - p) + slope * p * (1 - p),
                values[k],
            )
        )
    return found


def mean_residuals(
    net: Net, draws: int, generator: Generator, *, conditional: bool = False
) -> list[float]:
    """Mean residual of f(b) - f(m) for each layer."""
    values = net.sample(net.uniforms(generator, draws))
    return [float(residual.mean()) for residual, _ in _residuals(net, values, conditional)]


def _residuals(
    net: Net, values: Sequence[Tensor], conditional: bool
) -> list[tuple[Tensor, Tensor]]:
    """Residual [draws] and f'(m) [units] of each layer."""
    means = [net.x[None]]
    for layer in range(len(net.layers)):
        means.append(net.probs(layer, means[-1]).requires_grad_())
    at_mean = net.loss_of(means[-1])
    slopes = [one[0] for one in torch.autograd.grad(at_mean.sum(), means[1:])]
    difference = net.loss_of(values[-1]) - at_mean.detach()
    if conditional:
        for k, slope in enumerate(slopes):
            difference = difference - (values[k + 1] - net.probs(k, values[k])) @ slope
        return [(difference, slope) for slope in slopes]
    expansions = zip(values[1:], means[1:], slopes, strict=True)
    return [(difference - (b - m.detach()) @ slope, slope) for b, m, slope in expansions]


def arm(net: Net, draws: int, generator: Generator) -> Gradients:
    """ARM, (f(1[u > 1 - p]) - f(1[u < p])) (u - ½), layer by layer (Yin & Zhou 2019)."""
    u = net.uniforms(generator, draws)
    values, found = net.sample(u), []
    for k, below in enumerate(values[:-1]):
        other = (u[k] > 1 - net.probs(k, below)).double()
        difference = net.continued(k, other, u) - net.continued(k, values[k + 1], u)
        found.append(_weights(difference[:, None] * (u[k] - 0.5), below))
    return found


def disarm(net: Net, draws: int, generator: Generator) -> Gradients:
    """DisARM, ½ (f(b) - f(b')) (-1)^b' 1[b ≠ b'] σ(|ℓ|) (Dong, Mnih & Tucker 2020).

    b and b' are antithetic.
    """
    u = net.uniforms(generator, draws)
    values, found = net.sample(u), []
    for k, below in enumerate(values[:-1]):
        b, other = values[k + 1], (1 - u[k] < net.probs(k, below)).double()
        difference = net.continued(k, b, u) - net.continued(k, other, u)
        signs = (b != other) * (1 - 2 * other)
        found.append(
            _weights(
                difference[:, None] / 2 * signs * torch.sigmoid(net.logits(k, below).abs()), below
            )
        )
    return found


def arms(net: Net, draws: int, generator: Generator, *, samples: int = 4) -> Gradients:
    """ARMS, Σ_k (f_k - f̄) (b_k - p) / ((K - 1) (1 - ρ)) (Dimitriev & Zhou 2021).

    b_k are drawn by a Dirichlet copula, v_k = (1 - d_k)^(K - 1), d ~ Dirichlet(1, …, 1), or 1 - v_k
    where p > ½, so that of the rarer value two are never drawn together as long as it is rare
    enough. The bivariate distribution function at (m, m) is max(0, 2 m^(1/(K-1)) - 1)^(K-1). The
    first draw is the one on which the layers above are built.
    """
    values, u, copula = [net.x], [], []
    for k in range(len(net.layers)):
        p = net.probs(k, values[-1])
        waits = -torch.log(net.uniform(k, generator, samples, draws))
        v = (1 - waits / waits.sum(0)) ** (samples - 1)
        v = torch.where(p > 0.5, 1 - v, v)
        copula.append(v)
        u.append(v[0])
        values.append((v[0] < p).double())
    found = []
    for k, below in enumerate(values[:-1]):
        p = net.probs(k, below)
        b = (copula[k] < p).double()
        loss = net.continued(k, b, u)
        m = torch.minimum(p, 1 - p)
        joint = (2 * m ** (1 / (samples - 1)) - 1).clamp(min=0) ** (samples - 1)
        rho = (joint - m**2) / (m * (1 - m))
        credited = ((loss - loss.mean(0))[..., None] * (b - p)).sum(0)
        found.append(_weights(credited / ((samples - 1) * (1 - rho)), below))
    return found


def local_expectation(net: Net, draws: int, generator: Generator) -> Gradients:
    """Local expectation gradient of each unit (Titsias & Lázaro-Gredilla 2015).

    p (1 - p) [f(b_i = 1) - f(b_i = 0)].
    """
    u = net.uniforms(generator, draws)
    values, found = net.sample(u), []
    for k, below in enumerate(values[:-1]):
        p, chosen = (
            net.probs(k, below),
            torch.eye(values[k + 1].shape[1], dtype=torch.bool)[:, None],
        )
        one, zero = (
            net.continued(k, torch.where(chosen, value, values[k + 1]), u) for value in (1.0, 0.0)
        )
        found.append(_weights(p * (1 - p) * (one - zero).T, below))
    return found


Weights = Sequence[tuple[float, float]]


def rebar(
    net: Net, draws: int, generator: Generator, *, learned: Weights, tau: float = 0.5
) -> Gradients:
    """REBAR (Tucker et al. 2017).

    (f(b) - η c(z̃) - a) (b - p) + η (d c(z) / dℓ - d c(z̃) / dℓ), z̃ ~ p(z | b).

    For a layer of several, c is the loss with this layer and all beyond it relaxed, those beyond by
    the uniform numbers that fire the hard sample (the authors' code, `switch_layer`). z̃ is tied to
    z by common random numbers, as in that code: it has the value of z and another derivative. a is
    a baseline, constant here, where there is one sample of data.

    Args:
        learned: η and a of each layer, see `best_weights`.
        tau: temperature τ.
    """
    terms = _rebar_terms(net, draws, generator, tau)
    return [
        _weights(plain - eta * control - baseline * score, below)
        for (eta, baseline), (plain, control, score, below) in zip(learned, terms, strict=True)
    ]


def best_weights(net: Net, draws: int, generator: Generator, *, tau: float = 0.5) -> Weights:
    """Weights η and a of each layer that minimise the variance of its estimates.

    Their factors have no mean.
    """
    found = []
    for plain, control, score, _ in _rebar_terms(net, draws, generator, tau):
        regressors = torch.stack([control.flatten(), score.flatten()], 1)
        eta, baseline = (
            torch.linalg.lstsq(regressors, plain.flatten()[:, None]).solution.flatten().tolist()
        )
        found.append((eta, baseline))
    return found


def _rebar_terms(
    net: Net, draws: int, generator: Generator, tau: float
) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Terms f (b - p), control variate and b - p of each layer, and the values below."""
    u = net.uniforms(generator, draws)
    values, found = net.sample(u), []
    loss = net.loss_of(values[-1])[:, None]
    for k, below in enumerate(values[:-1]):
        b, logits = values[k + 1], net.logits(k, below).expand(draws, -1).clone().requires_grad_()
        p = torch.sigmoid(logits)
        # given the bit, u is uniform below p where it has fired, and above p where it has not
        share = torch.where(b > 0, u[k] / p, (u[k] - p) / (1 - p)).detach()
        again = torch.where(b > 0, share * p, p + share * (1 - p))
        z, z_again = logits - torch.logit(u[k]), logits - torch.logit(again)
        c, c_again = (net.relaxed(k, torch.sigmoid(one / tau), u, tau) for one in (z, z_again))
        (slope,) = torch.autograd.grad(c.sum(), logits, retain_graph=True)
        (slope_again,) = torch.autograd.grad(c_again.sum(), logits)
        score = b - p.detach()
        found.append(
            (loss * score, c_again.detach()[:, None] * score - slope + slope_again, score, below)
        )
    return found


def straight_through(net: Net, draws: int, generator: Generator) -> Gradients:
    """Straight-through by the density, d f / dℓ := f'(b) p (1 - p) (Bengio et al. 2013, §4)."""
    return _backward(net, net.sample(net.uniforms(generator, draws)), lambda k, p, b: p * (1 - p))


def reinmax(net: Net, draws: int, generator: Generator) -> Gradients:
    """ReinMax at temperature 1, 2 ∇ at π₁ = (p + b) / 2 less ½ ∇ at p (Liu et al. 2023)."""

    def derivative(layer: int, p: Tensor, b: Tensor) -> Tensor:
        middle = (p + b) / 2
        return 2 * middle * (1 - middle) - p * (1 - p) / 2

    return _backward(net, net.sample(net.uniforms(generator, draws)), derivative)


def st_gumbel(net: Net, draws: int, generator: Generator, *, tau: float = 1.0) -> Gradients:
    """Straight-through Gumbel-softmax (Jang, Gu & Poole 2017).

    d f / dℓ := f'(b) y (1 - y) / τ, y = σ(z / τ), z the variable that fired.
    """
    u = net.uniforms(generator, draws)
    values = net.sample(u)

    def derivative(layer: int, p: Tensor, b: Tensor) -> Tensor:
        y = torch.sigmoid((net.logits(layer, values[layer]) - torch.logit(u[layer])) / tau)
        return y * (1 - y) / tau

    return _backward(net, values, derivative)


def concrete(net: Net, draws: int, generator: Generator, *, tau: float = 0.5) -> Gradients:
    """Binary concrete distribution, y = σ(z / τ) in both passes (Maddison, Mnih & Teh 2017)."""
    values = [net.x]
    for layer, u in enumerate(net.uniforms(generator, draws)):
        values.append(torch.sigmoid((net.logits(layer, values[-1]) - torch.logit(u)) / tau))
    return _backward(net, values, lambda k, p, y: y * (1 - y) / tau)


def _backward(
    net: Net, values: Sequence[Tensor], derivative: Callable[[int, Tensor, Tensor], Tensor]
) -> Gradients:
    """Backpropagation through the bits, by a derivative of (layer, p, b) in place of the step's."""
    top = values[-1].clone().requires_grad_()
    (slope,) = torch.autograd.grad(net.loss_of(top).sum(), top)
    found = []
    for layer in reversed(range(len(net.layers))):
        by_logits = slope * derivative(layer, net.probs(layer, values[layer]), values[layer + 1])
        found.append(_weights(by_logits, values[layer]))
        slope = 2 * by_logits @ net.layers[layer][0]
    return found[::-1]


def minimum_variance_straight_through(
    net: Net, draws: int, generator: Generator, *, t: float = 1.0
) -> Gradients:
    """Mixture of straight-through and the ½-estimator by variance (Hooper & Shekhovtsov 2026)."""

    def derivative(layer: int, p: Tensor, b: Tensor) -> Tensor:
        v = p * (1 - p)
        weight = 4 * t * v / (1 + 4 * t * v)
        return (1 - weight) * v + weight * (b - p).abs() / 2

    return _backward(net, net.sample(net.uniforms(generator, draws)), derivative)


def gumbel_rao_slope(p: Tensor, b: Tensor, tau: float, nodes: int = 2000) -> Tensor:
    """Mean of y (1 - y) / τ over the uniform numbers that fire the bit, by the midpoint rule."""
    at = ((torch.arange(nodes, dtype=torch.float64) + 0.5) / nodes).view(-1, *[1] * p.dim())
    u = torch.where(b > 0, at * p, p + at * (1 - p))
    y = torch.sigmoid((torch.logit(p) - torch.logit(u)) / tau)
    return (y * (1 - y) / tau).mean(0)


def gumbel_rao(net: Net, draws: int, generator: Generator, *, tau: float = 1.0) -> Gradients:
    """Straight-through Gumbel-softmax, a mean over its noise given the bit (Paulus et al. 2021)."""

    def derivative(layer: int, p: Tensor, b: Tensor) -> Tensor:
        return _by_value(lambda q, c: gumbel_rao_slope(q, c, tau), p, b)

    return _backward(net, net.sample(net.uniforms(generator, draws)), derivative)


def reinmax_rao(net: Net, draws: int, generator: Generator, *, tau: float = 1.0) -> Gradients:
    """ReinMax with the averaged slope at the midpoint π₁ = (p + b) / 2 (arXiv 2603.08257)."""

    def derivative(layer: int, p: Tensor, b: Tensor) -> Tensor:
        found = _by_value(lambda q, c: gumbel_rao_slope((q + c) / 2, c, tau), p, b)
        return 2 * found - p * (1 - p) / 2

    return _backward(net, net.sample(net.uniforms(generator, draws)), derivative)


def _by_value(function: Callable[[Tensor, Tensor], Tensor], p: Tensor, b: Tensor) -> Tensor:
    """Function of probability and bit, computed once for each pair of values."""
    pairs, index = (
        torch.stack([p.expand_as(b), b], -1).flatten(0, -2).unique(dim=0, return_inverse=True)
    )
    return function(pairs[:, 0], pairs[:, 1])[index].view_as(b)


def _double_terms(
    net: Net, draws: int, generator: Generator, samples: int
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """A and B of the estimates A + α B of each layer's draws, and the values below.

    The slope f' passes the bits above a layer by their density.
    """
    values = net.sample(net.uniforms(generator, samples, draws))
    loss = net.loss_of(values[-1])
    top = values[-1].clone().requires_grad_()
    (slope,) = torch.autograd.grad(net.loss_of(top).sum(), top)
    found = []
    for k in reversed(range(len(net.layers))):
        below, b = values[k], values[k + 1]
        p = net.probs(k, below)
        noise = b - p
        others = (slope.sum(0) - slope) / (samples - 1)
        inner = (noise * others).sum(-1)
        own, control = (
            (one - (one.sum(0) - one) / (samples - 1))[..., None] * noise for one in (loss, inner)
        )
        found.append((own, control - others * p * (1 - p), below))
        slope = 2 * (slope * p * (1 - p)) @ net.layers[k][0]
    return found[::-1]


def best_alphas(net: Net, draws: int, generator: Generator, *, samples: int = 3) -> list[float]:
    """α of each layer that minimises the mean square of the estimates."""
    found = []
    for own, control, _ in _double_terms(net, draws // samples, generator, samples):
        a, b = own.mean(0), control.mean(0)
        found.append(-float((a * b).sum() / b.square().sum()))
    return found


def double_cv(
    net: Net, draws: int, generator: Generator, *, learned: list[float], samples: int = 3
) -> Gradients:
    """Double control variates of K draws (Titsias & Shi 2022)."""
    terms = _double_terms(net, draws, generator, samples)
    return [
        _weights(own + alpha * control, below)
        for alpha, (own, control, below) in zip(learned, terms, strict=True)
    ]


def rodeo(
    bits: Tensor,
    probs: Tensor,
    losses: Tensor,
    slopes: Tensor,
    surrogate: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """REINFORCE with discrete Stein control variates (Shi et al. 2022, Barker's operator).

    Neighbour by neighbour; the operator is the sum over units, where the paper has their mean.

    Args:
        bits: K draws of one layer at one sample, [K, units].
        probs: p, [units].
        losses: [K].
        slopes: f' at each draw, [K, units].
        surrogate: `(f'(b_j) · (y - b_j), f(b_j)) -> (h, h̃)`.

    Returns:
        Estimate of the gradient by the logits, [units].
    """
    draws, units = bits.shape

    def values(k: int, y: Tensor) -> Tensor:
        """Surrogates at y of all draws but k."""
        others = [j for j in range(draws) if j != k]
        return torch.stack([surrogate(slopes[j] @ (y - bits[j]), losses[j]) for j in others]).mean(
            0
        )

    def stein(k: int, function: Callable[[Tensor], Tensor]) -> Tensor:
        """(A g)(b_k) = Σ_i q(1 - b_i) (g(b with b_i flipped) - g(b))."""
        total, b = torch.zeros(()), bits[k]
        for i in range(units):
            neighbour = b.clone()
            neighbour[i] = 1 - neighbour[i]
            odds = torch.where(neighbour[i] == 1, probs[i], 1 - probs[i])
            total = total + odds * (function(neighbour) - function(b))
        return total

    corrected = [losses[k] + stein(k, lambda y, k=k: values(k, y)[0]) for k in range(draws)]
    estimates = []
    for k in range(draws):
        others = torch.stack([corrected[j] for j in range(draws) if j != k]).mean()
        control = stein(k, lambda y, k=k: values(k, y)[1] * (y - probs))
        estimates.append((losses[k] - others) * (bits[k] - probs) + control)
    return torch.stack(estimates).mean(0)
