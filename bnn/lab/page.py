"""What every command of the lab begins and ends with: its heading, its page, and the picture beside it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from bnn import facts
from bnn.errors import BnnError, ConfigError


def heading(device: str, about: str) -> str:
    import torch

    return (
        f"# {facts.hardware(device)}, {torch.get_num_threads()} threads, {facts.versions()}\n\n"
        f"`{facts.command()}`, commit {facts.commit()}. {about}"
    )


def _png(text: str) -> Path:
    path = Path(text)
    if path.suffix != ".png" or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file name that ends in .png, in a folder that is there; got {text}")
    return path


def with_figure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--figure", type=_png, help="also draw the picture, to this .png file")


def save(figure: Callable[[], Figure], path: Path | None) -> str:
    """Draw to `path`; answers the line that shows it, or nothing. Errors: ConfigError for a path that cannot be written."""
    if path is None:
        return ""
    try:
        figure().savefig(path, dpi=100)
    except OSError as error:
        raise ConfigError(f"--figure: {error}") from error
    return f"\n\n![]({path.as_posix()})"


def at_least(parser: argparse.ArgumentParser, least: int, **values: int) -> None:
    """End the program with a message for a value below `least`."""
    for key, value in values.items():
        if value < least:
            parser.error(f"--{key}: expected at least {least}, got {value}")


def guarded(main: Callable[[], str]) -> None:
    """Print the page that `main` makes; our own errors are one line and exit code 1."""
    try:
        print(main(), flush=True)
    except BnnError as error:
        raise SystemExit(f"error: {error}") from error
