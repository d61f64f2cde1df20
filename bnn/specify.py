"""Specification of a run from a composed configuration.

Everything that can be refused is refused here, before any data are read.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from omegaconf import DictConfig

from bnn import plugins
from bnn.build import TrainingSetup, binary_positions, build, build_model, build_task
from bnn.combinations import check_combination, check_lab, check_units, memory_errors
from bnn.config.canonical import PLUGINS, TOP, canonical
from bnn.config.specification import (
    GeneralSettings,
    LabSettings,
    NetworkFacts,
    RunSpec,
    TrackingSettings,
)
from bnn.data import DatasetSpec, configured
from bnn.errors import ConfigError
from bnn.estimators import Estimator
from bnn.models import MODELS
from bnn.nn.noise import NoiseLaw
from bnn.nn.norms import couples_above_binary
from bnn.registry import validate
from bnn.training.initial_weights import load_weights, read_weights, source_content
from bnn.training.initialisation import check_latent_path, init_estimator, init_task
from bnn.training.optimizers import OPTIMIZERS, parameter_groups
from bnn.training.schedules import SCHEDULES
from bnn.training.settings import TrainerSettings

T = TypeVar("T")


def pick_device(name: str, job: int = 0) -> str:
    """Device that a run uses on this machine; jobs of a sweep are spread over several GPUs.

    Args:
        name: `auto`, `cpu` or `cuda`.
        job: number of the job in its sweep.

    Returns:
        `cpu`, or `cuda:` and the number of the GPU.

    Raises:
        ConfigError: for another name, or without a CUDA device.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device: expected one of auto, cpu, cuda; got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "device=cuda: no CUDA device is available; write device=cpu or device=auto"
        )
    if name == "cpu" or not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{job % torch.cuda.device_count()}"


