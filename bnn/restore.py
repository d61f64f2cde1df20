"""Trained networks from checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from torch import nn

from bnn import plugins
from bnn.build import build_model, build_task
from bnn.config.canonical import PLUGINS
from bnn.data import recorded_spec
from bnn.errors import CheckpointError, ConfigError
from bnn.nn.memory_layout import to_channels_last
from bnn.tasks import Task
from bnn.training import checkpoint
from bnn.training.initial_weights import non_finite
from bnn.training.initialisation import init_task


@dataclass(frozen=True)
class Trained:
    """Trained network of a checkpoint.

    Args:
        model: network in evaluation mode, at the slope it was trained to.
        task: its task.
        about: metadata of the checkpoint, the configuration among them.
    """

    model: nn.Module
    task: Task
    about: Mapping[str, Any]


def load_trained(file: Path | str | BinaryIO) -> Trained:
    """Network and task of a checkpoint, whose plug-ins are loaded.

    Args:
        file: path of a best.pt, or open file.

    Raises:
        CheckpointError: for a file that is none, of a network that this version cannot build,
            without its plug-ins, or with weights that are NaN or infinite.
    """
    content = checkpoint.load(file)
    about = content.get("about")
    try:
        plugins.load(plugins.module_names(about.get(PLUGINS) if isinstance(about, dict) else None))
    except ConfigError as error:
        raise CheckpointError(f"{file}: {error}") from error
    try:
        about = content["about"]
        spec, task = recorded_spec(about), build_task(about)
        model = build_model(about, spec)
        model.load_state_dict(content["model"])
        init_task(task, spec, about["seed"])
        task.load_state_dict(content.get("task", {}))  # version 0.1.0 kept none
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        why = str(error).partition("\n")[0]
        if isinstance(about, dict) and "model" not in about and "model" in content:
            raise CheckpointError(
                f"{file}: it is of bnn.fit, whose network no configuration describes; write "
                "net.load_state_dict(bnn.training.checkpoint.load(file)['model'])"
            ) from error
        raise CheckpointError(
            f"{file}: expected a best.pt of this version, from which a network is built ({why})"
        ) from error
    if bad := non_finite(content["model"]):
        raise CheckpointError(f"{file}: {bad}")
    # the layout it was trained in, since noise is drawn in memory order
    to_channels_last(model).eval()
    return Trained(model, task, about)


def load_checkpoint(file: Path | str | BinaryIO) -> tuple[nn.Module, Mapping[str, Any]]:
    """Network of a checkpoint and its configuration; see `load_trained`."""
    trained = load_trained(file)
    return trained.model, trained.about
