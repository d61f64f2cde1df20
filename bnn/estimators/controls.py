"""Controls: the estimator that the others have to beat, and the real-valued reference."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from bnn.errors import ConfigError
from bnn.estimators.base import Estimator
from bnn.estimators.straight_through import OnePass
from bnn.nn.forward import ForwardClosure
from bnn.nn.sites import Site


@Estimator.registry.add("frozen")
class Frozen(OnePass):
    """Frozen lower layers: the units fire, and no gradient is sent below them.

        d f / d a := 0

    Layers below the highest binary one keep their initial weights. The published runs of
    bnn/report/reference.py call this "REINFORCE": their code samples, and never uses log q.
    Evaluations of f per sample and step: 1. Biased.
    """

    needs_full_support = False
    samples_in_training = False

    def sample(self, site: Site) -> Tensor:
        return site.fire()


@Estimator.registry.add("none")
class Backpropagation(Estimator):
    """Plain backpropagation through a network without binary layers.

    Evaluations of f per sample and step: 1. Exact, where no unit is random.
    """

    unbiased = True
    needs_full_support = False
    assumes_independent_samples = False
    samples_in_training = False

    def evaluations(self, units: Sequence[int]) -> int:
        return 1

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        return forward(self._refuse).loss.mean()

    @staticmethod
    def _refuse(site: Site) -> Tensor:
        raise ConfigError(
            "estimator=none trains no binary layer: write placement=none, or choose an estimator"
        )
