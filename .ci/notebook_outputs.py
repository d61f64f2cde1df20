"""Check of the size of notebook outputs: `python .ci/notebook_outputs.py NOTEBOOK...`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

LIMIT = 700_000
"""Bytes that the outputs of one notebook may take as JSON."""


def size(notebook: Path) -> int:
    """Bytes of all outputs of a notebook."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    outputs = (cell.get("outputs", []) for cell in cells)
    return sum(len(json.dumps(each).encode()) for each in outputs if each)


def main(paths: list[str]) -> int:
    """Exit status: 1 with a line for each notebook whose outputs exceed the limit, else 0."""
    sizes = {path: size(Path(path)) for path in paths}
    too_large = {path: found for path, found in sizes.items() if found > LIMIT}
    for path, found in too_large.items():
        print(f"{path}: outputs of {found} bytes, at most {LIMIT}: make its figures smaller")
    return int(bool(too_large))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
