"""Steps of one latent weight as mirror descent on its probability.

The latent weight is the mirror image of the probability, η = F⁻¹(θ), whose potential Φ has the
derivative F⁻¹. A step η ← (η - ε g) / (1 + ε λ), g = ∂f/∂w, minimises

    ⟨g, θ⟩ + D(θ, θ_t) / ε + λ D(θ, 1/2)

for the Bregman divergence D of Φ: half the KL divergence for the logistic law, a squared distance
for the uniform one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from bnn.nn.latent_updates import LatentUpdates
from bnn.nn.noise import NoiseLaw
from bnn.nn.weight_layers import BinaryLinear
from bnn.nn.weights import SignWeights


def trained_probabilities(
    rule: SignWeights, start: float, gradients: Sequence[float], step: float
) -> list[float]:
    """Probability of one weight after each step of SGD on its latent weight, as networks train.

    Args:
        rule: rule of the weight.
        start: initial latent weight.
        gradients: ∂f/∂w of each step.
        step: ε, the learning rate.

    Returns:
        θ before the first step and after each.
    """
    layer = BinaryLinear(rule, 1, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.fill_(start)
    optimizer = torch.optim.SGD(layer.parameters(), lr=step)
    LatentUpdates(layer, optimizer)
    one, probabilities = torch.ones(1, 1, dtype=torch.float64), [_probability(rule, layer.weight)]
    for gradient in gradients:
        optimizer.zero_grad()
        (gradient * layer(one)).sum().backward()
        optimizer.step()
        probabilities.append(_probability(rule, layer.weight))
    return probabilities


def _probability(rule: SignWeights, latent: Tensor) -> float:
    return float(rule.site(latent.detach()).probs)


def multiplicative_probabilities(
    start: float, gradients: Sequence[float], step: float, decay: float
) -> list[float]:
    """Probabilities by the multiplicative update of the odds, for the logistic law.

    o ← (o e^(-2 ε g))^(1 / (1 + ε λ)), in Python's own numbers.

    Args:
        start: initial latent weight, half the log-odds.
        gradients: ∂f/∂w of each step.
        step: ε.
        decay: λ.
    """
    odds = [float(torch.tensor(2 * start, dtype=torch.float64).exp())]
    for gradient in gradients:
        factor = float(torch.tensor(-2 * step * gradient, dtype=torch.float64).exp())
        odds.append((odds[-1] * factor) ** (1 / (1 + step * decay)))
    return [one / (1 + one) for one in odds]


def proximal_probabilities(
    start: float, gradients: Sequence[float], step: float, decay: float
) -> list[float]:
    """Probabilities by minimising the proximal objective numerically, for the logistic law.

    Args:
        start: initial latent weight, half the log-odds.
        gradients: ∂f/∂w of each step.
        step: ε.
        decay: λ.
    """
    theta = float(torch.tensor(2 * start, dtype=torch.float64).sigmoid())
    found = [theta]
    for gradient in gradients:

        def objective(log_odds: float, g: float = gradient, before: float = found[-1]) -> float:
            # over log-odds, so that the search has no ends
            p = torch.tensor(log_odds, dtype=torch.float64).sigmoid()
            pull = half_kl(p, before) / step + decay * half_kl(p, 0.5)
            return float(g * p + pull)

        found.append(
            float(
                torch.tensor(minimize_scalar(objective, tol=1e-12).x, dtype=torch.float64).sigmoid()
            )
        )
    return found


def half_kl(p: Tensor, q: float) -> Tensor:
    """Half the KL divergence of Bernoulli distributions, KL(p ‖ q) / 2."""
    entropy: Tensor = torch.special.xlogy(p, p / q) + torch.special.xlogy(1 - p, (1 - p) / (1 - q))
    return entropy / 2


def clipped_probability(law: str) -> float:
    """Largest probability of a weight whose latent weight is clipped to [-1, 1]."""
    return float(NoiseLaw.registry[law]().cdf(torch.ones((), dtype=torch.float64)))
