"""Markdown tables of a comparison of estimators."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from bnn.lab.comparison import Comparison
from bnn.lab.gradient_sampler import BELOW
from bnn.lab.measure import OF_F, Measurement
from bnn.tables import BLANK, markdown

Measured = Mapping[str, Measurement]
"""Measurements by the estimator's display name."""

LEGEND = (
    "All parameters below the highest binary layer; bias² and variance over the squared norm of "
    "the true gradient, which is {known} ({name}). `error`: relative root-mean-square error of "
    "the mean of as many estimates as that many evaluations of f buy. For an estimator that "
    "claims to be unbiased, its noise alone; for another one, bias² counts for at least half of "
    "the upper end of its interval, below which it was not measured. In brackets 95 % intervals; "
    "the noise is subtracted from bias², so that it and its interval may lie below 0. Where few "
    "estimates are far larger than the others, the true variance lies in its interval less often "
    "(in 80 to 85 % of cases for 100 log-normal estimates), and otherwise mostly above it. "
    "`length of the mean` is 0 where its square, without the noise, comes out below 0. "
    "`variance × evaluations` and `variance × ms`: variance left by an average that takes one "
    f"evaluation, and one millisecond. {OF_F}"
)


def error(one: Measurement, layer: str, evaluations: int) -> str:
    """Error of the mean of as many estimates as `evaluations` buy; a dash for less than one."""
    if evaluations < one.evaluations:
        return BLANK
    return f"{one.error(layer, evaluations / one.evaluations):.3f}"


def cost(one: Measurement, layer: str, unit: str = "evaluations") -> str:
    """Variance times the price of an estimate, to three digits."""
    value = one.cost(layer, unit).value
    return f"{value:.3g}" if abs(value) < 1000 or not math.isfinite(value) else f"{value:.0f}"


def ranking(found: Measured, layer: str, unit: str) -> str:
    """Sentence with the unbiased estimators in order of cost, in `evaluations` or `ms`."""
    costs = {
        name: one.cost(layer, unit)
        for name, one in found.items()
        if one.unbiased and not one.up_to_scale
    }
    names = sorted(costs, key=lambda name: costs[name].value)
    text = ""
    for below, name in zip([None, *names], names, strict=False):
        if below is not None:
            text += " < " if costs[below].high < costs[name].low else " ≈ "
        text += f"{name} ({cost(found[name], layer, unit)})"
    return f"Unbiased estimators by variance × {unit}: {text or 'none'}."


def accuracy_table(found: Measured, layer: str, evaluations: int) -> str:
    """Table of one layer: a row for each estimator, a column for each number and its interval."""
    head = [
        *("estimator", "evaluations of f", "ms"),
        *("bias²", "variance", "cosine", "cosine of the mean", "length of the mean"),
        f"error at {evaluations} evaluations",
        *("variance × evaluations", "variance × ms"),
    ]
    rows = []
    for name, one in found.items():
        a = one.layers[layer]
        numbers = (a.squared_bias, a.variance, a.cosine, a.cosine_of_mean, a.length_of_mean)
        row = [name, str(one.evaluations), f"{1000 * one.seconds:.1f}", *map(str, numbers)]
        row += [error(one, layer, evaluations), cost(one, layer), cost(one, layer, "ms")]
        rows.append(row)
    return markdown(head, rows)


def layer_table(found: Measured, cell: Callable[[Measurement, str], str], layers: list[str]) -> str:
    """Table with a row for each estimator and a column for each layer."""
    rows = [[name, *(cell(one, layer) for layer in layers)] for name, one in found.items()]
    return markdown(["estimator", *layers], rows)


def tables(compared: Comparison, evaluations: int) -> str:
    """Tables of a comparison with their legend: below the highest binary layer, and by layer.

    Args:
        compared: the comparison.
        evaluations: budget of the column `error`, in evaluations of the loss per sample.
    """
    found, reference = compared.measured, compared.reference
    layers = [layer for layer in next(iter(found.values())).layers if layer != BELOW]
    relative_error = f"known to {100 * reference.relative_error(BELOW):.1f} % of its norm"
    known = "exact" if reference.exact else relative_error
    order = "\n\n".join(ranking(found, BELOW, unit) for unit in ("evaluations", "ms"))
    return "\n\n".join(
        [
            LEGEND.format(known=known, name=reference.name),
            accuracy_table(found, BELOW, evaluations),
            f"{order} ≈ stands where the intervals of two neighbours overlap; the milliseconds are "
            "taken as they were measured, and what is unbiased up to a scale is left out.",
            f"The same error at {evaluations} evaluations of f, layer by layer:",
            layer_table(found, lambda one, layer: error(one, layer, evaluations), layers),
            "Variance × evaluations, layer by layer:",
            layer_table(found, cost, layers),
        ]
    )
