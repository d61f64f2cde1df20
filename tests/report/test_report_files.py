"""Files beside a report's page: table for LaTeX, rows for pandas; and what one seed leaves out."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bnn.report.__main__ import file_name, write_report
from bnn.report.configurations import group_by_configuration
from bnn.report.cost_plot import marker_styles
from bnn.report.differences import Reference, differences
from bnn.report.document import summary
from bnn.report.dot_plot import dot_plot
from bnn.report.experiment import TOO_FEW_SEEDS_REASON, Experiment
from bnn.report.html.heatmaps import LayerViews
from bnn.report.latex import escape, latex_table
from bnn.report.row_files import read_csv
from bnn.report.rows import Row

REINMAX = {"estimator": "reinmax", "estimator_title": "reinmax 1.0"}
SIGNS = r"a_b & 50 % of $x$ #1 {y} ~z ^w \macro <t> | [0, 1] \"q\" ± × · † ‡ – …"


def experiment(rows: list[Row], *names: str) -> Experiment:
    return Experiment(names or ("a/mnist",), rows, "", {}, LayerViews(), None, "")


def test_a_report_is_five_files_of_one_name_and_its_csv_has_every_value(
    row: Callable[..., Row], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row(0.9 + seed / 100, seed=seed) for seed in (1, 2)]
    written = write_report(experiment(rows), tmp_path / "new")
    assert sorted(path.name for path in written) == [
        f"a_mnist.{ending}" for ending in ("csv", "html", "md", "png", "tex")
    ]
    assert read_csv(tmp_path / "new/a_mnist.csv") == rows
    assert "st density" in capsys.readouterr().out
    assert file_name(["a/mnist", "b/mnist"]) == "a_mnist_b_mnist"


def test_a_latex_table_has_the_rules_of_booktabs_and_a_cell_for_each_column(
    row: Callable[..., Row],
) -> None:
    rows = [row(0.98, seed=seed, commit="x") for seed in (1, 2)]
    text = experiment(rows).latex()
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    columns = re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)
    assert columns and all(
        len(re.findall(r"(?<!\\)&", line)) == len(columns[1]) - 1 for line in lines
    )
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(rule) == 1
    assert len(lines) == 2 and r"98.00 \ensuremath{\pm} 0.00" in lines[1]


def test_signs_that_mean_something_to_latex_are_escaped() -> None:
    assert escape("a_b & 5 % $") == r"a\_b \& 5 \% \$"
    assert escape("\\x{~^}") == r"\textbackslash{}x\{\textasciitilde{}\textasciicircum{}\}"
    assert escape("two\nlines\x00") == "two lines"


@pytest.mark.integration
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_a_table_of_all_such_signs_compiles(tmp_path: Path) -> None:
    table = latex_table({SIGNS: [SIGNS, "[x]"], "value": ["1 ± 2", "–"]})
    (tmp_path / "page.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs}\begin{document}\tiny"
        f"\n{table}\\end{{document}}\n"
    )
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "page.tex"],
        cwd=tmp_path,
        capture_output=True,
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]


def test_with_one_seed_a_page_has_neither_intervals_nor_empty_differences(
    row: Callable[..., Row],
) -> None:
    one = experiment([row(), row(0.97, **REINMAX)])
    for text in (one.html_page(), one.markdown("x")):
        assert "95 % interval" not in text
    several = experiment([row(seed=s, **kind) for s in (1, 2) for kind in ({}, REINMAX)])
    assert "95 % interval (%)" in several.html_page()
    assert "two seeds" in TOO_FEW_SEEDS_REASON


def test_a_page_begins_with_what_it_compares(row: Callable[..., Row]) -> None:
    assert summary([row()]) == "Test accuracy of one configuration on the data set `mnist`."
    rows = [row(), row(**REINMAX), row(placement="last")]
    sentence = (
        "Test accuracy of 3 configurations on the data set `mnist`, which differ in estimator, "
        "placement."
    )
    assert summary(rows) == sentence
    assert experiment(rows).markdown("x").startswith(sentence)
    assert sentence.replace("`mnist`", "<code>mnist</code>") in experiment(rows).html_page()


def test_rows_of_two_experiments_stand_apart_and_are_compared_within_each_or_across(
    row: Callable[..., Row],
) -> None:
    rows = [
        row(0.9 + k / 100 + seed / 1000, seed=seed, experiment=name, **kind)
        for name in ("a/mnist", "b/mnist")
        for k, kind in enumerate(({}, REINMAX))
        for seed in (1, 2)
    ]
    assert len(group_by_configuration(rows)) == 4
    within = differences(rows, Reference("estimator", "st", 0))
    assert all(one.base.first.experiment == one.configuration.first.experiment for one in within)
    across = differences(rows, Reference("experiment", "a/mnist", 0))
    assert {one.base.first.experiment for one in across} == {"a/mnist"} and len(across) == 4
    page = experiment(rows, "a/mnist", "b/mnist").html_page()
    assert "<h1>a/mnist and b/mnist</h1>" in page and "reinmax 1.0, b/mnist" in page


def test_an_estimator_has_one_colour_in_all_figures_whatever_stands_beside_it(
    row: Callable[..., Row],
) -> None:
    others = [row(estimator="arm", estimator_title="arm"), row()]
    for rows in ([row(**REINMAX)], [*others, row(**REINMAX)]):
        dots = dot_plot(rows).axes[0].get_yticklabels()
        colours = {text.get_text().rstrip(" †"): text.get_color() for text in dots}
        (reinmax,) = (c for c in group_by_configuration(rows) if c.first.estimator == "reinmax")
        styles = marker_styles(group_by_configuration(rows))
        assert colours["reinmax 1.0" if len(rows) > 1 else "stochastic · both"] in (
            "#009E73",
            "black",
        )
        assert styles[reinmax]["color"] == "#009E73"
