"""Data sets by name, as tensors in memory.

Prefer `mnist`; `digits` is bundled, for machines without a network. `resolve` decides once, before
anything is built, which data set will really be used, and downloads it if need be; `load` then only
reads. After a fallback, `rename` gives the node to load. `at_hand` decides likewise, and downloads
nothing. To add a data set: a function under `DATASETS.add(name)`, and a yaml in the group `data`.
From Python, `from_tensors` and `from_torchvision` make a `Dataset` without a configuration.
Importing the room imports neither torch nor torchvision.
"""

from bnn.data import archives, digits, folder  # noqa: F401  (they register their data sets)
from bnn.data.datasets import DATASETS, configured, recorded_spec, rename, spec_of
from bnn.data.loading import Dataset, Split, at_hand, load, resolve, use_data
from bnn.data.source import Raw, Source
from bnn.data.spec import DatasetSpec
from bnn.data.tensors import from_tensors, from_torchvision

__all__ = [
    "DATASETS",
    "Dataset",
    "DatasetSpec",
    "Raw",
    "Source",
    "Split",
    "at_hand",
    "configured",
    "from_tensors",
    "from_torchvision",
    "load",
    "recorded_spec",
    "rename",
    "resolve",
    "spec_of",
    "use_data",
]
