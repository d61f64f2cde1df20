"""Score-function estimators of independent draws: unbiased, whatever the loss does with the bits.

`reinforce` with leave-one-out needs no tuning beyond its number of draws; `muprop` pays where the
loss is close to linear in the bits.
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
from bnn.nn.layers import has_linear_readout, sites_of
from bnn.nn.replicas import branching, join
from bnn.nn.sites import Site


@Estimator.registry.add("reinforce")
class Reinforce(Estimator):
    """REINFORCE with a baseline B (Williams 1992).

        d E[f] / dθ = E[Σ_layers (f - B) · d log q(b) / dθ + ∂f/∂θ]

    Every binary layer's score is multiplied by the total loss of its own sample; nothing else
    reaches the layers below the highest binary one. Bits are always sampled, since a hard threshold
    has no score: a deterministic neuron is sampled by its noise law in training and thresholded in
    evaluation.

    Evaluations of f per sample and step: those of the baseline, 1 or K or K · M^(layers - 1).
    Unbiased.

    Args:
        baseline: B, or its name.
    """

    unbiased = True
    needs_full_support = True
    assumes_independent_samples = True

    def __init__(self, *, baseline: Baseline | str = "nested_leave_one_out") -> None:
        super().__init__()
        self.baseline = Baseline.registry[baseline]() if isinstance(baseline, str) else baseline
        self._branches = [1]

    def init(self, model: nn.Module, inputs: Tensor) -> Reinforce:
        with torch.autocast(inputs.device.type, enabled=False):
            if sites_of(model, inputs):
                self.baseline.linear_readout = has_linear_readout(model, inputs)
        return super().init(model, inputs)

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
            credit = site.credit(drawn.loss, baseline)
            score = score + site.credited_score(bits, credit)
        self.baseline.update(drawn)
        return drawn.loss.mean() + gradient_only(score)


@Estimator.registry.add("nvil")
class NVIL(Estimator):
    """Neural variational inference and learning (Mnih & Gregor 2014).

        Σ_layers (f - C_φ(x) - c) · d log q(b) / max(1, sd)

    c and sd are exponential averages of mean and standard deviation of f - C_φ(x), up to the
    previous batch. C_φ is a network of one hidden tanh layer that sees the input alone; it is
    fitted with the run's optimizer by the squared error of the credit, scaled as it is.

    Evaluations of f per sample and step: 1. Unbiased up to the positive scale 1 / max(1, sd).

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
        # inputs may be integers
        like = sites[0].preactivation if sites else torch.zeros(0, device=inputs.device)
        self.network = nn.Sequential(nn.Flatten(), first, nn.Tanh(), last).to(like)
        self.register_buffer("moments", like.new_zeros(3))  # of f - C: weight, mean, mean square

    def evaluations(self, units: Sequence[int]) -> int:
        return 1

    def scale(self) -> Tensor:
        """Scale 1 / max(1, sd) by the credits up to the previous batch, a scalar."""
        weight, mean, square = self.moments.unbind()
        variance = (
            square / weight.clamp(min=1e-12) - (mean / weight.clamp(min=1e-12)).square()
        ).clamp(min=0)
        return 1 / variance.sqrt().clamp(min=1)

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        drawn = forward(Site.sample)
        predicted = self.network(forward.inputs.to(self.moments.dtype)).view(1, -1)
        residual = drawn.loss.detach() - predicted.to(drawn.loss.dtype)
        centred = residual - self.moments[1] / self.moments[0].clamp(min=1e-12)
        scaled = self.scale() * centred
        score = drawn.loss.new_zeros(())
        for site, bits in zip(drawn.sites, drawn.bits, strict=True):
            score = score + site.credited_score(bits, site.credit(scaled))
        fit = scaled.square().mean()
        with torch.no_grad():
            mean = residual.mean()
            latest = torch.stack([torch.ones_like(mean), mean, residual.square().mean()])
            self.moments.lerp_(latest.to(self.moments), 1 - self.decay)
        return drawn.loss.mean() + gradient_only(score + fit)


