"""Files beside a report's page: table for LaTeX, rows for pandas; and what one seed leaves out."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bnn.errors import TrackingError
from bnn.report import experiment as experiment_module
from bnn.report import rows as rows_module
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
from bnn.report.rows import ReportError, Row, readable_rows
from bnn.tracking.query import FinishedRun

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


def test_file_names_of_experiments_are_safe_short_and_unique() -> None:
    assert file_name(["bnn/mnist"]) == "bnn_mnist" and file_name(["x"]) == "x"
    assert file_name(["reinforce_tuned/mnist"]) == "reinforce_tuned_mnist"
    assert file_name(["a/mnist", "b/mnist"]) == "a_mnist+b_mnist"
    assert file_name(["bnn/fashion_mnist"]) == "bnn_fashion_mnist"
    odd = [
        "bnn_fashion/mnist",
        ".",
        "..",
        "/",
        "x" * 300,
        "x" * 301,
        "a/b/c",
        "a_b/c",
        "a/b_c",
        "a b",
        "\u00e9",
        "a\nb",
        "-x",
    ]
    made = [file_name([name]) for name in (*odd, "bnn/mnist", "bnn/fashion_mnist", "a/b")]
    assert len(set(made)) == len(made)
    assert all(re.fullmatch(r"[\w-]{1,100}", name, re.ASCII) for name in made)
    assert not any(name.startswith(".") for name in made)


def test_one_bad_run_is_left_out_with_its_reason_and_the_others_stay(
    row: Callable[..., Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    def row_of(run: FinishedRun, experiment: str) -> Row:
        if run.run_id == "bad":
            raise ReportError("the finished run bad lacks 'test/loss'")
        return row(run_id=run.run_id, test_loss=sys.float_info.max if run.run_id == "inf" else 0.5)

    monkeypatch.setattr(rows_module, "row_of", row_of)
    runs = [FinishedRun(name, 1, {}, {}, {}) for name in ("good", "bad", "inf")]
    rows, refused = readable_rows(runs, "x")
    assert [one.run_id for one in rows] == ["good"] and set(refused) == {"bad", "inf"}
    assert "no finite test_loss" in refused["inf"] and "lacks" in refused["bad"]


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe\x00", b"[]", b'{"data": 1}'])
def test_a_damaged_configuration_is_said_and_that_of_another_run_is_read(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(uri: str | None, run_id: str, path: str, folder: Path) -> Path:
        if run_id == "away":
            raise TrackingError("run away: config.json cannot be read")
        (tmp_path / run_id).write_bytes(content if run_id == "bad" else b'{"data": {"name": "x"}}')
        return tmp_path / run_id

    monkeypatch.setattr(experiment_module, "fetch", fetch)
    runs = [FinishedRun(name, 1, {}, {}, {}) for name in ("away", "bad", "good")]
    config, damaged = experiment_module._data_config(None, runs)
    assert config == {"name": "x"}
    assert "Run bad: config.json is no configuration" in damaged and "run away" in damaged
