"""Evaluation of binary weights under every reading: by sign, drawn, averaged, and as Gaussians.

A network whose rule draws its weights in training is left as its weights' signs, with running
statistics of their own. The other readings are of the same latent weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnn import schema
from bnn.data import Split
from bnn.nn.handlers import SiteHandler
from bnn.nn.readings import BATCH, Reading, evaluated, joined_latents, seeded_noise
from bnn.nn.sites import Latent
from bnn.nn.statistics import (
    BATCH_SIZE,
    BATCHES,
    kept_statistics,
    load_statistics,
    reestimate,
)
from bnn.nn.weight_draws import LRT, SAMPLED, SIGN, WeightDraws, drawing_weights
from bnn.nn.weight_layers import weight_rule
from bnn.tasks.base import Scores, Task

READINGS = {schema.DRAWN_WEIGHTS: SAMPLED, schema.ENSEMBLE: SAMPLED, schema.LRT: LRT}
"""Readings of drawn weights beside that by sign, by the names of their metrics."""
NETWORKS = 8
"""Largest number of drawn networks of an ensemble: the outputs of all are in memory at once."""


@dataclass(frozen=True)
class WeightEvaluation:
    """Evaluation of one network under the readings of its binary weights.

    Args:
        task: task of the network.
        model: the network.
        train: training split, on the network's device, from which statistics are estimated again.
        seed: seed of the noise.
    """

    task: Task
    model: nn.Module
    train: Split
    seed: int

    def batches(self) -> Iterator[Tensor]:
        """Inputs by which running statistics are estimated again, [n, …] each."""
        inputs, _ = self.task.fixed_batch(self.train.head(BATCHES * BATCH_SIZE))
        yield from (part for part in inputs.split(BATCH_SIZE) if len(part) > 1)

    def reestimate(self, draws: WeightDraws) -> None:
        """Estimate the running statistics again for a reading of the weights.

        Args:
            draws: reading of the weights and their random numbers.
        """
        handler = Reading.sampled(self.seed).handler(self.train.images.device)
        with drawing_weights(draws):
            reestimate(self.model, self.batches(), handler)

    def scores(
        self,
        split: Split,
        reading: str,
        networks: int = 1,
        statistics: Mapping[str, Tensor] | None = None,
    ) -> Scores:
        """Metrics of the mean prediction of drawn networks.

        Args:
            split: examples to evaluate on.
            reading: reading of the weights, `sign`, `sampled` or `lrt`.
            networks: number of drawn networks.
            statistics: running statistics; None: they are estimated again for each network.
        """
        device = split.images.device
        noise = seeded_noise(self.seed, device, "evaluation weights")
        handler = Reading.sampled(self.seed).handler(device)
        inputs, targets = self.task.fixed_batch(split)
        found = []
        with kept_statistics(self.model), torch.no_grad():
            if statistics is not None:
                load_statistics(self.model, statistics)
            for _ in range(networks):
                draws = WeightDraws(noise, reading, keeps_noise=False)
                if statistics is None:
                    self.reestimate(draws)
                with drawing_weights(draws):
                    found.append([self._outputs(part, handler) for part in inputs.split(BATCH)])
            total: dict[str, float] = {}
            for of_part, *of_networks in zip(targets.split(BATCH), *found, strict=True):
                outputs = torch.cat([one for one, _ in of_networks])
                latents = joined_latents([one for _, one in of_networks])
                for name, values in self.task.score(outputs, of_part, latents).items():
                    total[name] = total.get(name, 0.0) + float(values.double().sum())
        return {name: value / len(split.labels) for name, value in total.items()}

    def _outputs(self, inputs: Tensor, handler: SiteHandler) -> tuple[Tensor, list[Latent]]:
        """Outputs [1, n, …] of one drawn network, and the bits of a task that needs them."""
        outputs, latents = evaluated(self.model, inputs, handler)
        return outputs, list(latents) if self.task.needs_latents else []

    def all_scores(
        self, split: Split, networks: int, statistics: Mapping[str, Tensor]
    ) -> dict[str, Scores]:
        """Metrics under every reading but that by sign with its own statistics.

        Args:
            split: examples to evaluate on.
            networks: number of drawn networks of the ensemble, at most NETWORKS.
            statistics: running statistics of the training; empty for a network without any.

        Returns:
            Metrics by the name of the reading; those under the training's statistics end in
            `_training_statistics`.
        """
        found: dict[str, Scores] = {}
        for name, reading in {schema.SIGN_WEIGHTS: SIGN, **READINGS}.items():
            count = min(networks, NETWORKS) if name == schema.ENSEMBLE else 1
            if reading != SIGN:
                found[name] = self.scores(split, reading, count)
            if statistics:
                kept = self.scores(split, reading, count, statistics)
                found[name + schema.TRAINING_STATISTICS] = kept
        return found


@contextlib.contextmanager
def read_by_sign(
    task: Task, model: nn.Module, train: Split, seed: int
) -> Iterator[dict[str, Tensor] | None]:
    """Context in which a network is its weights' signs, with running statistics of their own.

    Nothing changes for a network whose training draws no weights.

    Args:
        task: task of the network.
        model: the network.
        train: training split, on the network's device.
        seed: seed of the neurons' noise.

    Yields:
        The running statistics of the training, which come back at the end; None where they are
        those of the signs.
    """
    rule = weight_rule(model)
    if rule is None or not rule.random:
        yield None
        return
    evaluation = WeightEvaluation(task, model, train, seed)
    with kept_statistics(model) as statistics:
        evaluation.reestimate(WeightDraws(torch.rand_like, SIGN))
        yield statistics
