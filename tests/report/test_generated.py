"""Laws of the generated blocks, in a source tree under tmp_path, and of the real pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnn.report import generated
from bnn.report.__main__ import main
from bnn.report.__main__ import main as report_command
from bnn.report.blocks import KINDS
from bnn.report.marks import RESULTS, blocks
from bnn.report.row_files import write_csv
from bnn.report.rows import ReportError, Row

BLOCK = "<!-- generated: {} -->\nstale words\n<!-- /generated -->\n"
TEXT = (
    f"# Title\n\nBefore: 98.79.\n\n{BLOCK.format('results seed_table_mnist')}After.\n"
    f"{BLOCK.format('renamed_tags')}"
)


@pytest.fixture
def tree(tmp_path: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / RESULTS).mkdir(parents=True)
    write_csv(tmp_path / RESULTS / "seed_table_mnist.csv", rows)
    (tmp_path / "README.md").write_text(TEXT)
    monkeypatch.setattr(generated, "source_tree", lambda: tmp_path)
    return tmp_path


@pytest.mark.integration
def test_regeneration_is_idempotent_and_leaves_the_rest(tree: Path) -> None:
    assert main(["--results"]) == 0
    once = (tree / "README.md").read_text()
    picture = (tree / RESULTS / "seed_table_mnist.png").read_bytes()
    assert main(["--results"]) == 0
    assert (tree / "README.md").read_text() == once
    assert (tree / RESULTS / "seed_table_mnist.png").read_bytes() == picture
    assert once.startswith("# Title\n\nBefore: 98.79.\n\n<!-- generated: results seed_table_mnist")
    assert "```\n<!-- /generated -->\nAfter.\n<!-- generated: renamed_tags -->\n| 0.1.0" in once
    assert "stale words" not in once
    assert len(picture) < 60_000


def test_pictures_are_addressed_from_the_page(tree: Path) -> None:
    page = tree / RESULTS / "seed_table_mnist.md"
    page.write_text(BLOCK.format("results seed_table_mnist"))
    main(["--results"])
    assert "configuration](sweeps/results/seed_table_mnist.png)" in (tree / "README.md").read_text()
    assert "configuration](seed_table_mnist.png)" in page.read_text()


def test_a_printed_page_stands_below_the_title_with_its_pictures_by_the_page(tree: Path) -> None:
    (tree / RESULTS / "lab.txt").write_text(
        "# A\n\n## B\n\n| c # d |\n\n![](sweeps/results/lab.png)\n\n\n"
    )
    page = tree / RESULTS / "lab.md"
    page.write_text(BLOCK.format("printed lab"))
    assert "sweeps/results/lab.md: printed lab" in generated.outdated(tree)
    assert main(["--results"]) == 0 and generated.outdated(tree) == []
    (block,) = blocks(page.read_text(), page)
    assert block.text == "## A\n\n### B\n\n| c # d |\n\n![](lab.png)\n"


def test_an_index_has_the_question_the_finding_and_the_seeds_of_a_page(tree: Path) -> None:
    (tree / RESULTS / "seed_table_mnist.md").write_text(
        "# What does it cost?\n\nLittle,\nor `nothing`.\n\nMore.\n\n"
        f"{BLOCK.format('results seed_table_mnist')}"
    )
    (tree / RESULTS / "README.md").write_text(BLOCK.format("index seed_table_mnist"))
    main(["--results"])
    *_, row = (tree / RESULTS / "README.md").read_text().splitlines()[:-1]
    question, finding, seeds, page = (cell.strip() for cell in row.strip("|").split("|"))
    assert (question, finding) == ("What does it cost?", "Little, or `nothing`.")
    assert (seeds, page) == ("2", "[seed_table_mnist](seed_table_mnist.md)")


def test_the_check_changes_nothing_and_fails_until_the_pages_are_made(tree: Path) -> None:
    assert main(["--results", "--check"]) == 1
    assert (tree / "README.md").read_text() == TEXT
    main(["--results"])
    assert main(["--results", "--check"]) == 0


def test_the_check_fails_after_a_digit_is_altered_by_hand(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--results"])
    path = tree / "README.md"
    good = path.read_text()
    assert good.count("98.65") == 1
    path.write_text(good.replace("98.65", "98.66"))
    assert main(["--results", "--check"]) == 1
    assert (
        "out of date: README.md: results seed_table_mnist; run python -m bnn.report --results"
        in capsys.readouterr().err
    )
    path.write_text(good.replace("Before: 98.79", "Before: 11.11"))
    assert main(["--results", "--check"]) == 0


def test_the_check_fails_when_a_result_or_its_picture_changes(tree: Path, rows: list[Row]) -> None:
    main(["--results"])
    table, picture = (tree / RESULTS / f"seed_table_mnist{suffix}" for suffix in (".csv", ".png"))
    drawn = picture.read_bytes()
    picture.unlink()
    assert generated.outdated(tree) == ["sweeps/results/seed_table_mnist.png"]
    write_csv(table, rows[:-2])
    main(["--results"])
    assert generated.outdated(tree) == []
    picture.write_bytes(drawn)
    assert generated.outdated(tree) == ["sweeps/results/seed_table_mnist.png"]


def test_a_choice_of_rates_is_checked_for_the_estimators_that_are_named(
    tree: Path, rows: list[Row]
) -> None:
    """A rate was tried for one of the two estimators in the table."""
    table = tree / RESULTS / "seed_table_mnist.csv"
    named, other, *_ = {row.estimator: row for row in rows}.values()
    write_csv(table, [named, other])
    write_csv(tree / RESULTS / "tried.csv", [named])
    words = "learning_rates tried seed_table_mnist"
    (tree / "README.md").write_text(BLOCK.format(f"{words} {named.estimator}"))
    assert main(["--results"]) == 0
    assert "1 run" in (tree / "README.md").read_text()
    for refused, reason in (
        ("", "no learning rate was tried"),
        (" mve", "no runs of estimator mve"),
    ):
        (tree / "README.md").write_text(BLOCK.format(words + refused))
        with pytest.raises(ReportError, match=reason):
            generated.outdated(tree)


@pytest.mark.parametrize("arguments", [["--results"], ["--results", "--check"]])
def test_a_block_without_its_file_is_an_error(
    tree: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    (tree / RESULTS / "seed_table_mnist.csv").unlink()
    assert main(arguments) == 1
    assert capsys.readouterr().err.startswith("error: seed_table_mnist.csv: no such file")
    assert (tree / "README.md").read_text() == TEXT


@pytest.mark.parametrize(
    "words",
    ["nothing", "results", "results a b", "results a versus b margin 1", "keys", "printed a b",
     "index missing", "choices of all"],
)  # fmt: skip
def test_a_block_that_cannot_be_made_names_itself(tree: Path, words: str) -> None:
    (tree / "README.md").write_text(BLOCK.format(words))
    with pytest.raises(ReportError, match=r"README\.md|no such file"):
        generated.regenerate(tree)


@pytest.mark.parametrize(
    "text",
    [
        "<!-- generated: x -->\n",
        "<!-- /generated -->\n",
        "<!-- generated: x -->\n<!-- generated: y -->\n<!-- /generated -->\n<!-- /generated -->\n",
    ],
)
def test_a_mark_without_its_partner_is_an_error(text: str) -> None:
    with pytest.raises(ReportError, match="in turn"):
        list(blocks(text, Path("README.md")))


def test_a_page_without_blocks_and_none_at_all_are_up_to_date(tmp_path: Path) -> None:
    assert generated.outdated(tmp_path) == []
    (tmp_path / "README.md").write_text("# Title\n")
    assert generated.outdated(tmp_path) == []


def test_outside_a_source_tree_the_reason_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generated, "folder", lambda name: tmp_path / name)
    assert main(["--results"]) == 1
    with pytest.raises(ReportError, match="lie in the source tree"):
        generated.source_tree()


def test_the_pages_of_this_repository_agree_with_their_sources() -> None:
    root = generated.source_tree()
    used = {
        block.words[0]
        for page in generated.pages(root)
        for block in blocks((root / page).read_text(encoding="utf-8"), page)
    }
    assert used == set(KINDS)
    described = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert [k for k in KINDS if f"`{k} " not in described and f"`{k}`" not in described] == []
    assert generated.outdated(root) == []


def test_the_former_option_is_answered_with_its_new_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as refused:
        report_command(["--readme", "--check"])
    assert refused.value.code == 2
    assert "--readme: this option is called --results now" in capsys.readouterr().err
