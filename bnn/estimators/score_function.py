"""Score-function estimators of independent draws: unbiased, whatever the loss does with the bits.

Prefer `reinforce` with leave-one-out; `muprop` pays where the loss is close to linear in the bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.estimators.base import Estimator, steering
from bnn.estimators.baselines import Baseline, check_decay, over_units
from bnn.neurons import Site
from bnn.passes import Run, forks


@Estimator.registry.add("reinforce")
class Reinforce(Estimator):
    """d E[f] / dθ = E[Σ_layers (f - B) · d log q(b) / dθ + ∂f/∂θ] (Williams 1992), with a baseline B.

    Every binary layer's score is multiplied by the total loss of its own sample; nothing else reaches the layers below
    the highest binary one. Bits are always sampled: a hard threshold has no score, so for a deterministic neuron this
    means exploring by its noise law in training and thresholding at evaluation.
    """

    unbiased = True
    needs_full_support = True
    per_sample_credit = True

    def __init__(self, *, baseline: Baseline) -> None:
        super().__init__()
        self.baseline = baseline
        self._layers = 1

    def bind(self, sites: Sequence[Site], inputs: Tensor) -> None:
        self._layers = len(sites)
        self.baseline.bind(sites)

    def passes(self, units: Sequence[int]) -> int:
        return math.prod(self.baseline.forks(len(units)))

    def surrogate(self, run: Run) -> Tensor:
        base = run(Site.sample, forks(*self.baseline.forks(self._layers)))
        score = base.loss.new_zeros(())
        for site, bits in zip(base.sites, base.bits, strict=True):
            loss = base.loss_of(site.index)
            units = site.score(bits).unflatten(0, loss.shape)
            credit = over_units(loss, units) - _aligned(self.baseline(site.index, loss), units)
            score = score + (credit * units).sum() / loss.numel()
        self.baseline.update(base)
        return base.loss.mean() + steering(score)


def _aligned(baseline: Tensor, units: Tensor) -> Tensor:
    return over_units(baseline, units) if baseline.dim() == 2 else baseline


@Estimator.registry.add("nvil")
class NVIL(Estimator):
    """(f - C_φ(x) - c) · d log q(b) / max(1, sd), summed over layers (neural variational inference and
    learning: Mnih & Gregor 2014).

    c and sd are exponential averages of mean and standard deviation of f - C_φ(x), up to the previous batch; C_φ is a
    network of one hidden tanh layer that sees the input alone and is fitted with the run's optimizer, by squared error (over
    its own size where that is above 1, so that a large loss does not throw it).
    Unbiased up to the positive scale 1 / max(1, sd). One pass.
    Errors: ConfigError for hidden < 1 or decay outside [0, 1).
    """

    unbiased = True
    up_to_scale = True
    needs_full_support = True
    per_sample_credit = True
    moments: Tensor

    def __init__(self, *, hidden: int, decay: float) -> None:
        super().__init__()
        if hidden < 1:
            raise ConfigError(f"estimator.hidden: expected at least 1 unit, got {hidden}")
        self.hidden, self.decay = hidden, check_decay("estimator.decay", decay)

    def bind(self, sites: Sequence[Site], inputs: Tensor) -> None:
        first, last = nn.Linear(inputs[0].numel(), self.hidden), nn.Linear(self.hidden, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(nn.Flatten(), first, nn.Tanh(), last).to(inputs)
        self.register_buffer("moments", torch.zeros(3, dtype=inputs.dtype))  # of f - C: weight, mean, mean square

    def passes(self, units: Sequence[int]) -> int:
        return 1

    def scale(self) -> Tensor:
        """1 / max(1, sd) of the credits up to the last batch."""
        weight, mean, square = self.moments.unbind()
        variance = (square / weight.clamp(min=1e-12) - (mean / weight.clamp(min=1e-12)).square()).clamp(min=0)
        return 1 / variance.sqrt().clamp(min=1)

    def surrogate(self, run: Run) -> Tensor:
        base = run(Site.sample)
        left = base.loss.detach()[0] - self.network(run.inputs).flatten().to(base.loss.dtype)
        credit = (left.detach() - self.moments[1] / self.moments[0].clamp(min=1e-12)) * self.scale()
        score = sum(
            (credit * site.score(bits).flatten(1).sum(1)).mean() for site, bits in zip(base.sites, base.bits, strict=True)
        )
        fit = (left - self.moments[1] / self.moments[0].clamp(min=1e-12)).square().mean()
        with torch.no_grad():
            latest = torch.stack([torch.ones_like(left.mean()), left.mean(), left.square().mean()])
            self.moments.lerp_(latest.to(self.moments), 1 - self.decay)
        return base.loss.mean() + steering(score + fit / fit.detach().clamp(min=1))


@Estimator.registry.add("muprop")
class MuProp(Estimator):
    """(f(b) - f(m) - f'(m)·(b - m)) · d log q(b) + f'(m) · dp, for each layer with its own residual (Gu et al. 2016).

    m are the bits of a mean-field pass, in which every layer sends its firing probability upwards; f'(m) is the gradient of
    that pass's loss by the layer's m. Two passes.
    """

    unbiased = True
    needs_full_support = True
    per_sample_credit = True

    def passes(self, units: Sequence[int]) -> int:
        return 2

    def surrogate(self, run: Run) -> Tensor:
        n = len(run.inputs)
        fields: list[Tensor] = []

        def draw(site: Site) -> Tensor:
            fields.append(site.rows(n).p)
            return torch.cat([site.rows(0, n).sample(), fields[-1]])

        latest = run(draw, forks(2))
        loss, at_mean = latest.loss
        slopes = torch.autograd.grad(at_mean.sum(), fields, retain_graph=True)
        sites, drawn = [site.rows(0, n) for site in latest.sites], [bits[:n].detach() for bits in latest.bits]
        rises = [
            (slope * (bits - m.detach())).flatten(1).sum(1) for slope, bits, m in zip(slopes, drawn, fields, strict=True)
        ]
        score = loss.new_zeros(())
        for site, bits, slope, left in zip(
            sites, drawn, slopes, self.residuals((loss - at_mean).detach(), rises), strict=True
        ):
            score = score + (left * site.score(bits).flatten(1).sum(1) + (slope * site.p).flatten(1).sum(1)).mean()
        return loss.mean() + steering(score)

    def residuals(self, away: Tensor, rises: Sequence[Tensor]) -> list[Tensor]:
        """What the expansion of each layer leaves of f(b) - f(m), [n] each: one sum taken off for all would bias."""
        return [away - rise for rise in rises]
