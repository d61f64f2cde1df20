"""The table of data sets: facts about each, and where its examples come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from bnn.data.archives import Archives
from bnn.data.digits import TEST_SIZE, Digits
from bnn.data.source import Source
from bnn.errors import ConfigError
from bnn.registry import typed


@dataclass(frozen=True)
class DatasetSpec:
    """Facts of a data set. `mean` and `std` are those of its training pixels, scaled so that `white` is 1."""

    name: str
    title: str
    shape: tuple[int, int, int]
    """Channels, height, width."""
    classes: int
    train_size: int
    """Training examples, before any are held out for validation."""
    test_size: int
    mean: float
    std: float
    white: int
    """The largest value that a pixel is stored with."""
    extent: int | None
    """Pixels of the longer side of a sign in its frame; None where the examples are no drawings of signs."""
    source: Source


def _like_mnist(
    name: str, title: str, torchvision_name: str, mean: float, std: float, extent: int | None = None
) -> DatasetSpec:
    source = Archives(torchvision_name)
    return DatasetSpec(name, title, (1, 28, 28), 10, 60_000, 10_000, mean, std, 255, extent, source)


DATASETS: dict[str, DatasetSpec] = {
    spec.name: spec
    for spec in (
        _like_mnist("mnist", "MNIST", "MNIST", 0.1307, 0.3081, extent=20),
        _like_mnist("fashion_mnist", "Fashion-MNIST", "FashionMNIST", 0.2860, 0.3530),
        _like_mnist("kmnist", "Kuzushiji-MNIST", "KMNIST", 0.1918, 0.3483),
        DatasetSpec(
            "digits", "scikit-learn digits", (1, 8, 8), 10, 1797 - TEST_SIZE, TEST_SIZE, 0.3053, 0.3761, 16, 8, Digits()
        ),
    )
}


def add(spec: DatasetSpec) -> DatasetSpec:
    """Make `spec` a data set that can be chosen, as a plug-in does. Errors: ConfigError where another has its name."""
    there = DATASETS.get(spec.name, spec)
    if type(there.source) is not type(spec.source) or replace(there, source=spec.source) != spec:
        raise ConfigError(f"data.name: {spec.name!r} is {there.title} already; give {spec.title} another name")
    DATASETS[spec.name] = spec
    return spec


def configured(node: Mapping[str, Any]) -> tuple[DatasetSpec, Any]:
    """What `node` names, and its other keys as an instance of the source's `keys`.

    Errors: ConfigError for an unknown name or key, a value of the wrong type, a limit below 1, or a fallback that may
    be as unreachable as what it stands in for.
    """
    values = dict(node)
    spec = _spec(values.pop("name", None), "data.name")
    keys = spec.source.keys(**typed(spec.source.keys, values, "data"))
    if keys.limit is not None and keys.limit < 1:
        raise ConfigError(f"data.limit: expected at least 1 training example, or null for all; got {keys.limit}")
    fallback = getattr(keys, "offline_fallback", None)
    if fallback is not None and not _spec(fallback, "data.offline_fallback").source.bundled:
        bundled = ", ".join(other.name for other in DATASETS.values() if other.source.bundled)
        raise ConfigError(f"data.offline_fallback: expected null or one of {bundled}; got {fallback!r}, a download")
    return spec, keys


def rename(node: Mapping[str, Any], name: str) -> dict[str, Any]:
    """`node` for the data set `name` instead: of its other keys those that `name` takes too.

    `rename(node, resolve(node))` is what to load: a limit survives the fallback, and the root goes.
    Errors: ConfigError for an unknown name.
    """
    taken = {field.name for field in fields(_spec(name, "data.name").source.keys)}
    return {"name": name, **{str(key): value for key, value in node.items() if key in taken}}


def _spec(name: Any, key: str) -> DatasetSpec:
    if name not in DATASETS:
        raise ConfigError(f"{key}: expected one of {', '.join(sorted(DATASETS))}; got {name!r}")
    return DATASETS[name]
