"""Data sets by name, as tensors in memory. Prefer `mnist`; `digits` is bundled, for machines without a network.

`resolve` decides once, before anything is built, which data set will really be used, and downloads it if need be;
`load` then only reads. After a fallback, `rename` gives the node to load. To add a data set: one entry in `DATASETS`
and one yaml in conf/data. Importing the room imports neither torch nor torchvision.
"""

from bnn.data.datasets import DATASETS, DatasetSpec, configured, rename
from bnn.data.loading import Dataset, Split, load, resolve

__all__ = ["DATASETS", "Dataset", "DatasetSpec", "Split", "configured", "load", "rename", "resolve"]
