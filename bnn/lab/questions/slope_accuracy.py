"""Accuracy of an estimator at several slopes of the neurons, against exact enumeration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from bnn.build import TrainingSetup, build_model
from bnn.config.compose import compose
from bnn.errors import ConfigError
from bnn.fitted import FittedNetwork, fit_network
from bnn.lab.accuracy import Accuracy
from bnn.lab.estimate import Estimate
from bnn.lab.gradient_sampler import BELOW, GradientSampler, validation_sampler
from bnn.lab.measure import measure
from bnn.lab.plots import interval_curves
from bnn.lab.reference import reference_gradient
from bnn.nn.neurons import set_slope

SLOPES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
SAMPLES = 64
"""Validation images of the batch."""
COLUMNS = {
    "bias²": "squared_bias",
    "variance": "variance",
    "cosine of the mean": "cosine_of_mean",
    "length of the mean": "length_of_mean",
}
"""Fields of `Accuracy` by the head of their column or panel."""
LABELS = ("over |true|²", "over |true|²", "cosine", "over |true|")
"""Labels of the vertical axes, likewise."""


def accuracy_by_slope(
    overrides: Sequence[str], draws: int
) -> tuple[TrainingSetup, dict[str, list[Accuracy]]]:
    """Accuracy of the configured estimator below the highest binary layer, at each of SLOPES.

    Stochastic and deterministic neurons have the same weights, those of a network of stochastic
    ones that was trained at slope 1.

    Args:
        overrides: overrides of bnn.train.
        draws: estimates at each slope.

    Returns:
        Objects of the training; accuracies by neuron, in the order of SLOPES.

    Raises:
        ConfigError: for a network that cannot be enumerated.
    """
    config = compose([*overrides, "neuron=stochastic", "trainer.progress=none"])
    network = fit_network(config)
    batch = validation_sampler(network, SAMPLES)
    neurons = ("stochastic", "deterministic")
    return network.setup, {neuron: _at_slopes(network, batch, neuron, draws) for neuron in neurons}


def _at_slopes(
    network: FittedNetwork, batch: GradientSampler, neuron: str, draws: int
) -> list[Accuracy]:
    checked = network.setup
    config = {**checked.spec.config, "neuron": {**checked.spec.config["neuron"], "name": neuron}}
    model = build_model(config, checked.spec.data)
    model.load_state_dict(network.model.state_dict())
    model.to(checked.device)
    found = []
    for slope in SLOPES:
        set_slope(model, slope)
        sampler = GradientSampler(
            model,
            batch.inputs,
            batch.targets,
            checked.spec.general.seed,
            checked.training.task.loss,
            checked.training.settings.precision,
        )
        exact = reference_gradient(sampler, 2)
        if not exact.exact:
            raise ConfigError(
                "bnn.lab.questions.slopes: expected a network that can be enumerated; "
                "write model=mlp model.hidden=8 model.norm=none"
            )
        ready = sampler.warm_up(checked.training.estimator, 0)
        found.append(measure(sampler, ready, exact, draws).layers[BELOW])
    return found


def accuracy_figure(found: Mapping[str, Sequence[Accuracy]]) -> Figure:
    """Accuracies by slope: a panel for each of COLUMNS, a curve for each neuron.

    Args:
        found: accuracies by neuron, in the order of SLOPES.
    """
    panels = [
        {neuron: _curve(accuracies, field) for neuron, accuracies in found.items()}
        for field in COLUMNS.values()
    ]
    return interval_curves(panels, list(COLUMNS), "slope", LABELS)


def _curve(accuracies: Sequence[Accuracy], field: str) -> list[tuple[float, Estimate]]:
    values = [getattr(accuracy, field) for accuracy in accuracies]
    return list(zip(SLOPES, values, strict=True))
