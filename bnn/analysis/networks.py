"""From overrides to a trained network, and from a question about one network to the same about several side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, TypeVar

from torch import nn

from bnn.build import read_dataset
from bnn.config.compose import changed, compose
from bnn.data import Dataset, offline_name, rename
from bnn.specify import setup
from bnn.tables import markdown
from bnn.tasks import Scores
from bnn.training.loop import FitResult, fit

Words = ParamSpec("Words")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Net:
    """A trained network, at its best epoch by validation loss and in evaluation mode."""

    title: str
    """As a run of this configuration is called: `stochastic · st · both · s0`."""
    model: nn.Module
    data: Dataset
    fit: FitResult
    scores: Mapping[str, Scores]
    """On validation images, by the way in which bits are drawn (`own`, and for random units `mean` and `threshold`)."""


def trained(*overrides: str) -> Net:
    """The network of `python -m bnn.train OVERRIDES`, trained here and now: nothing is tracked, saved or downloaded (what is
    said of that, or of `resume`, has no effect), and the test set is not scored. Where the data set is not on disk its
    `data.offline_fallback` is used; `Net.data.spec` says which it was.

    Errors: ConfigError for what cannot run; DataError for a data set that is missing and has no fallback.
    """
    config = compose(overrides)
    checked = setup(changed(config, data=rename(config.data, offline_name(config.data))))
    data = read_dataset(checked.spec)
    finished = fit(checked.model, checked.training, data, title=checked.spec.title)
    draws, task = checked.training.settings.evaluation_samples, checked.training.task
    scores = task.evaluations(checked.model, data.validation, draws, checked.spec.general.seed)
    return Net(checked.spec.title, checked.model, data, finished, scores)


def each(
    nets: Mapping[str, Net],
    question: Callable[Concatenate[nn.Module, Words], Answer],
    *args: Words.args,
    **kwargs: Words.kwargs,
) -> dict[str, Answer]:
    """`question(model, ...)` of every network, by its name in `nets`."""
    return {name: question(net.model, *args, **kwargs) for name, net in nets.items()}


def table(nets: Mapping[str, Net]) -> str:
    """What was trained on what, and the validation accuracy by the ways of drawing bits, as a Markdown table."""
    ways = list(dict.fromkeys(way for net in nets.values() for way in net.scores))
    rows = []
    for name, net in nets.items():
        accuracies = [
            f"{100 * net.scores[way]['accuracy']:.2f}" if way in net.scores else "–" for way in ways
        ]
        rows.append(
            [name, net.title, net.data.spec.title, str(len(net.data.train.labels)), *accuracies]
        )
    head = ["network", "run", "data", "images", *(f"val accuracy, {way} (%)" for way in ways)]
    return markdown(head, rows)
