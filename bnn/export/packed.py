"""Packed files: a trained network as bits and thresholds, which `bnn.export.runner` evaluates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn.config.titles import run_title
from bnn.data import DatasetSpec
from bnn.export.lowering import lowered
from bnn.restore import Trained

FORMAT = 1
"""Version of the format, docs/export.md."""


def packed_arrays(trained: Trained, spec: DatasetSpec) -> dict[str, NDArray[Any]]:
    """Arrays of the packed file of a network, its description under `about`.

    Args:
        trained: network of a checkpoint, trained to classify.
        spec: facts of its data set.

    Raises:
        ConfigError: for a network of another form than a chain of known layers.
    """
    arrays: dict[str, NDArray[Any]] = {}
    layers: list[dict[str, Any]] = []
    for number, layer in enumerate(lowered(trained.model)):
        names = {key: f"{number}.{key}" for key in layer.arrays}
        arrays |= {name: layer.arrays[key] for key, name in names.items()}
        layers.append({"kind": layer.kind, **layer.settings, "arrays": names})
    about: Mapping[str, Any] = {
        "format": FORMAT,
        "title": run_title(dict(trained.about)),
        "data": spec.name,
        "shape": spec.shape,
        "max_value": spec.max_value,
        "mean": spec.mean,
        "std": spec.std,
        "classes": spec.class_names,
        "reading": "threshold",
        "layers": layers,
    }
    return {"about": np.array(json.dumps(about)), **arrays}


def write_packed(file: Path, arrays: Mapping[str, NDArray[Any]]) -> int:
    """Write a packed file; returns its size in bytes.

    Args:
        file: path, which is replaced.
        arrays: value of `packed_arrays`.
    """
    with file.open("wb") as opened:
        np.savez(opened, **arrays)  # type: ignore[arg-type]
    return file.stat().st_size
