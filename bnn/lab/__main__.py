"""python -m bnn.lab [--estimator WORDS]… [--epochs N | --checkpoint FILE] [--figure FILE] [GROUP=CHOICE] [KEY=VALUE]

How biased and how noisy is each gradient estimator, on the very objects that train? Takes the overrides of bnn.train; the
truth is exact enumeration where the network is small enough, and many unbiased estimates elsewhere:

  python -m bnn.lab data=digits model=mlp model.hidden=5 model.norm=none
  python -m bnn.lab model.norm=running --estimator estimator=st --estimator "estimator=arms estimator.samples=8"
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnn.lab.measure import Accuracy, Measured, Truth


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    from bnn.lab.page import at_least, with_figure

    about, _, examples = (__doc__ or "").partition("\n\n")[2].partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m bnn.lab", description=about, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="as of bnn.train")
    parser.add_argument(
        "--estimator",
        action="append",
        metavar="WORDS",
        help="overrides that choose one, in quotes; again for more (all of them)",
    )
    parser.add_argument("--draws", type=int, default=200, help="estimates of each (%(default)s)")
    parser.add_argument("--warm", type=int, default=50, help="steps beforehand for what it averages or learns (%(default)s)")
    parser.add_argument("--reference", type=int, default=1000, help="estimates that stand for the truth (%(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="images (%(default)s)")
    parser.add_argument("--epochs", type=int, help="train so long before measuring (1)")
    parser.add_argument("--checkpoint", type=Path, help="measure this checkpoint of a run instead, with its configuration")
    parser.add_argument("--passes", type=int, default=64, help="the budget of the column `error` (%(default)s)")
    with_figure(parser)
    chosen = parser.parse_intermixed_args(words)
    at_least(parser, 2, draws=chosen.draws, reference=chosen.reference, batch=chosen.batch)
    at_least(parser, 1, passes=chosen.passes)
    if chosen.checkpoint is not None and (chosen.overrides or chosen.epochs is not None):
        parser.error("--checkpoint: it has its own configuration and training; leave out the overrides and --epochs")
    chosen.epochs = 1 if chosen.epochs is None else chosen.epochs
    at_least(parser, 0, warm=chosen.warm, epochs=chosen.epochs)
    return chosen


def error(accuracy: Accuracy, cost: int, passes: int) -> str:
    """The error of as many estimates of `cost` passes each as `passes` buy; a dash for less than one."""
    return f"{accuracy.error(passes / cost):.3f}" if passes >= cost else "–"


def table(found: dict[str, Measured], layer: str, passes: int) -> str:
    from bnn.tables import markdown

    rows = [
        [name, str(one.passes), f"{1000 * one.seconds:.1f}", str(a.bias), str(a.variance), str(a.cosine), str(a.aligned),
         str(a.scale), error(a, one.passes, passes)]
        for name, one in found.items()
        for a in [one.layers[layer]]
    ]  # fmt: skip
    head = ["estimator", "passes", "ms", "bias²", "variance", "cosine", "cosine of the mean", "length of the mean"]
    return markdown([*head, f"error at {passes} passes"], rows)


def report(found: dict[str, Measured], against: Truth, passes: int) -> str:
    """The table of all that lies below the highest binary layer, and one of each layer by estimator."""
    from bnn.lab.bench import BELOW
    from bnn.tables import markdown

    layers = [layer for layer in next(iter(found.values())).layers if layer != BELOW]
    by_layer = [[name, *(error(one.layers[layer], one.passes, passes) for layer in layers)] for name, one in found.items()]
    known = "exact" if against.exact else f"known to {100 * against.relative_error(BELOW):.1f} % of its norm"
    return (
        "All parameters below the highest binary layer; bias² and variance over the squared norm of the true gradient, "
        f"which is {known} ({against.name}). `error`: relative root-mean-square error of the mean of as many estimates as "
        "that many passes buy, without a bias² below two standard errors. ± one standard error (jackknife).\n\n"
        f"{table(found, BELOW, passes)}\n\n"
        f"The same error at {passes} passes, layer by layer:\n\n{markdown(['estimator', *layers], by_layer)}"
    )


def page(chosen: argparse.Namespace) -> str:
    from bnn.benchmark.timing import changed
    from bnn.build import estimator_choices, plan
    from bnn.config import compose, flat
    from bnn.job import use_data
    from bnn.lab.bench import BELOW
    from bnn.lab.figures import error_against_cost
    from bnn.lab.measure import measure, truth
    from bnn.lab.page import heading, save
    from bnn.lab.setting import able, of_checkpoint, prepared

    config = compose(chosen.overrides) if chosen.checkpoint is None else of_checkpoint(chosen.checkpoint)
    if warning := use_data(config):
        print(warning, flush=True)
    choices = [words.split() for words in chosen.estimator or ()] or estimator_choices()
    served, refused = able(config, choices, asked=bool(chosen.estimator))
    plan(changed(config, lab__every=1))  # refuses a law under which the reference has no score
    checked, bench = prepared(config, chosen.epochs, chosen.checkpoint, chosen.batch)
    against = truth(bench, chosen.reference)
    found = {name: measure(bench, bench.warmed(one, chosen.warm), against, chosen.draws) for name, one in served.items()}
    picture = save(lambda: error_against_cost(found, BELOW), chosen.figure)
    shown = {
        key: flat(dict(checked.config))[key]
        for key in ("data.name", "model.name", "model.norm", "neuron.name", "neuron.law")
    }
    before = (
        f"{chosen.epochs} epochs with {checked.title}"
        if chosen.checkpoint is None
        else f"checkpoint {chosen.checkpoint.name}"
    )
    about = (
        f"{', '.join(map(str, shown.values()))}, placement {checked.config['placement']['name']}, {chosen.batch} validation "
        f"images, {chosen.draws} estimates of each after {chosen.warm} steps of warming; trained for {before}."
    )
    return "\n\n".join([heading(checked.general.device, about), report(found, against, chosen.passes), *refused]) + picture


def main(words: Sequence[str] | None = None) -> None:
    from bnn.lab.page import guarded

    chosen = arguments(words)
    guarded(lambda: page(chosen))


if __name__ == "__main__":
    main()
