"""Training steps: batches from tensors in memory, and one optimizer step on each.

The same seed gives the same metrics to the last bit on one machine's CPU at the same number of
threads.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bnn import schema
from bnn.data import Dataset, Split
from bnn.errors import CheckpointError, ConfigError, DivergedError
from bnn.estimators import Estimator
from bnn.nn.forward import ForwardClosure
from bnn.nn.handlers import apply, sampled
from bnn.nn.latent_updates import LatentUpdates
from bnn.nn.memory_layout import to_channels_last
from bnn.nn.sites import RandomUnits, Site, generator_noise
from bnn.nn.weight_layers import weight_rule
from bnn.seeds import stream
from bnn.training.callback import Callback
from bnn.training.cuda_graph import CapturedStep, is_captured
from bnn.training.default_generator import DefaultGenerator
from bnn.training.initialisation import check_memory, check_task, init_estimator, init_task
from bnn.training.optimizers import Optimizers, make_capturable, parameter_groups
from bnn.training.settings import TrainingConfig

FINITE_EVERY = 50
"""Steps from one check of a finite loss to the next; each check waits for the device."""
LOSS = "loss"
"""Name of the sum of the losses among those of the statistics."""
PENALTY = "penalty"
"""Name of the penalty of a network among those of the statistics."""
DIVERGED = 100.0
"""Factor by which the loss has grown over that of the first step when a training has diverged."""


def batches(split: Split, size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of a permutation of a split.

    A last batch of a single sample is dropped: it has no variance.

    Args:
        split: examples.
        size: number of samples of a batch.
        generator: source of the permutation, on the CPU.

    Yields:
        Images [n, c, h, w] and labels [n, …].
    """
    order = torch.randperm(len(split.labels), generator=generator).to(split.labels.device)
    for index in order.split(size):
        if len(index) > 1:
            yield split.images[index], split.labels[index]


def steps_per_epoch(samples: int, size: int) -> int:
    """Number of batches of an epoch, see `batches`."""
    return samples // size + (samples % size > 1)


Penalty = Callable[[Sequence[Site]], Tensor | None]
"""Term of the training loss that depends on the binary layers' probabilities alone."""


def penalty_of(model: nn.Module) -> Penalty | None:
    """Method `training_penalty` of a network that has one."""
    found = getattr(model, "training_penalty", None)
    return found if inspect.ismethod(found) else None


def train_step(
    forward: ForwardClosure,
    estimator: Estimator,
    optimizer: torch.optim.Optimizer | Optimizers,
    precision: str,
    penalty: Penalty | None = None,
) -> tuple[Tensor, Tensor | None]:
    """One optimizer step on one batch.

    Args:
        forward: forward closure of the batch.
        estimator: gradient estimator.
        optimizer: optimizer of the network.
        precision: `float32`, or `bf16` under autocast.
        penalty: term of the training loss, differentiated exactly.

    Returns:
        Mean loss, a detached scalar, and the penalty beside it.
    """
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(forward.inputs.device.type, torch.bfloat16, enabled=precision == "bf16"):
        loss = estimator.surrogate_loss(forward)
    added = None if penalty is None else penalty(forward.sites)
    (loss if added is None else loss + added).backward()
    optimizer.step()
    return loss.detach(), None if added is None else added.detach()


