"""Tables line up, and numbers stand to the right."""

from __future__ import annotations

from bnn.tables import markdown


def test_columns_line_up_and_numbers_stand_right() -> None:
    assert markdown(
        ["run", "loss", "id"], [["a", "1.5", "3f"], ["bcde", "–", "12"], ["f|g", "10 ± 0.2", "e1"]]
    ).splitlines() == [
        "| run  |     loss | id  |",
        "|------|---------:|-----|",
        "| a    |      1.5 | 3f  |",
        "| bcde |        – | 12  |",
        "| f\\|g | 10 ± 0.2 | e1  |",
    ]


def test_a_table_without_rows_is_its_head() -> None:
    assert markdown(["run"], []).splitlines() == ["| run |", "|-----|"]
