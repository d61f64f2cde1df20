"""Data sets by name, as tensors in memory.

Prefer `mnist`; `mnist_5000` and `digits` are files of installed packages, for machines without a
network. `resolve` decides once, before anything is built, which data set will be used, and
downloads it if need be; `load` then only reads. After a fallback, `rename` gives the node to load.
`offline_name` decides likewise, and downloads nothing. A new data set is a function or class under
`DATASETS.add(name)`, and a yaml in the group `data`. From Python, `from_tensors` and
`from_torchvision` make a `Dataset` without a configuration. Importing this package imports neither
torch nor torchvision.
"""

# they register their data sets
from bnn.data import archives, digits, folder, mnist_5000  # noqa: F401
from bnn.data.datasets import DATASETS, configured, recorded_spec, rename, spec_of
from bnn.data.loading import Dataset, Split, load, offline_name, resolve, use_data
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
    "configured",
    "from_tensors",
    "from_torchvision",
    "load",
    "offline_name",
    "recorded_spec",
    "rename",
    "resolve",
    "spec_of",
    "use_data",
]
