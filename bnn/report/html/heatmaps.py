"""What each configuration's binary layers see: one named seed of each, its best checkpoint, and the same images for all."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from bnn.errors import BnnError
from bnn.report.configurations import Configuration
from bnn.report.rows import Row
from bnn.report.html.snapshots import LayerView, images_of, taken
from bnn.tracking.query import fetch

CHECKPOINT = "checkpoint/best.pt"


@dataclass(frozen=True)
class Pictures:
    """By configuration the run that stands for it and its layers on `images`; and a sentence for what there is no picture
    of."""

    images: Tensor | None = None
    rows: Mapping[Configuration, Row] = field(default_factory=dict)
    layers: Mapping[Configuration, Sequence[LayerView]] = field(default_factory=dict)
    missing: Sequence[str] = ()

    def names(self) -> list[str]:
        """The layers, in the order in which the networks run them."""
        return list(dict.fromkeys(view.name for layers in self.layers.values() for view in layers))

    def views(self, name: str) -> dict[Configuration, LayerView]:
        """By configuration the layer `name`, where it has one of that name."""
        return {
            c: view for c, layers in self.layers.items() for view in layers if view.name == name
        }


def chosen(found: Sequence[Configuration]) -> dict[Configuration, Row]:
    """A run of each configuration: of the lowest seed that all have, or of its own lowest where they have none in common."""
    common = set.intersection(*({row.seed for row in c.rows} for c in found))
    return {c: next(row for row in c.rows if not common or row.seed == min(common)) for c in found}


def pictures(uri: str | None, found: Sequence[Configuration], read: Mapping[str, Any]) -> Pictures:
    """Every configuration's layers, made by its network; where a checkpoint or the data set is not at hand it says so.

    read: the configuration by which the runs read their data set; empty where they do not say.
    """
    try:
        images = images_of(found[0].first.dataset, read)
    except BnnError as error:
        return Pictures(missing=[f"No heatmaps: {error}."])
    layers: dict[Configuration, Sequence[LayerView]] = {}
    rows, missing = chosen(found), []
    with tempfile.TemporaryDirectory() as scratch:
        for number, (c, row) in enumerate(rows.items()):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            try:
                if (path := fetch(uri, row.run_id, CHECKPOINT, folder)) is None:
                    missing.append(f"Run {row.run_id} keeps no {CHECKPOINT} any more.")
                else:
                    layers[c] = taken(path, images).layers
            except BnnError as error:
                missing.append(f"Run {row.run_id}: {error}.")
    return Pictures(images, {c: rows[c] for c in layers}, layers, missing)
