"""Reference gradients, against which estimators are measured.

The reference is exact where enumeration can hold the network, and otherwise the mean of many
unbiased estimates, in groups whose spread is its own error.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass

from torch import Tensor

from bnn.errors import ConfigError
from bnn.estimators import Estimator
from bnn.estimators.enumeration import Enumeration
from bnn.lab.gradient_sampler import GradientSampler
from bnn.lab.moments import Sample
from bnn.nn.norms import couples_above_binary

GROUPS = 20
"""Groups of a reference's estimates; the spread of their means is its noise."""
COUPLED = ", without what batch norm above a binary layer couples: see bnn.lab.questions.coupling"


@dataclass(frozen=True)
class ReferenceGradient:
    """Unbiased values of the true gradient by layer.

    Args:
        groups: means of groups of estimates, [groups, numbers]; one group where they are exact.
        name: description for a page.
        exact: whether the gradient was enumerated.
    """

    groups: dict[str, Tensor]
    name: str
    exact: bool

    def squared_norm(self, layer: str) -> float:
        """Squared norm of the true gradient, without the noise of the groups."""
        return Sample(self.groups[layer]).squared_norm

    def relative_error(self, layer: str) -> float:
        """Root-mean-square error of the groups' mean, over the norm of the true gradient."""
        return math.sqrt(Sample(self.groups[layer]).noise / max(self.squared_norm(layer), 1e-300))


def reference_estimator(layers: int) -> Estimator:
    """Estimator of a reference that cannot be enumerated: unbiased, of little noise for its time.

    Args:
        layers: number of binary layers.
    """
    nested = {"name": "nested_leave_one_out", "samples": 8, "nested": 8}
    baseline = nested if layers > 1 else {"name": "leave_one_out", "samples": 16}
    return Estimator.registry.build({"name": "reinforce", "baseline": baseline})


def reference_gradient(sampler: GradientSampler, draws: int) -> ReferenceGradient:
    """Reference gradient of a sampler's network on its batch.

    Args:
        sampler: network and batch.
        draws: estimates by `reference_estimator`, where the gradient cannot be enumerated.
    """
    coupled = couples_above_binary(sampler.model, sampler.inputs[:2])
    if Enumeration.holds(sampler.units) and not coupled:
        enumeration = Enumeration()
        # a path around a binary layer, or a loss that takes the bits of lower layers
        with contextlib.suppress(ConfigError):
            sampler.init(enumeration)
            exact = sampler.group_means(enumeration, 1, 1)
            return ReferenceGradient(exact, "exact enumeration", True)
    ready = sampler.warm_up(reference_estimator(len(sampler.units)), 0)
    groups = max(2, min(GROUPS, draws))
    each = max(1, draws // groups)
    replicas = ready.evaluations(sampler.units)
    kind = "nested leave-one-out" if len(sampler.units) > 1 else "leave-one-out"
    name = f"{groups * each} estimates by {kind} of {replicas} draws"
    means = sampler.group_means(ready, groups, each)
    return ReferenceGradient(means, name + (COUPLED if coupled else ""), False)
