"""Networks trained from overrides, to be analysed side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, TypeVar

from torch import nn

from bnn.config.compose import compose, with_values
from bnn.data import Dataset, offline_name, rename
from bnn.fitted import fit_network
from bnn.tables import BLANK, markdown
from bnn.tasks import Scores
from bnn.training.loop import FitResult

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass(frozen=True)
class TrainedNetwork:
    """A network at its best epoch by validation loss, in evaluation mode.

    Args:
        title: name of a run of its configuration, `stochastic · st · both · s0`.
        model: network.
        data: data set it was trained on.
        fit: history and best epoch.
        scores: metrics on validation images by reading: `sampled`, and for random units `mc_mean`
            and `threshold`.
    """

    title: str
    model: nn.Module
    data: Dataset
    fit: FitResult
    scores: Mapping[str, Scores]


def train_network(*overrides: str) -> TrainedNetwork:
    """The network that `python -m bnn.train OVERRIDES` trains, trained in this process.

    Nothing is tracked, saved or downloaded: overrides of `tracking` and `resume` have no effect.
    The test set is not scored. Where the data set is not on disk its `data.offline_fallback` is
    used, and `data.spec` of the result names it.

    Raises:
        ConfigError: for a configuration that cannot run.
        DataError: for a data set that is missing and has no fallback.
    """
    config = compose(overrides)
    fitted = fit_network(with_values(config, data=rename(config.data, offline_name(config.data))))
    made, data = fitted.setup, fitted.data
    assert fitted.fit is not None
    draws, seed = made.training.settings.evaluation_samples, made.spec.general.seed
    scores = made.training.task.evaluations(fitted.model, data.validation, draws, seed)
    return TrainedNetwork(made.spec.title, fitted.model, data, fitted.fit, scores)


def for_each_network(
    networks: Mapping[str, TrainedNetwork],
    function: Callable[Concatenate[nn.Module, Arguments], Result],
    *args: Arguments.args,
    **kwargs: Arguments.kwargs,
) -> dict[str, Result]:
    """`function(model, ...)` of every network, by its name in `networks`."""
    return {name: function(one.model, *args, **kwargs) for name, one in networks.items()}


def network_table(networks: Mapping[str, TrainedNetwork]) -> str:
    """Networks, their data sets and their validation accuracies, as a Markdown table.

    Accuracies have a column for each reading.
    """
    readings = list(dict.fromkeys(key for one in networks.values() for key in one.scores))
    head = ["network", "run", "data", "images", *(f"val accuracy, {key} (%)" for key in readings)]
    rows = []
    for name, one in networks.items():
        accuracies = [
            f"{100 * one.scores[key]['accuracy']:.2f}"
            if "accuracy" in one.scores.get(key, {})
            else BLANK
            for key in readings
        ]
        images = str(len(one.data.train.labels))
        rows.append([name, one.title, one.data.spec.title, images, *accuracies])
    return markdown(head, rows)
