"""Checkpoints: tensors and plain values, written atomically and read with `weights_only=True`."""

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
"""File names of the best network so far with its configuration, and of the whole state that a
training goes on from."""


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint; a kill, a full disk or a power cut in the middle leaves the previous one.

    Args:
        path: the file; its directory is made where it is missing.
        content: tensors and plain values by key.

    Raises:
        CheckpointError: where it cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            torch.save({"version": __version__, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    # torch raises RuntimeError for a write that fell short
    except (OSError, RuntimeError) as error:
        part.unlink(missing_ok=True)
        why = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise CheckpointError(
            f"{path} cannot be written ({why}); the one of the epoch before is kept: make room, "
            "then run the same command with resume=true"
        ) from error


def load(file: Path | BinaryIO, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Content of a checkpoint. No pickled code is run.

    Args:
        file: path, or open file.
        device: device of the tensors.

    Raises:
        CheckpointError: for a file that is missing, truncated, or no checkpoint.
    """
    try:
        content: dict[str, Any] = torch.load(file, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        why = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise CheckpointError(f"{file} is no checkpoint that can be read ({why})") from error
    return content
