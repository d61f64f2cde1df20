"""Laws of the catalogue: tables of conf/ and of the registries that the pages show."""

from __future__ import annotations

import pytest
import yaml

from bnn.config import groups
from bnn.config.canonical import GROUPS, flat
from bnn.estimators import Estimator
from bnn.estimators.straight_through import StraightThrough
from bnn.paths import folder
from bnn.report import catalogue
from bnn.report.answer import CHOICES, PROTOCOLS


def cells(table: str) -> list[list[str]]:
    """Rows of a Markdown table without their head."""
    rows = [line.strip("|").replace("\\|", "/").split("|") for line in table.splitlines()[2:]]
    return [[cell.strip() for cell in row] for row in rows]


def test_every_group_of_conf_has_its_words() -> None:
    there = {
        path.parent.relative_to(folder("conf")).as_posix()
        for path in folder("conf").rglob("*.yaml")
    }
    assert there - {".", "hydra"} == set(groups.ABOUT)


def test_the_table_of_choices_has_those_of_conf_with_the_default_first() -> None:
    found = {group.strip("`"): names for group, names, _ in cells(catalogue.choices())}
    assert set(found) == {*GROUPS, "model/sparsity", "estimator/baseline", "experiment", "study"}
    for group, names in found.items():
        shown = [name.strip("`") for name in names.split(", ")]
        assert set(shown) == {path.stem for path in (folder("conf") / group).glob("*.yaml")}
    assert found["estimator"].startswith("`st`") and found["data"].startswith("`mnist`")
    assert found["estimator/baseline"].startswith("`nested_leave_one_out`")


@pytest.mark.parametrize("group", sorted(groups.ABOUT.keys() - {"experiment", "study"}))
def test_the_table_of_keys_has_every_key_of_a_group_with_its_default(group: str) -> None:
    rows = cells(catalogue.keys(group))
    prefix = f"`{group.replace('/', '.')}."
    for path in (folder("conf") / group).glob("*.yaml"):
        node = yaml.safe_load(path.read_text())
        for key, value in flat(node.get(group, node)).items():
            if key not in ("name", "defaults", "_target_"):
                shown = [row[1].strip("`") for row in rows if row[0] == f"{prefix}{key}`"]
                assert value in [yaml.safe_load(text.replace(" / ", " | ")) for text in shown], key


@pytest.mark.parametrize("group", ["experiment", "study"])
def test_every_recipe_has_a_question_and_a_command_that_names_it(group: str) -> None:
    for name, question, command in cells(catalogue.recipes(group)):
        assert len(question) > 20
        assert f"{group}={name.strip('`')}" in command


def test_the_table_of_estimators_says_of_each_what_it_claims() -> None:
    rows = {row[0].strip("`"): row[1:] for row in cells(catalogue.estimators())}
    assert set(rows) == set(Estimator.registry) - {"none"}
    for name, (summary, _, _, bias, source) in rows.items():
        estimator = Estimator.registry[name]
        expected = (
            "exact"
            if estimator.deterministic
            else "of a bound"
            if estimator.bound
            else "up to a scale"
            if estimator.up_to_scale
            else "yes"
            if estimator.unbiased
            else "no"
        )
        assert bias == expected, name
        assert 10 < len(summary) < 140 and " 20" not in summary and " 19" not in summary, name
        assert source or name in ("frozen", "enumeration"), name
    costs = {name: row[2] for name, row in rows.items()}
    assert (costs["st"], costs["reinforce"], costs["disarm"], costs["arms"]) == (
        "1",
        "8, 16, 128",
        "2, 3, 4",
        "4, 7, 10",
    )
    assert costs["enumeration"] == "256" and costs["local_expectation"] == "1, 9, 17"


def test_every_protocol_of_the_answer_has_its_words() -> None:
    assert {one.name for one in CHOICES} == set(PROTOCOLS)


def test_the_rule_of_an_estimator_is_the_formula_below_its_summary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Mine(StraightThrough):
        """Straight-through, once more (Doe
        et al. 2031, §4; Roe 2032).

            d f / d a := |a| f'(b)

        As in Poe (2033).
        """

    monkeypatch.setattr(Estimator.registry, "_constructors", {"mine": Mine})
    (row,) = cells(catalogue.estimators())
    expected = ["`mine`", "Straight-through, once more", "`d f / d a := /a/ f'(b)`", "1", "no"]
    assert row == [*expected, "Doe et al. 2031, §4; Roe 2032"]
