"""Binary activations as functions: straight-through and ReinMax without an estimator object.

The bits carry their gradient themselves, so the loop is that of any real-valued network.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bnn


class Net(nn.Module):
    """Two binary layers below a linear read-out."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 32), nn.Linear(32, 16)
        self.readout = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        a = self.first(x.flatten(1))
        low = bnn.functional.straight_through(a)  # bits in the forward pass, density backward
        high = bnn.functional.reinmax(self.second(low))
        return self.readout(high)


def main(epochs: int = 20) -> float:
    data = bnn.data.load({"name": "digits"}, seed=0, validation_fraction=0.1)
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(epochs):
        for index in torch.randperm(len(data.train.labels)).split(32):
            loss = F.cross_entropy(net(data.train.images[index]), data.train.labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    with torch.no_grad():  # class probabilities, averaged over eight draws of the bits
        draws = torch.stack([net(data.test.images).softmax(1) for _ in range(8)])
    accuracy = float((draws.mean(0).argmax(1) == data.test.labels).double().mean())
    print(f"straight-through below ReinMax: test accuracy {100 * accuracy:.1f} %")
    return accuracy


if __name__ == "__main__":
    main()