@Estimator.registry.add("muprop")
class MuProp(Estimator):
    """MuProp: REINFORCE on the residual of a first-order expansion (Gu et al. 2016).

        Σ_l [(f(b) - f(m) - Σ_k f'(m_k)·(b_k - p_k) - c_l) d log q(b_l) + f'(m_l)·dp_l]

    m are the bits of a mean-field pass, in which every layer sends its firing probability upwards;
    f'(m_l) is the gradient of that pass's loss by the m of layer l; p are the probabilities of the
    sample, given its own bits below; c is an exponential average of the term before it, up to the
    previous batch. For a layer's score the terms of lower layers are constants, those of upper ones
    have mean 0, and its own has the expectation that f'(m_l)·dp_l puts back: one residual serves
    all.

    As published each layer subtracts its own expansion alone, f'(m)·(b - m), which leaves it the
    noise of the layers above.

    Evaluations of f per sample and step: 2. Unbiased.

    Args:
        decay: of the averages, in [0, 1).
        conditional: whether the noise of all layers is subtracted; False is the estimator as
            published.

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
        # of the weights, and of each layer's residual
        self.register_buffer("averages", like.new_zeros(len(sites) + 1))

    def evaluations(self, units: Sequence[int]) -> int:
        return 2

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        mean_field: list[Tensor] = []

        def rule(site: Site) -> Tensor:
            probs = site.replicas(1).probs
            # a layer below which nothing learns has no gradient of its own
            mean_field.append(probs if probs.requires_grad else probs.detach().requires_grad_())
            return join([site.replicas(0, 1).sample(), mean_field[-1]])

        drawn = forward(rule, branching(2))
        loss, loss_at_mean = drawn.loss[:1], drawn.loss[1:]
        if not mean_field:
            return loss.mean()
        score = loss.new_zeros(())
        sites = [site.replicas(0, 1) for site in drawn.sites]
        bits = [one[:1].detach() for one in drawn.bits]
        slopes = self._slopes(loss_at_mean, mean_field, sites)
        residuals = self.residuals((loss - loss_at_mean).detach(), slopes, bits, mean_field, sites)
        baselines = self.averages[1:] / self.averages[0].clamp(min=1e-12)
        for site, b, slope, residual in zip(sites, bits, slopes, residuals, strict=True):
            credit = site.credit(residual, baselines[site.index].to(residual.dtype))
            score = score + site.credited_score(b, credit)
            score = score + (slope * site.probs).sum() / site.samples
        means = [residual.mean() for residual in residuals]
        latest = torch.stack([torch.ones_like(means[0]), *means])
        self.averages.lerp_(latest.to(self.averages), 1 - self.decay)
        return loss.mean() + gradient_only(score)

    @staticmethod
    def _slopes(loss: Tensor, mean_field: Sequence[Tensor], sites: Sequence[Site]) -> list[Tensor]:
        """Gradient f'(m) of the mean-field loss [1, samples] by each layer's m, of its shape."""
        found = torch.autograd.grad(loss.sum(), mean_field, retain_graph=True, allow_unused=True)
        slopes = [
            torch.zeros_like(m) if slope is None else slope
            for m, slope in zip(mean_field, found, strict=True)
        ]
        # a shared site takes the gradient of the mean loss, any other that of each sample's own
        return [
            slope / loss.shape[1] if site.shared else slope
            for slope, site in zip(slopes, sites, strict=True)
        ]

    def residuals(
        self,
        difference: Tensor,
        slopes: Sequence[Tensor],
        bits: Sequence[Tensor],
        mean_field: Sequence[Tensor],
        sites: Sequence[Site],
    ) -> list[Tensor]:
        """Residual of f(b) - f(m) after the expansion, for each layer.

        Args:
            difference: f(b) - f(m), [1, samples].
            slopes: f'(m) of each layer, [1, samples, *units].
            bits: b of each layer, likewise.
            mean_field: m of each layer, likewise.
            sites: the layers of the sample, likewise.

        Returns:
            [1, samples] for each layer.
        """
        origins = [site.probs for site in sites] if self.conditional else mean_field
        parts = zip(slopes, bits, origins, strict=True)
        expansions = [
            (slope * (b - origin.detach())).flatten(2).sum(2) for slope, b, origin in parts
        ]
        if self.conditional:
            return [difference - sum(expansions, torch.zeros_like(difference))] * len(expansions)
        return [difference - one for one in expansions]
