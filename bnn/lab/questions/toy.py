"""Variance of gradient estimates on the toy problem of REBAR and RELAX.

Minimise E[(b - t)²] over θ, b ~ Bernoulli(σ(θ)), from θ = 0, for t = 0.45 (Tucker et al. 2017) and
t = 0.499 (Grathwohl et al. 2018). The best unit never fires, and the loss is then t². At the start
and t = 0.499 the true gradient, p (1 - p) (1 - 2t), is 0.4 % of the standard deviation of plain
REINFORCE. Each estimator descends by its own estimates, and their variance is measured on the way.

The rows "as published" are a plain implementation of the setting in RELAX's published code
(github.com/duvenaud/relax), with which the registered estimators are to be compared.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnn.errors import ConfigError
from bnn.lab.questions.command_line import (
    add_counts,
    add_figure_option,
    argument_parser,
    heading,
    print_page,
    save_figure,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bnn.lab.estimate import Estimate

NO_NOISE = 1e-14
"""Variance below which an estimate has no noise but that of its arithmetic."""
COUNTS = (
    ("steps", 1, 2000, "steps of each descent"),
    ("seeds", 1, 3, "descents, whose medians are shown"),
    ("draws", 2, 1000, "estimates behind each variance"),
)


@dataclass(frozen=True)
class Row:
    """Descents of one estimator at one target and sample size, over all seeds.

    Args:
        title: display name of the estimator.
        unbiased: claim of the estimator, `Estimator.unbiasedness`.
        evaluations: evaluations of the loss per sample and step, forward and backward; empty: not
            counted.
        variances: (step, median variance).
        loss: median of the expected loss at the end.
    """

    title: str
    unbiased: str
    evaluations: str
    variances: Sequence[tuple[int, Estimate]]
    loss: float

    def cells(self) -> list[str]:
        """Cells of the table; variances as log10, a dash for none."""
        logs = [
            f"{math.log10(one.value):.2f}" if one.value > NO_NOISE else "–"
            for _, one in self.variances
        ]
        return [
            self.title,
            self.unbiased,
            self.evaluations,
            *logs,
            f"{self.loss:.5f}",
        ]

    def points(self) -> list[tuple[float, Estimate]]:
        """Points of a curve: steps at which every seed has noise."""
        return [(float(step), one) for step, one in self.variances if one.low > NO_NOISE]


Rows = dict[tuple[float, int], list[Row]]
"""Rows by target and samples a step."""


def registered_rows(
    words: Sequence[str], chosen: argparse.Namespace
) -> Iterator[tuple[float, int, Row]]:
    """Rows of one registered estimator, with their target and samples a step.

    Args:
        words: overrides that choose the estimator.
        chosen: parsed command line.

    Raises:
        ConfigError: for an estimator that cannot serve one unit.
    """
    from omegaconf import OmegaConf

    from bnn.config.compose import compose
    from bnn.config.titles import estimator_title
    from bnn.estimators import Estimator
    from bnn.lab.questions.toy_problem import SAMPLES, TARGETS, descend, over_seeds

    config = compose(words).estimator
    title = estimator_title({"estimator": OmegaConf.to_container(config)})
    for t in TARGETS:
        for samples in SAMPLES:
            built = [Estimator.registry.build(config) for _ in range(chosen.seeds)]
            descents = [
                descend(one, t, samples, chosen.steps, draws=chosen.draws, seed=seed)
                for seed, one in enumerate(built)
            ]
            evaluations = str(built[0].evaluations([1]))
            yield t, samples, Row(title, built[0].unbiasedness, evaluations, *over_seeds(descents))


def measured(chosen: argparse.Namespace) -> tuple[Rows, list[str]]:
    """Rows of all estimators, and a line for each one that cannot serve one unit.

    Args:
        chosen: parsed command line.
    """
    from bnn.lab.questions.toy_problem import SAMPLES, TARGETS, over_seeds
    from bnn.lab.questions.toy_published import PUBLISHED, PublishedSetting
    from bnn.specify import estimator_choices

    rows: Rows = {(t, samples): [] for t in TARGETS for samples in SAMPLES}
    refused = []
    for words in estimator_choices():
        try:
            for t, samples, row in registered_rows(words, chosen):
                rows[t, samples].append(row)
        except ConfigError as error:
            refused.append(f"Not measured: {error}.")
    for name in PUBLISHED:
        for t in TARGETS:
            setting = PublishedSetting(name, t, chosen.seeds)
            found = over_seeds(setting.descend(chosen.steps, draws=chosen.draws))
            rows[t, 1].append(Row(f"{name} as published", "yes", "", *found))
    return rows, refused


def table(t: float, samples: int, rows: Sequence[Row], steps: int) -> str:
    """Section of a target and sample size: log10 of the variance by step, and the loss."""
    from bnn.lab.questions.toy_problem import expected_loss, least_loss, measured_steps
    from bnn.tables import markdown

    columns = [f"step {step}" for step in measured_steps(steps)]
    head = ["", "unbiased", "evaluations of f", *columns, "loss"]
    return (
        f"## t = {t}, {samples} {'sample' if samples == 1 else 'samples'} a step "
        f"(least loss {least_loss(t):.5f}, at the start {expected_loss(0.5, t):.5f})\n\n"
        f"{markdown(head, [row.cells() for row in rows])}"
    )


def variance_figure(rows: Rows) -> Figure:
    """Variance by step with one sample a step: a panel for each target."""
    from bnn.lab.plots import interval_curves

    single = {t: found for (t, samples), found in rows.items() if samples == 1}
    panels = [
        {row.title: points for row in found if (points := row.points())}
        for found in single.values()
    ]
    titles = [f"t = {t}, 1 sample a step" for t in single]
    return interval_curves(
        panels, titles, "step", ["variance of the gradient", ""], log=True, estimators=True
    )


def page(chosen: argparse.Namespace) -> str:
    """Page of all estimators, targets and sample sizes.

    Args:
        chosen: parsed command line.
    """
    from bnn.lab.measure import OF_F
    from bnn.lab.questions.toy_problem import LEARNED_RATE, RATE

    rows, refused = measured(chosen)
    tables = [table(t, samples, found, chosen.steps) for (t, samples), found in rows.items()]
    about = (
        f"One unit from p = ½, {chosen.steps} steps of Adam at {RATE} for θ and {LEARNED_RATE} for "
        f"what an estimator learns; medians of {chosen.seeds} seeds, and bars from the least to "
        "the largest. Columns: log10 of the variance of one step's estimate "
        f"({chosen.draws} draws with the estimator's state held; – for none), and the expected "
        "loss over the last tenth of the steps. The variance falls with p (1 - p) too, so that an "
        "estimator that gets further has less of it. As published: a plain implementation of the "
        f"setting in the published code of RELAX. {OF_F}"
    )
    picture = save_figure(lambda: variance_figure(rows), chosen.figure)
    return "\n\n".join([heading("cpu", about), *tables, *refused]) + picture


def main(words: Sequence[str] | None = None) -> None:
    """Entry of `python -m bnn.lab.questions.toy`."""
    parser = argument_parser("bnn.lab.questions.toy", __doc__)
    add_counts(parser, COUNTS)
    add_figure_option(parser)
    chosen = parser.parse_args(words)
    print_page(lambda: page(chosen))


if __name__ == "__main__":
    main()
