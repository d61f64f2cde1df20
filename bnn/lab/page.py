"""What every command of the lab begins and ends with: its heading, its page, and the picture beside it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from bnn.config import provenance
from bnn.errors import BnnError, ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def heading(device: str, about: str) -> str:
    import torch

    return (
        f"# {provenance.hardware(device)}, {torch.get_num_threads()} threads, {provenance.versions()}\n\n"
        f"`{provenance.command()}`, commit {provenance.commit()}. {about}"
    )


def _png(text: str) -> Path:
    path = Path(text)
    if path.suffix != ".png" or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(
            f"expected a file name that ends in .png, in a folder that is there; got {text}"
        )
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


def command(doc: str | None, overrides: str | None = None) -> argparse.ArgumentParser:
    """The parser of a command whose module has the docstring `doc`: its name in the first line, then what it answers.

    It takes the overrides of bnn.train where `overrides` says what is to be known of them.
    """
    usage, _, about = (doc or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog=" ".join(usage.split()[:3]),
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if overrides is not None:
        parser.add_argument("overrides", nargs="*", help=overrides)
    return parser


def whole(least: int) -> Callable[[str], int]:
    """The type of an option: a whole number of at least so much."""

    def read(text: str) -> int:
        if not text.lstrip("-").isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(
                f"expected a whole number of at least {least}, got {text}"
            )
        return int(text)

    return read


def counts(parser: argparse.ArgumentParser, options: Iterable[tuple[str, int, int, str]]) -> None:
    """Options that are whole numbers: name, least value, default, help."""
    for name, least, default, help in options:
        parser.add_argument(
            f"--{name}", type=whole(least), default=default, help=f"{help} (%(default)s)"
        )


def guarded(main: Callable[[], str]) -> None:
    """Print the page that `main` makes; our own errors are one line and exit code 1."""
    try:
        print(main(), flush=True)
    except BnnError as error:
        raise SystemExit(f"error: {error}") from error
