"""Hooks of the training loop, by which runs are tracked, shown, measured and stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from bnn.data import Dataset
from bnn.tasks import Task


@dataclass(frozen=True)
class FitContext:
    """Objects of one training that callbacks read.

    Args:
        model: network in training.
        task: task it is trained for.
        data: data set, on the training's device.
        seed: seed of the training.
        title: display name.
        epochs: epochs of the whole training.
        steps_per_epoch: optimizer steps of an epoch.
        finished_epochs: epochs that an earlier process finished, where the training is resumed.
    """

    model: nn.Module
    task: Task
    data: Dataset
    seed: int
    title: str
    epochs: int
    steps_per_epoch: int
    finished_epochs: int


class Callback:
    """Hooks of the training loop; each does nothing unless overridden.

    Callbacks are called in the order in which `fit` got them. An exception ends the training.
    """

    def on_fit_start(self, context: FitContext) -> None:
        """Call before the first step; the slope of the first epoch is set."""

    def on_step_end(self) -> None:
        """Call after each optimizer step."""

    def on_evaluation(self, epoch: int, metrics: dict[str, float]) -> None:
        """Call after the evaluation of an epoch; metrics that are added become part of its record.

        Args:
            epoch: counted from 1.
            metrics: metrics of the epoch by key.
        """

    def on_epoch_end(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Call when the record of an epoch is complete, before its checkpoint is written.

        Args:
            epoch: counted from 1.
            metrics: metrics of the epoch by key.
        """

    def on_fit_end(self) -> None:
        """Call after the last epoch, or on the way out of an exception."""


class Callbacks(Callback):
    """Several callbacks as one, called in their order.

    Args:
        callbacks: the callbacks.
    """

    def __init__(self, *callbacks: Callback) -> None:
        self.callbacks = callbacks

    def on_fit_start(self, context: FitContext) -> None:
        for callback in self.callbacks:
            callback.on_fit_start(context)

    def on_step_end(self) -> None:
        for callback in self.callbacks:
            callback.on_step_end()

    def on_evaluation(self, epoch: int, metrics: dict[str, float]) -> None:
        for callback in self.callbacks:
            callback.on_evaluation(epoch, metrics)

    def on_epoch_end(self, epoch: int, metrics: Mapping[str, float]) -> None:
        for callback in self.callbacks:
            callback.on_epoch_end(epoch, metrics)

    def on_fit_end(self) -> None:
        for callback in self.callbacks:
            callback.on_fit_end()
