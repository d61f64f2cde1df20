"""Names to constructors. A registered callable's keyword-only parameters ARE the schema of its group.

`Registry.build` types a configuration node against that signature through OmegaConf, so a wrong key,
a wrong type or an unknown choice is answered in one line that names the key and lists what is valid.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar, get_args, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bnn.errors import ConfigError

T = TypeVar("T")


def typed(schema: type, node: Mapping[str, Any] | DictConfig, key: str) -> dict[str, Any]:
    """`node` converted to the field types of the dataclass `schema`.

    `key` is where the node stands, empty at the top.
    Errors: ConfigError naming `key` and the field for an unknown key, a missing key or a value of the wrong type.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.create(dict(node)))
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        field = error.full_key if getattr(error, "full_key", None) else ""
        valid = ", ".join(f.name for f in dataclasses.fields(schema))
        raise ConfigError(f"{'.'.join(filter(None, (key, field)))}: {reason} (keys here: {valid})") from error
    if missing := sorted(OmegaConf.missing_keys(merged)):
        raise ConfigError(f"{'.'.join(filter(None, (key, missing[0])))}: expected a value, none was given")
    values = OmegaConf.to_container(merged, resolve=True, enum_to_str=False)
    assert isinstance(values, dict)
    return {str(name): value for name, value in values.items()}


def _part_of(hint: Any) -> Any:
    """The member of a union such as `NoiseLaw | str` that has a registry; any other type as it is."""
    return next((member for member in get_args(hint) if hasattr(member, "registry")), hint)


class Registry(Mapping[str, Callable[..., T]], Generic[T]):
    """Constructors of one kind by name. `key` is where the configuration names the choice, for messages."""

    def __init__(self, key: str) -> None:
        self.key = key
        self._constructors: dict[str, Callable[..., T]] = {}

    def __getitem__(self, name: str) -> Callable[..., T]:
        try:
            return self._constructors[name]
        except KeyError:
            raise ConfigError(f"{self.key}: expected one of {', '.join(self)}; got {name!r}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._constructors))

    def __len__(self) -> int:
        return len(self._constructors)

    def add(self, name: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
        def register(constructor: Any) -> Any:
            self._constructors[name] = constructor
            return constructor

        return register

    def parameters(self, name: str) -> dict[str, Any]:
        """The configurable parameters of `name`: keyword-only parameters and their types."""
        constructor = self[name]
        function = constructor.__init__ if inspect.isclass(constructor) else constructor
        hints = get_type_hints(function)
        return {
            parameter.name: _part_of(hints[parameter.name])
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind is parameter.KEYWORD_ONLY
        }

    def build(self, node: Mapping[str, Any] | DictConfig | str, *context: Any) -> T:
        """The object that `node` describes: `node.name` picks the constructor, the rest are its keywords; a bare string
        is a name without keywords.

        A parameter whose type carries a `registry` of its own (a baseline inside an estimator, a law inside a neuron)
        is built from its sub-node first. `context` holds the positional arguments that no configuration can name.
        """
        if not isinstance(node, str | Mapping | DictConfig):
            raise ConfigError(f"{self.key}: expected one of {', '.join(self)}; got {node!r}")
        values: dict[str, Any] = {"name": node} if isinstance(node, str) else {str(k): v for k, v in node.items()}
        name = str(values.pop("name", None))
        parameters = self.parameters(name)
        parts = {p: t.registry.build(values.pop(p)) for p, t in parameters.items() if p in values and hasattr(t, "registry")}
        plain = {p: t for p, t in parameters.items() if p not in parts}
        values = typed(dataclasses.make_dataclass(f"{name}_schema", plain.items()), values, self.key.removesuffix(".name"))
        return self[name](*context, **values, **parts)
