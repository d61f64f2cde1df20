"""Selection of the cases of a large parametrized test that run on every change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def one_in(every: int, cases: Iterable[Any]) -> list[Any]:
    """Parameters of which one in `every` runs on every change; the others are marked `slow`.

    Args:
        every: distance of the cases that are not slow, in their order, from the first.
        cases: values of one parameter, tuples of several, or `pytest.param`.
    """
    return [case if number % every == 0 else _slow(case) for number, case in enumerate(cases)]


def _slow(case: Any) -> Any:
    if hasattr(case, "marks"):  # made by pytest.param
        return pytest.param(*case.values, id=case.id, marks=[*case.marks, pytest.mark.slow])
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.slow)
