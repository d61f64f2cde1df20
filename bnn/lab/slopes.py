"""python -m bnn.lab.slopes [--draws N] [--figure FILE] [GROUP=CHOICE] [KEY=VALUE]

What does a steeper slope do to straight-through's gradient, apart from making it longer? On one trained network that can be
enumerated, at each slope: bias and variance against the exact gradient of the loss expected at that slope, the cosine of
the mean estimate (what is left of the bias once the learning rate is tuned), and its length (what a tuned learning rate
takes out). Stochastic units fire by the law of that slope; deterministic ones by their threshold, whatever the slope, so
that their estimate has no noise and their bias is that of pretending. Takes the overrides of bnn.train.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

    from bnn.build import TrainingSetup
    from bnn.lab.intervals import Figure
    from bnn.lab.measure import Accuracy

SLOPES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
DEFAULTS = (
    "data=digits",
    "model=mlp",
    "model.hidden=8",
    "model.norm=none",
    "optimizer=adam",
    "trainer.epochs=20",
)


def at_slopes(
    overrides: Sequence[str], draws: int
) -> tuple[TrainingSetup, dict[str, list[Accuracy]]]:
    """Accuracy of the configured estimator below the highest binary layer at each of SLOPES, by neuron. Both neurons see the
    same weights: those of a stochastic net, trained at slope 1. Errors: ConfigError for a net that cannot be enumerated."""
    from bnn.build import build_model
    from bnn.config.compose import compose
    from bnn.errors import ConfigError
    from bnn.lab.bench import BELOW, Bench
    from bnn.lab.measure import measure, truth
    from bnn.lab.setting import prepared
    from bnn.nn.neurons import set_slope

    config = compose([*DEFAULTS, *overrides, "neuron=stochastic", "trainer.progress=none"])
    checked, bench = prepared(config, config.trainer.epochs, None, 64)
    found: dict[str, list[Accuracy]] = {}
    for neuron in ("stochastic", "deterministic"):
        plain = {**checked.spec.config, "neuron": {**checked.spec.config["neuron"], "name": neuron}}
        model = build_model(plain, checked.spec.data)
        model.load_state_dict(bench.model.state_dict())
        found[neuron] = []
        for slope in SLOPES:
            set_slope(model, slope)
            here = Bench(
                model.to(checked.device), bench.inputs, bench.targets, checked.spec.general.seed
            )
            exact = truth(here, 2)
            if not exact.exact:
                raise ConfigError(
                    "bnn.lab.slopes: expected a net that can be enumerated; write model=mlp model.hidden=8 model.norm=none"
                )
            ready = here.warmed(checked.training.estimator, 0)
            found[neuron].append(measure(here, ready, exact, draws).layers[BELOW])
    return checked, found


SHOWN = {
    "bias²": "bias",
    "variance": "variance",
    "cosine of the mean": "aligned",
    "length of the mean": "scale",
}
"""Heads of columns and panels, and what of an Accuracy they show."""


def series(key: str, accuracies: Sequence[Accuracy]) -> list[tuple[float, Figure]]:
    """(slope, figure) of one figure of each."""
    return [
        (slope, getattr(accuracy, key)) for slope, accuracy in zip(SLOPES, accuracies, strict=True)
    ]


def figure(found: Mapping[str, Sequence[Accuracy]]) -> Picture:
    """What `at_slopes` found, a panel for each of SHOWN: by slope, a line for each neuron."""
    from bnn.lab.figures import lines

    curves = [{neuron: series(key, of) for neuron, of in found.items()} for key in SHOWN.values()]
    return lines(
        curves, list(SHOWN), "slope", ["over |true|²", "over |true|²", "cosine", "over |true|"]
    )


def page(chosen: argparse.Namespace) -> str:
    from bnn.lab.page import heading, save
    from bnn.tables import markdown

    checked, found = at_slopes(chosen.overrides, chosen.draws)
    rows = [
        [neuron, f"{slope:g}", *(str(getattr(one, key)) for key in SHOWN.values())]
        for neuron, accuracies in found.items()
        for slope, one in zip(SLOPES, accuracies, strict=True)
    ]
    picture = save(lambda: figure(found), chosen.figure)
    about = (
        f"`{' '.join([*DEFAULTS, *chosen.overrides])}`; all parameters below the highest binary layer, 64 images, "
        f"{chosen.draws} estimates; bias² and variance over the squared norm of the exact gradient, with 95 % intervals."
    )
    return f"{heading(checked.spec.general.device, about)}\n\n{markdown(['neuron', 'slope', *SHOWN], rows)}{picture}"


def main(words: Sequence[str] | None = None) -> None:
    from bnn.lab.page import command, guarded, whole, with_figure

    parser = command(__doc__, f"as of bnn.train; first of all {' '.join(DEFAULTS)}")
    parser.add_argument(
        "--draws", type=whole(20), default=500, help="estimates at each slope (%(default)s)"
    )
    with_figure(parser)
    chosen = parser.parse_intermixed_args(words)
    guarded(lambda: page(chosen))


if __name__ == "__main__":
    main()