class TrainState:
    """State of a training: weights, optimizer, learning rate, and the streams of random numbers.

    Args:
        model: network, moved to the device of the data.
        config: training configuration.
        data: data set.
    """

    STREAMS = ("order", "bits", "targets", "modules")
    LATER = ("targets", "modules")
    """Streams that checkpoints of version 0.1.0, and for `modules` of 0.2.0, do not have."""

    def __init__(self, model: nn.Module, config: TrainingConfig, data: Dataset) -> None:
        device = data.train.images.device
        self.model, self.config, self.split = model, config, data.train
        self.task, self.estimator = config.task, config.estimator
        to_channels_last(model.to(device))
        init_task(self.task, data.spec, config.seed)
        self.task.to(device)
        self.task.measure(data.train)
        init_estimator(self.estimator, model, self.task.inputs(data.train.images[:2]), config.seed)
        size = min(config.settings.batch_size, len(data.train.labels))
        check_memory(self.estimator, size, device)
        check_task(self.task, self.estimator, weight_rule(model))
        self.steps = steps_per_epoch(len(data.train.labels), config.settings.batch_size)
        if not self.steps:
            raise ConfigError(
                f"data={data.spec.name}: expected at least 2 training examples after the "
                f"validation split, a batch of which has a variance; got {len(data.train.labels)}"
            )
        total = self.steps * config.settings.epochs
        groups = parameter_groups(model, self.estimator, self.task)
        self.optimizer, self.learning_rate = config.optimization.start(
            groups, total, weight_rule(model)
        )
        self._latents = [LatentUpdates(model, one) for one in self.optimizer.optimizers]
        self.order = torch.Generator().manual_seed(stream(config.seed, "batches"))
        self.bits = torch.Generator(device).manual_seed(stream(config.seed, "bits"))
        self.targets = torch.Generator(device).manual_seed(stream(config.seed, "targets"))
        self.modules = DefaultGenerator(stream(config.seed, "modules"), device)
        self.noise, self.target_noise = (generator_noise(g) for g in (self.bits, self.targets))
        choice, self._captured = config.settings.cuda_graph, None
        if is_captured(choice, model, self.estimator, self.task, device):
            self._captured = CapturedStep(self._add_step, self.bits, self.targets)
            make_capturable(self.optimizer)
        self._sums: dict[str, Tensor] = {}
        self.seconds, self.first_loss = 0.0, math.nan

    def state_dict(self) -> dict[str, Any]:
        """State as tensors and plain values, from which a training goes on as if uninterrupted."""
        return {
            "seconds": self.seconds,
            "first_loss": self.first_loss,
            **{key: getattr(self, key).get_state() for key in self.STREAMS},
            **{key: part.state_dict() for key, part in self._parts().items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state.

        Args:
            state: value of `state_dict`.

        Raises:
            CheckpointError: for the state of another network, optimizer or estimator.
        """
        try:
            self.seconds, self.first_loss = state["seconds"], state["first_loss"]
            for key in self.STREAMS:
                if key in state or key not in self.LATER:
                    getattr(self, key).set_state(state[key].cpu())
            for key, part in self._parts().items():
                part.load_state_dict(state[key])
            if self._captured is not None:
                make_capturable(self.optimizer)
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
        """Train on the whole split once.

        Args:
            callback: hooks, called after each step.

        Returns:
            Metrics of the epoch by key: means over its samples, and its first learning rate.

        Raises:
            DivergedError: for a loss that is not finite.
        """
        start = time.perf_counter()
        self.model.train()
        rate = float(self.learning_rate.get_last_lr()[0])
        seen, size = 0, self.config.settings.batch_size
        for total in self._sums.values():
            total.zero_()
        loader = batches(self.split, size, self.order)
        for step, (images, labels) in enumerate(loader, 1):
            with self.modules.in_force():
                if self._captured is not None and len(labels) == size:
                    self._captured(images, labels)
                else:
                    self._add_step(images, labels)
            seen += len(labels)
            if math.isnan(self.first_loss):
                self.first_loss = float(self._sums[LOSS]) / seen
            self.learning_rate.step()
            callback.on_step_end()
            if step % FINITE_EVERY == 0 or step == self.steps:
                self._check_finite(step)
        self.seconds += time.perf_counter() - start
        means = {schema.TRAIN + name: float(total) / seen for name, total in self._sums.items()}
        flips: dict[str, float] = {}
        for latents in self._latents:
            flips |= latents.flip_rates(self.steps)
        return {**means, schema.LEARNING_RATE: rate, **flips}

    def _add_step(self, images: Tensor, labels: Tensor) -> None:
        """One step on a batch, whose loss and statistics are added to the sums of the epoch."""
        inputs, targets = self.task.batch(images, labels, self.target_noise)
        train = _NetworkStep(self)
        loss = self.task.step(train, inputs, targets)
        for name, latest in {LOSS: loss * len(labels), **train.statistics}.items():
            if name not in self._sums:
                half = latest.is_floating_point() and latest.dtype.itemsize < 4
                self._sums[name] = torch.zeros_like(latest, dtype=torch.float32 if half else None)
            self._sums[name] += latest

    def _check_finite(self, step: int) -> None:
        """Check the sum of the losses, for which this waits.

        Raises:
            DivergedError: where it is not finite.
        """
        if not math.isfinite(total := float(self._sums[LOSS])):
            raise DivergedError(
                f"the training loss became {total} by step {step}: lower optimizer.lr"
            )

    def check_divergence(self, epoch: int, loss: float) -> None:
        """Check that the mean loss of an epoch is not far above the loss of the first step.

        A mean over all steps is not moved by the noise of single ones. A first loss below 1, as of
        weights that are trained already, counts as 1.

        Args:
            epoch: counted from 1.
            loss: mean over the training samples of the epoch.

        Raises:
            DivergedError: where it is more than `DIVERGED` times as large.
        """
        if loss > DIVERGED * max(1.0, abs(self.first_loss)):
            raise DivergedError(
                f"the training diverged in epoch {epoch}: its training loss is {loss:.3g}, "
                f"more than {DIVERGED:g} times that of the first step, {self.first_loss:.3g}: "
                "lower optimizer.lr"
            )

    def step(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Mean loss, output of the first replica, [n, …], and penalty of one step."""
        layers, precision = self.estimator.layers, self.config.settings.precision
        forward = ForwardClosure(
            self.model, inputs, targets, self.task.loss, self.noise, layers=layers
        )
        penalty = penalty_of(self.model)
        loss, added = train_step(forward, self.estimator, self.optimizer, precision, penalty)
        assert forward.output is not None
        return loss, forward.output, added


class _NetworkStep:
    """One training step of the network, as the task's own step calls it; see `TrainingStep`."""

    def __init__(self, state: TrainState) -> None:
        self._state, self.noise = state, state.target_noise
        self.statistics: dict[str, Tensor] = {}

    def __call__(self, inputs: Tensor, targets: Tensor) -> Tensor:
        loss, output, penalty = self._state.step(inputs, targets)
        found = {n: v.sum() for n, v in self._state.task.statistics(output, targets).items()}
        if penalty is not None:
            found[PENALTY] = penalty * len(inputs)
        for name, total in found.items():
            self.statistics[name] = self.statistics.get(name, 0) + total
        return loss

    @torch.no_grad()
    def outputs(self, inputs: Tensor) -> Tensor:
        state = self._state
        precision = state.config.settings.precision
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=precision == "bf16"):
            return apply(state.model, inputs, self._drawn).float()

    def _drawn(self, layer: Site | RandomUnits) -> Tensor:
        """Activations as training draws them, see `Estimator.samples_in_training`."""
        if isinstance(layer, Site) and self._state.estimator.samples_in_training:
            layer = dataclasses.replace(layer, rule=Site.sample)
        return sampled(self._state.noise)(layer)
