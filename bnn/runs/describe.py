"""Description of a run for MLflow: its name, parameters and tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from bnn import schema
from bnn.build import TrainingSetup
from bnn.config import provenance
from bnn.config.titles import estimator_title
from bnn.estimators import Estimator
from bnn.tracking.description import RunDescription


def run_tags(
    config: Mapping[str, Any],
    *,
    source: str,
    digest: str,
    result_key: str,
    device: str,
    dataset: str,
    estimator: Estimator,
    units: Sequence[int],
) -> dict[str, str]:
    """Tags of a run, apart from those of its place.

    Args:
        config: canonical configuration.
        source: program or function that trains it.
        digest: digest of the configuration.
        result_key: digest of everything that determines the result.
        device: device of the training.
        dataset: name of the data set.
        estimator: gradient estimator.
        units: number of units of each binary layer, from the input.
    """
    return {
        schema.SOURCE: source,
        schema.KIND: "run",
        schema.DIGEST: digest,
        schema.RESULT_KEY: result_key,
        **{f"bnn.{key}": value for key, value in provenance.describe(device).items()},
        schema.THREADS: str(torch.get_num_threads()),
        schema.DATASET: dataset,
        schema.NEURON: config["neuron"]["name"],
        schema.ESTIMATOR_NAME: config["estimator"]["name"],
        schema.ESTIMATOR_TITLE: estimator_title(dict(config)),
        schema.SAMPLES_IN_TRAINING: "yes" if estimator.samples_in_training else "no",
        schema.EVALUATIONS: str(estimator.evaluations(units) if units else 1),
        schema.PLACEMENT: config["placement"]["name"],
        schema.ANNEAL: config["anneal"]["name"],
        schema.LAW: config["neuron"]["law"],
        schema.WEIGHT_RULE: config.get("weights", {"name": "real"})["name"],
    }


def describe(setup: TrainingSetup, found: Mapping[str, str] | None = None) -> RunDescription:
    """Description of a run from its specification and its objects.

    Args:
        setup: specification and objects.
        found: further tags, of what the store tells.
    """
    spec, training = setup.spec, setup.training
    tags = run_tags(
        spec.config,
        source="bnn.train",
        digest=spec.digest,
        result_key=spec.result_key,
        device=spec.general.device,
        dataset=spec.data.name,
        estimator=training.estimator,
        units=spec.units,
    )
    if spec.initial is not None:
        tags[schema.INIT_FROM] = f"{spec.config['model']['init_from']} ({spec.initial})"
    if spec.plugins:
        tags[schema.PLUGINS] = ", ".join(map(str, spec.plugins))
    tags |= found or {}
    return RunDescription(
        title=spec.title,
        dataset=spec.data.title,
        config=spec.public_config,
        tags=tags,
        task=training.task,
        heatmaps=spec.tracking.heatmaps,
        export=spec.tracking.model,
    )
