"""Training loop in plain PyTorch with NVIL, whose learned baseline is in the optimizer.

Any optimizer, any DataLoader; the estimator is one line of the loop.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import bnn


def main(epochs: int = 20) -> dict[str, float]:
    data = bnn.data.load({"name": "digits"}, seed=0, validation_fraction=0.1)
    train, test = data.train, data.test

    torch.manual_seed(0)
    loader = DataLoader(TensorDataset(train.images, train.labels), batch_size=32, shuffle=True)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), bnn.Stochastic(), nn.Linear(32, 10))

    estimator = bnn.estimators.NVIL()
    estimator.init(net, train.images[:2])  # makes the baseline network, before the optimizer
    optimizer = torch.optim.AdamW([*net.parameters(), *estimator.parameters()], lr=0.01)

    net.train()
    for _ in range(epochs):
        for x, y in loader:
            loss = estimator(net, x, y)  # value: the mean loss; gradient: the estimate
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    net.eval()  # from here on a neuron fires by its own rule, without an estimator
    with torch.no_grad():
        drawn = accuracy(net(test.images), test.labels)
        with bnn.nn.handling(bnn.nn.threshold):  # a reading: b = 1[p > 1/2], no noise
            thresholded = accuracy(net(test.images), test.labels)
    print(
        f"NVIL: test accuracy {100 * drawn:.1f} % with bits drawn, "
        f"{100 * thresholded:.1f} % with bits thresholded"
    )
    return {"drawn": drawn, "thresholded": thresholded}


def accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return float((logits.argmax(1) == labels).double().mean())


if __name__ == "__main__":
    main()
