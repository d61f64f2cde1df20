"""Specification of a run from a composed configuration.

Everything that can be refused is refused here, before any data are read.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from omegaconf import DictConfig

from bnn import plugins
from bnn.build import Placement, TrainingSetup, binary_layers, build, build_model, build_task
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
from bnn.estimators.enumeration import Enumeration
from bnn.models import MODELS
from bnn.nn.neurons import Neuron
from bnn.nn.noise import NoiseLaw
from bnn.nn.norms import couples_above_binary
from bnn.registry import typed
from bnn.tasks import Task
from bnn.training.optimizers import OPTIMIZERS
from bnn.training.schedules import SCHEDULES
from bnn.training.settings import TrainerSettings
from bnn.training.step import init_estimator, init_task

T = TypeVar("T")


def pick_device(name: str, job: int = 0) -> str:
    """The device that `device=name` means on this machine; jobs of a sweep are spread over several GPUs."""
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
    """A placement by positions from the input, with the name that these have; `layers 1,2` where none of ours."""
    layers = sorted(binary_layers(Placement(**typed(Placement, node, "placement")), depth))
    names = {(): "none", (0,): "first", (depth - 1,): "last", (0, depth - 1): "both"}
    return {
        "name": names.get(tuple(layers), f"layers {','.join(map(str, layers))}"),
        "layers": layers,
    }


def check_combination(config: Mapping[str, Any], estimator: Estimator, task: Task) -> None:
    """Errors: ConfigError, naming both keys, for choices that make no sense together."""
    name, law = config["estimator"]["name"], config["neuron"]["law"]
    binary = config["placement"]["layers"] and Neuron.registry[config["neuron"]["name"]].binary  # type: ignore[attr-defined]
    if config["placement"]["layers"] and not binary and name != "none":
        raise ConfigError(
            f"estimator={name} with neuron={config['neuron']['name']}: its units are no bits, and plain backpropagation "
            "trains them; write estimator=none"
        )
    if binary and estimator.fractional_bits and not task.fractional_bits:
        classes = Estimator.registry.items()
        whole = ", ".join(n for n, c in classes if n != "none" and not c.fractional_bits)  # type: ignore[attr-defined]
        raise ConfigError(
            f"estimator={name} with task={config['task']['name']}: it evaluates the loss at bits between 0 and 1, where the "
            f"loss of this task is not defined; write estimator= one of {whole}"
        )
    if name == "none" and binary:
        raise ConfigError(
            f"estimator=none with placement={config['placement']['name']}: plain backpropagation cannot train a binary "
            "layer; write placement=none, or choose an estimator"
        )
    if estimator.unbiased and config["neuron"].get("rescale_gradient"):
        raise ConfigError(
            f"estimator={name} with neuron.rescale_gradient=true: leaving the slope out of the gradient biases an unbiased "
            "estimator; write neuron.rescale_gradient=false, or estimator=st"
        )
    if estimator.needs_full_support and not NoiseLaw.registry[law].full_support:  # type: ignore[attr-defined]
        smooth = ", ".join(n for n, c in NoiseLaw.registry.items() if c.full_support)  # type: ignore[attr-defined]
        raise ConfigError(
            f"estimator={name} with neuron.law={law}: the score needs log q(b), which this law makes infinite; write "
            f"neuron.law= one of {smooth}"
        )


def lab_settings(
    plain: Mapping[str, Any], units: Sequence[int], settings: LabSettings
) -> LabSettings:
    """Group `lab`, held to the network that it measures.

    Args:
        plain: canonical configuration.
        units: number of units of each binary layer.
        settings: the group itself.

    Raises:
        ConfigError: where there is nothing to measure, or no reference to measure it against.
    """
    law = plain["neuron"]["law"]
    if settings.every and not units:
        raise ConfigError(
            "lab.every: without binary layers no gradient is estimated; write lab.every=0"
        )
    epochs = plain["trainer"].get("epochs")
    if settings.every > (epochs if isinstance(epochs, int) else settings.every):
        raise ConfigError(
            f"lab.every: expected at most trainer.epochs={epochs}, got {settings.every}: nothing would be measured"
        )
    if settings.every and not NoiseLaw.registry[law].full_support and not Enumeration.holds(units):  # type: ignore[attr-defined]
        raise ConfigError(
            f"lab.every={settings.every} with neuron.law={law}: a network too large to enumerate takes log q(b) for its "
            "true gradient, which this law makes infinite; write lab.every=0 or neuron.law=logistic"
        )
    return settings


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
    """
    plain, checks = dict(plain), _Checks({} if cache is None else cache)
    loaded = plugins.load(plain.get(PLUGINS, ()))
    general = _general(plain, checks)
    plain["data"], data = checks.value("data", plain["data"], _dataset)
    device = pick_device(general.device, job)
    plain["device"] = device.partition(":")[0]
    depth = MODELS[plain["model"].get("name")].depth  # type: ignore[attr-defined]
    place = [plain["placement"], depth]
    plain["placement"] = checks.value("placement", place, lambda node: positioned(*node))
    checks.value("optimizer", plain["optimizer"], OPTIMIZERS.build)
    checks.value("anneal", plain["anneal"], SCHEDULES.build)
    checks.node(TrainerSettings, plain["trainer"], "trainer")
    network = _network_facts(plain, data, checks)
    return RunSpec(
        config=plain,
        general=dataclasses.replace(general, device=device),
        data=data,
        network=network,
        tracking=checks.node(TrackingSettings, plain["tracking"], "tracking"),
        lab=lab_settings(plain, network.units, checks.node(LabSettings, plain["lab"], "lab")),
        plugins=loaded,
    )


