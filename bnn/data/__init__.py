"""Data sets by name, as tensors in memory. Prefer `mnist`; `digits` is bundled, for machines without a network.

`resolve` decides once, before anything is built, which data set will really be used, and downloads it if need be;
`load` then only reads. After a fallback, `rename` gives the node to load. `at_hand` decides likewise, and downloads nothing.
To add a data set: one entry in `DATASETS` and one yaml in conf/data. Importing the room imports neither torch nor
torchvision.
"""

from bnn.data.datasets import DATASETS, DatasetSpec, add, configured, rename
from bnn.data.loading import Dataset, Split, at_hand, load, resolve

__all__ = ["DATASETS", "Dataset", "DatasetSpec", "Split", "add", "at_hand", "configured", "load", "rename", "resolve"]
