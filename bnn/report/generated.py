"""Generated blocks of the project's Markdown pages: README.md, docs/ and sweeps/results/.

The text around blocks is written by hand and left alone. `bnn.report.marks` reads the blocks of a
page, `bnn.report.blocks` has their kinds.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bnn.paths import folder
from bnn.report.marks import RESULTS, blocks
from bnn.report.rows import ReportError

if TYPE_CHECKING:
    from bnn.report.blocks import Picture

PAGES = ("README.md", "docs/*.md", f"{RESULTS}/*.md")
"""Patterns of the pages that may have generated blocks."""
COMMAND = "python -m bnn.report --results"


def source_tree() -> Path:
    """Folder that holds pyproject.toml, README.md and sweeps/.

    Raises:
        ReportError: for an installed package.
    """
    root = folder("sweeps").parent
    if not (root / "pyproject.toml").is_file():
        raise ReportError(
            "the pages and sweeps/results lie in the source tree: run this in an editable install"
        )
    return root


def results() -> Path:
    """Folder of the committed tables."""
    return source_tree() / RESULTS


def pages(root: Path) -> list[Path]:
    """Pages of a source tree, relative to it, in a fixed order."""
    found = (path for pattern in PAGES for path in sorted(root.glob(pattern)))
    return [path.relative_to(root) for path in found]


def regenerated(text: str, page: Path, root: Path) -> str:
    """Text of a page with every block made anew.

    Args:
        text: the page as it stands.
        page: its path, relative to the source tree.
        root: the source tree.

    Raises:
        ReportError: for a mark without its partner, an unknown kind, or a file that is missing.
    """
    from bnn.report.blocks import content

    parts, end = [], 0
    for block in blocks(text, page):
        parts += [text[end : block.start], content(block, root)]
        end = block.end
    return "".join([*parts, text[end:]])


def regenerate(root: Path) -> list[Path]:
    """Rewrite the pages of a source tree that are out of date, and draw their pictures anew.

    Returns:
        The files that were written.

    Raises:
        ReportError: as `regenerated`.
    """
    from bnn.report.dot_plot import save

    texts = {page: (root / page).read_text(encoding="utf-8") for page in pages(root)}
    made = {page: regenerated(text, page, root) for page, text in texts.items()}
    written = [root / page for page, text in texts.items() if made[page] != text]
    for path in written:
        path.write_text(made[path.relative_to(root)], encoding="utf-8")
    for picture in _pictures(made, root):
        save(picture.draw(), picture.path, picture.content)
        written.append(picture.path)
    return written


def outdated(root: Path) -> list[str]:
    """Titles of blocks and paths of pictures that are not as they would be made.

    Raises:
        ReportError: as `regenerated`.
    """
    from bnn.report.blocks import content

    texts = {page: (root / page).read_text(encoding="utf-8") for page in pages(root)}
    found = [block for page, text in texts.items() for block in blocks(text, page)]
    stale = [block.title for block in found if block.text != content(block, root)]
    pictures = [one for one in _pictures(texts, root) if not _is_current(one)]
    return stale + [one.path.relative_to(root).as_posix() for one in pictures]


def _pictures(texts: dict[Path, str], root: Path) -> list[Picture]:
    """Pictures of the blocks that show one, each once."""
    from bnn.report.blocks import picture

    found = [picture(block, root) for page, text in texts.items() for block in blocks(text, page)]
    return list({one.path: one for one in found if one is not None}.values())


def _is_current(picture: Picture) -> bool:
    """Whether a picture was drawn from the present content of its tables."""
    from bnn.report.dot_plot import fingerprint

    file = picture.path
    return file.is_file() and fingerprint(picture.content).encode() in file.read_bytes()