@dataclass(frozen=True)
class _Checks:
    """Checks of configuration nodes, each distinct one made once."""

    cache: dict[str, Any]

    def value(self, kind: str, node: Any, check: Callable[[Any], T]) -> T:
        """`check(node)`, or what it returned before."""
        key = f"{kind} {json.dumps(node, sort_keys=True, default=str)}"
        if key not in self.cache:
            self.cache[key] = check(node)
        return self.cache[key]

    def node(self, kind: type[T], node: Mapping[str, Any], key: str) -> T:
        """Group `key` as its dataclass."""
        return self.value(kind.__name__, node, lambda node: kind(**typed(kind, node, key)))


def _general(plain: Mapping[str, Any], checks: _Checks) -> GeneralSettings:
    """Keys outside the groups; jobs that differ in the seed alone share their check."""
    node, seed = {key: plain[key] for key in TOP}, plain["seed"]
    if not isinstance(seed, int) or isinstance(seed, bool):
        return checks.node(GeneralSettings, node, "")
    return dataclasses.replace(checks.node(GeneralSettings, {**node, "seed": 0}, ""), seed=seed)


def _dataset(node: Mapping[str, Any]) -> tuple[Mapping[str, Any], DatasetSpec]:
    asked = configured(node)
    return asked.node, asked.spec()


NETWORK_GROUPS = ("task", "model", "neuron", "estimator", "placement")
"""Groups that decide which network is built, and whether the estimator can train it."""


def _network_facts(plain: Mapping[str, Any], data: DatasetSpec, checks: _Checks) -> NetworkFacts:
    """Facts of a network; each distinct one is built and checked once.

    Raises:
        ConfigError: for choices that make no sense together, naming both keys.
    """

    def check(node: Any) -> NetworkFacts:
        task, estimator = build_task(plain), Estimator.registry.build(plain["estimator"])
        NoiseLaw.registry.build(plain["neuron"].get("law"))
        check_combination(plain, estimator, task)
        model = build_model(plain, data)
        init_task(task, data, plain["seed"])
        inputs = task.inputs(torch.zeros(2, *data.shape))
        units = init_estimator(estimator, model, inputs, plain["seed"])
        couples = couples_above_binary(model, inputs)
        return NetworkFacts(units, couples, estimator.assumes_independent_samples)

    node = [{group: plain[group] for group in NETWORK_GROUPS}, data.plain()]
    return checks.value("network", node, check)


def setup(config: DictConfig) -> TrainingSetup:
    """Objects of a composed configuration: `build(specify(config))`."""
    return build(specify(config))


def estimator_choices() -> list[list[str]]:
    """Overrides that choose each registered estimator but plain backpropagation, with each baseline where it takes one."""
    choices: list[list[str]] = []
    for name in Estimator.registry:
        kinds = Estimator.registry.parameters(name)
        parts = {
            p: t.registry
            for p, t in kinds.items()
            if hasattr(t, "registry") and t.registry.group == f"estimator/{p}"
        }
        for words in itertools.product(
            *([f"estimator/{part}={choice}" for choice in parts[part]] for part in parts)
        ):
            choices.append([f"estimator={name}", *words])
    return [choice for choice in choices if choice != ["estimator=none"]]
