"""python -m bnn.lab [--estimator WORDS]… [--epochs N | --checkpoint FILE] [--figure FILE] [GROUP=CHOICE] [KEY=VALUE]

How biased and how noisy is each gradient estimator, on the very objects that train? Takes the overrides of bnn.train; the
truth is exact enumeration where the network is small enough, and many unbiased estimates elsewhere:

  python -m bnn.lab data=digits model=mlp model.hidden=5 model.norm=none
  python -m bnn.lab model.norm=running --estimator estimator=st --estimator "estimator=arms estimator.samples=8"
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnn.lab.measure import Measured, Truth


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    from bnn.lab.page import command, counts, whole, with_figure

    parser = command(__doc__, "as of bnn.train")
    parser.add_argument(
        "--estimator",
        action="append",
        metavar="WORDS",
        help="overrides that choose one, in quotes; again for more (all of them)",
    )
    counts(
        parser,
        (
            ("draws", 2, 200, "estimates of each"),
            ("warm", 0, 50, "steps beforehand for what it averages or learns"),
            ("reference", 2, 1000, "estimates that stand for the truth"),
            ("batch", 2, 64, "images"),
            ("passes", 1, 64, "the budget of the column `error`"),
        ),
    )
    parser.add_argument("--epochs", type=whole(0), help="train so long before measuring (1)")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        help="measure this checkpoint of a run instead, with its configuration",
    )
    with_figure(parser)
    chosen = parser.parse_intermixed_args(words)
    if chosen.checkpoint is not None and (chosen.overrides or chosen.epochs is not None):
        parser.error(
            "--checkpoint: it has its own configuration and training; leave out the overrides and --epochs"
        )
    chosen.epochs = 1 if chosen.epochs is None else chosen.epochs
    return chosen


def error(one: Measured, layer: str, passes: int) -> str:
    """The error of as many estimates as `passes` buy; a dash for less than one."""
    return f"{one.error(layer, passes / one.passes):.3f}" if passes >= one.passes else "–"


def cost(one: Measured, layer: str, unit: str = "passes") -> str:
    """The variance times what an estimate takes, to three digits."""
    value = one.cost(layer, unit).value
    return f"{value:.3g}" if abs(value) < 1000 or not math.isfinite(value) else f"{value:.0f}"


def ranking(found: dict[str, Measured], layer: str) -> str:
    """The unbiased estimators in the order of their costs, in passes and in milliseconds."""
    lines = []
    for unit in ("passes", "ms"):
        costs = {
            name: one.cost(layer, unit)
            for name, one in found.items()
            if one.unbiased and not one.up_to_scale
        }
        names = sorted(costs, key=lambda name: costs[name].value)
        text = ""
        for below, name in zip([None, *names], names, strict=False):
            apart = below is None or costs[below].high < costs[name].low
            text += (
                "" if below is None else " < " if apart else " ≈ "
            ) + f"{name} ({cost(found[name], layer, unit)})"
        lines.append(f"Unbiased estimators by variance × {unit}: {text or 'none'}.")
    return "\n\n".join(lines)


def table(found: dict[str, Measured], layer: str, passes: int) -> str:
    from bnn.tables import markdown

    rows = [
        [name, str(one.passes), f"{1000 * one.seconds:.1f}", str(a.bias), str(a.variance), str(a.cosine), str(a.aligned),
         str(a.scale), error(one, layer, passes), cost(one, layer), cost(one, layer, "ms")]
        for name, one in found.items()
        for a in [one.layers[layer]]
    ]  # fmt: skip
    head = [
        "estimator",
        "passes",
        "ms",
        "bias²",
        "variance",
        "cosine",
        "cosine of the mean",
        "length of the mean",
    ]
    return markdown(
        [*head, f"error at {passes} passes", "variance × passes", "variance × ms"], rows
    )


def report(found: dict[str, Measured], against: Truth, passes: int) -> str:
    """The table of all that lies below the highest binary layer, and one of each layer by estimator."""
    from bnn.lab.bench import BELOW
    from bnn.tables import markdown

    layers = [layer for layer in next(iter(found.values())).layers if layer != BELOW]
    by_layer = [
        [name, *(error(one, layer, passes) for layer in layers)] for name, one in found.items()
    ]
    costs = [[name, *(cost(one, layer) for layer in layers)] for name, one in found.items()]
    known = (
        "exact"
        if against.exact
        else f"known to {100 * against.relative_error(BELOW):.1f} % of its norm"
    )
    return (
        "All parameters below the highest binary layer; bias² and variance over the squared norm of the true gradient, "
        f"which is {known} ({against.name}). `error`: relative root-mean-square error of the mean of as many estimates as "
        "that many passes buy; of an estimator that claims no bias it is its noise alone; of another, its bias² counts for "
        "at least half of the upper end of its interval, below which it was not measured. In brackets 95 % intervals; bias² "
        "is freed of noise, so that it and its interval may lie below 0. Where few of the estimates are far larger than the "
        "others, the variance lies in its interval less often (in 80 to 85 % for 100 log-normal estimates), mostly "
        "above. `length of the mean` is 0 where its square, without the noise, comes out below 0. `variance × "
        "passes` and `variance × ms`: what is left of the variance for one pass, and for one millisecond.\n\n"
        f"{table(found, BELOW, passes)}\n\n{ranking(found, BELOW)} ≈ stands where the intervals of two neighbours "
        "overlap; the milliseconds are taken as they were measured, and what is unbiased up to a scale is left out.\n\n"
        f"The same error at {passes} passes, layer by layer:\n\n{markdown(['estimator', *layers], by_layer)}\n\n"
        f"Variance × passes, layer by layer:\n\n{markdown(['estimator', *layers], costs)}"
    )


def page(chosen: argparse.Namespace) -> str:
    from bnn.config.canonical import flat
    from bnn.config.compose import compose
    from bnn.data import use_data
    from bnn.lab.bench import BELOW
    from bnn.lab.comparison import compare
    from bnn.lab.figures import error_against_cost
    from bnn.lab.page import heading, save
    from bnn.lab.setting import of_checkpoint

    config = (
        compose(chosen.overrides) if chosen.checkpoint is None else of_checkpoint(chosen.checkpoint)
    )
    if warning := use_data(config):
        print(warning, flush=True)
    asked = {
        key: getattr(chosen, key)
        for key in ("draws", "warm", "reference", "batch", "epochs", "checkpoint")
    }
    compared = compare(config, chosen.estimator or (), **asked)
    found, checked = compared.measured, compared.plan
    picture = save(lambda: error_against_cost(found, BELOW), chosen.figure)
    shown = {
        key: flat(dict(checked.spec.config))[key]
        for key in ("data.name", "model.name", "model.norm", "neuron.name", "neuron.law")
    }
    before = (
        f"{chosen.epochs} epochs with {checked.spec.title}"
        if chosen.checkpoint is None
        else f"checkpoint {chosen.checkpoint.name}"
    )
    about = (
        f"{', '.join(map(str, shown.values()))}, placement {checked.spec.config['placement']['name']}, {chosen.batch} validation "
        f"images, {chosen.draws} estimates of each after {chosen.warm} steps of warming on training batches; trained for "
        f"{before}."
    )
    told = report(found, compared.against, chosen.passes)
    return (
        "\n\n".join([heading(checked.spec.general.device, about), told, *compared.refused])
        + picture
    )


def main(words: Sequence[str] | None = None) -> None:
    from bnn.lab.page import guarded

    chosen = arguments(words)
    guarded(lambda: page(chosen))


if __name__ == "__main__":
    main()
