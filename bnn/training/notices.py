"""What a run says once about its own validity."""

from __future__ import annotations

import torch

from bnn.build import Plan
from bnn.models.norms import couples_above_binary


def batch_norm_notice(plan: Plan) -> str | None:
    """A line when per-sample credit meets batch statistics above a binary layer, else None."""
    if not plan.recipe.estimator.per_sample_credit or not couples_above_binary(plan.model, torch.zeros(2, *plan.data.shape)):
        return None
    return (
        "note: batch norm above a binary layer couples the samples of a batch, and per-sample credit drops those terms; "
        "model.norm=running and model.norm=group do not couple"
    )
