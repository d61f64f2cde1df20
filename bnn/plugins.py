"""Plug-ins: modules of a user's own that register estimators, models, data sets and the like.

A plug-in is named in the configuration (`plugins=[my_package]`) or declares the entry point
`bnn.plugins`. It is imported, and nothing more: its additions to the registries become choices, a
`conf/` folder in its package joins Hydra's search path, and a choice without a YAML file gets its
configuration from its signature. Neither torch nor Hydra is imported here.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bnn.errors import ConfigError, format_error
from bnn.job_environment import JobEnvironment
from bnn.paths import folder
from bnn.registry import REGISTRIES, Registry

ENTRY_POINTS = "bnn.plugins"
"""Group of entry points by which an installed package declares a plug-in."""


@dataclass(frozen=True)
class Plugin:
    """Plug-in that has been imported.

    Args:
        name: name of the module.
        version: version of its distribution; empty where it is not installed.
        source: digest of the .py files of the module or package at the time of its import.
        root: folder in which `import` finds it.
        conf: its folder of YAML files; None where it has none.
    """

    name: str
    version: str
    source: str
    root: Path
    conf: Path | None

    def __str__(self) -> str:
        return " ".join(filter(None, (self.name, self.version, f"(source {self.source})")))


_LOADED: dict[str, Plugin] = {}


def module_names(value: Any) -> list[str]:
    """Names of modules, each once and in alphabetical order, from the value of the key `plugins`.

    Args:
        value: a list of names, one name, or None.

    Raises:
        ConfigError: for anything else, and for a name that `import` does not take.
    """
    names = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        expected = "expected names of modules, as in plugins=[my_package]"
        raise ConfigError(f"plugins: {expected}; got {value!r}")
    for name in names:
        if name.endswith(".py") or not all(part.isidentifier() for part in name.split(".")):
            meant = f": {Path(name).stem}" if name.endswith(".py") else ""
            expected = f"expected a module as `import` names it{meant}"
            raise ConfigError(f"plugins: {expected}; got {name!r}")
    return sorted(set(names))


def load(names: Sequence[str] = ()) -> tuple[Plugin, ...]:
    """Import the plug-ins that are installed, and those that are named.

    A module is imported once in a process, from the folders of `sys.path`, those of the process
    that started the sweep, and the current directory.

    Args:
        names: names of modules (see `module_names`).

    Returns:
        The plug-ins in alphabetical order.

    Raises:
        ConfigError: for a module that is not found, raises, or registers a name that is taken.
    """
    installed = _installed()
    if names:
        _look_in_more_folders()
    wanted = sorted({*installed, *names})
    for name in wanted:
        if name not in _LOADED:
            _LOADED[name] = _imported(name, installed.get(name))
    return tuple(_LOADED[name] for name in wanted)


def loaded_folders() -> list[str]:
    """Folders from which plug-ins were imported, with which another process finds them."""
    return list(dict.fromkeys(str(plugin.root) for plugin in _LOADED.values()))


def conf_folders() -> dict[str, Path]:
    """Folders of YAML files of the loaded plug-ins, by plug-in."""
    return {plugin.name: plugin.conf for plugin in _LOADED.values() if plugin.conf is not None}


def choices() -> dict[tuple[str, str], dict[str, Any]]:
    """Configurations, made from signatures, of registered choices without a YAML file.

    Returns:
        By group and name: the name, the defaults, and `???` for each parameter without one.
    """
    shelves = [folder("conf"), *conf_folders().values()]
    return {
        (group, name): _from_signature(registry, name, group)
        for registry in REGISTRIES
        if (group := registry.group) is not None
        for name in registry
        if not any((shelf / group / f"{name}.yaml").is_file() for shelf in shelves)
    }


def _from_signature(registry: Registry[Any], name: str, group: str) -> dict[str, Any]:
    """Configuration of one choice; a parameter with a config group becomes a choice of it."""
    node: dict[str, Any] = {"name": name, **registry.common}
    chosen: list[Any] = []
    defaults = registry.defaults(name)
    for parameter, kind in registry.parameters(name).items():
        value = defaults.get(parameter, "???")
        inner = kind.registry.group if hasattr(kind, "registry") else None
        if inner == f"{group}/{parameter}" and (value is None or isinstance(value, str)):
            chosen.append({parameter: value})
        elif _is_plain(value):  # another default stays the constructor's own
            node[parameter] = value
    return {"defaults": ["_self_", *chosen], **node} if chosen else node


def _is_plain(value: Any) -> bool:
    try:
        OmegaConf.create({"value": value})
    except OmegaConfBaseException:
        return False
    return True


@cache
def _installed() -> Mapping[str, metadata.Distribution]:
    """Distributions that declare a plug-in, by the name of its module."""
    found: dict[str, metadata.Distribution] = {}
    for point in metadata.entry_points(group=ENTRY_POINTS):
        assert point.dist is not None
        if point.attr:
            what = f"the entry point {point.name} = {point.value} of {point.dist.name}"
            raise ConfigError(f"plugins: {what} names an object; expected a module")
        found[point.module] = point.dist
    return found


def _look_in_more_folders() -> None:
    """Extend `sys.path` by a sweep's plug-in folders and the current directory."""
    there = {os.path.abspath(entry) for entry in sys.path}
    job = JobEnvironment.current()
    more = job.plugin_folders if job is not None else []
    sys.path[:0] = [entry for entry in dict.fromkeys([*more, os.getcwd()]) if entry not in there]


