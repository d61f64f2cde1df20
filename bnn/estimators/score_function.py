"""Score-function estimators of independent draws: unbiased, whatever the loss does with the bits.

`reinforce` with leave-one-out needs no tuning beyond its number of draws; `muprop` pays where the loss is close to linear in
the bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.estimators.base import Estimator, gradient_only
from bnn.estimators.baselines import Baseline, check_decay
from bnn.nn.forward import ForwardClosure
from bnn.nn.replicas import branching, join
from bnn.nn.sites import Site


@Estimator.registry.add("reinforce")
class Reinforce(Estimator):
    """REINFORCE, d E[f] / dθ = E[Σ_layers (f - B) · d log q(b) / dθ + ∂f/∂θ], with a baseline B (Williams 1992).

    Every binary layer's score is multiplied by the total loss of its own sample; nothing else reaches the layers below
    the highest binary one. Bits are always sampled: a hard threshold has no score, so for a deterministic neuron this
    means exploring by its noise law in training and thresholding in evaluation.

    Args:
        baseline: B, or its name.
    """

    unbiased = True
    needs_full_support = True
    assumes_independent_samples = True

    def __init__(self, *, baseline: Baseline | str = "leave_one_out") -> None:
        super().__init__()
        self.baseline = Baseline.registry[baseline]() if isinstance(baseline, str) else baseline
        self._branches = [1]

    def build(self, sites: Sequence[Site], inputs: Tensor) -> None:
        self._branches = self.baseline.branches(len(sites))
        self.baseline.init(sites)

    def evaluations(self, units: Sequence[int]) -> int:
        return math.prod(self.baseline.branches(len(units)))

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        drawn = forward(Site.sample, branching(*self._branches))
        score = drawn.loss.new_zeros(())
        for site, bits in zip(drawn.sites, drawn.bits, strict=True):
            baseline = self.baseline(site, site.descendants(drawn.loss))
            score = score + (site.credit(drawn.loss, baseline) * site.score(bits)).sum()
        self.baseline.update(drawn)
        return drawn.loss.mean() + gradient_only(score)


@Estimator.registry.add("nvil")
class NVIL(Estimator):
    """Neural variational inference and learning, (f - C_φ(x) - c) · d log q(b) / max(1, sd) (Mnih & Gregor 2014).

    Summed over layers. c and sd are exponential averages of mean and standard deviation of f - C_φ(x), up to the previous
    batch; C_φ is a network of one hidden tanh layer that sees the input alone and is fitted with the run's optimizer, by
    the squared error of the credit, scaled as it is. Unbiased up to the positive scale 1 / max(1, sd). One pass.

    Args:
        hidden: units of C_φ's hidden layer.
        decay: of the averages, in [0, 1).

    Raises:
        ConfigError: for hidden < 1 or decay outside [0, 1).
    """

    unbiased = True
    up_to_scale = True
    needs_full_support = True
    assumes_independent_samples = True
    moments: Tensor

    def __init__(self, *, hidden: int = 100, decay: float = 0.9) -> None:
        super().__init__()
        if hidden < 1:
            raise ConfigError(f"estimator.hidden: expected at least 1 unit, got {hidden}")
        self.hidden, self.decay = hidden, check_decay("estimator.decay", decay)

    def build(self, sites: Sequence[Site], inputs: Tensor) -> None:
        first, last = nn.Linear(inputs[0].numel(), self.hidden), nn.Linear(self.hidden, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        like = (
            sites[0].preactivation if sites else torch.zeros(0, device=inputs.device)
        )  # inputs may be integers
        self.network = nn.Sequential(nn.Flatten(), first, nn.Tanh(), last).to(like)
        self.register_buffer("moments", like.new_zeros(3))  # of f - C: weight, mean, mean square

    def evaluations(self, units: Sequence[int]) -> int:
        return 1

    def scale(self) -> Tensor:
        """1 / max(1, sd) of the credits up to the last batch."""
        weight, mean, square = self.moments.unbind()
        variance = (
            square / weight.clamp(min=1e-12) - (mean / weight.clamp(min=1e-12)).square()
        ).clamp(min=0)
        return 1 / variance.sqrt().clamp(min=1)

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        drawn = forward(Site.sample)
        residual = drawn.loss.detach() - self.network(forward.inputs.to(self.moments.dtype)).view(
            1, -1
        ).to(drawn.loss.dtype)
        centred = residual - self.moments[1] / self.moments[0].clamp(min=1e-12)
        scaled = self.scale() * centred
        score = drawn.loss.new_zeros(())
        for site, bits in zip(drawn.sites, drawn.bits, strict=True):
            score = score + (site.credit(scaled) * site.score(bits)).sum()
        fit = scaled.square().mean()
        with torch.no_grad():
            latest = torch.stack(
                [torch.ones_like(residual.mean()), residual.mean(), residual.square().mean()]
            )
            self.moments.lerp_(latest.to(self.moments), 1 - self.decay)
        return drawn.loss.mean() + gradient_only(score + fit)


@Estimator.registry.add("muprop")
class MuProp(Estimator):
    """MuProp, (f(b) - f(m) - Σ_layers f'(m)·(b - p) - c) · d log q(b) + f'(m) · dp, two evaluations (Gu et al. 2016).

    m are the bits of a mean-field pass, in which every layer sends its firing probability upwards; f'(m) is the gradient of
    that pass's loss by a layer's m; p are the probabilities of the sample, given its own bits below; c is an exponential
    average of what stands before it, up to the previous batch. For a layer's score the terms of lower layers are constants,
    those of upper ones have mean 0, and its own has the expectation that f'(m) · dp puts back: one residual serves all.

    As published each layer takes off its own expansion alone, f'(m)·(b - m), which leaves it the noise of the layers above.

    Args:
        decay: of the averages, in [0, 1).
        conditional: whether the noise of all layers is taken off; False is the estimator as published.

    Raises:
        ConfigError: for decay outside [0, 1).
    """

    unbiased = True
    needs_full_support = True
    assumes_independent_samples = True
    fractional_bits = True
    averages: Tensor

    def __init__(self, *, decay: float = 0.9, conditional: bool = True) -> None:
        super().__init__()
        self.decay, self.conditional = check_decay("estimator.decay", decay), conditional

    def build(self, sites: Sequence[Site], inputs: Tensor) -> None:
        like = sites[0].preactivation if sites else torch.zeros(0, device=inputs.device)
        self.register_buffer(
            "averages", like.new_zeros(len(sites) + 1)
        )  # of the weights, and of each layer's residual

    def evaluations(self, units: Sequence[int]) -> int:
        return 2

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        mean_field: list[Tensor] = []

        def rule(site: Site) -> Tensor:
            probs = site.replicas(1).probs
            mean_field.append(
                probs if probs.requires_grad else probs.detach().requires_grad_()
            )  # nothing learns below
            return join([site.replicas(0, 1).sample(), mean_field[-1]])

        drawn = forward(rule, branching(2))
        loss, loss_at_mean = drawn.loss[:1], drawn.loss[1:]
        if not mean_field:
            return loss.mean()
        found = torch.autograd.grad(
            loss_at_mean.sum(), mean_field, retain_graph=True, allow_unused=True
        )
        slopes = [
            torch.zeros_like(m) if slope is None else slope
            for m, slope in zip(mean_field, found, strict=True)
        ]
        score = loss.new_zeros(())
        sites = [site.replicas(0, 1) for site in drawn.sites]
        bits = [one[:1].detach() for one in drawn.bits]
        # a shared site takes the gradient of the mean loss, any other that of each sample's own
        slopes = [
            slope / loss.shape[1] if site.shared else slope
            for slope, site in zip(slopes, sites, strict=True)
        ]
        residuals = self.residuals((loss - loss_at_mean).detach(), slopes, bits, mean_field, sites)
        baselines = self.averages[1:] / self.averages[0].clamp(min=1e-12)
        for site, b, slope, residual in zip(sites, bits, slopes, residuals, strict=True):
            credit = site.credit(residual, baselines[site.index].to(residual.dtype))
            score = (
                score + (credit * site.score(b)).sum() + (slope * site.probs).sum() / site.samples
            )
        latest = torch.stack(
            [torch.ones_like(residuals[0].mean()), *(one.mean() for one in residuals)]
        )
        self.averages.lerp_(latest.to(self.averages), 1 - self.decay)
        return loss.mean() + gradient_only(score)

    def residuals(
        self,
        difference: Tensor,
        slopes: Sequence[Tensor],
        bits: Sequence[Tensor],
        mean_field: Sequence[Tensor],
        sites: Sequence[Site],
    ) -> list[Tensor]:
        """What the expansion leaves of f(b) - f(m), [1, samples] for each layer."""
        origins = [site.probs for site in sites] if self.conditional else mean_field
        parts = zip(slopes, bits, origins, strict=True)
        expansions = [
            (slope * (b - origin.detach())).flatten(2).sum(2) for slope, b, origin in parts
        ]
        if self.conditional:
            return [difference - sum(expansions, torch.zeros_like(difference))] * len(expansions)
        return [difference - one for one in expansions]
