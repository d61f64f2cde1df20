"""Data set of one's own, from tensors and by name: images of horizontal and vertical bars.

On the command line, in this folder: python -m bnn.train plugins=own_data data=bars model=mlp
"""

import torch
from torch import Tensor, nn

import bnn

Examples = tuple[Tensor, Tensor]


@bnn.data.DATASETS.add("bars")
def bars(*, side: int = 8, noise: float = 0.3, seed: int = 0) -> tuple[Examples, Examples]:
    """Training and test examples: images in [0, 1] with one bar, and 1 where it is vertical."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(1200) % 2
    images = noise * torch.rand(1200, side, side, generator=generator)
    place = torch.randint(side, (1200,), generator=generator)
    for image, vertical, at in zip(images, labels, place, strict=True):
        (image.T if vertical else image)[at] += 1 - noise
    return (images[:1000], labels[:1000]), (images[1000:], labels[1000:])


def main(epochs: int = 10) -> dict[str, float]:
    train, test = bars(side=10)
    accuracy = {}
    for name, data in {
        "tensors": bnn.data.from_tensors(train=train, test=test, name="bars"),
        "name": bnn.data.load({"name": "bars", "side": 10}, seed=0, validation_fraction=0.1),
    }.items():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(100, 32), bnn.Stochastic(), nn.Linear(32, 2))
        adam = {"name": "adam", "lr": 0.01}
        bnn.fit(net, data, estimator="reinmax", epochs=epochs, optimizer=adam, progress="none")
        scores = bnn.evaluate(net, data.test)
        accuracy[name] = scores["mc_mean"]["accuracy"]
        print(f"bars from {name}: test accuracy {100 * accuracy[name]:.1f} %")
    return accuracy


if __name__ == "__main__":
    main()
