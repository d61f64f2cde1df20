"""Marks around the generated blocks of a Markdown page.

A block stands between `<!-- generated: KIND ARGUMENTS -->` and `<!-- /generated -->`, each on a
line of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bnn.report.rows import ReportError

RESULTS = Path("sweeps/results")
"""Folder of the committed tables and their pages, in the source tree."""

_BLOCK = re.compile(r"(<!-- generated: ([^\n]+?) -->\n)(.*?)(<!-- /generated -->)", re.DOTALL)
_MARK = re.compile(r"<!-- /?generated[^\n]*? -->")


@dataclass(frozen=True)
class Block:
    """Generated block of a page.

    Args:
        page: path of the page, relative to the source tree.
        words: kind of the block, and its arguments.
        text: content, as it stands in the page.
        start, end: positions of the content in the page.
    """

    page: Path
    words: tuple[str, ...]
    text: str
    start: int
    end: int

    @property
    def title(self) -> str:
        """`README.md: answer`."""
        return f"{self.page.as_posix()}: {' '.join(self.words)}"


def blocks(text: str, page: Path) -> Iterator[Block]:
    """Generated blocks of a page.

    Raises:
        ReportError: for a mark without its partner.
    """
    found = list(_BLOCK.finditer(text))
    inside = [(one.start(), one.end()) for one in found]
    odd = [
        mark[0]
        for mark in _MARK.finditer(text)
        if not any(start <= mark.start() < end for start, end in inside)
    ]
    nested = [mark[0] for one in found for mark in _MARK.finditer(one[3])]
    if odd or nested:
        raise ReportError(
            f"{page.as_posix()}: expected <!-- generated: … --> and <!-- /generated --> in turn, "
            f"got {(odd + nested)[0]} alone"
        )
    for one in found:
        yield Block(page, tuple(one[2].split()), one[3], one.start(3), one.end(3))
