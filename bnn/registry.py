"""Names to constructors. A registered callable's keyword-only parameters ARE the schema of its group.

`Registry.build` types a configuration node against that signature through OmegaConf, so a wrong key,
a wrong type or an unknown choice is answered in one line that names the key and lists what is valid. A
parameter without a default must be given; one with a default may be left out.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, ClassVar, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bnn.errors import ConfigError

T = TypeVar("T")


def validate(
    schema: type, node: Mapping[str, Any] | DictConfig, key: str, optional: Collection[str] = ()
) -> dict[str, Any]:
    """`node` converted to the field types of the dataclass `schema`.

    `key` is where the node stands, empty at the top; `optional` fields are left out where the node does not have them.
    Errors: ConfigError naming `key` and the field for an unknown key, a missing key or a value of the wrong type.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.create(dict(node)))
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        field = error.full_key if getattr(error, "full_key", None) else ""
        valid = ", ".join(f.name for f in dataclasses.fields(schema))
        raise ConfigError(
            f"{'.'.join(filter(None, (key, field)))}: {reason} (keys here: {valid})"
        ) from error
    absent = OmegaConf.missing_keys(merged)
    if missing := sorted(absent.difference(optional)):
        raise ConfigError(
            f"{'.'.join(filter(None, (key, missing[0])))}: expected a value, none was given"
        )
    values = OmegaConf.to_container(merged, resolve=True, enum_to_str=False)
    assert isinstance(values, dict)
    return {str(name): value for name, value in values.items() if name not in absent}


REGISTRIES: list[Registry[Any]] = []
"""Every registry of this process."""


class Registry(Mapping[str, Callable[..., T]], Generic[T]):
    """Constructors of one kind by name. `key` is where the configuration names the choice, for messages."""

    common: ClassVar[Mapping[str, Any]] = {}
    """Keys with their defaults that every choice takes beside its own parameters."""

    def __init__(self, key: str) -> None:
        self.key = key
        self._constructors: dict[str, Callable[..., T]] = {}
        REGISTRIES.append(self)

    @property
    def group(self) -> str | None:
        """The group of the configuration that its names are choices of; None where they are values of a key."""
        return (
            self.key.removesuffix(".name").replace(".", "/") if self.key.endswith(".name") else None
        )

    def __getitem__(self, name: str) -> Callable[..., T]:
        try:
            return self._constructors[name]
        except KeyError:
            raise ConfigError(
                f"{self.key}: expected one of {', '.join(self)}; got {name!r}"
            ) from None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._constructors

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._constructors))

    def __len__(self) -> int:
        return len(self._constructors)

    def add(self, name: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
        """A decorator that registers a constructor as `name`. A module that is imported again replaces its own.

        Errors: ConfigError where another object has the name.
        """

        def register(constructor: Any) -> Any:
            there = self._constructors.get(name)
            if there is not None and _origin(there) != (new := _origin(constructor)):
                raise ConfigError(
                    f"{self.key}: {name!r} is {_origin(there)} already; give {new} another name"
                )
            self._constructors[name] = constructor
            return constructor

        return register

    def parameters(self, name: str) -> dict[str, Any]:
        """The configurable parameters of `name`: keyword-only parameters and their types, of `NoiseLaw | str` the member
        that has a registry. Errors: ConfigError for annotations that cannot be read."""
        function = self._function(name)
        try:
            hints = get_type_hints(function)
        except NameError as error:
            raise ConfigError(
                f"{self.key}: {name}: its annotations cannot be read ({error}); import what they name outside TYPE_CHECKING"
            ) from error
        return {parameter: _choice(hints.get(parameter, Any)) for parameter in self._keywords(name)}

    def defaults(self, name: str) -> dict[str, Any]:
        """The values of those configurable parameters of `name` that may be left out."""
        keywords = self._keywords(name).values()
        return {
            keyword.name: keyword.default
            for keyword in keywords
            if keyword.default is not keyword.empty
        }

    def _function(self, name: str) -> Callable[..., Any]:
        constructor = self[name]
        return constructor.__init__ if inspect.isclass(constructor) else constructor

    def _keywords(self, name: str) -> dict[str, inspect.Parameter]:
        found = inspect.signature(self._function(name)).parameters
        return {
            key: parameter
            for key, parameter in found.items()
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
        plain: Any = (
            OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node
        )
        values: dict[str, Any] = (
            {"name": plain} if isinstance(plain, str) else {str(k): v for k, v in plain.items()}
        )
        name = str(values.pop("name", None))
        defaults, parts, schema = self.defaults(name), {}, {}
        for key, kind in self.parameters(name).items():
            if not hasattr(kind, "registry"):
                schema[key] = kind
            elif key not in values:
                schema[key] = Any
            else:
                part = values.pop(key)
                nothing = part is None and key in defaults and defaults[key] is None
                parts[key] = None if nothing else kind.registry.build(part)
        made = dataclasses.make_dataclass(f"{name}_schema", schema.items())
        return self[name](
            *context, **validate(made, values, self.key.removesuffix(".name"), defaults), **parts
        )


def _origin(constructor: Any) -> str:
    """Where a constructor is defined: its module and name."""
    return f"{getattr(constructor, '__module__', '?')}.{getattr(constructor, '__qualname__', repr(constructor))}"


def _choice(hint: Any) -> Any:
    """Of a union the member that is chosen by name, or the hint itself."""
    union = get_origin(hint) in (Union, types.UnionType)
    return (
        next((member for member in get_args(hint) if hasattr(member, "registry")), hint)
        if union
        else hint
    )
