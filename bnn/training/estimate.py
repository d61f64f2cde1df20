"""How long a sweep will take, from a few timed steps on random images. Nothing is read and nothing is kept."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence

import torch

from bnn.build import Plan
from bnn.config import estimator_title
from bnn.passes import Run, sites_of
from bnn.tables import markdown
from bnn.training.loop import cross_entropy, steps_per_epoch, update
from bnn.training.progress import clock

TIMED_STEPS = 5


def seconds_per_step(plan: Plan) -> float:
    """Median seconds of an update on random images, on copies of the plan's objects."""
    model, estimator = copy.deepcopy(plan.model).to(plan.device), copy.deepcopy(plan.recipe.estimator)
    settings = plan.recipe.settings
    images = torch.rand(settings.batch_size, *plan.data.shape, device=plan.device)
    labels = torch.zeros(settings.batch_size, dtype=torch.int64, device=plan.device)
    estimator.bind(sites_of(model, images[:2]))
    optimizer, _ = plan.recipe.optimization.start(model.parameters(), 1)
    times = []
    for _ in range(TIMED_STEPS):
        start = time.perf_counter()
        float(update(Run(model, images, labels, cross_entropy), estimator, optimizer, settings.precision))
        times.append(time.perf_counter() - start)
    return sorted(times)[TIMED_STEPS // 2]


def seconds_of(plan: Plan) -> float:
    """Estimated seconds of training; evaluation and tracking come on top."""
    settings = plan.recipe.settings
    samples = round(plan.data.train_size * (1 - settings.validation_fraction))
    limit = plan.config["data"].get("limit")
    steps = steps_per_epoch(min(samples, limit or samples), settings.batch_size)
    return seconds_per_step(plan) * steps * settings.epochs


def dry_run(plans: Sequence[Plan]) -> str:
    """The cells of a sweep with an estimate for each and for all of them one after the other."""
    seconds = [seconds_of(plan) for plan in plans]
    rows = [
        [
            str(i),
            p.title,
            estimator_title(dict(p.config)),
            str(p.config["neuron"]["law"]),
            p.data.name,
            p.digest,
            clock(s),
        ]
        for i, (p, s) in enumerate(zip(plans, seconds, strict=True))
    ]
    table = markdown(["#", "run", "estimator", "law", "data", "digest", "estimate"], rows)
    return f"{table}\n{len(plans)} runs, about {sum(seconds) / 60:.1f} minutes of training one after the other on {plans[0].general.device}"
