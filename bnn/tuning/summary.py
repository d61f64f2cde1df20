"""What a person reads of a study: a line a trial, the time that is left, the table at the end, and the study's figures."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from bnn.tables import BLANK, clock, markdown
from bnn.tuning.compositions import Compositions
from bnn.tuning.objective import SPREAD, STOPPED, VALUES
from bnn.tuning.queue import LOST, REASON, SURPLUS
from bnn.tuning.settings import PROVENANCE, StudySettings, metrics_of
from bnn.tuning.space import SearchSpace, suggested_override

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENDS = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
ROWS = 50
"""Rows of the table that goes into a description; the artifact has all of them."""


def format_value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def format_params(trial: FrozenTrial) -> str:
    return " ".join(f"{key}={format_value(value)}" for key, value in trial.params.items())


def format_objectives(trial: FrozenTrial, metrics: Sequence[str]) -> str:
    """`val/loss 0.0512 ± 0.0021`: each objective, with its standard deviation over seeds where there are several."""
    spread = trial.user_attrs.get(SPREAD, {})
    words = []
    for metric, value in zip(metrics, trial.values or (), strict=False):
        sd = spread.get(metric)
        words.append(f"{metric} {value:.5g}" + (f" ± {sd:.2g}" if sd is not None else ""))
    return ", ".join(words)


def best_trials(study: Study) -> list[FrozenTrial]:
    """The best complete trial; with several objectives those that no other beats in all; empty before one is complete."""
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        return []
    return study.best_trials if len(study.directions) > 1 else [study.best_trial]


def not_in_top_k(study: Study, keep: int) -> list[FrozenTrial]:
    """The complete trials that are not among the best `keep` by the first objective, nor the best at all (see `best_trials`)."""
    sign = 1 if study.directions[0] == StudyDirection.MINIMIZE else -1
    ranked = sorted(
        study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)),
        key=lambda trial: sign * trial.values[0],
    )
    front = {trial.number for trial in best_trials(study)}
    return [trial for trial in ranked[keep:] if trial.number not in front]


def trial_result(trial: FrozenTrial, metrics: Sequence[str]) -> str:
    """How a trial ended, in a few words."""
    if trial.state == TrialState.COMPLETE:
        return format_objectives(trial, metrics)
    if trial.state == TrialState.PRUNED:
        return str(trial.user_attrs.get(STOPPED, "pruned"))
    if trial.state == TrialState.FAIL:
        kind = (
            "lost"
            if LOST in trial.user_attrs
            else "not needed"
            if SURPLUS in trial.user_attrs
            else "failed"
        )
        return f"{kind}: {trial.user_attrs.get(REASON, 'no reason given')}"
    return trial.state.name.lower()


def progress_line(
    study: Study, number: int, metrics: Sequence[str], n_trials: int, at_once: int
) -> str:
    """`trial 7 of 30: anneal=cosine …: val/loss 0.0512 ± 0.0021 · best 0.0498 (trial 3) · ETA 12:30`."""
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
    return trial.duration.total_seconds() if trial.duration else 0.0


def _mean_seconds(trials: Sequence[FrozenTrial]) -> float:
    return sum(map(seconds, trials)) / len(trials)


def rows(study: Study, metrics: Sequence[str]) -> list[dict[str, str]]:
    """Every trial that ended, best first, then pruned ones, then failed ones."""
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
        "end": "complete" if complete else trial_result(trial, metrics),
    }


def table(found: Sequence[Mapping[str, str]]) -> str:
    return (
        markdown(list(found[0]), [list(row.values()) for row in found])
        if found
        else "no trial has ended"
    )


def comparison(studies: Sequence[Study]) -> str:
    """A row a study: how its trials ended, the seconds that they took (a trial that was lost and tried again counts twice),
    and the best of them with its standard deviation over seeds. Of two studies, how much shorter the second took.
    """
    rows = []
    for study in studies:
        metrics = metrics_of(study.user_attrs)
        trials = study.get_trials(deepcopy=False)
        counts = [str(sum(t.state == state for t in trials)) for state in ENDS]
        leaders = best_trials(study) if len(metrics) == 1 else []
        leader = (
            [format_objectives(leaders[0], metrics), format_params(leaders[0])]
            if leaders
            else [BLANK, BLANK]
        )
        rows.append([study.study_name, *counts, f"{sum(map(seconds, trials)):,.0f}", *leader])
    heads = ["study", "complete", "pruned", "failed", "seconds of trials", "best", "with"]
    parts = [markdown(heads, rows)]
    if len(studies) == 2:
        first, second = (sum(map(seconds, study.get_trials(deepcopy=False))) for study in studies)
        if first > 0:
            parts.append(
                f"The second took {100 * (1 - second / first):.0f} % fewer seconds than the first."
            )
    return "\n\n".join([*parts, *dict.fromkeys(_provenance(study) for study in studies)])


def _provenance(study: Study) -> str:
    made: Mapping[str, str] = study.user_attrs.get(PROVENANCE, {})
    if not made:
        return f"{study.study_name}: made by an unknown command."
    return f"On {made['hardware']}; {made['versions']}; commit {made['commit']}:\n\n```bash\n{made['command']}\n```"


def markdown_summary(
    study: Study, settings: StudySettings, space: SearchSpace, compositions: Compositions
) -> str:
    """Summary of a study in Markdown: how many trials ended how, the best, and a table."""
    found = rows(study, settings.metrics)
    parts = [f"study {study.study_name!r}: {tally(study)}"]
    for trial in best_trials(study):
        words = [
            *space.fixed,
            *(suggested_override(key, value) for key, value in trial.params.items()),
        ]
        command = compositions.command(compositions.job(words), settings.seeds)
        values = format_objectives(trial, settings.metrics)
        parts.append(f"best, trial {trial.number}, {values}:\n\n    {command}")
    parts.append(table(found[:ROWS]))
    if len(found) > ROWS:
        parts.append(f"{len(found) - ROWS} more trials in table.json")
    return "\n\n".join(parts)


def tally(study: Study) -> str:
    """`20 complete, 9 pruned, 1 failed; 1,203 s of trials`."""
    trials = study.get_trials(deepcopy=False)
    kinds = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL,
             "running": TrialState.RUNNING, "waiting": TrialState.WAITING}  # fmt: skip
    counts = {name: sum(t.state == state for t in trials) for name, state in kinds.items()}
    total = sum(seconds(t) for t in trials if t.state.is_finished())
    return f"{', '.join(f'{n} {name}' for name, n in counts.items() if n) or 'no trials'}; {total:,.0f} s of trials"


def figures(study: Study, metrics: Sequence[str]) -> Iterator[tuple[str, Figure]]:
    """Optuna's own figures by name, those for which the study has enough trials."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from optuna.visualization import matplotlib as plots

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        return
    makers: dict[str, Any]
    if len(metrics) > 1:
        makers = {
            "pareto_front": partial(plots.plot_pareto_front, study, target_names=list(metrics))
        }
    else:
        shared = [
            key for key in complete[0].params if all(key in trial.params for trial in complete)
        ]
        makers = {
            "optimization_history": partial(
                plots.plot_optimization_history, study, target_name=metrics[0]
            ),
            "slice": partial(plots.plot_slice, study, target_name=metrics[0]),
        }
        if shared:  # a line across all axes needs a trial that has them all
            makers["parallel_coordinate"] = partial(
                plots.plot_parallel_coordinate, study, params=shared, target_name=metrics[0]
            )
        if any(len({str(trial.params[key]) for trial in complete}) > 1 for key in shared):
            makers["param_importances"] = partial(
                plots.plot_param_importances, study, target_name=metrics[0]
            )
    for name, make in makers.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            axes = make()
        drawn: Any = (axes.flat[0] if hasattr(axes, "flat") else axes).figure
        yield name, drawn
        plt.close(drawn)
