"""Checkpoints: tensors and plain values only, written atomically, read with `weights_only=True`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` to `path`; a kill in the middle leaves the previous file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    torch.save(dict(content), part)
    os.replace(part, path)


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The content of a checkpoint, on `device`. No pickled code is run."""
    return torch.load(path, map_location=device, weights_only=True)
