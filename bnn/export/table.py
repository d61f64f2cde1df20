"""Table of packed files: their sizes, and their classes on the test split beside the network's."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from bnn.analysis.summary import summarise
from bnn.config import provenance
from bnn.config.titles import run_title
from bnn.data import load, recorded_spec
from bnn.export.packed import packed_arrays, write_packed
from bnn.export.runner import CHUNK, PackedNetwork
from bnn.nn.readings import Reading
from bnn.restore import Trained
from bnn.tables import markdown

HEAD = (
    "network",
    "float32 (bytes)",
    "packed (bytes)",
    "ratio",
    "equal classes",
    "test accuracy (%)",
    "packed (%)",
    "ms an image, torch",
    "NumPy",
)


def table(networks: Sequence[Trained]) -> str:
    """Table of networks, a line each, and what it was made with.

    Args:
        networks: networks that classify; their data sets have to be on disk.

    Raises:
        BnnError: for a network of another form, or a data set that is not on disk.
    """
    rows = [_row(one) for one in networks]
    return (
        f"# {provenance.hardware('cpu')}, {torch.get_num_threads()} threads, "
        f"{provenance.versions()}\n\nRandom units are thresholded; {CHUNK} images at once.\n\n"
        f"{markdown(HEAD, rows)}"
    )


@torch.no_grad()
def _row(trained: Trained) -> list[str]:
    spec, about = recorded_spec(trained.about), trained.about
    test = load(about["data"], about["seed"], about["trainer"]["validation_fraction"]).test
    images, labels = test.images[:], test.labels
    pixels = ((images * spec.std + spec.mean) * spec.max_value).round()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.npz"
        packed = write_packed(file, packed_arrays(trained, spec))
        network = PackedNetwork(str(file))
    start = time.perf_counter()
    found = torch.from_numpy(network.classes(pixels.numpy()))
    by_numpy = time.perf_counter() - start
    start = time.perf_counter()
    outputs = [
        Reading.threshold().outputs(trained.model, trained.task.inputs(part))[0]
        for part in images.split(CHUNK)
    ]
    by_torch = time.perf_counter() - start
    classes = torch.cat(outputs).argmax(1)
    sample = torch.rand(16, *spec.shape, generator=torch.Generator().manual_seed(0))
    floats = sum(one.float_bytes for one in summarise(trained.model, sample))
    accuracies = [100 * float((one == labels).double().mean()) for one in (classes, found)]
    return [
        f"{about['model']['name']} · {run_title(dict(about))}",
        f"{floats:,}",
        f"{packed:,}",
        f"{floats / packed:.1f}",
        f"{int((found == classes).sum()):,} of {len(labels):,}",
        *(f"{one:.2f}" for one in accuracies),
        *(f"{1000 * seconds / len(labels):.3f}" for seconds in (by_torch, by_numpy)),
    ]
