"""Former commands of the lab: `python -m bnn.lab.toy` ends with a line that names the new one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from types import ModuleType

MOVED = {
    "bnn.lab.checkpoints": "bnn.lab.questions.along_training",
    "bnn.lab.coupling": "bnn.lab.questions.coupling",
    "bnn.lab.slopes": "bnn.lab.questions.slopes",
    "bnn.lab.target": "bnn.lab.questions.target",
    "bnn.lab.toy": "bnn.lab.questions.toy",
}
"""New names of the modules by the former ones."""


class _Finder(MetaPathFinder):
    """Finder that loads this very file under each former name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return spec_from_file_location(fullname, __file__) if fullname in MOVED else None


def install() -> None:
    """Make the former names known to the import system, after all that are found otherwise."""
    sys.meta_path.append(_Finder())


if __spec__ is not None and __spec__.name in MOVED:
    former = __spec__.name
    if __name__ != "__main__":
        raise ImportError(f"{former} is {MOVED[former]} now")
    print(f"{former} has moved: use python -m {MOVED[former]}", file=sys.stderr)
    sys.exit(2)
