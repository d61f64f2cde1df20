"""Pictures made anew: what the networks of finished runs make of the images that every run's own pictures are of.

Nothing is trained or scored here, and nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from bnn import plugins
from bnn.config.compose import compose
from bnn.data import DATASETS, load, spec_of
from bnn.errors import BnnError, CheckpointError, ConfigError, DataError
from bnn.restore import load_checkpoint
from bnn.training.activations import LayerView, Snapshot, fixed_images, snapshot

__all__ = ["LayerView", "Snapshot", "images_of", "taken"]


def images_of(dataset: str, read: Mapping[str, Any]) -> Tensor:
    """The first test image of each class of `dataset`, normalised, [classes, c, h, w]: from where this machine keeps data
    sets, else from where the runs read theirs.

    read: the runs' own configuration of it; empty where they did not say.

    Errors: DataError where neither has it.
    """
    plugins.load()  # an installed one may have brought it
    if dataset not in DATASETS:
        raise DataError(f"expected one of {', '.join(DATASETS)}, got {dataset!r}")
    try:
        here = dict(compose([f"data={dataset}"]).data)
    except ConfigError:  # a data set that has no yaml among those of this installation
        here = {"name": dataset}
    theirs = {**here, **read}
    ours = {**theirs, "root": here["root"]} if here.get("root") else theirs
    why = ""
    for node in (ours, theirs):
        try:
            return fixed_images(
                load(node, seed=0, validation_fraction=0.5).test
            )  # how training is split plays no part
        except BnnError as error:
            why = why or str(error)
    try:
        title = spec_of(theirs).title
    except BnnError:
        title = dataset
    raise DataError(f"{title} is not on this disk: {why}")


def taken(checkpoint: Path, images: Tensor) -> Snapshot:
    """The activation layers of a run's network, as its checkpoint has it, on `images`, with the noise of the run's own seed.

    Errors: CheckpointError for a file that is none, or of a network that this version cannot build.
    """
    model, config = load_checkpoint(checkpoint)
    try:
        return snapshot(model, images, int(config["seed"]))
    except RuntimeError as error:
        why = str(error).partition("\n")[0]
        raise CheckpointError(
            f"{checkpoint.name} is of a network for other images ({why})"
        ) from error
