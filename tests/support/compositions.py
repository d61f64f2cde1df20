"""Compositions of the configuration and their files, which tests ask for again and again."""

from __future__ import annotations

import copy
from typing import ClassVar

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.global_hydra import GlobalHydra
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig

from bnn import plugins
from bnn.config import compose as module
from bnn.paths import folder


class KeptCompositions:
    """Results of Hydra's `compose`, copied where the same overrides are composed again.

    Attributes:
        made: search path, choices of plug-ins and overrides -> configuration.
    """

    made: ClassVar[dict[tuple[str, ...], DictConfig]] = {}
    compose = staticmethod(module.hydra_compose)

    @classmethod
    def copy(cls, name: str, overrides: list[str]) -> DictConfig:
        """Configuration of its own, to be changed at will."""
        sources = GlobalHydra.instance().config_loader().get_sources()
        key = (*(one.path for one in sources), str(plugins.choices()), name, *overrides)
        if key not in cls.made:
            cls.made[key] = cls.compose(name, overrides)
        return copy.deepcopy(cls.made[key])


class KeptFiles:
    """Files of the folder conf as Hydra reads them, copied where one is read again.

    Attributes:
        read: path within the folder -> content.
    """

    read: ClassVar[dict[str, ConfigResult]] = {}
    load = staticmethod(FileConfigSource.load_config)

    @classmethod
    def copy(cls, source: FileConfigSource, path: str) -> ConfigResult:
        """Content of its own, to be changed at will; files of other folders are read anew."""
        if source.path != str(folder("conf")):
            return cls.load(source, path)
        if path not in cls.read:
            cls.read[path] = cls.load(source, path)
        return copy.deepcopy(cls.read[path])
