"""Overrides in Hydra's grammar, written and read back."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from bnn.job_environment import JobEnvironment


def override_word(key: str, value: Any) -> str:
    """Override that sets a key to a value, quoted for a shell: `'placement.layers=[0,-1]'`."""
    return shlex.quote(f"{key}={in_grammar(value)}")


def in_grammar(value: Any) -> str:
    """Text of a value in Hydra's override grammar, which parses to the same value."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return value if _reads_back(value) else quoted(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{in_grammar(k)}:{in_grammar(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ",".join(map(in_grammar, value)) + "]"
    return repr(value)


def _reads_back(text: str) -> bool:
    try:
        override = OverridesParser.create().parse_override(f"key={text}")
    except HydraException:
        return False
    return not override.is_sweep_override() and "${" not in text and override.value() == text


def quoted(text: str) -> str:
    """Quoted string of Hydra's override grammar, without interpolation."""
    text = re.sub(r"(\\+)(?='|$)", r"\1\1", text)  # only before a quote is a backslash an escape
    return "'" + text.replace("'", "\\'").replace("${", "\\${") + "'"


def key_of(override: str) -> str:
    """Key or group of an override, without `+` and `~`."""
    return override.partition("=")[0].lstrip("+~")


def environment_overrides(values: JobEnvironment, uri: str) -> list[str]:
    """Overrides that give a job its environment and the tracking store of its sweep.

    Args:
        values: environment of the job.
        uri: address of the store; a job may run in another directory.
    """
    words = [
        f"++hydra.job.env_set.{key}={quoted(value)}"
        for key, value in values.to_environment().items()
    ]
    return [*words, f"tracking.uri={quoted(uri)}"]


DATASET_KEYS = ("data", "data.name", "data.root", "data.offline_fallback")
"""Keys that a fallback to a bundled data set replaces; a limit stays."""


def without_dataset(overrides: Sequence[str]) -> list[str]:
    """Overrides without those that choose a data set."""
    return [word for word in overrides if key_of(word) not in DATASET_KEYS]
