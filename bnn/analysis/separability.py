"""How well the classes lie apart in what each layer answers, by the two plainest classifiers there are."""

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
    """Accuracies in [0, 1] of two classifiers by Euclidean distance (of bits: the root of the Hamming distance)."""

    centroid: float
    """The class whose training images have the nearest mean."""
    neighbour: float
    """The class of the nearest training image."""
    images: int
    """How many they were measured on."""

    def error(self, accuracy: float) -> float:
        """Standard error of an accuracy q on n images: √(q (1 - q) / n)."""
        return math.sqrt(accuracy * (1 - accuracy) / self.images)


def separability(
    model: nn.Module, training: Split, validation: Split, *, limit: int, draws: int, seed: int
) -> dict[str, Separability]:
    """By layer, from the pixels up to the scores: fitted on the first `limit` training images and measured on the first
    `limit` validation images, each as the layer answers it on the mean of so many draws of the net's own rule."""
    fitted = len(training.labels[:limit])
    images, labels = (
        torch.cat([part[:limit] for part in parts])
        for parts in ((training.images, validation.images), (training.labels, validation.labels))
    )
    answers = responses(model, images, draws=draws, seed=seed)
    return {name: separated(values, labels, fitted) for name, values in answers.items()}


def separated(values: Tensor, labels: Tensor, fitted: int) -> Separability:
    """Of representations [n, *units] and labels [n], the first `fitted` to fit on and the others to measure on."""
    x, y = values.flatten(1).cpu().numpy(), labels.cpu().numpy()
    classifiers = (NearestCentroid(), KNeighborsClassifier(n_neighbors=1))
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # of spreads that are 0, which only a shrinking of centroids would use
        scores = [
            one.fit(x[:fitted], y[:fitted]).score(x[fitted:], y[fitted:]) for one in classifiers
        ]
    return Separability(float(scores[0]), float(scores[1]), len(y) - fitted)
