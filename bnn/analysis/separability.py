"""Separability of the classes in each layer, by the two simplest classifiers."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from torch import Tensor, nn

from bnn.analysis.responses import responses
from bnn.data import Split


@dataclass(frozen=True)
class Separability:
    """Accuracies of two classifiers by Euclidean distance (of bits: root of the Hamming distance).

    Args:
        centroid: accuracy in [0, 1] of the class whose training images have the nearest mean.
        neighbour: accuracy in [0, 1] of the class of the nearest training image.
        images: number of images that both were measured on.
    """

    centroid: float
    neighbour: float
    images: int

    def standard_error(self, accuracy: float) -> float:
        """Standard error of an accuracy q on n images: √(q (1 - q) / n)."""
        return math.sqrt(accuracy * (1 - accuracy) / self.images)


def separability(
    model: nn.Module, training: Split, validation: Split, *, limit: int, draws: int, seed: int
) -> dict[str, Separability]:
    """Separability of the classes in each layer, from the pixels up to the scores.

    Args:
        model: network.
        training: classifiers are fitted on its first `limit` images.
        validation: they are measured on its first `limit` images.
        limit: images of each split.
        draws: draws of the bits that each layer's output is averaged over.
        seed: of the draws.
    """
    fitted = len(training.labels[:limit])
    images = torch.cat([training.images[:limit], validation.images[:limit]])
    labels = torch.cat([training.labels[:limit], validation.labels[:limit]])
    outputs = responses(model, images, draws=draws, seed=seed)
    return {name: separability_of(values, labels, fitted) for name, values in outputs.items()}


def separability_of(values: Tensor, labels: Tensor, fitted: int) -> Separability:
    """Separability of given representations.

    Args:
        values: [n, *units].
        labels: int64 [n].
        fitted: number of representations to fit on; the others are measured on.
    """
    x, y = values.flatten(1).cpu().numpy(), labels.cpu().numpy()
    accuracies = []
    with warnings.catch_warnings():
        # on spreads of 0, which only a shrinking of centroids would use
        warnings.simplefilter("ignore")
        for classifier in (NearestCentroid(), KNeighborsClassifier(n_neighbors=1)):
            classifier.fit(x[:fitted], y[:fitted])
            accuracies.append(float(classifier.score(x[fitted:], y[fitted:])))
    centroid, neighbour = accuracies
    return Separability(centroid, neighbour, len(y) - fitted)
