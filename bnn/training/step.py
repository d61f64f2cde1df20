"""Training steps: batches from tensors in memory, and one optimizer step on each.

The same seed gives the same metrics to the last bit on one machine's CPU at the same number of threads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bnn import schema
from bnn.data import Dataset, DatasetSpec, Split
from bnn.errors import CheckpointError, DivergedError
from bnn.estimators import Estimator
from bnn.nn.forward import ForwardClosure
from bnn.seeds import stream
from bnn.tasks import Task
from bnn.tasks.readings import generator_noise
from bnn.training.callback import Callback
from bnn.training.optimizers import parameter_groups
from bnn.training.settings import TrainingConfig

FINITE_EVERY = 50
"""Steps between two looks at whether the loss is finite; each look waits for the device."""


def batches(split: Split, size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """A permutation of the split in batches of `size`; a last one of a single sample is dropped (it has no variance)."""
    order = torch.randperm(len(split.labels), generator=generator).to(split.labels.device)
    for index in order.split(size):
        if len(index) > 1:
            yield split.images[index], split.labels[index]


def steps_per_epoch(samples: int, size: int) -> int:
    return samples // size + (samples % size > 1)


def train_step(
    forward: ForwardClosure, estimator: Estimator, optimizer: torch.optim.Optimizer, precision: str
) -> Tensor:
    """One optimizer step on one batch.

    Returns:
        The mean loss, a detached scalar.
    """
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(forward.inputs.device.type, torch.bfloat16, enabled=precision == "bf16"):
        loss = estimator.surrogate_loss(forward)
    loss.backward()
    optimizer.step()
    return loss.detach()


def init_estimator(
    estimator: Estimator, model: nn.Module, inputs: Tensor, seed: int
) -> tuple[int, ...]:
    """`estimator.init`, with what it learns initialised from the seed.

    Returns:
        The number of units of each binary layer.

    Raises:
        ConfigError: for a network that the estimator cannot serve.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(seed, "estimator"))
        estimator.init(model, inputs)
    assert estimator.layers is not None
    return estimator.layers.units


def init_task(task: Task, data: DatasetSpec, seed: int) -> None:
    """`task.init`, with its networks initialised from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(seed, "task"))
        task.init(data)


class TrainState:
    """State that training steps move: weights, optimizer, learning rate, and the streams of batches and of noise."""

    STREAMS = ("order", "bits")

    def __init__(self, model: nn.Module, config: TrainingConfig, data: Dataset) -> None:
        device = data.train.images.device
        self.model, self.config, self.split = model, config, data.train
        self.task, self.estimator = config.task, config.estimator
        model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        init_task(self.task, data.spec, config.seed)
        self.task.to(device)
        inputs, _ = self.task.batch(data.train.images[:2], data.train.labels[:2])
        init_estimator(self.estimator, model, inputs, config.seed)
        self.steps = steps_per_epoch(len(data.train.labels), config.settings.batch_size)
        total = self.steps * config.settings.epochs
        groups = parameter_groups(model, self.estimator, self.task)
        self.optimizer, self.learning_rate = config.optimization.start(groups, total)
        self.order = torch.Generator().manual_seed(stream(config.seed, "batches"))
        self.bits = torch.Generator(device).manual_seed(stream(config.seed, "bits"))
        self.noise = generator_noise(self.bits)
        self.seconds = 0.0

    def state_dict(self) -> dict[str, Any]:
        """All of it, as tensors and plain values, to go on from as if nothing had come between."""
        return {
            "seconds": self.seconds,
            **{key: getattr(self, key).get_state() for key in self.STREAMS},
            **{key: part.state_dict() for key, part in self._parts().items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Errors: CheckpointError for the state of another network, optimizer or estimator."""
        try:
            self.seconds = state["seconds"]
            for key in self.STREAMS:
                getattr(self, key).set_state(state[key].cpu())
            for key, part in self._parts().items():
                part.load_state_dict(state[key])
        except (KeyError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"the checkpoint is of another training: {str(error).partition(chr(10))[0]}"
            ) from error

    def _parts(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "estimator": self.estimator,
            "task": self.task,
            "optimizer": self.optimizer,
            "learning_rate": self.learning_rate,
            **{f"task/{name}": optimizer for name, optimizer in self.task.optimizers().items()},
        }

    def epoch(self, callback: Callback) -> dict[str, float]:
        """One pass over the training split.

        Raises:
            DivergedError: for a loss that is not finite.
        """
        start = time.perf_counter()
        self.model.train()
        rate = float(self.learning_rate.get_last_lr()[0])
        seen = 0
        total = torch.zeros((), device=self.split.images.device)
        sums: dict[str, Tensor] = {}

        def train(inputs: Tensor, targets: Tensor) -> Tensor:
            layers = self.estimator.layers
            forward = ForwardClosure(
                self.model, inputs, targets, self.task.loss, self.noise, layers=layers
            )
            loss = train_step(
                forward, self.estimator, self.optimizer, self.config.settings.precision
            )
            assert forward.output is not None
            for name, values in self.task.statistics(forward.output, targets).items():
                sums[name] = sums.get(name, 0) + values.sum()
            return loss

        for step, (images, labels) in enumerate(
            batches(self.split, self.config.settings.batch_size, self.order), 1
        ):
            total += self.task.step(train, *self.task.batch(images, labels)) * len(labels)
            seen += len(labels)
            self.learning_rate.step()
            callback.on_step_end()
            if (step % FINITE_EVERY == 0 or step == self.steps) and not math.isfinite(float(total)):
                raise DivergedError(
                    f"the training loss became {float(total)} by step {step}: lower optimizer.lr"
                )
        self.seconds += time.perf_counter() - start
        measured = {schema.TRAIN + name: float(value) / seen for name, value in sums.items()}
        return {schema.TRAIN + "loss": float(total) / seen, **measured, schema.LEARNING_RATE: rate}
