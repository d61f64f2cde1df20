"""Checks of choices that make no sense together, before anything is trained."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bnn.config.canonical import flat
from bnn.config.overrides import key_of
from bnn.config.specification import LabSettings, RunSpec
from bnn.errors import ConfigError
from bnn.estimators import Estimator
from bnn.estimators.enumeration import Enumeration
from bnn.models import MODELS
from bnn.nn.neurons import Neuron
from bnn.nn.noise import NoiseLaw
from bnn.nn.weight_draws import LRT, SIGN
from bnn.nn.weights import WeightRule
from bnn.tasks import Task


def check_combination(config: Mapping[str, Any], estimator: Estimator, task: Task) -> None:
    """Check that estimator, neuron, placement and task go together.

    Args:
        config: canonical configuration.
        estimator: its gradient estimator.
        task: its task.

    Raises:
        ConfigError: for choices that do not, naming both keys.
    """
    _check_gates(config)
    _check_units(config, task)
    _check_weights(config, estimator, task)
    if config["placement"]["layers"] and _fires_bits(config):
        _check_fractional_bits(config, estimator, task)
        _check_bound(config, estimator, task)
        _check_scale(config, estimator, task)
    if task.needs_latents:
        _check_latents(config)
    if task.needs_generator:
        _check_generator(config)
    _check_law(config, estimator)


def check_units(config: Mapping[str, Any], units: Sequence[int]) -> None:
    """Check that a network with binary placements has met binary layers in a forward pass.

    Args:
        config: canonical configuration.
        units: number of units of each binary layer that was met.

    Raises:
        ConfigError: for a network that does not call the activations that it is given.
    """
    if config["placement"]["layers"] and _fires_bits(config) and not units:
        raise ConfigError(
            f"model={config['model']['name']} with placement={config['placement']['name']}: no "
            "binary layer ran in a forward pass; expected a network that calls the activations "
            "that it is given"
        )


def _fires_bits(config: Mapping[str, Any]) -> bool:
    return bool(Neuron.registry.attribute(config["neuron"]["name"], "binary"))


def _check_gates(config: Mapping[str, Any]) -> None:
    """Check that a network whose gates are always open has no binary layer to train."""
    if config["model"].get("gates") == "open" and config["placement"]["layers"]:
        raise ConfigError(
            f"model.gates=open with placement={config['placement']['name']}: all gates are open, "
            "and no unit is binary; write placement=none"
        )
    if config["model"].get("gates") != "random":
        return
    if not config["placement"]["layers"] or not _fires_bits(config):
        raise ConfigError(
            f"model.gates=random with placement={config['placement']['name']} and "
            f"neuron={config['neuron']['name']}: such gates are binary units; write "
            "placement=last neuron=stochastic estimator=frozen"
        )
    if config["estimator"]["name"] != "frozen":
        raise ConfigError(
            f"model.gates=random with estimator={config['estimator']['name']}: such gates do not "
            "learn; write estimator=frozen"
        )


def _check_units(config: Mapping[str, Any], task: Task) -> None:
    """Check that bits have an estimator, and other units none."""
    name, layers = config["estimator"]["name"], config["placement"]["layers"]
    if not layers:
        return
    if not _fires_bits(config) and name != "none":
        raise ConfigError(
            f"estimator={name} with neuron={config['neuron']['name']}: its units are no bits, and "
            "plain backpropagation trains them; write estimator=none"
        )
    if _fires_bits(config) and name == "none":
        without = "" if task.needs_latents else "write placement=none, or "
        raise ConfigError(
            f"estimator=none with placement={config['placement']['name']}: plain backpropagation "
            f"cannot train a binary layer; {without}choose an estimator"
        )


def _check_weights(config: Mapping[str, Any], estimator: Estimator, task: Task) -> None:
    """Check that task and estimator take what the weights' rule makes."""
    weights = config["weights"]
    reading = WeightRule.registry.attribute(weights["name"], "reading")
    if not task.scores_samples and reading != SIGN:
        raise ConfigError(
            f"weights={weights['name']} with task={config['task']['name']}: readings of drawn "
            "weights are of single samples, and the metrics of this task are of all samples "
            "together; write weights=sign or weights=bop"
        )
    if estimator.needs_linear_readout and reading == LRT and weights.get("layers") != "hidden":
        raise ConfigError(
            f"estimator={config['estimator']['name']} with weights={weights['name']} and "
            f"weights.layers={weights['layers']}: it expects a linear read-out, and the noise of "
            "local reparameterisation depends on the bits; write weights.layers=hidden"
        )


