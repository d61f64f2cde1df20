"""What can be said of runs before they start: how long they will take, and what is doubtful about them. Nothing is read."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from bnn.build import Plan
from bnn.config import differing_keys, estimator_title, flat
from bnn.nn.forward import ForwardClosure
from bnn.nn.norms import couples_above_binary
from bnn.paths import shared_file_warning
from bnn.tables import markdown
from bnn.training.optimizers import parameter_groups
from bnn.training.progress import clock
from bnn.training.step import init_estimator, steps_per_epoch, train_step

TIMED_STEPS = 5


def seconds_per_step(plan: Plan) -> float:
    """Median seconds of an update on random images, on copies of the plan's objects."""
    model, estimator = (
        copy.deepcopy(plan.model).to(plan.device),
        copy.deepcopy(plan.recipe.estimator),
    )
    settings = plan.recipe.settings
    task = copy.deepcopy(plan.recipe.task).to(plan.device)
    images = torch.rand(settings.batch_size, *plan.data.shape, device=plan.device)
    dtype = torch.float32 if plan.data.classes is None else torch.int64
    labels = torch.zeros(settings.batch_size, dtype=dtype, device=plan.device)
    inputs, targets = task.batch(images, labels)
    init_estimator(estimator, model, inputs[:2], plan.recipe.seed)
    optimizer, _ = plan.recipe.optimization.start(parameter_groups(model, estimator, task), 1)
    times = []
    for _ in range(TIMED_STEPS):
        start = time.perf_counter()
        forward = ForwardClosure(model, inputs, targets, task.loss, layers=estimator.layers)
        float(train_step(forward, estimator, optimizer, settings.precision))
        times.append(time.perf_counter() - start)
    return sorted(times)[TIMED_STEPS // 2]


def seconds_of(plan: Plan) -> float:
    """Estimated seconds of training; evaluation and tracking come on top."""
    settings = plan.recipe.settings
    samples = round(plan.data.train_size * (1 - settings.validation_fraction))
    limit = plan.config["data"].get("limit")
    steps = steps_per_epoch(samples if limit is None else min(samples, limit), settings.batch_size)
    return seconds_per_step(plan) * steps * settings.epochs


def dry_run(plans: Sequence[Plan]) -> str:
    """The cells of a sweep with an estimate for each and for all of them one after the other."""
    seconds = [seconds_of(plan) for plan in plans]
    keys = differing_keys([plan.config for plan in plans])
    rows = []
    for number, (plan, estimate) in enumerate(zip(plans, seconds, strict=True)):
        config = dict(plan.config)
        about = [
            str(number),
            plan.title,
            estimator_title(config),
            config["neuron"]["law"],
            plan.data.name,
        ]
        rows.append(
            [
                *about,
                *(str(flat(config).get(key, "–")) for key in keys),
                plan.digest,
                clock(estimate),
            ]
        )
    table = markdown(["#", "run", "estimator", "law", "data", *keys, "digest", "estimate"], rows)
    total = f"about {sum(seconds) / 60:.1f} minutes of training one after the other on {plans[0].general.device}"
    return f"{table}\n{len(plans)} runs, {total}"


def notices(plans: Sequence[Plan]) -> list[str]:
    """What a reader of these runs has to know beforehand, each once."""
    found = [line for line in [_shared_file(plans[0])] if line]
    if any(
        (plan.recipe.estimator.assumes_independent_samples or plan.lab.every) and _couples(plan)
        for plan in plans
    ):
        found.append(
            "note: batch norm above a binary layer couples the samples of a batch, and per-sample credit drops "
            "those terms; model.norm=running and model.norm=group do not couple"
        )
    if any(plan.device.type == "cuda" for plan in plans):
        found.append(
            "note: on CUDA some sums have no fixed order, so the same seed gives close but not equal metrics"
        )
    return found


def _shared_file(plan: Plan) -> str | None:
    uri = plan.tracking.uri or "sqlite:///mlflow.db"
    return (
        shared_file_warning(Path(uri.removeprefix("sqlite:///")))
        if uri.startswith("sqlite:///")
        else None
    )


def _couples(plan: Plan) -> bool:
    return couples_above_binary(
        plan.model, plan.recipe.task.inputs(torch.zeros(2, *plan.data.shape))
    )
