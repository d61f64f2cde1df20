"""Choice of a learning rate: validation loss of each configuration at each rate that was tried."""

from __future__ import annotations

from collections.abc import Sequence

from bnn.report.document import caption_of_runs
from bnn.report.rows import ReportError, Row
from bnn.tables import BLANK, markdown

LABELS = ("neuron", "estimator_title", "anneal")
"""Fields that tell configurations apart; those that all share are left out."""


def learning_rate(row: Row) -> float:
    """Learning rate of a run, from `adam lr 0.003 cosine`."""
    words = row.optimizer.split()
    return float(words[words.index("lr") + 1])


def losses_by_rate(rows: Sequence[Row]) -> dict[tuple[str, ...], dict[float, float]]:
    """Least validation loss of each configuration, LABELS, at each learning rate.

    Args:
        rows: runs of one seed.

    Raises:
        ReportError: for runs of several seeds, or several runs of a configuration at one rate.
    """
    found: dict[tuple[str, ...], dict[float, float]] = {}
    seeds = sorted({row.seed for row in rows})
    if len(seeds) > 1:
        raise ReportError(f"expected runs of one seed to choose a rate by, got seeds {seeds}")
    for row in rows:
        label = tuple(getattr(row, field) for field in LABELS)
        losses = found.setdefault(label, {})
        if learning_rate(row) in losses:
            raise ReportError(f"{', '.join(label)}: several runs at rate {learning_rate(row)}")
        losses[learning_rate(row)] = row.val_loss
    return found


def rates_table(rows: Sequence[Row]) -> str:
    """Table of validation losses by configuration and learning rate, the least of a row in bold.

    Args:
        rows: as `losses_by_rate` takes them.
    """
    found = losses_by_rate(rows)
    rates = sorted({rate for losses in found.values() for rate in losses})
    shown = [k for k in range(len(LABELS)) if len({label[k] for label in found}) > 1]
    head = [LABELS[k].removesuffix("_title") for k in shown]
    lines = [
        [*(label[k] for k in shown), *(_cell(losses, rate) for rate in rates)]
        for label, losses in found.items()
    ]
    draws = sorted({row.validation_samples for row in rows})
    note = (
        "Least loss of the epochs on the validation split in nats, by "
        f"{' or '.join(map(str, draws))} draw{'' if draws == [1] else 's'}, after "
        f"{' or '.join(map(str, sorted({row.epochs for row in rows})))} epochs of training with "
        f"seed {rows[0].seed}; the rate of the least, in bold, is that of the other tables."
    )
    table = markdown([*head, *(f"lr {rate:g}" for rate in rates)], lines)
    return "\n\n".join([table, note, caption_of_runs(rows)])


def _cell(losses: dict[float, float], rate: float) -> str:
    if rate not in losses:
        return BLANK
    text = f"{losses[rate]:.2f}"
    return f"**{text}**" if losses[rate] == min(losses.values()) else text
