"""From names to objects, in one place. Everything that can be refused is refused here, before any data is read."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from omegaconf import DictConfig
from torch import nn

from bnn import facts, plugins
from bnn.config import PLUGINS, TOP, canonical, digest, run_title, without_password
from bnn.data import Dataset, DatasetSpec, configured, load, recorded_spec
from bnn.data.datasets import FACTS
from bnn.errors import CheckpointError, ConfigError
from bnn.estimators import Estimator
from bnn.estimators.enumeration import Enumeration
from bnn.models import MODELS
from bnn.nn.neurons import Neuron, Real
from bnn.nn.noise import NoiseLaw
from bnn.plugins import Plugin
from bnn.registry import typed
from bnn.seeds import stream
from bnn.tasks import Task
from bnn.training import checkpoint
from bnn.training.optimizers import OPTIMIZERS
from bnn.training.schedules import SCHEDULES
from bnn.training.settings import TrainerSettings, TrainingConfig
from bnn.training.step import init_estimator, init_task


@dataclass(frozen=True)
class Placement:
    """The `placement` group: which activations are binary, by position; negative ones count from the output."""

    name: str
    layers: list[int]


@dataclass(frozen=True)
class TrackingSettings:
    """The `tracking` group."""

    uri: str | None
    experiment: str
    heatmaps: bool
    model: bool


@dataclass(frozen=True)
class LabSettings:
    """The `lab` group: measurements during training."""

    every: int
    batch: int
    draws: int
    reference: int

    def __post_init__(self) -> None:
        for key, least in (("every", 0), ("batch", 2), ("draws", 2), ("reference", 2)):
            if getattr(self, key) < least:
                raise ConfigError(f"lab.{key}: expected at least {least}, got {getattr(self, key)}")


@dataclass(frozen=True)
class General:
    """What stands outside the groups."""

    seed: int
    device: str
    dry_run: bool
    fresh: bool
    resume: bool


@dataclass(frozen=True)
class Plan:
    """A checked configuration and the objects that it describes, all but the data set's tensors."""

    config: Mapping[str, Any]
    """Canonical and resolved."""
    general: General
    data: DatasetSpec
    model: nn.Module
    units: tuple[int, ...]
    """The number of units of each binary layer, from the input."""
    recipe: TrainingConfig
    tracking: TrackingSettings
    lab: LabSettings
    plugins: tuple[Plugin, ...] = ()
    """Those from which its choices may come."""

    @property
    def shown(self) -> dict[str, Any]:
        """The configuration as it may be written down: without passwords."""
        tracking = dict(self.config["tracking"])
        if isinstance(tracking.get("uri"), str):
            tracking["uri"] = without_password(tracking["uri"])
        return {**self.config, "tracking": tracking}

    @property
    def about(self) -> dict[str, Any]:
        """Description of the network for its checkpoint: the configuration, and the facts by which it is rebuilt and fed
        where the data set is not at hand."""
        return {**self.shown, FACTS: self.data.plain()}

    @property
    def digest(self) -> str:
        """Of the configuration; of the examples too, where the configuration does not say which they are."""
        if self.data.content is None:
            return digest(dict(self.config))
        return digest(
            {**self.config, "data": {**self.config["data"], "content": self.data.content}}
        )

    @property
    def result(self) -> str:
        """What determines its result: the configuration, the source and that of the plug-ins."""
        return facts.result(self.digest, self.plugins)

    @property
    def title(self) -> str:
        return run_title(dict(self.config))

    @property
    def device(self) -> torch.device:
        return torch.device(self.general.device)


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


def binary_layers(placement: Placement, depth: int) -> frozenset[int]:
    """Positions from the input of the binary activations among `depth`.

    Errors: ConfigError for a position that the network lacks or that is named twice.
    """
    for layer in placement.layers:
        if not -depth <= layer < depth:
            raise ConfigError(f"placement.layers: the model has {depth} activations, expected positions in "
                              f"[{-depth}, {depth - 1}], got {layer}")  # fmt: skip
    layers = frozenset(layer % depth for layer in placement.layers)
    if len(layers) < len(placement.layers):
        raise ConfigError(
            f"placement.layers: expected each activation once, got {placement.layers}"
        )
    return layers


