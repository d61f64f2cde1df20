"""Binary weights as sample sites, for estimators that have to see the losses.

An estimator then trains the weights as it trains bits of the activations. The variance of a
score-function estimate grows with the number of weights, so that this is an oracle for small
layers; the rules of `bnn.nn.weights` train large ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bnn.errors import ConfigError
from bnn.nn.handlers import has_handler, sample
from bnn.nn.sites import Site
from bnn.nn.weight_draws import BinaryLayer
from bnn.nn.weights import LatentWeights

LARGEST = 12
"""Largest number of weights of a layer."""


@dataclass(kw_only=True)
class WeightSites(LatentWeights):
    """Bernoulli weights that the estimator in force draws and credits, one draw for a replica.

    In evaluation without a site handler they are their signs, as those of the other rules; the
    readings of an evaluation draw them.

        net = bnn.binarize(net, WeightSites(layers=["0"]))
        bnn.estimators.Reinforce()(net, inputs, targets).backward()

    Its parameters are those of `LatentWeights`.
    """

    are_sites = True

    def output(self, layer: BinaryLayer, x: Tensor) -> Tensor:
        """Output of a layer, whose batch is one replica for each draw of the weights.

        Args:
            layer: the layer.
            x: input, [replicas · samples, …].

        Returns:
            [replicas · samples, …].

        Raises:
            ConfigError: for more than LARGEST weights.
        """
        if not layer.training and not has_handler():
            return super().output(layer, x)
        latent = layer.weight
        if latent.numel() > LARGEST:
            raise ConfigError(
                f"weights as sample sites: expected at most {LARGEST} weights of a layer, whose "
                f"score-function estimate has a variance that grows with them; got "
                f"{latent.numel()}"
            )
        assert isinstance(layer, torch.nn.Module)
        bits = sample(Site(latent, self.site(latent).law, Site.sample, shared=True, module=layer))
        scale = self.scale_of(latent)
        parts = x.split(len(x) // len(bits))
        weights = 2 * bits - 1
        outputs = [
            layer.operation(part, scale * weight, layer.bias)
            for part, weight in zip(parts, weights, strict=True)
        ]
        return torch.cat(outputs)
