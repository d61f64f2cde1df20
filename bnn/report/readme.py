"""The README's results: sections between `<!-- results:NAME -->` and `<!-- /results:NAME -->`, made from sweeps/results
alone. NAME.csv becomes a table with a picture beside the file; NAME.md is a page that a command printed, shown as it is.

`<!-- results:NAME against FIELD=VALUE margin POINTS -->` adds the differences to a reference."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from bnn.paths import folder
from bnn.report.differences import Reference
from bnn.report.document import results_section
from bnn.report.row_files import read_csv
from bnn.report.rows import ReportError

RESULTS = Path("sweeps/results")
_SECTION = re.compile(
    r"(<!-- results:(\S+)(?: against (\S+) margin (\S+))? -->\n)(.*?)(<!-- /results:\2 -->)",
    re.DOTALL,
)
_MARK = re.compile(r"<!-- /?results:(\S+)[^\n]*? -->")


def source_tree() -> Path:
    """The folder that holds pyproject.toml and README.md. Errors: ReportError for an installed package."""
    root = folder("sweeps").parent
    if not (root / "pyproject.toml").is_file():
        raise ReportError(
            "the README and sweeps/results lie in the source tree: run this in an editable install of it"
        )
    return root


def results() -> Path:
    """The folder of the committed tables."""
    return source_tree() / RESULTS


def _sections(text: str) -> Iterator[re.Match[str]]:
    found = list(_SECTION.finditer(text))
    odd = [
        mark[1]
        for mark in _MARK.finditer(text)
        if not any(s.start() <= mark.start() < s.end() for s in found)
    ]
    nested = [section[2] for section in found if _MARK.search(section[5])]
    if odd or nested:
        name = (odd + nested)[0]
        raise ReportError(
            f"README.md: expected <!-- results:{name} --> and <!-- /results:{name} --> around one section"
        )
    return iter(found)


def _made(root: Path, name: str, reference: Reference | None) -> str:
    """The text of a section. Errors: ReportError where neither NAME.md nor a readable NAME.csv is there."""
    printed = root / RESULTS / f"{name}.md"
    if printed.is_file():
        # its headings come to stand below the README's own
        return (
            re.sub(r"^#", "###", printed.read_text(encoding="utf-8"), flags=re.MULTILINE).rstrip()
            + "\n"
        )
    return results_section(
        read_csv(root / RESULTS / f"{name}.csv"), (RESULTS / f"{name}.png").as_posix(), reference
    )


def _reference(found: re.Match[str]) -> Reference | None:
    if found[3] is None:
        return None
    try:
        return Reference.parse(found[3], float(found[4]))
    except ValueError as error:
        raise ReportError(f"README.md: results:{found[2]}: {error}") from error


def regenerated(text: str, root: Path) -> str:
    """`text` with every marked section made anew from its file under `root`; the rest as it was.

    Errors: ReportError for a marker without its partner or without its file.
    """
    parts, end = [], 0
    for found in _sections(text):
        parts += [
            text[end : found.start()],
            found[1],
            _made(root, found[2], _reference(found)),
            found[6],
        ]
        end = found.end()
    return "".join([*parts, text[end:]])


def regenerate(root: Path) -> list[Path]:
    """Rewrite README.md and the pictures of its sections; answers the files. Errors: as `regenerated`."""
    from bnn.report.dot_plot import dot_plot, save

    path = root / "README.md"
    if not path.is_file():
        raise ReportError(f"README.md: no such file in {root}")
    text = path.read_text(encoding="utf-8")
    path.write_text(regenerated(text, root), encoding="utf-8")
    pictures = []
    for found in _sections(text):
        rows = root / RESULTS / f"{found[2]}.csv"
        if not rows.is_file():
            continue
        pictures.append(rows.with_suffix(".png"))
        save(dot_plot(read_csv(rows)), pictures[-1], rows.read_bytes())
    return [path, *pictures]


def outdated(root: Path) -> list[str]:
    """Names of the sections of README.md whose text or picture is not that of their CSV file. Without a README or
    without marked sections there are none. Errors: as `regenerated`."""
    path = root / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    made = [(found[2], found[5]) for found in _sections(regenerated(text, root))]
    there = [found[5] for found in _sections(text)]
    return [
        name
        for (name, should), is_ in zip(made, there, strict=True)
        if should != is_ or not _picture_is_current(root / RESULTS / f"{name}.csv")
    ]


def _picture_is_current(rows: Path) -> bool:
    """Whether the picture beside a CSV file was drawn from it; true where there is no such file to draw from."""
    if not rows.is_file():
        return True
    from bnn.report.dot_plot import fingerprint

    picture = rows.with_suffix(".png")
    return picture.is_file() and fingerprint(rows.read_bytes()).encode() in picture.read_bytes()