def positioned(node: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """A placement by positions from the input, with the name that these have; `layers 1,2` where none of ours."""
    layers = sorted(binary_layers(Placement(**typed(Placement, node, "placement")), depth))
    names = {(): "none", (0,): "first", (depth - 1,): "last", (0, depth - 1): "both"}
    return {
        "name": names.get(tuple(layers), f"layers {','.join(map(str, layers))}"),
        "layers": layers,
    }


def build_task(config: Mapping[str, Any]) -> Task:
    """The task of a configuration; version 0.1.0 had one alone, classification."""
    return Task.registry.build(config.get("task", "classification"))


def build_model(config: Mapping[str, Any], spec: DatasetSpec) -> nn.Module:
    """The network with binary neurons where the placement puts them, initialised from the seed."""
    outputs = build_task(config).output_size(spec)
    neuron, model = dict(config["neuron"]), dict(config["model"])
    depth = MODELS[model["name"]].depth  # type: ignore[attr-defined]
    binary = binary_layers(Placement(**typed(Placement, config["placement"], "placement")), depth)
    law = NoiseLaw.registry.build(neuron["law"])
    with torch.random.fork_rng(
        devices=[]
    ):  # the caller's stream goes on as if nothing had been drawn
        torch.manual_seed(stream(config["seed"], "weights"))
        activations = [
            Neuron.registry.build(neuron) if layer in binary else Real(law=law)
            for layer in range(depth)
        ]
        return MODELS.build(model, spec.shape, outputs, activations)


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


def lab_settings(plain: Mapping[str, Any], units: Sequence[int]) -> LabSettings:
    """Errors: ConfigError where there is nothing to measure, or no truth to measure it against."""
    settings = LabSettings(**typed(LabSettings, plain["lab"], "lab"))
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


def plan(config: DictConfig, job: int = 0) -> Plan:
    """Check a composed configuration and build what it describes. Errors: ConfigError, naming the key to change."""
    plain = canonical(config)
    loaded = plugins.load(plain.get(PLUGINS, ()))
    for group, registry in (("estimator", Estimator.registry), ("anneal", SCHEDULES)):
        registry.build(
            config[group]
        )  # as it was given: without binary layers the canonical form has `none` in its place
    general = General(**typed(General, {key: plain[key] for key in TOP}, ""))
    if not 0 <= general.seed < 2**32:
        raise ConfigError(f"seed: expected an integer in [0, 2^32), got {general.seed}")
    if general.fresh and general.resume:
        raise ConfigError(
            "fresh=true with resume=true: one forgets what the other goes on with; leave one of them out"
        )
    asked = configured(plain["data"])
    plain["data"], spec = asked.node, asked.spec()
    device = pick_device(general.device, job)
    plain["device"] = device.partition(":")[0]
    plain["placement"] = positioned(plain["placement"], MODELS[plain["model"].get("name")].depth)  # type: ignore
    task, estimator = build_task(plain), Estimator.registry.build(plain["estimator"])
    NoiseLaw.registry.build(plain["neuron"].get("law"))
    check_combination(plain, estimator, task)
    model = build_model(plain, spec)
    init_task(task, spec, general.seed)
    units = init_estimator(estimator, model, task.inputs(torch.zeros(2, *spec.shape)), general.seed)
    return Plan(
        config=plain,
        general=dataclasses.replace(general, device=device),
        data=spec,
        model=model,
        units=tuple(units),
        recipe=TrainingConfig(
            task=task,
            estimator=estimator,
            optimization=OPTIMIZERS.build(plain["optimizer"]),
            schedule=SCHEDULES.build(plain["anneal"]),
            settings=TrainerSettings(**typed(TrainerSettings, plain["trainer"], "trainer")),
            seed=general.seed,
        ),
        tracking=TrackingSettings(**typed(TrackingSettings, plain["tracking"], "tracking")),
        lab=lab_settings(plain, units),
        plugins=loaded,
    )


def read(plan: Plan) -> Dataset:
    """The data set of a plan, on its device."""
    return load(plan.config["data"], plan.recipe.seed, plan.recipe.settings.validation_fraction).to(
        plan.device
    )


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


@dataclass(frozen=True)
class Trained:
    """A network of a checkpoint in evaluation mode, at the slope it was trained to, its task, and its configuration."""

    model: nn.Module
    task: Task
    about: Mapping[str, Any]


def load_trained(file: Path | BinaryIO) -> Trained:
    """The network and the task of a checkpoint, whose plug-ins are loaded.

    Raises:
        CheckpointError: for a file that is none, of a network that this version cannot build, or without its plug-ins.
    """
    content = checkpoint.load(file)
    about = content.get("about") if isinstance(content, dict) else None
    try:
        plugins.load(plugins.module_names(about.get(PLUGINS) if isinstance(about, dict) else None))
    except ConfigError as error:
        raise CheckpointError(f"{file}: {error}") from error
    try:
        about = content["about"]
        spec, task = recorded_spec(about), build_task(about)
        model = build_model(about, spec)
        model.load_state_dict(content["model"])
        init_task(task, spec, about["seed"])
        task.load_state_dict(content.get("task", {}))  # version 0.1.0 kept none
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        why = str(error).partition("\n")[0]
        raise CheckpointError(
            f"{file}: expected a best.pt of this version, from which a network is built ({why})"
        ) from error
    # the layout it was trained in, since noise is drawn in memory order
    model.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return Trained(model, task, about)


def load_checkpoint(file: Path | BinaryIO) -> tuple[nn.Module, Mapping[str, Any]]:
    """The network of a checkpoint and its configuration; see `load_trained`."""
    trained = load_trained(file)
    return trained.model, trained.about
