"""Reference loop as a plain PyTorch script would write it: network, DataLoader, optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms import Compose, Normalize, ToTensor

from bnn.build import TrainingSetup, binary_positions
from bnn.data import Dataset, Split
from bnn.errors import ConfigError
from bnn.nn.noise import NoiseLaw

COVERED = {
    "model.name": "cnn",
    "model.norm": "batch",
    "weights.name": "real",
    "estimator.name": "st",
    "estimator.pseudo_derivative": "density",
}
"""Values that the loop is written for, by key."""
OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


class Activation(nn.Module):
    """Activation by a noise law: F(x), or bits with the straight-through gradient of F.

    Args:
        law: noise law with the distribution function F.
        binary: whether bits are fired.
        stochastic: whether they are drawn; otherwise b = 1[x > 0].
    """

    def __init__(self, law: NoiseLaw, binary: bool, stochastic: bool) -> None:
        super().__init__()
        self.law, self.binary, self.stochastic = law, binary, stochastic

    def forward(self, x: Tensor) -> Tensor:
        p = self.law.cdf(x)
        if not self.binary:
            return p
        # as scripts write it; on a CPU, comparing uniform numbers would take a quarter of the time
        bits = torch.bernoulli(p) if self.stochastic else (x > 0).float()
        return bits.detach() + p - p.detach()


def ordinary_network(
    config: Mapping[str, Any], shape: tuple[int, int, int], classes: int
) -> nn.Module:
    """Convolutional network with straight-through, images [n, c, h, w] to scores [n, classes].

    Args:
        config: canonical configuration.
        shape: channels, height and width of an image.
        classes: number of classes.

    Raises:
        ConfigError: for a configuration that it does not cover.
    """
    if (name := config["optimizer"]["name"]) not in OPTIMIZERS:
        raise ConfigError(
            f"optimizer.name: the conventional loop is written for {', '.join(OPTIMIZERS)}; got "
            f"{name!r}"
        )
    for key, value in COVERED.items():
        group, name = key.split(".")
        if (got := config[group].get(name)) != value:
            raise ConfigError(f"{key}: the conventional loop is written for {value}, got {got!r}")
    if shape[0] != 1:
        raise ConfigError(
            f"data: the conventional loop is written for images of one channel, got {shape[0]}"
        )
    law = NoiseLaw.registry.build(config["neuron"]["law"])
    binary = binary_positions(config["placement"], depth=2)
    stochastic = config["neuron"]["name"] == "stochastic"

    def block(inputs: int, outputs: int, position: int) -> list[nn.Module]:
        return [
            nn.Conv2d(inputs, outputs, 5, padding=2),
            nn.BatchNorm2d(outputs),
            nn.MaxPool2d(2),
            Activation(law, position in binary, stochastic),
        ]

    channels, height, width = shape
    torch.manual_seed(config["seed"])
    layers = [*block(channels, 16, 0), *block(16, 32, 1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(32 * (height // 4) * (width // 4), classes))


class PilImages(TorchDataset):
    """Images of a split as 8-bit PIL images, transformed one by one as in torchvision's data sets.

    Args:
        split: normalised images of one channel.
        mean: mean that they were normalised by.
        std: standard deviation, likewise.
    """

    def __init__(self, split: Split, mean: float, std: float) -> None:
        pixels = split.images[:].cpu().mul(std).add(mean)
        self.pixels = pixels.mul(255).round().byte().numpy()
        self.targets = split.labels.cpu()
        self.transform = Compose([ToTensor(), Normalize((mean,), (std,))])

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.pixels[index, 0])
        return self.transform(image), int(self.targets[index])


def image_loader(split: Split, mean: float, std: float, batch_size: int, workers: int) -> Any:
    """DataLoader over `PilImages` in random order.

    Args:
        split: normalised images of one channel.
        mean: mean that they were normalised by.
        std: standard deviation, likewise.
        batch_size: images in a batch.
        workers: processes that load; 0: this one.
    """
    images = PilImages(split, mean, std)
    return DataLoader(
        images, batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )


def conventional(setup: TrainingSetup, data: Dataset, workers: int) -> Callable[[], object]:
    """Function that trains one epoch: a DataLoader, default memory format, torch's own optimizer.

    The slope is that of the first epoch, and the learning rate constant: neither moves its time.

    Args:
        setup: objects of the run, whose network is not used.
        data: data set.
        workers: processes that load images.

    Raises:
        ConfigError: for a configuration that `ordinary_network` does not cover.
    """
    settings, spec = dict(setup.spec.config["optimizer"]), data.spec
    assert spec.classes is not None  # the task is classification
    model = ordinary_network(setup.spec.config, spec.shape, spec.classes).to(setup.device)
    batch_size = setup.training.settings.batch_size
    loader = image_loader(data.train, spec.mean, spec.std, batch_size, workers)
    taken = {key: settings[key] for key in ("lr", "momentum", "weight_decay") if key in settings}
    optimizer = OPTIMIZERS[settings["name"]](model.parameters(), **taken)

    def block() -> float:
        model.train()
        total, correct = 0.0, 0
        for images, labels in loader:
            images, labels = images.to(setup.device), labels.to(setup.device)
            optimizer.zero_grad()
            scores = model(images)
            loss = F.cross_entropy(scores, labels)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
            correct += (scores.argmax(1) == labels).sum().item()
        return total / len(data.train.labels)

    return block
