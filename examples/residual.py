"""Residual network with batch norm and binary units, trained by REINFORCE with several draws.

A path leads around binary layers, so the draws of a sample are rows of one repeated batch.
"""

import torch
from torch import Tensor, nn

import bnn


class Block(nn.Module):
    """Block x + W b, with stochastic bits b of the normalised pre-activation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.below, self.above = nn.Linear(width, width), nn.Linear(width, width)
        self.norm, self.neuron = nn.BatchNorm1d(width), bnn.Stochastic()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.above(self.neuron(self.norm(self.below(x))))


def network(width: int = 16) -> nn.Module:
    torch.manual_seed(0)
    stem = [nn.Flatten(), nn.Linear(64, width), nn.BatchNorm1d(width), bnn.Stochastic()]
    return nn.Sequential(*stem, Block(width), Block(width), nn.Linear(width, 10))


def main(epochs: int = 20) -> float:
    data = bnn.data.load({"name": "digits"}, seed=0, validation_fraction=0.1)
    # torch's batch norm would normalise the draws together; ours, each draw apart
    net = bnn.nn.convert_batch_norms(network())
    bnn.fit(
        net,
        data,
        estimator={"name": "reinforce", "baseline": {"name": "leave_one_out", "samples": 4}},
        epochs=epochs,
        optimizer={"name": "adam", "lr": 0.01},
        progress="none",
    )
    accuracy = bnn.evaluate(net, data.test)["mc_mean"]["accuracy"]
    print(f"residual network: test accuracy {100 * accuracy:.1f} %")
    return accuracy


if __name__ == "__main__":
    main()
