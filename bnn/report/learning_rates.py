"""Choice of learning rates: validation loss of each configuration at each rate that was tried."""

from __future__ import annotations

from collections.abc import Sequence

from bnn.report.document import caption_of_runs, escape_markdown
from bnn.report.rows import ReportError, Row
from bnn.tables import BLANK, markdown

HEADS = ("neuron", "estimator", "anneal", "task")
"""Heads of what tells configurations apart; a column is shown where they differ."""
Label = tuple[str, ...]
"""Values under HEADS."""


def learning_rate(row: Row) -> float:
    """Learning rate of a run, from `adam lr 0.003 cosine`."""
    words = row.optimizer.split()
    return float(words[words.index("lr") + 1])


def label(row: Row) -> Label:
    """Neuron, estimator, schedule of the slope and settings of the task."""
    settings = " ".join(f"{key} {value}" for key, value in row.task.items() if key != "name")
    return (row.neuron, row.estimator_title, row.anneal, settings)


def losses_by_rate(rows: Sequence[Row]) -> dict[Label, dict[float, float]]:
    """Validation loss of each configuration at each learning rate, at its best epoch.

    Args:
        rows: runs of one seed.

    Raises:
        ReportError: for runs of several seeds, or several runs of a configuration at one rate.
    """
    found: dict[Label, dict[float, float]] = {}
    seeds = sorted({row.seed for row in rows})
    if len(seeds) > 1:
        raise ReportError(f"expected runs of one seed to choose a rate by, got seeds {seeds}")
    for row in rows:
        losses, rate = found.setdefault(label(row), {}), learning_rate(row)
        if rate in losses:
            raise ReportError(f"{', '.join(label(row))}: several runs at rate {rate:g}")
        losses[rate] = row.val_loss
    return found


def check_choice(found: dict[Label, dict[float, float]], chosen: Sequence[Row]) -> None:
    """Raise ReportError unless each run has the rate of the least loss of its configuration.

    Args:
        found: losses by configuration and rate.
        chosen: runs whose rates were chosen.
    """
    for row in chosen:
        losses = found.get(label(row))
        if losses is None:
            raise ReportError(f"{', '.join(label(row))}: no learning rate was tried")
        best = min(losses, key=lambda rate: losses[rate])
        if learning_rate(row) != best:
            raise ReportError(
                f"{', '.join(label(row))}: expected the rate of the least loss, {best:g}, got "
                f"{learning_rate(row):g}"
            )


def rates_table(rows: Sequence[Row], chosen: Sequence[Row]) -> str:
    """Table of validation losses by configuration and learning rate, the least of a row in bold.

    Args:
        rows: as `losses_by_rate` takes them.
        chosen: runs at the chosen rates, as `check_choice` takes them.
    """
    found = losses_by_rate([escape_markdown(row) for row in rows])
    check_choice(found, [escape_markdown(row) for row in chosen])
    rates = sorted({rate for losses in found.values() for rate in losses})
    shown = [k for k in range(len(HEADS)) if len({one[k] for one in found}) > 1]
    digits = 2 if min(min(losses.values()) for losses in found.values()) >= 10 else 4
    lines = [
        [*(one[k] for k in shown), *(_cell(losses, rate, digits) for rate in rates)]
        for one, losses in found.items()
    ]
    table = markdown([*(HEADS[k] for k in shown), *(f"lr {rate:g}" for rate in rates)], lines)
    draws = _alternatives({row.validation_samples for row in rows})
    note = (
        f"Loss on the validation split in nats by {draws} draw{'' if draws == '1' else 's'}, at "
        f"the best of {_alternatives({row.epochs for row in rows})} epochs, seed {rows[0].seed}. "
        "The rate of the least loss, in bold, is that of the table above."
    )
    return "\n\n".join([table, note, caption_of_runs(rows)])


def _alternatives(values: set[int]) -> str:
    return " or ".join(map(str, sorted(values)))


def _cell(losses: dict[float, float], rate: float, digits: int) -> str:
    if rate not in losses:
        return BLANK
    text = f"{losses[rate]:.{digits}f}"
    return f"**{text}**" if losses[rate] == min(losses.values()) else text
