"""Shares of a run's parts in its time, extrapolated from a short run to a whole one."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import torch
from omegaconf import DictConfig

from bnn.benchmark.laps import Laps, timed, timed_tracker
from bnn.benchmark.timing import finisher
from bnn.build import TrainingSetup, build, read_dataset
from bnn.config.compose import with_values
from bnn.runs.execute import execute
from bnn.specify import specify
from bnn.tables import markdown
from bnn.tracking.store import open_store
from bnn.training.progress import ProgressBar
from bnn.training.step import batches, steps_per_epoch

TRACKING_TARGET = 0.02
"""Share of MLflow's calls in the training time of a run."""
SURROUNDINGS_TARGET = 0.15
"""Share of all but data, steps and the rest of the loop in the time of a run."""
STEPS = ("data", "rest of the loop", "forward", "backward", "optimizer")
SURROUNDINGS = ("evaluation", "snapshots", "checkpoint", "mlflow", "figures", "export")
PARTS = STEPS + SURROUNDINGS


def tracked_run(config: DictConfig, folder: Path) -> tuple[Laps, TrainingSetup]:
    """Run of two epochs as bnn.train makes it, with a tracking store of its own.

    On a GPU its steps are launched and not captured: a CUDA graph has no parts to be timed.

    Args:
        config: composed configuration.
        folder: folder of the run and of the store.

    Returns:
        The stopwatch, and the objects of the run.
    """
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    spec = specify(
        with_values(
            config,
            trainer__epochs=2,
            trainer__progress="none",
            trainer__cuda_graph="never",
            tracking__uri=uri,
        )
    )
    laps = Laps(finisher(torch.device(spec.general.device)))
    open_store(uri, "benchmark")
    laps.lap("new store", "once")
    checked = timed(build(spec), laps)
    with timed_tracker(laps), patch("bnn.runs.execute.build", lambda *_: checked):
        execute(spec, folder, None, "benchmark", progress=ProgressBar("none"))
    laps.lap("mlflow", "once")
    data, training = read_dataset(checked.spec), checked.training
    laps.lap("reading", "once")
    generator = torch.Generator().manual_seed(training.seed)
    for _ in batches(data.train, training.settings.batch_size, generator):
        laps.lap("data", "step")
    return laps, checked


def shares(config: DictConfig) -> str:
    """Table of the parts of a run on the whole training split, of `trainer.epochs` epochs.

    Args:
        config: composed configuration.
    """
    with TemporaryDirectory() as folder:
        laps, checked = tracked_run(config, Path(folder))
    settings, epochs = checked.training.settings, int(config.trainer.epochs)
    samples = round(checked.spec.data.train_size * (1 - settings.validation_fraction))
    steps = steps_per_epoch(samples, settings.batch_size)
    a_step = {part: laps.a_step(part) for part in PARTS}
    a_step["rest of the loop"] = max(0.0, laps.a_step("between") - a_step["data"])
    total = {
        part: epochs * (steps * a_step[part] + laps.an_epoch(part)) + laps.once(part)
        for part in PARTS
    }
    whole = sum(total.values())
    rows = []
    for part in PARTS:
        seconds = [f"{laps.an_epoch(part):.3f}", f"{laps.once(part):.2f}", f"{total[part]:.2f}"]
        share = f"{100 * total[part] / whole:.2f}"
        rows.append([part, f"{1000 * a_step[part]:.3f}", *seconds, share])
    head = ["part", "ms a step", "s an epoch", "s once", f"s in {epochs} epochs", "%"]
    training = epochs * steps * sum(a_step.values())
    calls = total["mlflow"]
    all_tracking = sum(total[part] for part in ("mlflow", "figures", "export"))
    return (
        f"{markdown(head, rows)}\n\n"
        f"MLflow's calls: {calls:.2f} s beside {training:.0f} s of training in {epochs} epochs "
        f"of {steps} steps, {100 * calls / training:.2f} % (target: at most "
        f"{100 * TRACKING_TARGET:.0f} %); with figures and the exported model "
        f"{100 * all_tracking / training:.2f} %. All that surrounds the steps: "
        f"{100 * sum(total[part] for part in SURROUNDINGS) / whole:.1f} % of the run (target: at "
        f"most {100 * SURROUNDINGS_TARGET:.0f} %). Once for all runs: a new store, "
        f"{laps.once('new store'):.1f} s."
    )
