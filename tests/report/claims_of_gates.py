"""Claims of the pages about gated networks: accuracy beside controls, and time.

What the words around a number say is asserted beside it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from findings import RESULTS, bracketed, printed, text, undecided

from bnn.report.configurations import Configuration
from bnn.report.cost import mean_multiply_adds
from bnn.report.differences import compare
from bnn.report.gated_networks import (
    CONTROLS,
    DENSE,
    RANDOM,
    UNTRAINED,
    GatedNetworks,
)
from bnn.report.gates_figure import milliseconds
from bnn.report.headline import ACCURACY, test_value
from bnn.report.numbers import Interval
from bnn.report.row_files import read_csv
from bnn.report.rows import GATER_UNITS

ST = "st density"


def ahead(one: Configuration, other: Configuration) -> Interval:
    """Points of accuracy by which a configuration is ahead of another one."""
    found = compare(one, other, 0.0).interval
    assert found is not None
    return found


def of_rows(c: Configuration, metric: str) -> float:
    """Mean of a test metric over seeds."""
    values = [test_value(row, f"test_{metric}") for row in c.rows]
    return statistics.fmean(value for value in values if value is not None)


def accuracy(c: Configuration) -> float:
    """Mean test accuracy in %."""
    return statistics.fmean(map(ACCURACY.value, c.rows))


def gating() -> Iterator[str]:
    networks = GatedNetworks.of(read_csv(RESULTS / "gating_mnist.csv"))
    assert list(networks.by_share) == [0.1, 0.25, 0.5]
    shares = list(networks.by_share.values())
    tenth, _, half = shares
    everything = networks.all_open
    assert everything is not None
    assert {len(c.rows) for at in [*shares, {"": everything}] for c in at.values()} == {5}
    learned = [title for title in networks.titles() if title not in CONTROLS]
    dense = [ahead(at[DENSE], at[ST]) for at in shares]
    assert all(difference.low > 0 for difference in dense)
    yield f"is {bracketed(dense[0])} points ahead of gates"
    yield f"{dense[1].mean:.2f} with a quarter and {dense[2].mean:.2f} with a half"
    for control, sentence in ((UNTRAINED, "{} points"), (RANDOM, "and {} of")):
        gains = [ahead(at[title], at[control]) for at in shares for title in learned]
        assert all(gain.low > 0 for gain in gains)
        yield sentence.format(bracketed(ahead(tenth[ST], tenth[control])))
    yield "with 95 % intervals over five seeds"
    yield from _choice(shares, learned)
    pairs = [ahead(at[a], at[b]) for at in shares for a, b in combinations(learned, 2)]
    assert all(undecided(pair) for pair in pairs)
    yield f"the largest difference is {max(abs(pair.mean) for pair in pairs):.2f} points"
    more = ahead(everything, tenth[DENSE])
    assert more.low > 0
    times = mean_multiply_adds(everything) / mean_multiply_adds(tenth[DENSE])
    yield f"{times:.1f} times the multiply-adds of the smallest dense network"
    yield f"are {bracketed(more)} points ahead"
    cheap = [ahead(at[UNTRAINED], at[RANDOM]) for at in shares]
    assert cheap[0].low > 0 and cheap[1].low > 0 and undecided(cheap[2])
    yield f"({cheap[0].mean:.2f} points with a tenth open"
    yield f"{cheap[1].mean:.2f} with a quarter)"
    extra = [mean_multiply_adds(at[UNTRAINED]) - mean_multiply_adds(at[RANDOM]) for at in shares]
    yield f"{min(extra):.0f} to {max(extra):.0f} thousand multiply-adds more"
    timed = milliseconds(text("gates_time"), "gated_mlp")[11]
    yield f"{timed['dense']:.3f} ms of one image against {timed['gated']:.3f} with a tenth open"
    (epochs,) = {c.first.epochs for at in shares for c in at.values()}
    yield f"{epochs} epochs"
    assert half[ST].settings()["model.blocks"] == "40"
    yield "40 blocks of 50 units"


def _choice(shares: Sequence[Mapping[str, Configuration]], learned: Sequence[str]) -> Iterator[str]:
    """Sentences on what the gates say of the image."""
    found = [[at[title] for title in learned] for at in shares]
    constant = [
        of_rows(c, f"{GATER_UNITS}{name}")
        for at in found
        for c in at
        for name in ("mostly_on", "mostly_off")
    ]
    assert max(constant) < 0.005
    known = [of_rows(at[ST], f"{GATER_UNITS}information") for at in shares]
    yield "{:.2f}, {:.2f} and {:.2f} nats".format(*known)
    yield f"at most log 2 ({math.log(2):.2f})"
    moved = [100 * of_rows(c, "accuracy_threshold") - accuracy(c) for at in found for c in at]
    yield f"by at most {max(map(abs, moved)):.2f} points"


def gates_time() -> Iterator[str]:
    mlp, cnn = (printed("gates_time", "batch", at) for at in range(2))
    shares = ["tenth", "quarter", "half"]

    def ratios(rows: list[dict[str, str]], column: str) -> dict[tuple[str, int], float]:
        """Median ratio by share of open gates and batch."""
        assert [row["batch"] for row in rows] == ["1", "64", "500"] * 3
        found = [float(row[f"{column} / open blocks"].partition(" ")[0]) for row in rows]
        keys = [(share, batch) for share in shares for batch in (1, 64, 500)]
        return dict(zip(keys, found, strict=True))

    for rows in (mlp, cnn):
        opened = [float(row["open (%)"]) for row in rows]
        expected = [10] * 3 + [25] * 3 + [50] * 3
        assert max(abs(a - b) for a, b in zip(opened, expected, strict=True)) < 3
    masked, dense = ratios(mlp, "masked"), ratios(mlp, "dense")
    yield f"1/{masked['tenth', 1]:.2f} of the time for one image"
    yield f"1/{masked['tenth', 500]:.2f} for 500"
    yield f"it takes {min(dense.values()):.2f} to {max(dense.values()):.2f} of the time"
    dense_cnn = ratios(cnn, "dense").values()
    assert max(dense_cnn) < 1
    yield f"and the convolutional one {min(dense_cnn):.2f} to {max(dense_cnn):.2f}"
    assert abs(masked["quarter", 64] - 1) < 0.1 < masked["tenth", 64] - 1
    yield "At batches of 64 nothing is gained"
    yield f"with a quarter open ({masked['quarter', 64]:.2f})"
    assert masked["half", 64] < 1
    yield "for one image and for 500"
    yield f"({masked['half', 1]:.2f} and {masked['half', 500]:.2f})"
    of_cnn = ratios(cnn, "masked")
    most = max(of_cnn, key=of_cnn.__getitem__)
    assert most[1] == 1
    yield f"gains at most {of_cnn[most]:.2f}"
    assert max(of_cnn[share, 64] for share in shares) < 1
    yield "At batches of 64 its open channels"
