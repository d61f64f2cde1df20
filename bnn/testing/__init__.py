"""Contract tests for gradient estimators, against exact enumeration.

An estimator of your own proves its claims in three lines of pytest:

    from bnn.testing import check_estimator

    def test_mine_keeps_its_claims():
        check_estimator(Mine())

The networks are small and in float64, so that the true gradient is a finite sum; the loss is
neither quadratic nor additive in the bits. Estimates are averaged over fixed seeds, and compared
within their standard errors.
"""

from bnn.testing.checks import (
    check_estimator,
    check_evaluations,
    check_unbiased,
    check_value,
    serves,
)
from bnn.testing.gradients import (
    LIMIT,
    STANDARD_ERRORS,
    Sampled,
    exact_loss,
    gradient,
    sampled_gradient,
    seeded,
    warm_up,
)
from bnn.testing.networks import (
    NETWORKS,
    Gated,
    Residual,
    SharedBits,
    batch,
    network,
    shares_bits,
    tangled,
    tangled_with_latents,
)

__all__ = [
    "LIMIT",
    "NETWORKS",
    "STANDARD_ERRORS",
    "Gated",
    "Residual",
    "Sampled",
    "SharedBits",
    "batch",
    "check_estimator",
    "check_evaluations",
    "check_unbiased",
    "check_value",
    "exact_loss",
    "gradient",
    "network",
    "sampled_gradient",
    "seeded",
    "serves",
    "shares_bits",
    "tangled",
    "tangled_with_latents",
    "warm_up",
]
