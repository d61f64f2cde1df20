"""Summary of a study: progress lines, tables of trials and studies, and Optuna's figures."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from bnn.tables import BLANK, clock, markdown
from bnn.tuning.compositions import Compositions
from bnn.tuning.objective import SPREAD, STOPPED, VALUES
from bnn.tuning.queue import LOST, REASON, SURPLUS
from bnn.tuning.settings import PROVENANCE, StudySettings, metrics_of
from bnn.tuning.space import SearchSpace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
ROWS = 50
"""Rows of the printed table of trials; the artifact table.json has all of them."""


def format_value(value: Any) -> str:
    """A value as text, floats with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def format_params(trial: FrozenTrial) -> str:
    """Parameters of a trial: `anneal=cosine optimizer.lr=0.03`."""
    return " ".join(f"{key}={format_value(value)}" for key, value in trial.params.items())


def format_objectives(trial: FrozenTrial, metrics: Sequence[str]) -> str:
    """Objectives of a trial, ± the standard deviation over seeds: `val/loss 0.0512 ± 0.0021`."""
    spread = trial.user_attrs.get(SPREAD, {})
    words = []
    for metric, value in zip(metrics, trial.values or (), strict=False):
        sd = spread.get(metric)
        words.append(f"{metric} {value:.5g}" + (f" ± {sd:.2g}" if sd is not None else ""))
    return ", ".join(words)


def best_trials(study: Study) -> list[FrozenTrial]:
    """Best complete trial, or the Pareto front of several objectives; empty if none is complete."""
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        return []
    return study.best_trials if len(study.directions) > 1 else [study.best_trial]


def not_in_top_k(study: Study, keep: int) -> list[FrozenTrial]:
    """Complete trials outside the top k by the first objective, and outside `best_trials`.

    Args:
        study: the study.
        keep: number k.
    """
    sign = 1 if study.directions[0] == StudyDirection.MINIMIZE else -1
    ranked = sorted(
        study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)),
        key=lambda trial: sign * trial.values[0],
    )
    front = {trial.number for trial in best_trials(study)}
    return [trial for trial in ranked[keep:] if trial.number not in front]


def trial_result(trial: FrozenTrial, metrics: Sequence[str]) -> str:
    """Result of a trial as text: objectives, or why it was pruned or failed."""
    if trial.state == TrialState.COMPLETE:
        return format_objectives(trial, metrics)
    if trial.state == TrialState.PRUNED:
        return str(trial.user_attrs.get(STOPPED, "pruned"))
    if trial.state == TrialState.FAIL:
        kinds = {LOST: "lost", SURPLUS: "not needed"}
        kind = next((text for key, text in kinds.items() if key in trial.user_attrs), "failed")
        return f"{kind}: {trial.user_attrs.get(REASON, 'no reason given')}"
    return trial.state.name.lower()


def progress_line(
    study: Study, number: int, metrics: Sequence[str], n_trials: int, at_once: int
) -> str:
    """Progress after a trial: its result, the best trial, the number of trials done, the time left.

    Args:
        study: the study.
        number: number of the trial.
        metrics: objectives.
        n_trials: complete or pruned trials that the study is to have.
        at_once: trials that run in parallel.
    """
    trials = study.get_trials(deepcopy=False)
    trial = trials[number]
    leaders = best_trials(study)
    words = [f"{format_params(trial) or 'no parameters'}: {trial_result(trial, metrics)}"]
    if len(metrics) > 1:
        words.append(f"unbeaten: {', '.join(str(t.number) for t in leaders) or 'none yet'}")
    elif leaders:
        words.append(f"best {leaders[0].value:.5g} (trial {leaders[0].number})")
    done = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    words.append(f"{len(done)} of {n_trials} done")
    if done and len(done) < n_trials:
        words.append(f"ETA {clock(_mean_seconds(done) * (n_trials - len(done)) / at_once)}")
    return f"trial {number}: {' · '.join(words)}"


def seconds(trial: FrozenTrial) -> float:
    """Wall-clock seconds of a trial; 0 before it has ended."""
    return trial.duration.total_seconds() if trial.duration else 0.0


def _mean_seconds(trials: Sequence[FrozenTrial]) -> float:
    return sum(map(seconds, trials)) / len(trials)


def rows(study: Study, metrics: Sequence[str]) -> list[dict[str, str]]:
    """Rows of the trials that ended: complete ones, best first, then pruned and failed ones."""
    sign = -1 if study.directions[0].name == "MAXIMIZE" else 1
    order = {TrialState.COMPLETE: 0, TrialState.PRUNED: 1, TrialState.FAIL: 2}
    ended = [t for t in study.get_trials(deepcopy=False) if t.state in order]
    ended.sort(
        key=lambda t: (
            order[t.state],
            sign * t.values[0] if t.state == TrialState.COMPLETE else t.number,
        )
    )
    keys = list(dict.fromkeys(key for trial in ended for key in trial.params))
    return [_row(trial, keys, metrics) for trial in ended]


def _row(trial: FrozenTrial, keys: Sequence[str], metrics: Sequence[str]) -> dict[str, str]:
    row = {"trial": str(trial.number)} | {
        key: format_value(trial.params.get(key, BLANK)) for key in keys
    }
    spread: Mapping[str, float | None] = trial.user_attrs.get(SPREAD, {})
    for index, metric in enumerate(metrics):
        complete = trial.state == TrialState.COMPLETE
        row[metric] = f"{trial.values[index]:.5g}" if complete else BLANK
        if trial.user_attrs.get(VALUES) and spread.get(metric) is not None:
            row[metric] += f" ± {spread[metric]:.2g}"
    return row | {
        "seconds": f"{seconds(trial):.0f}",
        "date": date(trial.datetime_complete),
        "end": "complete" if complete else trial_result(trial, metrics),
    }


