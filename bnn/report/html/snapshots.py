"""Networks of finished runs, restored from their checkpoints, on the images that runs draw.

Nothing is trained, scored or downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from bnn import plugins
from bnn.config.compose import compose
from bnn.data import DATASETS, load, spec_of
from bnn.errors import BnnError, CheckpointError, ConfigError, DataError, format_error
from bnn.restore import load_trained
from bnn.training.activations import Snapshot, fixed_images, snapshot


def fixed_test_images(dataset: str, data_config: Mapping[str, Any]) -> Tensor:
    """First test image of each class, normalised: [classes, c, h, w].

    The data set is read where this machine keeps data sets, else where the runs read it.

    Args:
        dataset: name of the data set.
        data_config: configuration by which the runs read it; empty where it is not recorded.

    Raises:
        DataError: for an unknown data set, or one that is in neither place.
    """
    plugins.load()  # an installed one may have brought it
    if dataset not in DATASETS:
        raise DataError(f"expected one of {', '.join(DATASETS)}, got {dataset!r}")
    try:
        here = dict(compose([f"data={dataset}"]).data)
    except ConfigError:  # a data set that has no yaml among those of this installation
        here = {"name": dataset}
    theirs = {**here, **data_config}
    ours = {**theirs, "root": here["root"]} if here.get("root") else theirs
    reasons = []
    for config in (ours, theirs):
        try:
            # the split of the training images plays no part
            return fixed_images(load(config, seed=0, validation_fraction=0.5).test)
        except BnnError as error:
            reasons.append(format_error(error))
    raise DataError(f"{_title(theirs)} is not on this disk: {reasons[0]}")


def _title(data_config: Mapping[str, Any]) -> str:
    try:
        return spec_of(data_config).title
    except BnnError:
        return str(data_config["name"])


def restored_snapshot(checkpoint: Path, images: Tensor) -> Snapshot:
    """Activation layers of a checkpoint's network on images, with the noise of the run's seed.

    Args:
        checkpoint: `best.pt` of a run.
        images: [n, c, h, w], normalised.

    Raises:
        CheckpointError: for another file, or a network that this version cannot build or that
            takes other images.
    """
    trained = load_trained(checkpoint)
    try:
        inputs = trained.task.inputs(images)
        return snapshot(trained.model, images, int(trained.about["seed"]), inputs)
    except RuntimeError as error:
        raise CheckpointError(
            f"{checkpoint.name} is of a network for other images ({format_error(error)})"
        ) from error