def positioned(node: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """Group `placement` by positions from the input, with the name of these positions.

    Args:
        node: group `placement`.
        depth: number of activations of the network.

    Returns:
        `layers`, sorted positions; and `name`, `none`, `first`, `last`, `both`, `all` or
        `layers 1,2`.

    Raises:
        ConfigError: for a position that the network lacks or that is named twice.
    """
    layers = sorted(binary_positions(node, depth))
    names = {
        tuple(range(depth)): "all",
        (): "none",
        (0,): "first",
        (depth - 1,): "last",
        (0, depth - 1): "both",
    }
    return {
        "name": names.get(tuple(layers), f"layers {','.join(map(str, layers))}"),
        "layers": layers,
    }


def specify(config: DictConfig, job: int = 0) -> RunSpec:
    """Specification of a composed configuration, checked before any data are read.

    Args:
        config: composed configuration.
        job: number of the job in its sweep, by which GPUs are shared out.

    Raises:
        ConfigError: naming the key to change.
    """
    plain = canonical(config)
    plugins.load(plain.get(PLUGINS, ()))
    # as they were given: without binary layers the canonical form has `none` in their place
    Estimator.registry.build(config.estimator)
    SCHEDULES.build(config.anneal)
    return specify_canonical(plain, job)


def specify_canonical(
    plain: Mapping[str, Any], job: int = 0, cache: dict[str, Any] | None = None
) -> RunSpec:
    """Specification of a canonical configuration; see `specify`.

    Args:
        plain: canonical configuration.
        job: number of the job in its sweep.
        cache: checked nodes of earlier calls, which are not checked again: each further job of a
            large sweep costs less than a millisecond.

    Raises:
        ConfigError: naming the key to change.
    """
    plain, checks = dict(plain), _Checks({} if cache is None else cache)
    loaded = plugins.load(plain.get(PLUGINS, ()))
    general = _general(plain, checks)
    plain["data"], data = checks.value("data", plain["data"], _dataset)
    device = pick_device(general.device, job)
    plain["device"] = device.partition(":")[0]
    depth = MODELS.depth(plain["model"])
    place = [plain["placement"], depth]
    plain["placement"] = checks.value("placement", place, lambda node: positioned(*node))
    optimization = checks.value("optimizer", plain["optimizer"], OPTIMIZERS.build)
    checks.value("anneal", plain["anneal"], SCHEDULES.build)
    checks.node(TrainerSettings, plain["trainer"], "trainer")
    initial = checks.value("init_from", plain["model"].get("init_from"), source_content)
    network = _network_facts(plain, data, checks, initial)
    optimization.check_groups(network.parameter_groups)
    lab = checks.node(LabSettings, plain["lab"], "lab")
    check_lab(plain, network.units, lab)
    return RunSpec(
        config=plain,
        general=dataclasses.replace(general, device=device),
        data=data,
        network=network,
        tracking=checks.node(TrackingSettings, plain["tracking"], "tracking"),
        lab=lab,
        plugins=loaded,
        initial=initial,
    )


@dataclass(frozen=True)
class _Checks:
    """Checks of configuration nodes, each distinct one made once.

    Args:
        cache: results of earlier checks.
    """

    cache: dict[str, Any]

    def value(self, kind: str, node: Any, check: Callable[[Any], T]) -> T:
        """Result of `check(node)`, computed once."""
        key = f"{kind} {json.dumps(node, sort_keys=True, default=str)}"
        if key not in self.cache:
            self.cache[key] = check(node)
        found: T = self.cache[key]
        return found

    def node(self, kind: type[T], node: Mapping[str, Any], key: str) -> T:
        """Node of the group `key` as its dataclass."""
        return self.value(kind.__name__, node, lambda node: kind(**validate(kind, node, key)))


def _general(plain: Mapping[str, Any], checks: _Checks) -> GeneralSettings:
    """Keys outside the groups; jobs that differ in the seed alone share their check."""
    node, seed = {key: plain[key] for key in TOP}, plain["seed"]
    if not isinstance(seed, int) or isinstance(seed, bool):
        return checks.node(GeneralSettings, node, "")
    return dataclasses.replace(checks.node(GeneralSettings, {**node, "seed": 0}, ""), seed=seed)


def _dataset(node: Mapping[str, Any]) -> tuple[Mapping[str, Any], DatasetSpec]:
    """Node of a data set with every key, and its facts."""
    asked = configured(node)
    return asked.node, asked.spec()


NETWORK_GROUPS = ("task", "model", "neuron", "estimator", "placement", "weights")
"""Groups that decide which network is built, and whether the estimator can train it."""


def _network_facts(
    plain: Mapping[str, Any], data: DatasetSpec, checks: _Checks, initial: str | None
) -> NetworkFacts:
    """Facts of a network; each distinct one is built and checked once.

    Args:
        plain: canonical configuration.
        data: facts of the data set.
        checks: checks that were made before.
        initial: content of the file that `model.init_from` names, where it names one.

    Raises:
        ConfigError: for choices that make no sense together, naming both keys.
    """

    def check(node: Any) -> NetworkFacts:
        task, estimator = build_task(plain), Estimator.registry.build(plain["estimator"])
        NoiseLaw.registry.build(plain["neuron"].get("law"))
        check_combination(plain, estimator, task)
        with memory_errors(plain, "model", "estimator"):
            model = build_model(plain, data)
            init_task(task, data, plain["seed"])
            inputs = task.inputs(torch.zeros(2, *data.shape))
            units = init_estimator(estimator, model, inputs, plain["seed"])
            check_units(plain, units)
            check_latent_path(task, estimator)
            couples = couples_above_binary(model, inputs)
        if initial is not None:
            source = plain["model"]["init_from"]
            load_weights(model, read_weights(Path(source), source), source)
        groups = frozenset(parameter_groups(model, estimator, task))
        return NetworkFacts(units, couples, estimator.assumes_independent_samples, groups)

    node = [{group: plain[group] for group in NETWORK_GROUPS}, data.plain(), initial]
    return checks.value("network", node, check)


def setup(config: DictConfig) -> TrainingSetup:
    """Objects of a composed configuration: `build(specify(config))`."""
    return build(specify(config))


def estimator_choices() -> list[list[str]]:
    """Overrides that choose each registered estimator of the gradient of the expected loss.

    Plain backpropagation is left out, and those of a bound of several draws. An estimator that
    takes a baseline is chosen with each of them.
    """
    choices: list[list[str]] = []
    for name in Estimator.registry:
        if Estimator.registry.attribute(name, "bound"):
            continue
        kinds = Estimator.registry.parameters(name)
        parts = {
            part: kind.registry
            for part, kind in kinds.items()
            if hasattr(kind, "registry") and kind.registry.group == f"estimator/{part}"
        }
        words = ([f"estimator/{part}={choice}" for choice in parts[part]] for part in parts)
        choices += [[f"estimator={name}", *chosen] for chosen in itertools.product(*words)]
    return [choice for choice in choices if choice != ["estimator=none"]]
