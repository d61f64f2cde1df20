"""A search space means what Hydra's grammar says."""

from __future__ import annotations

import math

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna import create_study
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from bnn.errors import ConfigError
from bnn.tuning.space import format_distribution, search_space, suggest, suggested_override


def space(*words: str):
    return search_space(OverridesParser.create().parse_overrides(list(words)))


TABLE = [
    ("k=a,b", CategoricalDistribution(["a", "b"]), "choice(a, b)"),
    ("k=choice(a,b)", CategoricalDistribution(["a", "b"]), "choice(a, b)"),
    ("k=1,2,4", CategoricalDistribution(["1", "2", "4"]), "choice(1, 2, 4)"),
    (
        "k=true,null,[0,-1]",
        CategoricalDistribution(["True", "null", "[0,-1]"]),
        "choice(True, null, [0,-1])",
    ),
    ("k='a b',c", CategoricalDistribution(["'a b'", "c"]), "choice('a b', c)"),
    ("k=choice(a,a,b)", CategoricalDistribution(["a", "b"]), "choice(a, b)"),
    ("k=range(1,10,2)", IntDistribution(1, 9, step=2), "range(1, 9, 2)"),
    ("k=range(4)", IntDistribution(0, 3), "integers(0, 3)"),
    ("k=range(10,1,-3)", IntDistribution(4, 10, step=3), "range(4, 10, 3)"),
    ("k=range(0,1,0.25)", FloatDistribution(0.0, 0.75, step=0.25), "range(0.0, 0.75, 0.25)"),
    ("k=range(0.1,0.35,0.1)", FloatDistribution(0.1, 0.3, step=0.1), "range(0.1, 0.3, 0.1)"),
    ("k=interval(0,1)", FloatDistribution(0.0, 1.0), "interval(0.0, 1.0)"),
    ("k=interval(-2.5,1)", FloatDistribution(-2.5, 1.0), "interval(-2.5, 1.0)"),
    ("k=int(interval(1,5))", IntDistribution(1, 5), "integers(1, 5)"),
    (
        "k=tag(log,interval(0.001,1))",
        FloatDistribution(0.001, 1.0, log=True),
        "interval(0.001, 1.0) log",
    ),
    ("k=tag(log,int(interval(1,64)))", IntDistribution(1, 64, log=True), "integers(1, 64) log"),
    ("group/sub=a,b", CategoricalDistribution(["a", "b"]), "choice(a, b)"),
    ("+k=a,b", CategoricalDistribution(["a", "b"]), "choice(a, b)"),
]


@pytest.mark.parametrize("override, distribution, text", TABLE, ids=[row[0] for row in TABLE])
def test_an_override_is_a_distribution(override: str, distribution: object, text: str) -> None:
    found = space(override)
    assert found.fixed == []
    assert found.searched == {override.partition("=")[0]: distribution}
    assert format_distribution(distribution) == text == next(iter(found.as_text().values()))


def test_a_range_holds_what_hydra_sweeps() -> None:
    """Hydra's own enumeration, against which the ends and the step are read."""
    for text in (
        "range(1,10,2)",
        "range(10,1,-3)",
        "range(0,1,0.25)",
        "range(0.1,0.4,0.1)",
        "range(5,7)",
    ):
        (override,) = OverridesParser.create().parse_overrides([f"k={text}"])
        values = sorted(float(value) for value in override.sweep_iterator())
        distribution = space(f"k={text}").searched["k"]
        count = round((distribution.high - distribution.low) / distribution.step) + 1
        ours = [distribution.low + i * distribution.step for i in range(count)]
        assert all(math.isclose(a, b, abs_tol=1e-9) for a, b in zip(values, ours, strict=True)), (
            text
        )


@pytest.mark.parametrize(
    "word",
    [
        "k=1",
        "k=[1,2]",
        "k='a,b'",
        "k=null",
        "+k=1",
        "++k=1",
        "~k",
        "k={a:1}",
        "k=${other}",
        "k='tag(log,interval(1,2))'",
    ],
)
def test_what_is_no_sweep_is_fixed_word_for_word(word: str) -> None:
    assert space(word).fixed == [word] and not space(word).searched


def test_a_shuffled_sweep_is_the_same_space_at_every_start() -> None:
    for plain in ("1,2,3,4,5,6,7", "choice(a,b,c,d,e,f,g)", "range(1,9)"):
        shuffled = {str(space(f"k=shuffle({plain})").as_text()) for _ in range(5)}
        assert shuffled == {str(space(f"k={plain}").as_text())}


def test_the_last_word_on_a_key_stands() -> None:
    found = space("k=interval(0,1)", "a=1", "k=3")
    assert not found.searched and found.fixed == ["k=3", "a=1"]
    assert space("k=3", "k=interval(0,1)").searched == {"k": FloatDistribution(0.0, 1.0)}


@pytest.mark.parametrize(
    "override, words",
    [
        ("k=interval(1,1)", ["low < high"]),
        ("k=interval(2,1)", ["low < high", "(2.0, 1.0)"]),
        ("k=tag(log,interval(0,1))", ["log", "above 0"]),
        ("k=tag(log,interval(-1,1))", ["above 0"]),
        ("k=tag(linear,interval(0,1))", ["linear", "log"]),
        ("k=tag(log,choice(1,2))", ["interval(low,high)"]),
        ("k=tag(log,range(1,5))", ["interval(low,high)"]),
        ("k=range(5,1)", ["empty"]),
    ],
    ids=str,
)
def test_a_distribution_that_holds_nothing_is_refused(override: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        space(override)
    assert str(caught.value).startswith(override)
    for each in words:
        assert each in str(caught.value)


@pytest.mark.parametrize("override", [row[0] for row in TABLE])
def test_a_suggested_value_lies_in_it_and_writes_back(override: str) -> None:
    (key, distribution), *_ = space(override).searched.items()
    trial = create_study().ask()
    value = suggest(trial, key, distribution)
    assert trial.distributions == {key: distribution}
    (back,) = OverridesParser.create().parse_overrides([suggested_override(key, value)])
    assert not back.is_sweep_override()
    read = [
        str(e)
        for e in OverridesParser.create()
        .parse_overrides([f"k={value},x"])[0]
        .sweep_string_iterator()
    ]
    assert back.value() == value if not isinstance(value, str) else read[0] == value
