"""python -m bnn.lab.checkpoints [--draws N] [--figure FILE]

How good are the gradients along a training? The protocol of a published figure (Shekhovtsov, Yanush & Flach 2020, gradient
estimation accuracy): a net of 2-5-5-5-1 with three binary layers on 200 points of two classes, trained by the exact
gradient; at checkpoints, each layer's relative root-mean-square error and cosine against the exact gradient, as functions of
the number of estimates that are averaged. The points are scikit-learn's two moons; the read-out is real, its loss logistic.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bnn.lab.measure import Measured

WIDTHS = (2, 5, 5, 5)
POINTS = 200
CHECKPOINTS = (0, 20, 100, 300)
"""Steps of Adam at RATE on all points."""
RATE = 0.02
AVERAGED = (1, 10, 100, 1000)
ESTIMATORS: tuple[dict[str, Any], ...] = (
    {"name": "st", "pseudo_derivative": "density"},
    {"name": "st", "pseudo_derivative": "identity"},
    {"name": "reinmax", "tau": 1.0},
    {"name": "st_gumbel", "tau": 1.0},
    {"name": "concrete", "tau": 0.5},
    {"name": "muprop"},
    {"name": "reinforce", "baseline": {"name": "leave_one_out", "samples": 4}},
    {"name": "disarm"},
    {"name": "arms", "samples": 4},
    {"name": "local_expectation"},
    {"name": "rebar"},
)
WARM = 100
"""Estimates beforehand, for what an estimator averages or learns."""


def network(seed: int) -> nn.Module:
    import torch
    from torch import nn

    from bnn.nn.neurons import Stochastic
    from bnn.nn.noise import Logistic

    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(
                nn.Linear(below, above) for below, above in itertools.pairwise(WIDTHS)
            )
            self.neurons = nn.ModuleList(Stochastic(law=Logistic()) for _ in self.layers)
            self.readout = nn.Linear(WIDTHS[-1], 1)

        def forward(self, x: Tensor) -> Tensor:
            for layer, neuron in zip(self.layers, self.neurons, strict=True):
                x = neuron(layer(x))
            return self.readout(x)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Small().double()


def logistic(scores: Tensor, targets: Tensor) -> Tensor:
    """[n, 1] and classes 0 or 1 -> negative log-likelihood in nats, [n]."""
    from torch.nn import functional as F

    return F.binary_cross_entropy_with_logits(scores[:, 0], targets, reduction="none")


def along_training(draws: int, seed: int = 0) -> dict[int, tuple[float, dict[str, Measured]]]:
    """At each of CHECKPOINTS the exact expected loss, and every estimator measured by layer."""
    import torch
    from sklearn.datasets import make_moons

    from bnn.config.titles import estimator_title
    from bnn.estimators import Estimator
    from bnn.lab.bench import Bench
    from bnn.lab.measure import measure, truth
    from bnn.training.step import init_estimator

    points, classes = make_moons(POINTS, noise=0.1, random_state=seed)
    inputs, targets = torch.from_numpy(points), torch.from_numpy(classes).double()
    model, oracle = network(seed), Estimator.registry.build("enumeration")
    init_estimator(oracle, model, inputs[:2], seed)
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    found: dict[int, tuple[float, dict[str, Measured]]] = {}
    for step in range(max(CHECKPOINTS) + 1):
        loss = oracle(model, inputs, targets, logistic)
        if step in CHECKPOINTS:
            bench = Bench(model, inputs, targets, seed, logistic)
            exact = truth(bench, 1)
            built = {
                estimator_title({"estimator": config}): Estimator.registry.build(config)
                for config in ESTIMATORS
            }
            found[step] = (
                float(loss.detach()),
                {
                    title: measure(bench, bench.warmed(one, WARM), exact, draws)
                    for title, one in built.items()
                },
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return found


def page(chosen: argparse.Namespace) -> str:
    from bnn.lab.figures import lines
    from bnn.lab.intervals import certain
    from bnn.lab.page import heading, save
    from bnn.tables import markdown

    found = along_training(chosen.draws)
    layers = [f"layers.{k}" for k in range(len(WIDTHS) - 1)]
    rows = [
        [str(step), f"{loss:.3f}", name, str(one.passes)]
        + [f"{one.error(layer, n):.2f}" for n in (1, 100) for layer in layers]
        + [str(one.layers[layer].cosine) for layer in layers]
        for step, (loss, measured) in found.items()
        for name, one in measured.items()
    ]
    head = ["step", "loss", "estimator", "passes"]
    head += [f"error of {n}, layer {k + 1}" for n in (1, 100) for k in range(len(layers))]
    head += [f"cosine, layer {k + 1}" for k in range(len(layers))]
    last = found[max(CHECKPOINTS)][1]
    curves = [
        {name: [(n, certain(one.error(layer, n))) for n in AVERAGED] for name, one in last.items()}
        for layer in layers
    ]
    titles = [f"layer {k + 1}, after {max(CHECKPOINTS)} steps" for k in range(len(layers))]
    picture = save(
        lambda: lines(
            curves,
            titles,
            "estimates averaged",
            ["relative error", *[""] * (len(layers) - 1)],
            log=True,
        ),
        chosen.figure,
    )
    about = (
        f"{'-'.join(map(str, WIDTHS))}-1 on {POINTS} points, {chosen.draws} estimates at each checkpoint, of all points at "
        "once. `error of n`: relative root-mean-square error of the mean of n estimates. Cosines with 95 % intervals."
    )
    return f"{heading('cpu', about)}\n\n{markdown(head, rows)}{picture}"


def main(words: Sequence[str] | None = None) -> None:
    from bnn.lab.page import command, guarded, whole, with_figure

    parser = command(__doc__)
    parser.add_argument(
        "--draws",
        type=whole(20),
        default=300,
        help="estimates of each at every checkpoint (%(default)s)",
    )
    with_figure(parser)
    chosen = parser.parse_args(words)
    guarded(lambda: page(chosen))


if __name__ == "__main__":
    main()
