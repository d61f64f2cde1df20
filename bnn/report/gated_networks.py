"""Gated networks beside their controls: test accuracy and multiply-adds of an image.

At each share of open gates a gater that an estimator trains is compared with three controls: a
dense network of as many multiply-adds, a gater that is never trained, and gates at random.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bnn.report.configurations import Configuration, group_by_configuration
from bnn.report.differences import INTERVALS, compare, verdict
from bnn.report.headline import ACCURACY, headline, test_value
from bnn.report.numbers import Interval, format_interval, format_spread, spread
from bnn.report.rows import GATER_UNITS, ReportError, Row
from bnn.report.table import network_cost_columns
from bnn.tables import BLANK, markdown

DENSE, UNTRAINED, RANDOM, OPEN = "dense network", "untrained gater", "random gates", "all open"
CONTROLS = (DENSE, UNTRAINED, RANDOM)
"""Controls of as many multiply-adds, in the order of the columns."""
SIZE = ("model.blocks", "model.block_size", "model.channels")
"""Keys of the number of units, in which a dense control differs from the gated networks."""
FURTHER: Mapping[str, tuple[Sequence[str], float, int]] = {
    "thresholded (%)": (("accuracy_threshold",), 100, 2),
    "its multiply-adds (k)": (("multiply_adds_threshold",), 1e-3, 0),
    "constant gates (%)": (
        (f"{GATER_UNITS}mostly_on", f"{GATER_UNITS}mostly_off"), 100, 0,
    ),
    "information (nats)": ((f"{GATER_UNITS}information",), 1, 3),
}  # fmt: skip
"""Head of a column of gates -> metrics that it sums, factor to its unit, digits."""


@dataclass(frozen=True)
class GatedNetworks:
    """Configurations of an experiment by their gates and by the share of these that is to be open.

    Args:
        by_share: share of open gates -> title of the gates -> configuration; titles are those of
            estimators, and CONTROLS.
        all_open: the network without gates, of all blocks; None where it was not run.
    """

    by_share: Mapping[float, Mapping[str, Configuration]]
    all_open: Configuration | None

    @staticmethod
    def of(rows: Iterable[Row]) -> GatedNetworks:
        """Configurations of an experiment's rows.

        Raises:
            ReportError: for a row without gates, two configurations with the same gates at a share,
                or a share at which a control is missing.
        """
        configurations = group_by_configuration(rows)
        gated = {_size(c) for c in configurations if _setting(c, "model.gates") != "open"}
        by_share: dict[float, dict[str, Configuration]] = {}
        all_open = None
        for c in configurations:
            title = _title(c, gated)
            if title == OPEN:
                if all_open is not None:
                    raise ReportError(f"{title}: expected one configuration")
                all_open = c
                continue
            at_share = by_share.setdefault(float(_setting(c, "model.open")), {})
            if title in at_share:
                raise ReportError(f"{title}: expected one configuration at each model.open")
            at_share[title] = c
        for share, found in by_share.items():
            if missing := [title for title in CONTROLS if title not in found]:
                raise ReportError(f"model.open={share:g}: no {', no '.join(missing)} to compare to")
        return GatedNetworks(dict(sorted(by_share.items())), all_open)

    def titles(self) -> list[str]:
        """Titles of all gates: estimators, then controls."""
        found = dict.fromkeys(title for at in self.by_share.values() for title in at)
        return [title for title in found if title not in CONTROLS] + list(CONTROLS)

    def in_order(self) -> list[tuple[float | None, str, Configuration]]:
        """Share, title and configuration of each row of a table; all open last, at no share."""
        found: list[tuple[float | None, str, Configuration]] = [
            (share, title, at[title])
            for share, at in self.by_share.items()
            for title in self.titles()
            if title in at
        ]
        return found if self.all_open is None else [*found, (None, OPEN, self.all_open)]


def _setting(c: Configuration, key: str) -> str:
    found = c.settings().get(key)
    if found is None:
        raise ReportError(f"run {c.first.run_id}: expected a gated network, which has {key}")
    return found


def _size(c: Configuration) -> tuple[str | None, ...]:
    return tuple(c.settings().get(key) for key in SIZE)


def _title(c: Configuration, gated_sizes: set[tuple[str | None, ...]]) -> str:
    gates = _setting(c, "model.gates")
    if gates == "open":
        return OPEN if _size(c) in gated_sizes else DENSE
    if gates == "random":
        return RANDOM
    return UNTRAINED if c.first.estimator == "frozen" else c.first.estimator_title


def conclusion(gains: Sequence[Interval | None]) -> str:
    """Verdict on gates from the intervals of their differences from the controls.

    Args:
        gains: 95 % intervals, above 0 where the gates are better.
    """
    verdicts = {verdict(gain, 0.0) for gain in gains}
    if "too few seeds" in verdicts:
        return BLANK
    if "worse" in verdicts:
        return "no"
    return "yes" if verdicts == {"better"} else "undecided"


def columns(networks: GatedNetworks) -> dict[str, list[str]]:
    """Head of each column -> cells: results, differences from the controls, and the verdict."""
    head = ["share", "gates", "seeds", ACCURACY.title, "open (%)", "multiply-adds (k)", *FURTHER]
    head += [*(f"beside {title} (points)" for title in CONTROLS), "gates pay"]
    lines = []
    for share, title, c in networks.in_order():
        at = {} if share is None else networks.by_share[share]
        first = BLANK if share is None else f"{share:g}"
        lines.append([first, title, *_cells(c), *_beside(title, at)])
    return dict(zip(head, map(list, zip(*lines, strict=True)), strict=True))


def table(rows: Iterable[Row]) -> str:
    """Markdown table: gates a row at each share of open gates, and what its columns say.

    Args:
        rows: runs of one experiment.

    Raises:
        ReportError: as `GatedNetworks.of`.
    """
    found = columns(GatedNetworks.of(rows))
    return f"{markdown(list(found), list(zip(*found.values(), strict=True)))}\n\n{NOTE}"


def beside_controls(rows: Sequence[Row]) -> GatedNetworks | None:
    """Gated networks of an experiment; None for other networks or tasks, or without a control."""
    gated = any("model.gates=input" in row.settings for row in rows)
    if not gated or any(headline([row]) is not ACCURACY for row in rows):
        return None
    try:
        return GatedNetworks.of(rows)
    except ReportError:
        return None


def _cells(c: Configuration) -> list[str]:
    """Seeds, test accuracy, open gates, multiply-adds, and the columns of FURTHER."""
    accuracy = format_spread(spread([ACCURACY.value(row) for row in c.rows]), ACCURACY.digits)
    costs = [cells[0] for cells in network_cost_columns([c]).values()]
    return [str(len(c.rows)), accuracy, *costs, *(_further(c, *of) for of in FURTHER.values())]


def _further(c: Configuration, names: Sequence[str], scale: float, digits: int) -> str:
    """Sum of metrics; a dash for a network without gates."""
    found = [[test_value(row, f"test_{name}") for name in names] for row in c.rows]
    if any(value is None for values in found for value in values):
        return BLANK
    return format_spread(spread([sum(filter(None, values)) for values in found]), digits, scale)


def _beside(title: str, at: Mapping[str, Configuration]) -> list[str]:
    """Differences from the controls of a gater that an estimator trains, and the verdict.

    Args:
        title: title of the gates.
        at: configurations of the same share.
    """
    if title not in at:  # all open, at no share
        return [BLANK] * (1 + len(CONTROLS))
    if title in CONTROLS:
        return ["reference" if title == one else BLANK for one in CONTROLS] + [BLANK]
    gains = [compare(at[title], at[one], 0.0).interval for one in CONTROLS]
    return [*(format_interval(gain, "+") for gain in gains), conclusion(gains)]


NOTE = (
    f"Differences are paired by seed, with {INTERVALS}. Gates pay where all three intervals are "
    "above 0, and do not where one is below. Gates are drawn, as in training; `thresholded` opens "
    "those whose probability is above ½. Constant gates are open for less than 1 % or more than "
    "99 % of the validation images; information is the mutual information of a gate and the image, "
    "at most log 2; both are of the last epoch."
)
"""Sentences below the table."""
