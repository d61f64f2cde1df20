"""Gradient estimators compared on one network of stochastic binary units: ReinMax and REINFORCE.

The network is a plain `nn.Sequential`; `bnn.fit` is the training loop of the command line.
"""

import torch
from torch import nn

import bnn


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 32),
        bnn.Stochastic(),
        nn.Linear(32, 16),
        bnn.Stochastic(),
        nn.Linear(16, 10),
    )


def main(epochs: int = 20) -> dict[str, float]:
    data = bnn.data.load({"name": "digits"}, seed=0, validation_fraction=0.1)
    estimators = {
        "ReinMax": bnn.estimators.ReinMax(),  # one forward pass, biased
        "REINFORCE": bnn.estimators.Reinforce(),  # 2 · 8 draws of each sample, unbiased
    }
    accuracy = {}
    for name, estimator in estimators.items():
        model = network()
        bnn.fit(
            model,
            data,
            estimator=estimator,
            epochs=epochs,
            optimizer={"name": "adam", "lr": 0.01},
            progress="none",
        )
        # by reading: bits sampled once, the mean of eight draws, bits thresholded
        scores = bnn.evaluate(model, data.test)
        accuracy[name] = scores["mc_mean"]["accuracy"]
        print(name, *(f"{reading} {100 * s['accuracy']:.1f} %" for reading, s in scores.items()))
    return accuracy


if __name__ == "__main__":
    main()
