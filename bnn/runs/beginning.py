"""Beginning of a run: the weights of another run, or a finished run of fewer epochs."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from pathlib import Path

from torch import Tensor

from bnn.build import TrainingSetup
from bnn.config.specification import RunSpec
from bnn.errors import ConfigError, TrackingError
from bnn.tracking.query import fetch, finished_run_id
from bnn.tracking.resume import ShorterRun, find_shorter
from bnn.tracking.store import Store
from bnn.training import checkpoint
from bnn.training.initial_weights import KEY, read_weights


def weights_of_run(spec: RunSpec, store: Store) -> tuple[str, dict[str, Tensor]] | None:
    """Full id and best weights of the run that `model.init_from` names.

    Args:
        spec: specification of the run that begins with them.
        store: tracking store of both runs.

    Returns:
        Id and state of the network; None where the key names no run.

    Raises:
        ConfigError: for a run that is not there, has not finished or keeps no checkpoint, and for
            weights that are NaN or infinite.
    """
    source = spec.config["model"].get("init_from")
    if source is None or spec.initial is not None:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        try:
            run_id = finished_run_id(store.uri, source)
            file = fetch(store.uri, run_id, f"checkpoint/{checkpoint.BEST}", Path(scratch))
        except TrackingError as error:
            raise ConfigError(f"{KEY}={source}: {error}") from error
        if file is None:
            raise ConfigError(f"{KEY}={source}: run {run_id} keeps no checkpoint")
        return run_id, read_weights(file, source)


def _shorter_run(spec: RunSpec, store: Store) -> ShorterRun | None:
    """Finished run of this configuration with fewer epochs."""
    trainer, keys = spec.config["trainer"], {}
    for epochs in range(1, trainer["epochs"]):
        config = {**spec.config, "trainer": {**trainer, "epochs": epochs}}
        keys[dataclasses.replace(spec, config=config).result_key] = epochs
    return find_shorter(store, keys) if keys else None


def key_of_length(setup: TrainingSetup, epochs: int) -> str | None:
    """Key of a schedule by which fewer epochs are no beginning of this training.

    Args:
        setup: objects of the training.
        epochs: the smaller number of epochs.

    Returns:
        `anneal.name` or `optimizer.lr_schedule`; None where the schedules begin alike.
    """
    training, whole = setup.training, setup.training.settings.epochs
    if any(
        not math.isclose(training.schedule(epoch, epochs), training.schedule(epoch, whole))
        for epoch in range(epochs)
    ):
        return "anneal.name"
    rate, warmup = training.optimization.lr_schedule, training.optimization.warmup
    steps = 100  # of an epoch; a schedule of the step alone has the same values for any number
    if any(
        not math.isclose(rate(i, epochs * steps, warmup), rate(i, whole * steps, warmup))
        for i in range(epochs * steps)
    ):
        return "optimizer.lr_schedule"
    return None


def _refusal_to_continue(setup: TrainingSetup, shorter: ShorterRun) -> str | None:
    """Note on a run of fewer epochs that cannot be gone on from; None where it can."""
    config, whole = setup.spec.config, setup.training.settings.epochs
    about = f"note: run {shorter.run_id} finished after {shorter.epochs} of {whole} epochs, "
    if (key := key_of_length(setup, shorter.epochs)) is not None:
        group, name = key.split(".")
        why = f"but {key}={config[group][name]} depends on trainer.epochs"
        if key == "optimizer.lr_schedule" and config[group].get("warmup"):
            why = f"but {key}={config[group][name]} with optimizer.warmup depends on trainer.epochs"
    elif shorter.last is None:
        why = "but its optimizer state is gone (trainer.keep_last=true keeps it)"
    else:
        return None
    return f"{about}{why}: trained anew; {KEY}={shorter.run_id} begins with its weights"


def run_to_continue(setup: TrainingSetup, store: Store, title: str) -> ShorterRun | None:
    """Finished run of fewer epochs that a training goes on from; why there is none is printed.

    Args:
        setup: objects of the training.
        store: tracking store of both runs.
        title: display name on the terminal.
    """
    shorter = _shorter_run(setup.spec, store)
    if shorter is None:
        return None
    if (note := _refusal_to_continue(setup, shorter)) is not None:
        print(note, flush=True)
        return None
    print(f"{title}: goes on from run {shorter.run_id}, after epoch {shorter.epochs}", flush=True)
    return shorter