def _imported(name: str, distribution: metadata.Distribution | None) -> Plugin:
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        leave = f"uninstall {distribution.name}" if distribution else "leave it out of plugins"
        why = _reason(name, error, leave)
        raise ConfigError(f"plugins: {name} cannot be imported ({why}") from error
    if not getattr(module, "__file__", None):
        expected = "expected a module, or a folder with an __init__.py"
        raise ConfigError(f"plugins: {name} has no file: {expected}")
    owner, depth = _outermost(name)
    file = Path(str(owner.__file__)).absolute()
    top = file.parent if hasattr(owner, "__path__") else file
    content = hashlib.sha256()
    for path in sorted(top.rglob("*.py")) if top.is_dir() else [top]:
        content.update(path.relative_to(top.parent).as_posix().encode() + path.read_bytes())
    conf = Path(str(module.__file__)).absolute().parent / "conf"
    has_conf = hasattr(module, "__path__") and conf.is_dir()
    if has_conf:
        _refuse_taken(name, conf)
    version = distribution.version if distribution else _version(name.partition(".")[0])
    source = content.hexdigest()[:12]
    return Plugin(name, version, source, top.parents[depth], conf if has_conf else None)


def _outermost(name: str) -> tuple[ModuleType, int]:
    """Outermost package of a module that has a file, and the number of namespaces around it."""
    parts = name.split(".")
    modules = [sys.modules[".".join(parts[: depth + 1])] for depth in range(len(parts))]
    depth = next(n for n, module in enumerate(modules) if getattr(module, "__file__", None))
    return modules[depth], depth


def _version(package: str) -> str:
    names = metadata.packages_distributions().get(package, [])
    return metadata.version(names[0]) if names else ""


def _refuse_taken(name: str, conf: Path) -> None:
    """Refusal of a YAML file that another folder has too, since it would not be read.

    Raises:
        ConfigError: naming the file.
    """
    shelves = {"bnn": folder("conf"), **conf_folders()}
    for path in sorted(conf.rglob("*.yaml")):
        for owner, shelf in shelves.items():
            if (shelf / (inner := path.relative_to(conf))).is_file():
                taken = f"{owner} has a conf/{inner.as_posix()} already"
                raise ConfigError(f"plugins: {name}: {taken}; rename {path}")


def _reason(name: str, error: BaseException, leave: str) -> str:
    """Reason why a plug-in cannot be imported, and advice; continues an open parenthesis."""
    what = format_error(error)
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and f"{name}.".startswith(f"{missing}."):
        there = "run the command in the folder that holds it"
        return f"{what}); {there}, put that folder on PYTHONPATH, or install the package"
    return f"{what}, in {_line(name, error)}); mend it, or {leave}"


def _line(name: str, error: BaseException) -> str:
    """File and line of a plug-in at which an error was raised."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    found = importlib.util.find_spec(name.partition(".")[0])
    inside = Path(found.origin).parent if found and found.origin else Path("/")
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(inside)]
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else str(inside)
