"""Double control variates: leave-one-out REINFORCE with the slopes of the other draws."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bnn.estimators.base import Estimator
from bnn.estimators.baselines import check_decay
from bnn.estimators.slopes import DrawsWithSlopes, LayerDraws
from bnn.nn.replicas import mean_of_others
from bnn.nn.sites import Site


@Estimator.registry.add("double_cv")
class DoubleControlVariates(DrawsWithSlopes):
    """Leave-one-out REINFORCE with double control variates (Titsias & Shi 2022).

        d f / d ℓ := mean_k [(h_k - mean_{j≠k} h_j) (b_k - p) - α ĝ_k p (1 - p)]

    of h_k = f_k + α ĝ_k · (b_k - p), where ĝ_k is the mean slope f'(b_j) of the other draws j ≠ k;
    in a layer below another binary one the slope passes the bits above as straight-through does.
    The last term puts back the expectation of the second control variate. α is kept for each
    layer, as the minimiser of the estimates' mean square over the previous batches, and begins at
    0, which is leave-one-out; at an f that is linear in the bits it is -1, and no variance is left.

    Evaluations of f per sample and step: K. Unbiased.

    Args:
        samples: K, draws of all binary layers together.
        decay: of the running averages behind α, in [0, 1).

    Raises:
        ConfigError: for samples < 2 or decay outside [0, 1).
    """

    moments: Tensor

    def __init__(self, *, samples: int = 4, decay: float = 0.99) -> None:
        super().__init__(samples)
        self.decay = check_decay("estimator.decay", decay)

    def build(self, sites: Sequence[Site], inputs: Tensor) -> None:
        like = sites[0].preactivation.detach() if sites else torch.zeros(0, device=inputs.device)
        self.register_buffer("moments", like.new_zeros(len(sites), 2))  # products with B: A · B, B²

    def weights(self) -> Tensor:
        """α of each layer, [layers]."""
        tiny = torch.finfo(self.moments.dtype).tiny
        return -self.moments[:, 0] / self.moments[:, 1].clamp(min=tiny)

    def metrics(self) -> dict[str, float]:
        assert self.layers is not None
        return {
            f"alpha/{name}": float(alpha)
            for name, alpha in zip(self.layers.names, self.weights(), strict=True)
        }

    def gradient(self, layer: LayerDraws) -> Tensor:
        index = layer.site.index
        alpha = self.weights()[index]
        own, control = self.parts(layer)
        latest = self._products(own, control)
        self.moments[index].lerp_(latest.to(self.moments), 1 - self.decay)
        return own + alpha * control

    def parts(self, layer: LayerDraws) -> tuple[Tensor, Tensor]:
        """Parts A and B of the estimates A + α B.

        Args:
            layer: draws of one layer.

        Returns:
            Two tensors of the shape of the site.
        """
        p, noise = layer.site.probs.detach(), layer.b_minus_p
        slope = mean_of_others(layer.slope)
        control = (noise * slope).flatten(2).sum(2)

        def credited(values: Tensor) -> Tensor:
            """(h_k - mean of the others) (b_k - p) of values [K, samples]."""
            return layer.site.aligned(values - mean_of_others(values)) * noise

        return credited(layer.loss), credited(control) - slope * p * (1 - p)

    def _products(self, own: Tensor, control: Tensor) -> Tensor:
        """Mean products A · B and B² of the estimates of a sample, means over the draws."""
        total, other = own.mean(0), control.mean(0)
        return torch.stack([(total * other).sum(), other.square().sum()]) / own.shape[1]
