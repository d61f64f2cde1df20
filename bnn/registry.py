"""Registries: constructors by name, whose keyword-only parameters are the keys of a configuration.

`Registry.build` validates a configuration node against that signature through OmegaConf, so a wrong
key, a wrong type or an unknown choice is refused in one line that names the key and lists the valid
ones. A parameter without a default must be given; one with a default may be left out.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bnn.errors import ConfigError

T = TypeVar("T")


def validate(
    schema: type, node: Mapping[str, Any] | DictConfig, key: str, optional: Collection[str] = ()
) -> dict[str, Any]:
    """Values of a configuration node, converted to the field types of a dataclass.

    Args:
        schema: dataclass of the keys.
        node: configuration node.
        key: dotted key of the node, empty at the top; for messages.
        optional: fields that are left out where the node does not have them.

    Returns:
        Values by field.

    Raises:
        ConfigError: for an unknown key, a missing key, a value of the wrong type, or a number that
            is NaN or infinite, naming it.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.create(dict(node)))
    except OmegaConfBaseException as error:
        field = error.full_key if getattr(error, "full_key", None) else ""
        valid = [f.name for f in dataclasses.fields(schema)]
        value = OmegaConf.select(OmegaConf.create(dict(node)), field) if field else None
        raise ConfigError(
            f"{'.'.join(filter(None, (key, field)))}: {_mistake(error, value, valid)}"
        ) from error
    absent = OmegaConf.missing_keys(merged)
    if missing := sorted(absent.difference(optional)):
        raise ConfigError(
            f"{'.'.join(filter(None, (key, missing[0])))}: expected a value, none was given"
        )
    values = OmegaConf.to_container(merged, resolve=True, enum_to_str=False)
    assert isinstance(values, dict)
    _refuse_non_finite(values, key)
    return {str(name): value for name, value in values.items() if name not in absent}


KINDS = {"Integer": "an integer", "Float": "a number", "bool": "true or false"}
"""Types by their names in OmegaConf's messages, as a sentence names them."""


def _mistake(error: OmegaConfBaseException, value: Any, keys: Collection[str]) -> str:
    """Sentence about a key or a value that a schema refuses.

    Args:
        error: error of OmegaConf.
        value: value that came.
        keys: keys of the schema.
    """
    reason = str(error).splitlines()[0]
    got = "nothing" if value in ("", None) else repr(value)
    if reason.startswith("Key ") and " not in " in reason:
        return f"there is no such key; expected one of {', '.join(keys) or 'none'}"
    if found := re.search(r"(?:could not be converted to|is not a valid) (\w+)", reason):
        return f"expected {KINDS.get(found[1], found[1])}, got {got}"
    if "is not a ListConfig" in reason:
        written = f"; write [{value}]" if isinstance(value, int) else ""
        return f"expected a list, such as [0,-1], got {got}{written}"
    return f"{reason} (keys here: {', '.join(keys)})"


def _refuse_non_finite(value: Any, key: str) -> None:
    """Refusal of NaN and infinities, also in nested values."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _refuse_non_finite(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for inner in value:
            _refuse_non_finite(inner, key)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{key}: expected a finite number, got {value}")


REGISTRIES: list[Registry[Any]] = []
"""Every registry of this process."""


class Registry(Mapping[str, Callable[..., T]], Generic[T]):
    """Constructors of one kind by name.

    Args:
        key: dotted key by which a configuration names the choice; for messages.
    """

    common: ClassVar[Mapping[str, Any]] = {}
    """Keys with their defaults that every choice takes beside its own parameters."""

    def __init__(self, key: str) -> None:
        self.key = key
        self._constructors: dict[str, Callable[..., T]] = {}
        REGISTRIES.append(self)

    @property
    def group(self) -> str | None:
        """Configuration group of which the names are choices; None for values of a key."""
        if not self.key.endswith(".name"):
            return None
        return self.key.removesuffix(".name").replace(".", "/")

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

    def attribute(self, name: str, attribute: str) -> Any:
        """Class attribute of a constructor, such as a declared claim.

        Args:
            name: registered name.
            attribute: name of the attribute.

        Raises:
            ConfigError: for an unknown name, or a constructor that lacks the attribute.
        """
        constructor = self[name]
        if not hasattr(constructor, attribute):
            raise ConfigError(
                f"{self.key}={name}: expected a class attribute {attribute!r} of "
                f"{getattr(constructor, '__qualname__', constructor)} in "
                f"{constructor.__module__}, got none; docs/extending.md has an example"
            )
        return getattr(constructor, attribute)

    def add(self, name: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
        """Decorator that registers a constructor.

        A module that is imported again replaces its own.

        Args:
            name: name to register.

        Raises:
            ConfigError: where another object has the name.
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
        """Configurable parameters of a constructor: its keyword-only parameters and their types.

        Of a union such as `NoiseLaw | str` the type is the member that has a registry.

        Args:
            name: registered name.

        Raises:
            ConfigError: for annotations that cannot be read.
        """
        # fields of a dataclass may be annotated by names of the module of a base class
        source = self[name] if dataclasses.is_dataclass(self[name]) else self._function(name)
        try:
            hints = get_type_hints(source)
        except NameError as error:
            raise ConfigError(
                f"{self.key}: {name}: its annotations cannot be read ({error}); import what they "
                "name outside TYPE_CHECKING"
            ) from error
        return {parameter: _choice(hints.get(parameter, Any)) for parameter in self._keywords(name)}

    def defaults(self, name: str) -> dict[str, Any]:
        """Default values of the configurable parameters that may be left out.

        Args:
            name: registered name.
        """
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
        """Object that a configuration node describes.

        A parameter whose type carries a `registry` of its own (a baseline inside an estimator, a
        law inside a neuron) is built from its sub-node first.

        Args:
            node: `name` picks the constructor, the other keys are its keywords; a bare string is a
                name without keywords.
            context: positional arguments that no configuration can name.

        Raises:
            ConfigError: for an unknown name, an unknown or missing key, or a value of the wrong
                type.
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
        given = validate(made, values, self.key.removesuffix(".name"), defaults)
        self._check_signature(name, context, {**given, **parts})
        return self[name](*context, **given, **parts)

    def _check_signature(
        self, name: str, context: Sequence[Any], keywords: Mapping[str, Any]
    ) -> None:
        """Refusal of a constructor whose parameters are not those that a configuration gives."""
        constructor = self[name]
        try:
            inspect.signature(constructor).bind(*context, **keywords)
        except TypeError as error:
            expected = f"{len(context)} positional parameters" if context else "none before *"
            raise ConfigError(
                f"{self.key}={name}: {_origin(constructor)}{inspect.signature(constructor)} "
                f"expects other parameters ({error}): {expected}, and the keys of the "
                "configuration after *"
            ) from error


def _origin(constructor: Any) -> str:
    """Module and name of a constructor's definition."""
    name = getattr(constructor, "__qualname__", repr(constructor))
    return f"{getattr(constructor, '__module__', '?')}.{name}"


def _choice(hint: Any) -> Any:
    """Of a union the member that is chosen by name, or the hint itself."""
    if get_origin(hint) not in (Union, types.UnionType):
        return hint
    return next((member for member in get_args(hint) if hasattr(member, "registry")), hint)
