"""Activation layers of each configuration's network on the same images, for the heatmaps."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from bnn.errors import BnnError, format_error
from bnn.report.configurations import Configuration
from bnn.report.html.snapshots import fixed_test_images, restored_snapshot
from bnn.report.rows import Row
from bnn.tracking.query import fetch
from bnn.training.activations import LayerView

CHECKPOINT = "checkpoint/best.pt"
"""Artifact of a run."""


@dataclass(frozen=True)
class LayerViews:
    """Layers of one network of each configuration on fixed images.

    Args:
        images: [n, c, h, w], normalised; None where the data set is not on this machine.
        rows: run that stands for each configuration.
        layers: layers of that run's network, from the input up.
        missing: a sentence for each configuration without layers, or one for all.
    """

    images: Tensor | None = None
    rows: Mapping[Configuration, Row] = field(default_factory=dict)
    layers: Mapping[Configuration, Sequence[LayerView]] = field(default_factory=dict)
    missing: Sequence[str] = ()

    def names(self) -> list[str]:
        """Layers by module name, in the order in which the networks run them."""
        return list(dict.fromkeys(view.name for layers in self.layers.values() for view in layers))

    def named(self, name: str) -> dict[Configuration, LayerView]:
        """The layer of this name in each configuration that has one."""
        return {
            c: view for c, layers in self.layers.items() for view in layers if view.name == name
        }


def representative_runs(configurations: Sequence[Configuration]) -> dict[Configuration, Row]:
    """One run of each configuration: of the lowest seed that all have.

    Where no seed is common to all, it is the run of the configuration's own lowest seed.
    """
    common = set.intersection(*({row.seed for row in c.rows} for c in configurations))
    return {
        c: next(row for row in c.rows if not common or row.seed == min(common))
        for c in configurations
    }


def layer_views(
    uri: str | None, configurations: Sequence[Configuration], data_config: Mapping[str, Any]
) -> LayerViews:
    """Layers of each configuration, from the checkpoints in a store.

    A checkpoint or a data set that cannot be read becomes a sentence of `missing`.

    Args:
        uri: tracking store; None for the default.
        configurations: configurations of one data set.
        data_config: configuration by which the runs read it; empty where it is not recorded.
    """
    try:
        images = fixed_test_images(configurations[0].first.dataset, data_config)
    except BnnError as error:
        return LayerViews(missing=[f"No heatmaps: {format_error(error)}."])
    rows, missing = representative_runs(configurations), []
    layers: dict[Configuration, Sequence[LayerView]] = {}
    for c, row in rows.items():
        try:
            views = _layers_of_run(uri, row.run_id, images)
        except BnnError as error:
            missing.append(f"Run {row.run_id}: {format_error(error)}.")
            continue
        if views is None:
            missing.append(f"Run {row.run_id} keeps no {CHECKPOINT} any more.")
        else:
            layers[c] = views
    return LayerViews(images, {c: rows[c] for c in layers}, layers, missing)


def _layers_of_run(uri: str | None, run_id: str, images: Tensor) -> Sequence[LayerView] | None:
    """Layers of a run's network; None where the run keeps no checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        path = fetch(uri, run_id, CHECKPOINT, Path(folder))
        return None if path is None else restored_snapshot(path, images).layers
