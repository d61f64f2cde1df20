"""Slope schedules, by table."""

from __future__ import annotations

import pytest

from bnn.errors import ConfigError
from bnn.paths import folder
from bnn.training.schedules import SCHEDULES

TABLE = [
    ({"name": "none", "slope": 1.0}, [1, 1, 1, 1, 1]),
    ({"name": "geometric", "start": 1.0, "rate": 1.1}, [1, 1.1, 1.21, 1.331, 1.4641]),
    ({"name": "linear", "start": 1.0, "step": 0.5, "cap": 2.0}, [1, 1.5, 2, 2, 2]),
    (
        {"name": "cosine", "start": 1.0, "end": 3.0},
        [1, 3 - 2 * (1 + 2**-0.5) / 2, 2, 3 - 2 * (1 - 2**-0.5) / 2, 3],
    ),
]


@pytest.mark.parametrize(
    "node, slopes", TABLE, ids=lambda v: v["name"] if isinstance(v, dict) else ""
)
def test_slopes(node: dict, slopes: list[float]) -> None:
    schedule = SCHEDULES.build(node)
    assert [schedule(epoch, 5) for epoch in range(5)] == pytest.approx(slopes)


def test_every_schedule_is_in_the_table_and_has_its_yaml() -> None:
    assert (
        {row[0]["name"] for row in TABLE}
        == set(SCHEDULES)
        == {p.stem for p in (folder("conf") / "anneal").glob("*.yaml")}
    )


def test_a_single_epoch_trains_at_the_end_of_the_cosine() -> None:
    assert SCHEDULES.build({"name": "cosine", "start": 1.0, "end": 3.0})(0, 1) == 3.0


@pytest.mark.parametrize(
    "node, word",
    [
        ({"name": "geometric", "start": 0.0, "rate": 1.1}, "anneal.start"),
        ({"name": "linear", "start": 3.0, "step": 0.1, "cap": 2.0}, "cap"),
        ({"name": "linear", "start": 1.0, "step": -0.1, "cap": 2.0}, "step"),
        ({"name": "cosine", "start": 1.0, "end": float("nan")}, "anneal.end"),
        ({"name": "none", "slope": "steep"}, "anneal"),
        ({"name": "none", "slope": None}, "anneal"),
        ({"name": "none", "slope": 1.0, "cap": 2.0}, "cap"),
        ({"name": "sudden"}, "cosine, geometric, linear, none"),
    ],
)
def test_nonsense_is_refused_naming_the_key(node: dict, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        SCHEDULES.build(node)
