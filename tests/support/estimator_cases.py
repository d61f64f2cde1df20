"""Configurations of every estimator and baseline, and networks to test their claims on."""

from __future__ import annotations

import pytest

from bnn.estimators import Estimator
from bnn.estimators.pseudo_derivatives import PSEUDO_DERIVATIVES

BASELINES = {
    "none": {},
    "moving_average": {"decay": 0.5},
    "min_variance": {"decay": 0.5},
    "leave_one_out": {"samples": 2},
    "nested_leave_one_out": {"samples": 2, "nested": 2},
}
CONTRACTS = {
    "none": [{}],
    "frozen": [{}],
    "st": [{"pseudo_derivative": name} for name in PSEUDO_DERIVATIVES],
    "reinmax": [{"tau": 1.0}, {"tau": 1.5}],
    "st_gumbel": [{"tau": 1.0}],
    "concrete": [{"tau": 0.5}],
    "reinforce": [{"baseline": {"name": name, **keys}} for name, keys in BASELINES.items()],
    "nvil": [{"hidden": 3, "decay": 0.5}],
    "muprop": [{"decay": 0.5}, {"decay": 0.5, "conditional": False}],
    "local_expectation": [{}, {"samples": 2}],
    "arm": [{}],
    "disarm": [{}],
    "arms": [{"samples": 2}, {"samples": 3}],
    "rebar": [{"tau": tau, "decay": 0.5} for tau in (0.2, 5.0, "learned")],
    "relax": [{"tau": tau, "decay": 0.5, "hidden": 3} for tau in (0.5, "learned")],
    "enumeration": [{}],
    "vimco": [{"samples": 2}, {"samples": 3}],
    "disarm_bound": [{"samples": 2}],
    "mve": [{"t": 1.0}, {"t": 5.0}],
    "gumbel_rao": [{"tau": 1.0}, {"tau": 0.5}],
    "reinmax_rao": [{"tau": 1.0}],
    "double_cv": [{"samples": 2, "decay": 0.5}, {"samples": 3, "decay": 0.5}],
    "rodeo": [{"samples": samples, "decay": 0.5, "hidden": 3} for samples in (2, 3)],
}
"""Configurations of every registered estimator: the third place that a new one touches."""
CASES = [
    pytest.param({"name": n, **c}, id=f"{n}-{i}")
    for n, cases in CONTRACTS.items()
    for i, c in enumerate(cases)
]
CONTINUOUS = {"st_gumbel", "concrete", "arms", "rebar", "relax"}
"""Estimators with infinitely many outcomes: their expectation is sampled, with standard errors."""
UNBIASED = [
    c
    for c in CASES
    if Estimator.registry[c.values[0]["name"]].unbiased and c.values[0]["name"] != "none"
]
EXACTLY = [c for c in UNBIASED if c.values[0]["name"] not in CONTINUOUS]
SAMPLED = [c for c in UNBIASED if c.values[0]["name"] in CONTINUOUS]
BIASED = [c for c in CASES if not Estimator.registry[c.values[0]["name"]].unbiased]
NETS = [(3,), (2, 2), (2, 1, 1)]
"""Widths of the binary layers."""


def applies(config: dict, widths: tuple[int, ...]) -> bool:
    """Whether a case is served and enumerated: nesting has 2^14 outcomes on three layers.

    On two layers two draws of local expectations have 10,000, and are sampled with standard errors;
    three of RODEO, double control variates or VIMCO have 4096.
    """
    if config["name"] == "disarm_bound":
        return len(widths) == 1
    most_draws = {"local_expectation": 1, "rodeo": 2, "double_cv": 2, "vimco": 2}
    if config.get("samples", 1) > most_draws.get(config["name"], 9):
        return len(widths) == 1
    return len(widths) < 3 or "nested" not in str(config)


def _pairs() -> list:
    """Parameters `config, widths` of every estimator whose expectation is enumerated.

    Nesting on (2, 2) has 4096 outcomes: it is left to the slow tests, and (2, 1) holds the law. Of
    the others two layers are left to them where three are tested.
    """
    pairs = []
    for case in EXACTLY:
        (config,) = case.values
        if "nested" in str(config):
            pairs.append(pytest.param(config, (2, 1), id=f"{case.id}-(2, 1)"))
        for widths in filter(lambda one: applies(config, one), NETS):
            inner = len(widths) == 2 and applies(config, NETS[-1])
            marks = [pytest.mark.slow] if "nested" in str(config) or inner else []
            pairs.append(pytest.param(config, widths, id=f"{case.id}-{widths}", marks=marks))
    return pairs


EXACT_PAIRS = _pairs()
