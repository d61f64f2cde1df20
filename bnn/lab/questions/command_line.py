"""Command-line options and Markdown output that the questions share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from bnn.config import provenance
from bnn.errors import BnnError, ConfigError, OneLineParser, without_password

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def argument_parser(
    module: str, doc: str | None, *, overrides: str | None = None, epilog: str | None = None
) -> argparse.ArgumentParser:
    """Parser of `python -m MODULE`.

    Args:
        module: name of the module that is run.
        doc: its docstring, the description in the help.
        overrides: what is to be known of the overrides of bnn.train; None: it takes none.
        epilog: text at the end of the help.
    """
    parser = OneLineParser(
        prog=f"python -m {module}",
        description=doc,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if overrides is not None:
        parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=overrides)
    return parser


def integer_at_least(least: int) -> Callable[[str], int]:
    """Type of an option that is an integer of at least `least`."""

    def read(text: str) -> int:
        if not text.lstrip("-").isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(
                f"expected a whole number of at least {least}, got {text}"
            )
        return int(text)

    return read


def add_counts(
    parser: argparse.ArgumentParser, options: Iterable[tuple[str, int, int, str]]
) -> None:
    """Add integer options.

    Args:
        parser: parser of the command.
        options: for each option its name, least value, default and help.
    """
    for name, least, default, help in options:
        parser.add_argument(
            f"--{name}",
            type=integer_at_least(least),
            default=default,
            metavar="N",
            help=f"{help} (%(default)s)",
        )


def add_figure_option(parser: argparse.ArgumentParser) -> None:
    """Add `--figure FILE.png`."""
    parser.add_argument(
        "--figure", type=_png, metavar="FILE.png", help="also draw a figure to this file"
    )


def _png(text: str) -> Path:
    path = Path(text)
    if path.suffix != ".png" or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(
            f"expected a file name that ends in .png, in a folder that is there; got {text}"
        )
    return path


def heading(device: str, about: str) -> str:
    """First lines of a page: hardware and versions, the command with its commit, and `about`."""
    import torch

    hardware = f"{provenance.hardware(device)}, {torch.get_num_threads()} threads"
    return (
        f"# {hardware}, {provenance.versions()}\n\n"
        f"`{provenance.command()}`, commit {provenance.commit()}. {about}"
    )


def save_figure(figure: Callable[[], Figure], path: Path | None) -> str:
    """Markdown that shows a figure, after it was drawn to `path`; empty without a path.

    Raises:
        ConfigError: for a path that cannot be written.
    """
    if path is None:
        return ""
    try:
        figure().savefig(path, dpi=100)
    except OSError as error:
        raise ConfigError(f"--figure: {error}") from error
    return f"\n\n![]({path.as_posix()})"


def print_page(page: Callable[[], str]) -> None:
    """Print a page; a BnnError ends the command with one line and exit code 1."""
    try:
        print(page(), flush=True)
    except BnnError as error:
        raise SystemExit(f"error: {without_password(str(error))}") from error
