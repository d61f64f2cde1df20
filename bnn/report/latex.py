"""LaTeX table of an experiment, in the rules of booktabs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bnn.tables import numeric

HEAD = (
    "% \\usepackage{booktabs}; letters beyond Latin need LuaLaTeX or XeLaTeX and a font with them\n"
)
ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "±": r"\ensuremath{\pm}",
        "×": r"\ensuremath{\times}",
        "·": r"\ensuremath{\cdot}",
        "†": r"\textdagger{}",
        "‡": r"\textdaggerdbl{}",
        "–": "--",
        "…": r"\ldots{}",
        "[": "{[}",  # not an argument of the \\ before it
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    }
)


def escape(text: str) -> str:
    """Text that LaTeX prints as it is, on one line."""
    line = "".join(sign if sign.isprintable() else " " for sign in text)
    return " ".join(line.split()).translate(ESCAPES)


def latex_table(columns: Mapping[str, Sequence[str]]) -> str:
    r"""A `tabular` with `\toprule`, `\midrule` and `\bottomrule`; numbers are set to the right.

    Args:
        columns: head -> cells, of one length.
    """
    rows = zip(*columns.values(), strict=True)
    heads, *lines = (f"{' & '.join(map(escape, cells))} \\\\" for cells in (tuple(columns), *rows))
    form = "".join("r" if numeric(cells) else "l" for cells in columns.values())
    body = [heads, r"\midrule", *lines]
    return (
        HEAD
        + "\n".join(
            [f"\\begin{{tabular}}{{{form}}}", r"\toprule", *body, r"\bottomrule", r"\end{tabular}"]
        )
        + "\n"
    )
