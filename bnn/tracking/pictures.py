"""Pictures of one run: heatmaps and the task's pictures by epoch, and the figures of its end."""

from __future__ import annotations

import io
from collections.abc import Iterator, Set
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from bnn import schema
from bnn.models import GatedNetwork
from bnn.nn.neurons import Binary
from bnn.plots import runs
from bnn.tasks import Pictures
from bnn.tracking.histograms import EpochHistograms, unit_probabilities, weight_means
from bnn.training.activations import (
    HEALTH_IMAGES,
    Snapshot,
    fixed_images,
    rates_by_class,
    snapshot,
)
from bnn.training.callback import FitContext
from bnn.training.loop import FitResult


class RunPictures:
    """Pictures of a run, and the histograms by epoch that they need.

    Args:
        folder: run directory, which keeps the histograms until the run ends.
    """

    def __init__(self, folder: Path) -> None:
        self._weights = EpochHistograms(folder / "weight_histograms.json", -1, 1)
        self._units = EpochHistograms(folder / "unit_histograms.json", 0, 1)

    def start(self, context: FitContext) -> None:
        """Begin before training, or go on with what an earlier process kept.

        Args:
            context: the training.
        """
        self._context, self._images = context, fixed_images(context.data.test)
        self._weights.start(context.finished_epochs, weight_means(context.model))
        self._units.start(context.finished_epochs, self._probabilities())

    def add_epoch(self) -> None:
        """Add the histograms of the epoch that has ended."""
        self._weights.add(weight_means(self._context.model))
        self._units.add(self._probabilities())

    def _probabilities(self) -> dict[str, Tensor]:
        """Probabilities of the units on validation images, where the task has them drawn."""
        context = self._context
        if not context.task.draws_probabilities:
            return {}
        images = context.data.validation.images[:HEALTH_IMAGES]
        return unit_probabilities(context.model, context.task.inputs(images))

    def snapshot(self) -> Snapshot:
        """Layers of the network on the fixed test images, as it stands."""
        context, images = self._context, self._images
        return snapshot(context.model, images, context.seed, context.task.inputs(images))

    def images(
        self, view: Snapshot, epoch: int, logged: Set[tuple[str, int]]
    ) -> Iterator[tuple[str, bytes]]:
        """Keys and PNG files of the layers' heatmaps and of the task's pictures.

        Args:
            view: layers to be drawn.
            epoch: epoch that they belong to.
            logged: keys and epochs that are left out.
        """
        title = self._context.task.image_title
        for layer in view.layers:
            if (key := schema.HEATMAP + layer.name, epoch) not in logged:
                yield key, _png(runs.heatmap(view.images, layer, title=title))
        for name, grid in self._grids().items():
            if (key := schema.PICTURES + name, epoch) not in logged:
                yield key, _png(runs.pictures(grid))

    def figures(self, fit: FitResult) -> dict[str, bytes]:
        """PNG files of the figures of a finished training, by their names.

        Args:
            fit: result of the training, whose network holds the best epoch.
        """
        context = self._context
        drawn = {"curves": runs.curves(fit.history, context.task)}
        if any(key.startswith(schema.UNITS) for key in fit.history[-1]):
            drawn["unit_health"] = runs.unit_health(fit.history)
        if weights := self._weights.shares:
            drawn["weights"] = runs.weight_histograms(weights)
        if units := self._units.shares:
            drawn["unit_probabilities"] = runs.unit_histograms(units)
        if (gates := self._gates()) is not None:
            drawn["gates"] = runs.gates_by_class(*gates)
        drawn |= {name: runs.pictures(one) for name, one in self._grids().items()}
        return {f"{name}.png": _png(figure) for name, figure in drawn.items()}

    def _grids(self) -> dict[str, Pictures]:
        """Pictures that the task draws of the network as it stands, by their names."""
        context = self._context
        return context.task.pictures(context.model, self._images, context.seed)

    def _gates(self) -> tuple[Tensor, list[str]] | None:
        """Rates of the gates by class on validation images, and names of the classes.

        None of a network without binary gates, or where there are no classes.
        """
        context = self._context
        model, split = context.model, context.data.validation
        gater = model.gater if isinstance(model, GatedNetwork) else None
        if gater is None or not isinstance(gater.act, Binary) or split.labels.is_floating_point():
            return None
        labels = split.labels[:HEALTH_IMAGES]
        inputs = context.task.inputs(split.images[:HEALTH_IMAGES])
        rates = rates_by_class(model, "gater.act", inputs, labels, context.seed)
        names = context.data.spec.class_names
        present = labels.unique().tolist()
        return rates.cpu(), [names[label] if names else str(label) for label in present]

    def remove(self) -> None:
        """Remove the histograms of a run that is over."""
        self._weights.remove()
        self._units.remove()


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
