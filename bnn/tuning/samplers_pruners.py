"""Optuna's samplers and pruners by name, with their own parameters.

A sampler is seeded anew for each trial: a study that is stopped and resumed has the same trials as
one that is not, and workers that share a study do not repeat each other's draws. A pruner sees one
seed of a trial at a time.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.pruners import BasePruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from bnn.errors import ConfigError, format_error
from bnn.tuning import optuna_adapter as adapter
from bnn.tuning.optuna_adapter import SeedView
from bnn.tuning.queue import LOST, SURPLUS

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study

SAMPLERS: Mapping[str, type[BaseSampler]] = {
    "tpe": optuna.samplers.TPESampler,
    "random": optuna.samplers.RandomSampler,
    "qmc": optuna.samplers.QMCSampler,
    "nsga2": optuna.samplers.NSGAIISampler,
}
PRUNERS: Mapping[str, type[BasePruner]] = {
    "none": optuna.pruners.NopPruner,
    "median": optuna.pruners.MedianPruner,
    "percentile": optuna.pruners.PercentilePruner,
    "threshold": optuna.pruners.ThresholdPruner,
    "successive_halving": optuna.pruners.SuccessiveHalvingPruner,
}
"""Pruners that compare intermediate values of trials at equal steps, by name."""


def _built(kinds: Mapping[str, Any], key: str, node: Mapping[str, Any], **ours: Any) -> Any:
    """Sampler or pruner from its node.

    Args:
        kinds: classes by name.
        key: key of the node, for messages.
        node: name and parameters.
        ours: parameters that the node does not have.
    """
    options = {str(k): v for k, v in node.items()}
    name = options.pop("name", None)
    if name not in kinds:
        raise ConfigError(f"{key}.name: expected one of {', '.join(kinds)}; got {name!r}")
    parameters = [p for p in inspect.signature(kinds[name]).parameters if p not in ours]
    if unknown := sorted(set(options) - set(parameters)):
        there = ", ".join(parameters) or "none"
        raise ConfigError(f"{key}.{unknown[0]}: {name} has no such parameter (it has {there})")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return kinds[name](**ours, **options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}: {name}: {format_error(error)}") from error


def pruner(node: Mapping[str, Any]) -> BasePruner:
    """Pruner from a `hydra.sweeper.pruner` node.

    Raises:
        ConfigError: for an unknown name or parameter.
    """
    return _built(PRUNERS, "hydra.sweeper.pruner", node)


def sampler(node: Mapping[str, Any]) -> BaseSampler:
    """Sampler from a `hydra.sweeper.sampler` node.

    Raises:
        ConfigError: for an unknown name or parameter.
    """
    seed = node.get("seed")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ConfigError(
            f"hydra.sweeper.sampler.seed: expected an integer of at least 0, got {seed!r}"
        )
    return SeededByTrial(node)


class SeededByTrial(BaseSampler):
    """Sampler whose random numbers in trial t depend on `seed` and t alone, in any process.

    Args:
        node: name, seed and parameters of the sampler.
    """

    def __init__(self, node: Mapping[str, Any]) -> None:
        self._node = dict(node)
        self._begin(0)

    def _begin(self, number: int) -> None:
        seed = int(self._node["seed"])
        if self._node["name"] != "qmc":  # its trials share one sequence, hence one seed
            seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        options = {key: value for key, value in self._node.items() if key != "seed"}
        self._sampler: BaseSampler = _built(SAMPLERS, "hydra.sweeper.sampler", options, seed=seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        earlier = study.get_trials(deepcopy=False)[: trial.number]
        # a lost trial is repeated under another number; later ones draw as if it had not been
        repeated = sum(LOST in t.user_attrs or SURPLUS in t.user_attrs for t in earlier)
        self._begin(trial.number - repeated)
        self._sampler.before_trial(study, trial)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: Any, values: Sequence[float] | None
    ) -> None:
        self._sampler.after_trial(study, trial, state, values)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        return self._sampler.sample_independent(study, trial, name, distribution)


def should_prune(
    judge: BasePruner, study: Study, trial_id: int, seed_index: int, stride: int
) -> bool:
    """Whether a pruner stops a trial at its latest epoch of one seed.

    Args:
        judge: pruner.
        study: study of the trial.
        trial_id: id of the trial in the storage.
        seed_index: position of the seed among those of the trial.
        stride: epoch e of the j-th seed is step j · stride + e.
    """
    first = int(isinstance(judge, SuccessiveHalvingPruner))
    view = SeedView(study, seed_index, stride, first)
    return judge.prune(view, view.trial(adapter.storage_of(study).get_trial(trial_id)))  # type: ignore[arg-type]
