"""Laws of the README's generated sections, in a source tree under tmp_path; the last one is about the real README."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnn.report import readme
from bnn.report.__main__ import main
from bnn.report.row_files import write_csv
from bnn.report.rows import ReportError, Row

TEXT = "# Title\n\nBefore: 98.79.\n<!-- results:seed_table_mnist -->\nstale words\n<!-- /results:seed_table_mnist -->\nAfter.\n"


@pytest.fixture
def tree(tmp_path: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / readme.RESULTS).mkdir(parents=True)
    write_csv(tmp_path / readme.RESULTS / "seed_table_mnist.csv", rows)
    (tmp_path / "README.md").write_text(TEXT)
    monkeypatch.setattr(readme, "source_tree", lambda: tmp_path)
    return tmp_path


def test_regeneration_is_idempotent_and_leaves_the_rest(tree: Path) -> None:
    assert main(["--readme"]) == 0
    once = (tree / "README.md").read_text()
    picture = (tree / readme.RESULTS / "seed_table_mnist.png").read_bytes()
    assert main(["--readme"]) == 0
    assert (tree / "README.md").read_text() == once
    assert (tree / readme.RESULTS / "seed_table_mnist.png").read_bytes() == picture
    assert once.startswith("# Title\n\nBefore: 98.79.\n<!-- results:seed_table_mnist -->\n![")
    assert once.endswith("```\n<!-- /results:seed_table_mnist -->\nAfter.\n")
    assert "stale words" not in once
    assert len(picture) < 60_000


def test_a_printed_page_is_shown_as_it_is_below_the_readmes_headings(tree: Path) -> None:
    (tree / readme.RESULTS / "printed.md").write_text("# A\n\n## B\n\n| c # d |\n\n\n")
    (tree / "README.md").write_text("<!-- results:printed -->\n<!-- /results:printed -->\n")
    assert readme.outdated(tree) == ["printed"]
    assert main(["--readme"]) == 0 and readme.outdated(tree) == []
    made = "### A\n\n#### B\n\n| c # d |\n"
    assert (
        tree / "README.md"
    ).read_text() == f"<!-- results:printed -->\n{made}<!-- /results:printed -->\n"


def test_the_check_changes_nothing_and_fails_until_the_readme_is_made(tree: Path) -> None:
    assert main(["--readme", "--check"]) == 1
    assert (tree / "README.md").read_text() == TEXT
    main(["--readme"])
    assert main(["--readme", "--check"]) == 0


def test_the_check_fails_after_a_digit_is_altered_by_hand(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--readme"])
    path = tree / "README.md"
    good = path.read_text()
    assert good.count("98.65") == 1
    path.write_text(good.replace("98.65", "98.66"))
    assert main(["--readme", "--check"]) == 1
    assert (
        "out of date: seed_table_mnist; run python -m bnn.report --readme"
        in capsys.readouterr().err
    )
    path.write_text(good.replace("Before: 98.79", "Before: 11.11"))
    assert main(["--readme", "--check"]) == 0


def test_the_check_fails_when_a_result_or_its_picture_changes(tree: Path, rows: list[Row]) -> None:
    main(["--readme"])
    table, picture = (
        tree / readme.RESULTS / f"seed_table_mnist{suffix}" for suffix in (".csv", ".png")
    )
    drawn = picture.read_bytes()
    picture.unlink()
    assert readme.outdated(tree) == ["seed_table_mnist"]
    write_csv(table, rows[:-2])
    main(["--readme"])
    assert readme.outdated(tree) == []
    picture.write_bytes(drawn)
    assert readme.outdated(tree) == ["seed_table_mnist"]


def test_a_section_without_its_file_is_an_error(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / readme.RESULTS / "seed_table_mnist.csv").unlink()
    for arguments in (["--readme"], ["--readme", "--check"]):
        assert main(arguments) == 1
        assert capsys.readouterr().err.startswith("error: seed_table_mnist.csv: no such file")


@pytest.mark.parametrize(
    "text",
    [
        "<!-- results:x -->\n",
        "<!-- /results:x -->\n",
        "<!-- results:x -->\n<!-- /results:y -->\n",
        "<!-- results:x -->\n<!-- results:y -->\n<!-- /results:y -->\n<!-- /results:x -->\n",
    ],
)
def test_a_mark_without_its_partner_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ReportError, match="around one section"):
        readme.regenerated(text, tmp_path)


def test_a_readme_without_marks_and_none_at_all_are_up_to_date(tmp_path: Path) -> None:
    assert readme.outdated(tmp_path) == []
    (tmp_path / "README.md").write_text("# Title\n")
    assert readme.outdated(tmp_path) == []


def test_outside_a_source_tree_the_reason_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readme, "folder", lambda name: tmp_path / name)
    assert main(["--readme"]) == 1
    with pytest.raises(ReportError, match="lie in the source tree"):
        readme.source_tree()


def test_the_readme_of_this_repository_agrees_with_its_results() -> None:
    root = readme.source_tree()
    assert (root / "README.md").read_text(encoding="utf-8").count("<!-- results:") >= 2, (
        "the README shows generated results"
    )
    assert readme.outdated(root) == []
