"""Controls: what an estimator has to beat, and the real-valued reference."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from bnn.errors import ConfigError
from bnn.estimators.base import Estimator
from bnn.neurons import Site
from bnn.passes import Run


@Estimator.registry.add("frozen")
class Frozen(Estimator):
    """The unit fires and nothing is sent below it: the layers under the highest binary one keep their initial weights.

    This is what the first repositories called "REINFORCE": they sampled and never used log q.
    """

    unbiased = False
    needs_full_support = False
    per_sample_credit = False
    explores = False

    def passes(self, units: Sequence[int]) -> int:
        return 1

    def surrogate(self, run: Run) -> Tensor:
        return run(Site.fire).loss.mean()


@Estimator.registry.add("none")
class Backpropagation(Estimator):
    """Plain backpropagation through a network without binary layers."""

    unbiased = True
    needs_full_support = False
    per_sample_credit = False
    explores = False

    def passes(self, units: Sequence[int]) -> int:
        return 1

    def surrogate(self, run: Run) -> Tensor:
        return run(self.refuse).loss.mean()

    @staticmethod
    def refuse(site: Site) -> Tensor:
        raise ConfigError("estimator=none trains no binary layer: write placement=none, or choose an estimator")
