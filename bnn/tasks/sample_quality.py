"""Quality of sampled images: distance to real ones in learned features, classes, and fragments."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnn.errors import ConfigError
from bnn.seeds import stream

FEATURES = 64
"""Number of features of an image."""
STEPS, BATCH_SIZE, LEARNING_RATE = 1000, 100, 1e-3
"""Training of the classifier whose features are compared."""
BLOCK = 1000
"""Largest number of images of a block; the distance is a mean over two blocks or more, whose spread
is its own error."""
COVERED = 0.01
"""Share of the samples from which a class counts as covered."""


class FeatureNetwork(nn.Module):
    """Small convolutional classifier, whose last hidden layer holds the features of an image.

    Args:
        shape: channels, height and width of the images.
        classes: number of classes.
    """

    scale: Tensor

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        self.shape = shape
        flat = 32 * math.ceil(math.ceil(height / 2) / 2) * math.ceil(math.ceil(width / 2) / 2)
        self.body = nn.Sequential(
            nn.Conv2d(channels, 16, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(flat, FEATURES),
            nn.ReLU(),
        )
        self.head = nn.Linear(FEATURES, classes)
        self.register_buffer("scale", torch.ones(()))

    def features(self, pixels: Tensor) -> Tensor:
        """Features of images, whose root mean square over the training split is 1.

        Args:
            pixels: in [0, 1], [n, pixels].

        Returns:
            [n, FEATURES].
        """
        return (
            torch.cat([self.body(part.view(-1, *self.shape)) for part in pixels.split(BLOCK)])
            / self.scale
        )

    def classes(self, pixels: Tensor) -> Tensor:
        """Most probable class of each image, int64 [n]."""
        logits: Tensor = self.head(self.features(pixels) * self.scale)
        return logits.argmax(1)

    def fit(self, pixels: Callable[[Tensor], Tensor], labels: Tensor) -> None:
        """Train the classifier, the same way on the same examples, and hold it from then on.

        Args:
            pixels: pixels in [0, 1], [k, pixels], of the images with some indices, int64 [k].
            labels: classes of all images, int64 [n].
        """
        generator = torch.Generator().manual_seed(stream(0, "features"))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(stream(0, "features"))
            initial = FeatureNetwork(self.shape, self.head.out_features)
        self.load_state_dict(initial.state_dict())
        with torch.enable_grad():
            self.requires_grad_(True)
            optimizer = torch.optim.Adam(self.parameters(), LEARNING_RATE)
            for _ in range(STEPS):
                index = torch.randint(len(labels), (BATCH_SIZE,), generator=generator)
                index = index.to(labels.device)
                logits = self.head(self.body(pixels(index).view(-1, *self.shape)))
                optimizer.zero_grad(set_to_none=True)
                F.cross_entropy(logits, labels[index]).backward()
                optimizer.step()
        self.requires_grad_(False)
        total = 0.0
        for part in torch.arange(len(labels), device=labels.device).split(BLOCK):
            total += float(self.features(pixels(part)).square().mean(1).sum())
        self.scale.fill_(math.sqrt(total / len(labels)))


def kernel_distance(first: Tensor, second: Tensor) -> tuple[float, float]:
    """Squared maximum mean discrepancy of two sets of features (Bińkowski et al. 2018).

        E k(x, x') + E k(y, y') - 2 E k(x, y),  k(x, y) = (x · y / d + 1)³

    by its unbiased estimate, so that it may lie below 0, averaged over blocks.

    Args:
        first: features x, [n, d].
        second: features y, [m, d].

    Returns:
        The distance, and its standard error over the blocks.

    Raises:
        ConfigError: for sets that make no two blocks of two.
    """
    size = min(BLOCK, min(len(first), len(second)) // 2)
    if size < 2:
        raise ConfigError(
            f"data: expected at least 4 images to compare samples with, got {len(second)}"
        )
    found = []
    pairs = zip(first.double().split(size), second.double().split(size), strict=False)
    for x, y in pairs:
        n, m = len(x), len(y)
        if min(n, m) < size:
            continue
        own, other = _kernel(x, x), _kernel(y, y)
        within = (own.sum() - own.trace()) / (n * (n - 1))
        within += (other.sum() - other.trace()) / (m * (m - 1))
        found.append(float(within - 2 * _kernel(x, y).mean()))
    return float(np.mean(found)), float(np.std(found, ddof=1)) / math.sqrt(len(found))


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def components(pixels: Tensor) -> Tensor:
    """Number of connected components of each image, over the eight neighbours of a pixel.

    Args:
        pixels: 0 and 1, [n, h, w].

    Returns:
        int64 [n].
    """
    from scipy import ndimage

    neighbours = np.zeros((3, 3, 3), dtype=bool)
    neighbours[1] = True  # of the same image alone
    labels, count = ndimage.label(pixels.cpu().numpy() > 0, structure=neighbours)
    image = np.zeros(count + 1, dtype=np.int64)
    at = labels.nonzero()
    image[labels[at]] = at[0]
    return torch.from_numpy(np.bincount(image[1:], minlength=len(pixels)))


def coverage(classes: Tensor, count: int) -> tuple[int, float]:
    """Number of classes that samples cover, and the entropy of their classes in nats.

    Args:
        classes: class of each sample, int64 [n].
        count: number of classes.
    """
    shares = torch.bincount(classes, minlength=count).double() / len(classes)
    present = shares[shares > 0]
    return int((shares >= COVERED).sum()), float(-(present * present.log()).sum())