def table(found: Sequence[Mapping[str, str]], most: int | None = None) -> str:
    """Table of rows in Markdown.

    Args:
        found: cells of each row, by column.
        most: rows that are shown, from the first one; None: all.
    """
    if not found:
        return "no trial has ended"
    text = markdown(list(found[0]), [list(row.values()) for row in found[:most]])
    if most is not None and len(found) > most:
        text += f"\n\n{len(found) - most} more trials in table.json"
    return text


def date(time: datetime | None) -> str:
    """Local date and minute."""
    return time.strftime("%Y-%m-%d %H:%M") if time is not None else BLANK


def comparison(studies: Sequence[Study]) -> str:
    """Comparison of studies in Markdown.

    A row of a study counts its trials by state, sums their seconds (a trial that was lost and tried
    again counts twice), and has the best trial. Below it stand, for two studies, how many fewer
    seconds the second took, and the commands that made the studies.

    Args:
        studies: studies to compare.
    """
    rows = []
    for study in studies:
        metrics = metrics_of(study.user_attrs)
        trials = study.get_trials(deepcopy=False)
        counts = [str(sum(trial.state == state for trial in trials)) for state in ENDED]
        leaders = best_trials(study) if len(metrics) == 1 else []
        leader = [BLANK, BLANK]
        if leaders:
            leader = [format_objectives(leaders[0], metrics), format_params(leaders[0])]
        rows.append([study.study_name, *counts, f"{sum(map(seconds, trials)):,.0f}", *leader])
    heads = ["study", "complete", "pruned", "failed", "seconds of trials", "best", "with"]
    parts = [markdown(heads, rows)]
    if len(studies) == 2:
        first, second = (sum(map(seconds, study.get_trials(deepcopy=False))) for study in studies)
        if first > 0:
            saved = 100 * (1 - second / first)
            words = "fewer" if saved >= 0 else "more"
            parts.append(f"The second took {abs(saved):.0f} % {words} seconds than the first.")
    return "\n\n".join([*parts, *dict.fromkeys(_provenance(study) for study in studies)])


def _provenance(study: Study) -> str:
    made: Mapping[str, str] = study.user_attrs.get(PROVENANCE, {})
    if not made:
        return f"{study.study_name}: made by an unknown command."
    place = f"On {made['hardware']}; {made['versions']}; commit {made['commit']}"
    return f"{place}:\n\n```bash\n{made['command']}\n```"


def markdown_summary(
    study: Study, settings: StudySettings, space: SearchSpace, compositions: Compositions
) -> str:
    """Summary of a study in Markdown: counts by state, and commands of the best trials."""
    parts = [f"study {study.study_name!r}: {tally(study)}"]
    for trial in best_trials(study):
        words = _words(trial, space, compositions)
        command = compositions.command(compositions.job(words), settings.seeds)
        values = format_objectives(trial, settings.metrics)
        parts.append(f"best, trial {trial.number}, {values}:\n\n    {command}")
    return "\n\n".join(parts)


def _words(trial: FrozenTrial, space: SearchSpace, compositions: Compositions) -> list[str]:
    """Overrides of a trial: those that exist under the groups that it has chosen."""
    return compositions.words(space, lambda key, _: trial.params[key])


def tally(study: Study) -> str:
    """Count of trials by state, and their seconds: `20 complete, 1 failed; 1,203 s of trials`."""
    trials = study.get_trials(deepcopy=False)
    kinds = {
        "complete": TrialState.COMPLETE,
        "pruned": TrialState.PRUNED,
        "failed": TrialState.FAIL,
        "running": TrialState.RUNNING,
        "waiting": TrialState.WAITING,
    }
    counts = {name: sum(t.state == state for t in trials) for name, state in kinds.items()}
    total = sum(seconds(t) for t in trials if t.state.is_finished())
    found = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return f"{found or 'no trials'}; {total:,.0f} s of trials"


def figures(study: Study, metrics: Sequence[str]) -> Iterator[tuple[str, Figure]]:
    """Optuna's figures of a study by name, those for which it has enough trials.

    Args:
        study: the study.
        metrics: objectives.

    Yields:
        Name and figure, which is closed afterwards.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from optuna.visualization import matplotlib as plots

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        return
    for name, make in _plots(plots, study, metrics, complete).items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            axes = make()
        drawn: Any = (axes.flat[0] if hasattr(axes, "flat") else axes).figure
        yield name, drawn
        plt.close(drawn)


def _plots(
    plots: Any, study: Study, metrics: Sequence[str], complete: Sequence[FrozenTrial]
) -> dict[str, Callable[[], Any]]:
    """Functions that draw Optuna's figures, by name.

    Args:
        plots: module `optuna.visualization.matplotlib`.
        study: the study.
        metrics: objectives.
        complete: complete trials, at least one.
    """
    if len(metrics) > 1:
        return {"pareto_front": partial(plots.plot_pareto_front, study, target_names=list(metrics))}
    target = {"target_name": metrics[0]}
    shared = [key for key in complete[0].params if all(key in trial.params for trial in complete)]
    found: dict[str, Callable[[], Any]] = {
        "optimization_history": partial(plots.plot_optimization_history, study, **target),
        "slice": partial(plots.plot_slice, study, **target),
    }
    if shared:  # a line across all axes needs a trial that has them all
        coordinates = partial(plots.plot_parallel_coordinate, study, params=shared, **target)
        found["parallel_coordinate"] = coordinates
    if any(len({str(trial.params[key]) for trial in complete}) > 1 for key in shared):
        found["param_importances"] = partial(plots.plot_param_importances, study, **target)
    return found