def _check_fractional_bits(config: Mapping[str, Any], estimator: Estimator, task: Task) -> None:
    """Check that the loss is defined wherever the estimator evaluates it."""
    if not estimator.fractional_bits or task.fractional_bits:
        return
    registry = Estimator.registry
    whole = [n for n in registry if n != "none" and not registry.attribute(n, "fractional_bits")]
    raise ConfigError(
        f"estimator={config['estimator']['name']} with task={config['task']['name']}: it evaluates "
        "the loss at bits between 0 and 1, where the loss of this task is not defined; write "
        f"estimator= one of {', '.join(whole)}"
    )


def _check_bound(config: Mapping[str, Any], estimator: Estimator, task: Task) -> None:
    """Check that the weights of a bound of several draws are weights."""
    if estimator.bound and not task.importance_weights:
        said = "write task.kl=sampled" if "kl" in config["task"] else "choose another estimator"
        raise ConfigError(
            f"estimator={config['estimator']['name']} with task={config['task']['name']}: its "
            f"bound takes the mean of exp(-loss), which is no importance weight here; {said}"
        )


def _check_scale(config: Mapping[str, Any], estimator: Estimator, task: Task) -> None:
    """Check that no part of the gradient is left without the scale of the rest."""
    if estimator.up_to_scale and task.logits_in_loss:
        said = "write task.kl=sampled" if "kl" in config["task"] else "choose another estimator"
        raise ConfigError(
            f"estimator={config['estimator']['name']} with task={config['task']['name']}: it "
            "scales the gradient of the bits, and not that of the divergence, which the loss takes "
            f"from the logits themselves; {said}"
        )


def _check_generator(config: Mapping[str, Any]) -> None:
    """Check that a network makes pixels, and that an estimator trains it."""
    task, model = config["task"]["name"], config["model"]["name"]
    if not getattr(MODELS[model], "generates", False):
        known = ", ".join(name for name in MODELS if getattr(MODELS[name], "generates", False))
        raise ConfigError(
            f"task={task} with model={model}: it expects a generator of pixels in [0, 1]; write "
            f"model= one of {known}"
        )
    if config["estimator"]["name"] == "frozen" and config["placement"]["layers"]:
        raise ConfigError(
            f"estimator=frozen with task={task}: all weights lie below the binary output layer, so "
            "that nothing would be trained; choose another estimator"
        )


def _check_latents(config: Mapping[str, Any]) -> None:
    """Check that the latent variables of a task are there, and that their log q(b) is finite."""
    task, neuron, laws = config["task"]["name"], config["neuron"], NoiseLaw.registry
    if not config["placement"]["layers"]:
        raise ConfigError(
            f"task={task} with placement={config['placement']['name']}: its latent variables are "
            "binary layers, and the network has none; write placement=all"
        )
    if not _fires_bits(config) or not Neuron.registry.attribute(neuron["name"], "random"):
        raise ConfigError(
            f"task={task} with neuron={neuron['name']}: its latent variables are drawn bits; write "
            "neuron=stochastic"
        )
    if not laws.attribute(neuron["law"], "full_support"):
        smooth = [one for one in laws if laws.attribute(one, "full_support")]
        raise ConfigError(
            f"task={task} with neuron.law={neuron['law']}: its bound needs log q(b), which this "
            f"law makes infinite; write neuron.law= one of {', '.join(smooth)}"
        )


def _check_law(config: Mapping[str, Any], estimator: Estimator) -> None:
    """Check that the estimator takes the neuron's gradient and noise law."""
    name, law = config["estimator"]["name"], config["neuron"]["law"]
    exact = estimator.unbiased or estimator.bound
    if exact and config["neuron"].get("rescale_gradient"):
        raise ConfigError(
            f"estimator={name} with neuron.rescale_gradient=true: leaving the slope out of the "
            "gradient biases an unbiased estimator; write neuron.rescale_gradient=false, or "
            "estimator=st"
        )
    laws = NoiseLaw.registry
    if estimator.needs_full_support and not laws.attribute(law, "full_support"):
        smooth = [one for one in laws if laws.attribute(one, "full_support")]
        raise ConfigError(
            f"estimator={name} with neuron.law={law}: the score needs log q(b), which this law "
            f"makes infinite; write neuron.law= one of {', '.join(smooth)}"
        )


