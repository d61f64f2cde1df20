"""Plug-ins in Hydra's search path: their YAML files after ours, and choices without a file."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.plugins.search_path_plugin import SearchPathPlugin

from bnn.plugins import choices, conf_folders


class PluginSearchPath(SearchPathPlugin):
    """Search path plug-in, which Hydra calls before it composes a configuration."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for name, path in conf_folders().items():
            search_path.append(provider=f"plugin {name}", path=f"file://{path}")
        for (group, name), node in choices().items():
            ConfigStore.instance().store(name=name, node=node, group=group, provider="bnn.plugins")
