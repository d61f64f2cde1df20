"""Callback of one's own: the share of bits that change from epoch to epoch, as a metric.

`bnn.fit` calls it after each evaluation; the metrics it adds are in the history, and in MLflow.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

import bnn
from bnn.training.callback import FitContext


class ChangedBits(bnn.Callback):
    """Share of a layer's thresholded bits on validation images that changed since the last epoch.

    Args:
        layers: layers of the network, up to the binary one.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self.layers = nn.Sequential(*layers)

    def bits(self) -> Tensor:
        with torch.no_grad():
            return bnn.nn.apply(self.layers, self.images, bnn.nn.threshold)

    def on_fit_start(self, context: FitContext) -> None:
        self.images = context.data.validation.images
        self.latest = self.bits()

    def on_evaluation(self, epoch: int, metrics: dict[str, float]) -> None:
        before, self.latest = self.latest, self.bits()
        metrics["units/changed"] = float((self.latest != before).float().mean())


def main(epochs: int = 20) -> list[float]:
    data = bnn.data.load({"name": "digits"}, seed=0, validation_fraction=0.1)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), bnn.Stochastic(), nn.Linear(32, 10))
    adam = {"name": "adam", "lr": 0.01}
    callbacks = [ChangedBits(net[:3])]
    result = bnn.fit(net, data, epochs=epochs, optimizer=adam, progress="none", callbacks=callbacks)
    changed = [metrics["units/changed"] for metrics in result.history]
    print("changed bits by epoch (%):", *(f"{100 * share:.1f}" for share in changed))
    return changed


if __name__ == "__main__":
    main()
