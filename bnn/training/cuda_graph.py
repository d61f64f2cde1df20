"""CUDA graph of a training step: one launch in place of those of some hundred kernels.

A step of a small network takes a GPU less time than the launches take the CPU. The graph repeats
what the captured step launched, whatever Python would do in a later one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.estimators import Estimator
from bnn.tasks import Task

Step = Callable[[Tensor, Tensor], None]
"""One step on images [n, c, h, w] and labels [n, …], whose results are tensors that it changes in
place."""
WARM_UP = 3
"""Steps before the one that is captured, in which libraries and optimizer allocate what they keep.
"""
PACKAGES = ("bnn", "torch")
"""Packages whose modules launch the same operations in every step, unless an estimator tells."""


def is_captured(
    choice: str, model: nn.Module, estimator: Estimator, task: Task, device: torch.device
) -> bool:
    """Whether the steps of a training are captured in a CUDA graph.

    Under `auto` they are on a GPU where all parts consist of modules of this package and of torch,
    and neither estimator nor task tells that its steps differ: other code may do something else in
    every hundredth step.

    Args:
        choice: `trainer.cuda_graph`, `auto`, `always` or `never`.
        model: network.
        estimator: gradient estimator.
        task: task.
        device: device of the training.

    Raises:
        ConfigError: for `always` on another device than a GPU.
    """
    if choice == "always" and device.type != "cuda":
        raise ConfigError(
            f"trainer.cuda_graph=always: expected device=cuda, got {device.type}; "
            "write trainer.cuda_graph=auto"
        )
    if choice != "auto" or device.type != "cuda":
        return choice == "always"
    modules = (module for part in (model, estimator, task) for module in part.modules())
    known = (type(module).__module__.partition(".")[0] in PACKAGES for module in modules)
    return estimator.same_operations and task.same_operations and all(known)


class CapturedStep:
    """Step on batches of one shape, captured in a CUDA graph after a few eager steps.

    Args:
        step: the step.
        generators: sources of its noise, on the GPU; torch's own is captured as well.
    """

    def __init__(self, step: Step, *generators: torch.Generator) -> None:
        self._step, self._generators = step, generators
        self._graph: torch.cuda.CUDAGraph | None = None
        self._images, self._labels = torch.empty(0), torch.empty(0)
        self._seen = 0

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        """Take the step.

        Args:
            images: [n, c, h, w], of one shape in all calls.
            labels: [n, …], likewise.

        Raises:
            ConfigError: for a step that cannot be captured.
        """
        with torch.cuda.device(images.device):  # streams are those of the current GPU
            if self._seen < WARM_UP:
                self._seen += 1
                self._warm_up(images, labels)
                return
            if self._graph is None:
                self._graph = self._capture(images, labels)
            self._images.copy_(images)
            self._labels.copy_(labels)
            self._graph.replay()

    def _warm_up(self, images: Tensor, labels: Tensor) -> None:
        """Take the step on another stream than the default one, as a capture does."""
        current, other = torch.cuda.current_stream(), torch.cuda.Stream()
        other.wait_stream(current)
        with torch.cuda.stream(other):
            self._step(images, labels)
        current.wait_stream(other)

    def _capture(self, images: Tensor, labels: Tensor) -> torch.cuda.CUDAGraph:
        """Capture the step, which is not taken."""
        self._images, self._labels = torch.empty_like(images), torch.empty_like(labels)
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        try:
            # thread_local: other threads, such as a progress bar's, may call CUDA meanwhile
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._step(self._images, self._labels)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            why = str(error).partition("\n")[0]
            raise ConfigError(
                f"trainer.cuda_graph: expected a step without a wait for the GPU, got: {why}; "
                "write trainer.cuda_graph=never"
            ) from error
        return graph
