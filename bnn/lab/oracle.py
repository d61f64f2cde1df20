"""The exact gradient of the expected loss, by summing over every configuration of the binary units."""

from __future__ import annotations

import torch
from torch import Tensor

from bnn.errors import ConfigError
from bnn.estimators.base import Estimator
from bnn.neurons import Site
from bnn.passes import Run, sites_of

LIMIT = 16
"""The most binary units that are enumerated: 2^16 replicas of each sample."""


class Enumeration(Estimator):
    """Σ_b q(b) f(b) per sample, averaged over samples; differentiable, so its gradient is the true one.

    Every configuration of all binary layers is one replica. Its value is the expected loss, not that of one pass.
    Any law: q is a product of p and 1 - p, no logarithm is taken. Errors: ConfigError above LIMIT units.
    """

    unbiased = True
    needs_full_support = False
    per_sample_credit = True

    def passes(self, sites: int) -> int:
        return 2**LIMIT

    def surrogate(self, run: Run) -> Tensor:
        units = [site.a[0].numel() for site in sites_of(run.model, run.inputs)]
        if sum(units) > LIMIT:
            raise ConfigError(f"enumeration: expected at most {LIMIT} binary units, the network has {sum(units)}")
        configurations = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * sum(units)).view(-1, sum(units))
        blocks = configurations.split(units, dim=1)

        def draw(site: Site) -> Tensor:
            block = blocks[site.index].to(site.a).repeat_interleave(len(run.inputs), 0)
            return block.view_as(site.a)

        base = run(draw, [len(configurations)])
        q = torch.ones_like(base.loss)
        for site, bits in zip(base.sites, base.bits, strict=True):
            q = q * torch.where(bits > 0, site.p, 1 - site.p).flatten(1).prod(1).view_as(q)
        return (q * base.loss).sum(0).mean()
