"""Checkpoints: tensors and plain values only, written atomically, read with `weights_only=True`."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from bnn.errors import CheckpointError
from bnn.version import __version__

BEST, LAST = "best.pt", "last.pt"
"""The best network so far with its configuration, and everything that a training goes on from."""


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` to `path`; a kill, a full disk or a power cut in the middle leaves the previous file.

    Errors: CheckpointError where it cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            torch.save({"version": __version__, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except (
        OSError,
        RuntimeError,
    ) as error:  # RuntimeError: torch's own, for a write that fell short
        part.unlink(missing_ok=True)
        why = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise CheckpointError(
            f"{path} cannot be written ({why}); the one of the epoch before is kept: make room, then run the same command "
            "with resume=true"
        ) from error


def load(file: Path | BinaryIO, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The content of a checkpoint, on `device`. No pickled code is run.

    Errors: CheckpointError for a file that is missing, truncated, or no checkpoint.
    """
    try:
        return torch.load(file, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        why = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise CheckpointError(f"{file} is no checkpoint that can be read ({why})") from error