def check_lab(config: Mapping[str, Any], units: Sequence[int], settings: LabSettings) -> None:
    """Check that gradients can be measured during training, where that is asked for.

    Args:
        config: canonical configuration.
        units: number of units of each binary layer.
        settings: group `lab`.

    Raises:
        ConfigError: where there is nothing to measure, or no reference to measure it against.
    """
    if not settings.every:
        return
    try:
        check_measurable(config, units)
    except ConfigError as error:
        raise ConfigError(f"lab.every={settings.every}: {error}, or lab.every=0") from error
    epochs = config["trainer"].get("epochs")
    if isinstance(epochs, int) and settings.every > epochs:
        raise ConfigError(
            f"lab.every: expected at most trainer.epochs={epochs}, got {settings.every}: nothing "
            "would be measured"
        )


def check_measurable(config: Mapping[str, Any], units: Sequence[int]) -> None:
    """Check that the gradient of a network can be measured against a reference.

    Args:
        config: canonical configuration.
        units: number of units of each binary layer.

    Raises:
        ConfigError: without binary layers, for an estimator of another objective, and for a law
            under which a network that cannot be enumerated has no score.
    """
    if not units:
        raise ConfigError(
            "without binary layers no gradient is estimated; write placement= one of first, last, "
            "both, all"
        )
    estimator, law = config["estimator"]["name"], config["neuron"]["law"]
    if Estimator.registry.attribute(estimator, "bound"):
        raise ConfigError(
            f"estimator={estimator}: its objective is the bound of several draws, and the "
            "reference is the gradient of the expected loss; write another estimator="
        )
    smooth = NoiseLaw.registry.attribute(law, "full_support")
    if not smooth and not Enumeration.holds(units):
        raise ConfigError(
            f"neuron.law={law}: a network too large to enumerate takes log q(b) for its true "
            "gradient, which this law makes infinite; write neuron.law=logistic"
        )


@contextmanager
def memory_errors(config: Mapping[str, Any], *groups: str) -> Iterator[None]:
    """Context manager that turns torch's errors of allocation into one line.

    Args:
        config: canonical configuration.
        groups: groups whose sizes decide how much is allocated.

    Raises:
        ConfigError: naming the largest sizes in these groups, and the bytes that were asked for.
    """
    try:
        yield
    except (MemoryError, RuntimeError, TypeError) as error:
        found = re.search(r"allocate (\d[\d.]*(?: \w?i?B)?)", str(error))
        if not found and not re.search(r"size calculation overflowed|unpacking long", str(error)):
            raise
        asked = f"{found[1]} bytes".replace("B bytes", "B") if found else "more than 2^63 bytes"
        sizes = {
            f"{group}.{key}": value
            for group in groups
            for key, value in flat(dict(config[group])).items()
            if isinstance(value, int) and not isinstance(value, bool) and key != "epochs"
        }
        words = [f"{key}={sizes[key]}" for key in sorted(sizes, key=lambda key: -sizes[key])]
        raise ConfigError(
            f"{words[0] if words else groups[0]}: torch was asked for {asked}, which this machine "
            f"does not have; lower {' or '.join(words[:3]) or 'its size'}"
        ) from error


LEFT_OUT = ("estimator", "anneal", "neuron")
"""Groups that cannot matter without binary layers."""


def ignored_choices(specs: Sequence[RunSpec], words: Sequence[str]) -> list[str]:
    """Notes on overrides that no run follows by the letter.

    Args:
        specs: specifications of the runs of one command.
        words: overrides that they were composed from.

    Returns:
        A line on choices that do not matter without binary layers, where none of the runs has any;
        and a line on `placement=first` where the first activation of the network is its last.
    """
    notes = []
    placements = {spec.config["placement"]["name"] for spec in specs}
    if not any(spec.units for spec in specs) and placements == {"none"}:
        dropped = [word for word in words if _matters_to_binary_layers(word)]
        if dropped:
            notes.append(
                f"note: {' '.join(dict.fromkeys(dropped))}: without binary layers (placement=none) "
                "plain backpropagation trains, and these choices are left out"
            )
    if "placement=first" in words and "first" not in placements:
        notes.append(
            "note: placement=first: the network has one activation, and its runs are named by "
            "placement=last"
        )
    return notes


def _matters_to_binary_layers(word: str) -> bool:
    """Whether an override is left out of the canonical form of a network without binary layers."""
    key = key_of(word).replace("/", ".")
    return key.partition(".")[0] in LEFT_OUT and key != "neuron.law" and word != "estimator=none"
