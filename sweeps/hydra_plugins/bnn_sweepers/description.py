"""What is said of a study: its best trials, the commands that repeat them, its table and its pictures."""

from collections.abc import Sequence
from typing import Any

from .compositions import Compositions
from .space import SearchSpace, word


def described(study: Any, settings: Any, space: SearchSpace, compositions: Compositions) -> str:
    """Markdown: how many trials ended how, the best of them, and a table."""
    from bnn.tuning.outcome import ROWS, best, rows, shown_values, table, tally

    found = rows(study, settings.metrics)
    lines = [f"study {study.study_name!r}: {tally(study)}"]
    for trial in best(study):
        words = [*space.fixed, *(word(key, value) for key, value in trial.params.items())]
        command = compositions.command(compositions.cell(words), settings.seeds)
        lines.append(
            f"best, trial {trial.number}, {shown_values(trial, settings.metrics)}:\n\n    {command}"
        )
    lines.append(table(found[:ROWS]))
    if len(found) > ROWS:
        lines.append(f"{len(found) - ROWS} more trials in table.json")
    return "\n\n".join(lines)


def shown(study: Any, metrics: Sequence[str]) -> tuple[list[dict[str, str]], Any]:
    """The rows of the study's table, and its pictures."""
    from bnn.tuning.outcome import pictures, rows

    return rows(study, metrics), pictures(study, metrics)
