"""Generated blocks of the project's Markdown pages: README.md, docs/ and sweeps/results/.

The text around blocks is written by hand and left alone. `bnn.report.marks` reads the blocks of a
page, `bnn.report.blocks` has their kinds.
"""

from __future__ import annotations

from pathlib import Path

from bnn.paths import folder
from bnn.report.marks import RESULTS, blocks
from bnn.report.row_files import read_csv
from bnn.report.rows import ReportError

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
    from bnn.report.dot_plot import dot_plot, save

    texts = {page: (root / page).read_text(encoding="utf-8") for page in pages(root)}
    made = {page: regenerated(text, page, root) for page, text in texts.items()}
    written = [root / page for page, text in texts.items() if made[page] != text]
    for path in written:
        path.write_text(made[path.relative_to(root)], encoding="utf-8")
    for table in _tables(made, root):
        save(dot_plot(read_csv(table)), table.with_suffix(".png"), table.read_bytes())
        written.append(table.with_suffix(".png"))
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
    pictures = [table for table in _tables(texts, root) if not _picture_is_current(table)]
    return stale + [path.with_suffix(".png").relative_to(root).as_posix() for path in pictures]


def _tables(texts: dict[Path, str], root: Path) -> list[Path]:
    """CSV files of the blocks that show a picture."""
    found = (block for page, text in texts.items() for block in blocks(text, page))
    names = dict.fromkeys(block.words[1] for block in found if block.words[0] == "results")
    return [root / RESULTS / f"{name}.csv" for name in names]


def _picture_is_current(table: Path) -> bool:
    """Whether the picture beside a CSV file was drawn from its present content."""
    from bnn.report.dot_plot import fingerprint

    picture = table.with_suffix(".png")
    return picture.is_file() and fingerprint(table.read_bytes()).encode() in picture.read_bytes()
