"""Words of a command line before Hydra reads them, and what is wrong with one in a sentence."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from bnn.config.canonical import GROUPS, PLUGINS
from bnn.config.hydra_adapter import Override, group_options
from bnn.config.overrides import key_of
from bnn.errors import ConfigError

RECIPES = ("experiment", "study")
"""Groups of which a command has one choice: each decides what the sweep consists of."""


def check_words(words: Sequence[str], sweep: bool) -> None:
    """Refusal of words that Hydra cannot read, or would answer with a traceback.

    Args:
        words: overrides of the command line.
        sweep: whether the command has `-m`.

    Raises:
        ConfigError: naming the word.
    """
    parser = OverridesParser.create()
    for position, word in enumerate(words):
        try:
            override = parser.parse_override(word)
        except HydraException:
            before = words[position - 1] if position else ""
            after = words[position + 1] if position + 1 < len(words) else ""
            raise ConfigError(syntax_mistake(word, before, after)) from None
        if not key_of(word):
            raise ConfigError(f"{word}: expected KEY=VALUE, but there is no key before the =")
        _check_several(override, word, sweep)
        if "/" in key_of(word) or key_of(word) in (*GROUPS, *RECIPES):
            _check_choice(override, word)


def check_launcher(words: Sequence[str], sweep: bool) -> None:
    """Refusal of a launcher without a sweep, and of Slurm's on a machine without Slurm.

    Args:
        words: overrides of the command line.
        sweep: whether the command is a sweep, `-m`.

    Raises:
        ConfigError: naming the launcher.
    """
    for word in words:
        if not sweep and key_of(word).startswith(("hydra.launcher", "hydra/launcher")):
            raise ConfigError(
                f"{word}: one run is not launched; write -m beside several values, or leave it out"
            )
        slurm = word in ("hydra/launcher=slurm", "hydra/launcher=submitit_slurm")
        if slurm and shutil.which("srun") is None:
            raise ConfigError(
                f"{word}: this machine has no Slurm (srun is not on the PATH); "
                "write hydra/launcher=joblib, or leave it out"
            )


def syntax_mistake(word: str, before: str = "", after: str = "") -> str:
    """Why a word is no override, in one line.

    Args:
        word: word that Hydra's grammar refuses.
        before: word before it, empty at the start.
        after: word after it, empty at the end.
    """
    key, equals, value = word.partition("=")
    if before.endswith("=") or "=" in (word, after):
        joined = before + word if before.endswith("=") else f"{key or before}=VALUE"
        return f"{word}: expected KEY=VALUE without spaces around the =; write {joined}"
    if word.endswith(",") or word.startswith(",") or before.endswith(","):
        joined = word + after if word.endswith(",") else before + word
        return f"{word}: no space may follow a comma; write -m {joined}"
    if word in ("m", "multirun"):
        return f"{word}: expected KEY=VALUE; the option of a sweep is -m"
    if word[:1] in "'\"" and word[-1:] == word[:1]:
        return f"{word}: expected KEY=VALUE; write it without the inner quotes: {word[1:-1]}"
    if not equals:
        colon = f"{word.replace(':', '=', 1)}" if ":" in word else f"{word}=VALUE"
        return f"{word}: expected KEY=VALUE; write {colon}"
    return f"{word}: {_mistake_in_value(key, value)}"


def _mistake_in_value(key: str, value: str) -> str:
    """Why `KEY=VALUE` cannot be read, without the word itself."""
    if key != key.strip() or value != value.strip():
        return f"expected no spaces around the =; write {key.strip()}={value.strip()}"
    if value.startswith("="):
        return f"expected one =; write {key}={value.lstrip('=')}"
    if any(value.count(start) != value.count(end) for start, end in ("[]", "()", "{}")):
        return (
            f"a bracket is not closed; write '{key}=…' in quotes, "
            "since a shell parts words at spaces"
        )
    if value.count("'") % 2 or value.count('"') % 2:
        return "a quote is not closed"
    if re.search(r"\s[\w./]+=", value):
        return "two settings in one word; write them without the quotes around both"
    return (
        f"expected {key}=VALUE, but the value has characters with a meaning in Hydra's grammar; "
        f"""write "{key}='VALUE'\""""
    )


def _check_several(override: Override, word: str, sweep: bool) -> None:
    """Refusal of several values without `-m`, and of several recipes with it."""
    if not override.is_sweep_override() or key_of(word) == PLUGINS:
        return
    if not sweep:
        raise ConfigError(
            f"{word}: several values: write -m, for a run of each: python -m bnn.train -m {word}"
        )
    if key_of(word) in RECIPES:
        raise ConfigError(
            f"{word}: a command has one {key_of(word)}; write a command for each of them"
        )


def _check_choice(override: Override, word: str) -> None:
    """Refusal of a choice of a group that is no name: a number, nothing, or a list."""
    key = key_of(word)
    if override.is_delete() or (override.is_sweep_override() and not override.is_choice_sweep()):
        return
    value = override.value()
    chosen = value.list if override.is_choice_sweep() else [value]  # type: ignore[union-attr]
    for choice in chosen:
        if isinstance(choice, list) and key in GROUPS:
            names = ",".join(map(str, choice))
            raise ConfigError(
                f"{word}: expected one choice; for a run of each write -m {key}={names}"
            )
        if choice is None or choice == "" or isinstance(choice, bool | int | float):
            options = group_options(key)
            expected = f"expected one of {', '.join(options)}" if options else "no such group"
            raise ConfigError(f"{word}: {expected}")
