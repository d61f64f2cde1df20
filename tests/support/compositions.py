"""Compositions of the configuration, which tests ask for again and again."""

from __future__ import annotations

import copy
from typing import ClassVar

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from bnn import plugins
from bnn.config import compose as module


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
