"""Registries: names to constructors."""

from __future__ import annotations

import pytest

from bnn.errors import ConfigError
from bnn.tasks import Task


def test_a_registry_answers_whether_it_has_a_name_and_refuses_to_build_another() -> None:
    assert (
        "classification" in Task.registry
        and "other" not in Task.registry
        and ["classification"] not in Task.registry
    )
    with pytest.raises(ConfigError, match=r"expected one of .*classification.*got 'other'"):
        Task.registry.build("other")
