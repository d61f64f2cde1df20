"""Registry of the data sets, and the reading of a configuration node that names one."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from bnn.data.measuring import examples, measured
from bnn.data.source import Measured, Raw, Source
from bnn.data.spec import DatasetSpec
from bnn.errors import ConfigError, DataError
from bnn.registry import Registry, validate

RESERVED = ("name", "limit")
"""Keys that every data set takes, and that none declares."""
FACTS = "data_facts"
"""Key of a checkpoint's metadata for the facts of the data set that it was trained on."""


class Datasets(Registry[Any]):
    """Registry of functions and subclasses of `Source`.

    Their keyword-only parameters are the keys of `data`. A parameter with a default may be left out
    of the configuration. `name` and `limit` are keys of every data set.
    """

    common = {"limit": None}  # noqa: RUF012

    def add(self, name: str) -> Callable[[Any], Any]:
        """Decorator that registers a data set.

        Args:
            name: value of `data.name` that chooses it.

        Returns:
            Decorator for a function with keyword-only parameters that returns
            ((train_images, train_targets), (test_images, test_targets)), tensors or arrays, or for
            a subclass of `Source`; its argument is returned unchanged.

        Raises:
            ConfigError: for a parameter that no configuration could give, or a class that is no
                `Source`.
        """

        def register(constructor: Any) -> Any:
            if inspect.isclass(constructor) and not issubclass(constructor, Source):
                raise ConfigError(f"data set {name}: expected a function or a subclass of Source")
            for parameter in inspect.signature(constructor).parameters.values():
                if parameter.kind is not parameter.KEYWORD_ONLY or parameter.name in RESERVED:
                    raise ConfigError(
                        f"data set {name}: expected keyword-only parameters (after a `*`), not "
                        f"called {' or '.join(RESERVED)}; got {parameter.name}"
                    )
                if parameter.annotation is parameter.empty:
                    raise ConfigError(f"data set {name}: parameter {parameter.name} needs a type")
            return super(Datasets, self).add(name)(constructor)

        return register

    def schema(self, name: str) -> type:
        """Dataclass of the keys that a data set takes, `limit` last."""
        parameters, fields = inspect.signature(self[name]).parameters, []
        for key, kind in self.parameters(name).items():
            default = parameters[key].default
            given = default is inspect.Parameter.empty
            fields.append((key, kind) if given else (key, kind, _default(default)))
        fields.append(("limit", int | None, None))
        return dataclasses.make_dataclass(f"{name}_keys", fields, kw_only=True)


def _default(value: Any) -> Any:
    return dataclasses.field(default_factory=lambda: copy.deepcopy(value))


DATASETS = Datasets("data.name")


class Returned(Measured):
    """Source of the examples that a registered function returns.

    Args:
        name: name of the data set.
        function: registered function.
        arguments: its keyword arguments.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        arguments: Mapping[str, Any],
    ) -> None:
        self.name, self.function, self.arguments = name, function, dict(arguments)

    def key(self) -> Hashable:
        return self.name, self.function, repr(sorted(self.arguments.items()))

    def produce(self) -> tuple[DatasetSpec, tuple[Raw, Raw]]:
        returned = self.function(**copy.deepcopy(self.arguments))
        if not isinstance(returned, tuple | list) or len(returned) != 2:
            raise DataError(
                f"data={self.name}: expected ((train_images, train_targets), "
                f"(test_images, test_targets)), got {type(returned).__name__}"
            )
        train, test = (
            examples(f"data={self.name}, {part}", given)
            for part, given in zip(("training part", "test part"), returned, strict=True)
        )
        return measured(self.name, self.name, train, test), (train, test)


@dataclass(frozen=True)
class Configured:
    """Checked configuration node of a data set.

    Args:
        name: name of the data set.
        source: source of its examples.
        limit: training examples to keep; None: all.
        fallbacks: bundled data sets that may replace it, in order of preference.
        node: every key with its value, those that were left out too.
    """

    name: str
    source: Source
    limit: int | None
    fallbacks: tuple[str, ...]
    node: dict[str, Any]

    def spec(self) -> DatasetSpec:
        """Facts of the data set.

        Raises:
            DataError: where they have to be read and cannot be.
        """
        return dataclasses.replace(self.source.spec(), name=self.name)


def configured(node: Mapping[str, Any]) -> Configured:
    """Data set that a configuration node describes, from which nothing has been read.

    Args:
        node: `name` and the keys that this data set takes.

    Raises:
        ConfigError: for an unknown name or key, a value of the wrong type, a limit below 2, or a
            fallback that may be as unreachable as the data set itself.
    """
    values = dict(node)
    name = _known(values.pop("name", None), "data.name")
    values = validate(DATASETS.schema(name), values, "data")
    limit = values["limit"]
    arguments = {key: value for key, value in values.items() if key != "limit"}
    if limit is not None and limit < 2:
        least = "at least 2 training examples, since one has no variance, or null for all"
        raise ConfigError(f"data.limit: expected {least}; got {limit}")
    fallbacks = _fallbacks(values.get("offline_fallback"))
    build: Callable[..., Source] = DATASETS[name]
    source = build(**arguments) if isinstance(build, type) else Returned(name, build, arguments)
    return Configured(name, source, limit, fallbacks, {"name": name, **values})


def spec_of(node: Mapping[str, Any]) -> DatasetSpec:
    """Facts of the data set that a configuration node describes.

    Args:
        node: `name` and the keys that this data set takes.

    Returns:
        Facts, published or measured; measuring happens once per process and arguments.

    Raises:
        ConfigError: for a node that cannot be read.
        DataError: for examples that have to be measured and cannot be read.
    """
    return configured(node).spec()


def recorded_spec(about: Mapping[str, Any]) -> DatasetSpec:
    """Facts of the data set that a checkpoint's network was trained on.

    Args:
        about: metadata of the checkpoint. In version 0.1.0 it is a configuration only, whose data
            set is then looked up.

    Returns:
        Facts; not read from the examples where the checkpoint has them.

    Raises:
        KeyError: for metadata with neither.
        TypeError: for facts of another version.
        ConfigError: for a configuration, without facts, of a data set that is unknown here.
    """
    return DatasetSpec.from_plain(about[FACTS]) if FACTS in about else spec_of(about["data"])


def rename(node: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Configuration node for another data set, with the keys that both take.

    `rename(node, resolve(node))` is the node to load: a limit survives the fallback, and the root
    goes.

    Args:
        node: configuration node.
        name: name of the other data set.

    Raises:
        ConfigError: for an unknown name.
    """
    taken = {field.name for field in dataclasses.fields(DATASETS.schema(_known(name, "data.name")))}
    return {"name": name, **{str(key): value for key, value in node.items() if key in taken}}


def _fallbacks(value: Any) -> tuple[str, ...]:
    """Names of bundled data sets from a value of `data.offline_fallback`."""
    names = [] if value is None else value if isinstance(value, list) else [value]
    for name in names:
        if not _bundled(_known(name, "data.offline_fallback")):
            said = f"null or some of {', '.join(filter(_bundled, DATASETS))}; got {name!r}"
            raise ConfigError(f"data.offline_fallback: expected {said}, a download")
    return tuple(names)


def _bundled(name: str) -> bool:
    return bool(getattr(DATASETS[name], "bundled", False))


def _known(name: Any, key: str) -> str:
    if name not in DATASETS:
        raise ConfigError(f"{key}: expected one of {', '.join(DATASETS)}; got {name!r}")
    return str(name)
