"""Binary weights in reports: names of rules, and the table of their readings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from bnn.report.configurations import group_by_configuration, varying
from bnn.report.display_names import full_names
from bnn.report.rows import ReportError, Row
from bnn.report.weight_readings import weight_readings

RULES = (
    ("sign", "weights.clip=False; weights.decay=0.0; weights.lr=0.05"),
    ("sign", "weights.clip=True; weights.decay=0.0; weights.lr=0.01"),
    ("sign", "weights.clip=False; weights.decay=0.1; weights.lr=0.05"),
    ("bop", "weights.threshold=0.0"),
    ("real", ""),
)
MakeRow = Callable[..., Row]


def made(row: MakeRow, rules: Sequence[tuple[str, str]]) -> list[Row]:
    return [row(weights=rule, settings=settings) for rule, settings in rules]


def test_parameters_of_a_rule_stand_behind_its_name_where_they_tell_runs_apart(
    row: MakeRow,
) -> None:
    found = group_by_configuration(made(row, RULES))
    columns = varying(found)
    assert sorted(columns["weights"]) == [
        "bop",
        "real",
        "sign (clip, lr 0.01)",
        "sign (decay 0.1, lr 0.05)",
        "sign (lr 0.05)",
    ]
    assert not any(head.startswith("weights.") for head in columns)
    names = full_names(found)
    assert any(name.endswith("sign weights (clip, lr 0.01)") for name in names)
    assert any("real weights" in name for name in names)


def test_two_thresholds_of_one_rule_are_told_apart(row: MakeRow) -> None:
    rules = [("bop", f"weights.threshold={one}") for one in ("0.0", "1e-08")]
    cells = varying(group_by_configuration(made(row, rules)))["weights"]
    assert sorted(cells) == ["bop (threshold 0.0)", "bop (threshold 1e-08)"]


def test_readings_have_a_line_for_each_kind_of_statistics(row: MakeRow) -> None:
    values = {
        "test_accuracy_sign_training_statistics": 0.81,
        "test_accuracy_drawn_weights": 0.82,
        "test_accuracy_drawn_weights_training_statistics": 0.83,
        "test_accuracy_ensemble": 0.84,
        "test_accuracy_ensemble_training_statistics": 0.85,
        "test_accuracy_lrt": 0.86,
        "test_accuracy_lrt_training_statistics": 0.87,
    }
    (real,), drawn = made(row, RULES[-1:]), row(0.9, weights="sample", **values)
    _, _, anew, kept = weight_readings([drawn, real]).splitlines()
    assert [cell.strip() for cell in anew.split("|")[3:8]] == [
        "statistics anew", "90.00", "82.00", "84.00", "86.00",
    ]  # fmt: skip
    assert [cell.strip() for cell in kept.split("|")[3:8]] == [
        "of the training", "81.00", "83.00", "85.00", "87.00",
    ]  # fmt: skip
    with pytest.raises(ReportError, match="expected runs with drawn weights"):
        weight_readings([real])
