"""Registries: names to constructors."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnn.errors import ConfigError
from bnn.nn.weights import WeightRule
from bnn.tasks import Task


def test_a_registry_answers_whether_it_has_a_name_and_refuses_to_build_another() -> None:
    assert (
        "classification" in Task.registry
        and "other" not in Task.registry
        and ["classification"] not in Task.registry
    )
    with pytest.raises(ConfigError, match=r"expected one of .*classification.*got 'other'"):
        Task.registry.build("other")


MODULE = """
from __future__ import annotations
from dataclasses import dataclass
from bnn.nn import SignWeights, WeightRule

@WeightRule.registry.add("of_another_module")
@dataclass(kw_only=True)
class Mine(SignWeights):
    strength: float = 2.0
"""


def test_a_dataclass_may_inherit_fields_that_its_module_has_no_names_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`layers: Any` of the base class, in a module that does not import Any."""
    (tmp_path / "rule_of_another_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(WeightRule.registry, "_constructors", dict(WeightRule.registry))
    __import__("rule_of_another_module")
    rule = WeightRule.registry.build({"name": "of_another_module", "strength": 3, "init": 0.5})
    assert (rule.strength, rule.init) == (3.0, 0.5)  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="strength: expected a number"):
        WeightRule.registry.build({"name": "of_another_module", "strength": "big"})
