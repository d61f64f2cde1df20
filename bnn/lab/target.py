"""python -m bnn.lab.target [--steps N]

Where does a biased gradient stop? Minimise E|b - c|^p, averaged over 128 units with a bit each, c = 0.45. The best units
never fire, and the loss is then c^p; straight-through stops where its own gradient vanishes, at the firing probability
c^(p-1) / (c^(p-1) + (1-c)^(p-1)). Every estimator descends, by Adam.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from bnn.estimators import Estimator

C = 0.45
POWERS = (1.5, 2.0, 3.0)
UNITS = 128
FEW = 8
"""Units for an estimator that cannot hold 128; the loss is a mean over them, so that its values stay the same."""
SAMPLES = 64
RATE = 0.05
"""Adam's learning rate, falling to 0 by half a cosine."""


def optimum(power: float) -> float:
    """The least expected loss, c^p: no unit fires."""
    return C**power


def resting_probability(power: float) -> float:
    """Where straight-through's expected gradient, p f'(1) + (1 - p) f'(0), is zero."""
    low, high = C ** (power - 1), (1 - C) ** (power - 1)
    return low / (low + high)


def expected_loss(probability: float, power: float) -> float:
    return float(probability * (1 - C) ** power + (1 - probability) * C**power)


def power_loss(power: float) -> Callable[[Tensor, Tensor], Tensor]:
    """(bits [n, units], anything) -> mean |b - c|^p over the units, [n]."""
    return lambda bits, _: (bits - C).abs().pow(power).mean(1)


def descend(
    estimator: Estimator, power: float, steps: int, units: int, seed: int = 0
) -> tuple[float, float]:
    """Expected loss and mean firing probability where `estimator` arrives, averaged over the last tenth of the steps."""
    import torch

    from bnn.nn.sites import generator_noise
    from bnn.training.step import init_estimator

    model, inputs = _units(units), torch.zeros(SAMPLES, 1)
    init_estimator(estimator, model, inputs, seed)
    noise = generator_noise(torch.Generator().manual_seed(seed))
    optimizer = torch.optim.Adam([*model.parameters(), *estimator.parameters()], RATE)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    found = []
    for step in range(steps):
        optimizer.zero_grad()
        surrogate = estimator(model, inputs, inputs, power_loss(power), noise=noise)
        if surrogate.requires_grad:  # `frozen` has nothing to train here, and stays
            surrogate.backward()
        optimizer.step()
        rate.step()
        if step >= steps - max(1, steps // 10):
            found.append(float(torch.sigmoid(2 * model.a.detach()).mean()))
    p = sum(found) / len(found)
    return expected_loss(p, power), p


def _units(count: int) -> Any:
    import torch
    from torch import nn

    from bnn.nn.neurons import Stochastic
    from bnn.nn.noise import Logistic

    class Units(nn.Module):
        """Pre-activations that are parameters; what the network answers are the bits."""

        def __init__(self) -> None:
            super().__init__()
            self.a, self.neuron = nn.Parameter(torch.zeros(count)), Stochastic(law=Logistic())

        def forward(self, x: Tensor) -> Tensor:
            return self.neuron(self.a.expand(len(x), count))

    return Units()


def page(chosen: argparse.Namespace) -> str:
    from omegaconf import OmegaConf

    from bnn.config.compose import compose
    from bnn.config.titles import estimator_title
    from bnn.errors import ConfigError
    from bnn.estimators import Estimator
    from bnn.lab.page import heading
    from bnn.specify import estimator_choices
    from bnn.tables import markdown

    rows, left_out = [], []
    for words in estimator_choices():
        config = compose(words).estimator
        for units in (UNITS, FEW):
            try:
                reached = [
                    descend(Estimator.registry.build(config), power, chosen.steps, units)
                    for power in POWERS
                ]
            except ConfigError as error:  # more units than it holds, or fewer layers than it needs
                refusal = str(error)
                continue
            title = estimator_title({"estimator": OmegaConf.to_container(config)}) + (
                "" if units == UNITS else f" ({units} units)"
            )
            rows.append(
                [title, *(cell for loss, p in reached for cell in (f"{loss:.4f}", f"{p:.3f}"))]
            )
            break
        else:
            left_out.append(f"Not measured: {refusal}.")
    known = [
        [
            name,
            *(
                cell
                for power in POWERS
                for cell in (f"{expected_loss(at(power), power):.4f}", f"{at(power):.3f}")
            ),
        ]
        for name, at in (
            ("the optimum", lambda power: 0.0),
            ("straight-through's rest", resting_probability),
        )
    ]
    head = ["", *(cell for power in POWERS for cell in (f"loss, p = {power:g}", "fires"))]
    about = (
        f"{UNITS} units, c = {C}, {SAMPLES} samples a step, {chosen.steps} steps of Adam at {RATE}, falling to 0; expected "
        "loss and mean firing probability over the last tenth of the steps."
    )
    return f"{heading('cpu', about)}\n\n{markdown(head, known + rows)}" + "".join(
        f"\n\n{line}" for line in left_out
    )


def main(words: Sequence[str] | None = None) -> None:
    from bnn.lab.page import command, guarded, whole

    parser = command(__doc__)
    parser.add_argument("--steps", type=whole(1), default=2000, help="of descent (%(default)s)")
    chosen = parser.parse_args(words)
    guarded(lambda: page(chosen))


if __name__ == "__main__":
    main()
