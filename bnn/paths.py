"""Where the top-level folders `conf` and `sweeps` lie: beside the package in a source tree, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path


def folder(name: str) -> Path:
    """Absolute path of a top-level folder that is shipped with the package.

    Errors: FileNotFoundError when the installation lacks it.
    """
    package = Path(__file__).resolve().parent
    for candidate in (package / name, package.parent / name):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"the installation of bnn lacks its folder {name!r}: reinstall it")
