"""Study over a search space: its name and identity, its storage, and this process's part in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnn.build import build_task
from bnn.config.canonical import NOT_RESULT, RENAMED, flat, in_0_1_0, is_within
from bnn.config.hydra_adapter import Override
from bnn.config.overrides import key_of, without_dataset
from bnn.data import use_data
from bnn.errors import ConfigError
from bnn.paths import shared_file_warning
from bnn.runs.dry_run import duration, seconds_by_cost, warnings_for
from bnn.runs.jobs import Job, JobComposer
from bnn.tables import markdown
from bnn.tracking.store import open_store, tracking_uri
from bnn.tuning.compositions import Compositions
from bnn.tuning.queue import TrialQueue
from bnn.tuning.samplers_pruners import pruner, sampler
from bnn.tuning.settings import StudySettings, objectives
from bnn.tuning.space import SearchSpace, search_space
from bnn.tuning.storage import (
    dashboard_command,
    forget_study,
    open_storage,
    open_study,
    storage_address,
    storage_errors,
)
from bnn.tuning.worker import Launch, Worker

NAMELESS = ("hydra", "study", "device", *NOT_RESULT)
"""Overrides that do not distinguish studies, and are left out of a study's name."""
NOT_SEARCHED = ("data", "data.name")
AtOnce = Callable[[float, int | None], int]
"""Trials that are launched together, of a study that takes some seconds on some threads each."""


@dataclass(frozen=True)
class StudyRequest:
    """A study as a command line asks for it.

    Args:
        overrides: parsed choices, those of the study's file first.
        arguments: words of the command line.
        defaults: words of the study's file, which do not distinguish studies.
    """

    overrides: Sequence[Override]
    arguments: Sequence[str]
    defaults: Sequence[str]


@storage_errors()
def run_study(
    composer: JobComposer,
    settings: StudySettings,
    request: StudyRequest,
    launch: Launch,
    at_once: AtOnce,
    prepare: Callable[[], object],
) -> None:
    """Take part in a study until it has all its trials, and print its summary.

    Args:
        composer: composition and check of jobs.
        settings: settings of the study.
        request: search space and fixed choices.
        launch: launches jobs by their overrides.
        at_once: trials that are launched together, by the expected seconds of the whole study and
            the threads of a trial.
        prepare: makes the directory of the sweep, once nothing is refused any more.

    Raises:
        BnnError: for what can be refused before the first trial.
        SystemExit: with 1 if too many trials failed or none was completed.
    """
    sampler(settings.sampler), pruner(settings.pruner)
    compositions = Compositions(composer)
    space, jobs = compositions.check(_space(request, compositions), request.arguments)
    task = build_task(jobs[0].spec.config)
    directions = {name: metric.direction for name, metric in task.metrics.items()}
    settings = dataclasses.replace(settings, objectives=objectives(directions))
    if jobs[0].spec.general.dry_run:
        print(_estimate(settings, space, jobs))
        return
    config = composer.compose(jobs[0].overrides)
    warning = use_data(config)
    if warning is not None:
        fixed = [*without_dataset(list(space.fixed)), f"data={config.data.name}"]
        space, jobs = compositions.check(SearchSpace(space.searched, fixed), request.arguments)
    _take_part(
        settings, request, compositions, space, jobs, launch, at_once, prepare,
        [] if warning is None else [warning],
    )  # fmt: skip


def _space(request: StudyRequest, compositions: Compositions) -> SearchSpace:
    """Search space of a request, outer groups first.

    Raises:
        ConfigError: for an empty one, and for keys that a study holds fixed.
    """
    space = search_space(request.overrides)
    if not space.searched:
        raise ConfigError(
            "study: nothing is searched; give a key choices, a range or an interval: "
            "'optimizer.lr=tag(log,interval(0.01,0.3))'"
        )
    for key in space.searched:
        bare = key.lstrip("+~")
        if bare == "seed":
            raise ConfigError(
                "seed: a seed is not tuned; write hydra.sweeper.seeds=N to evaluate every trial "
                "on N seeds"
            )
        if bare in NOT_SEARCHED or _is_nameless(key):
            raise ConfigError(f"{bare}: a study holds this fixed, so that its trials compare")
    groups = [key for key in space.searched if compositions.is_group(key)]
    groups.sort(key=lambda key: key.count("/"))
    order = [*groups, *(key for key in space.searched if key not in groups)]
    return SearchSpace({key: space.searched[key] for key in order}, space.fixed)


def _trial_seconds(settings: StudySettings, jobs: Sequence[Job]) -> list[float]:
    """Expected seconds of training of a trial, by configuration that costs another, ascending."""
    return sorted(settings.seeds * one for one in set(seconds_by_cost([job.spec for job in jobs])))


def _total_seconds(settings: StudySettings, each: Sequence[float]) -> float:
    """Expected seconds of training of a whole study, without pruning."""
    return settings.n_trials * sum(each) / len(each)


def _estimate(settings: StudySettings, space: SearchSpace, jobs: Sequence[Job]) -> str:
    """Search space and expected duration of a study."""
    each = _trial_seconds(settings, jobs)
    shortest, longest = duration(each[0]), duration(each[-1])
    total = _total_seconds(settings, each)
    rows = [[key, text] for key, text in space.as_text().items()]
    trials = f"{settings.n_trials} trial{'s' * (settings.n_trials != 1)}"
    return (
        f"{markdown(['key', 'searched'], rows)}\n"
        f"{trials} of {settings.seeds} seed{'s' * (settings.seeds != 1)}, about "
        f"{shortest if shortest == longest else f'{shortest} to {longest}'} each and "
        f"{duration(total)} in all, one after the other and without pruning"
    )


def _is_nameless(override: str) -> bool:
    return is_within(key_of(override), NAMELESS)


def _name(
    settings: StudySettings, request: StudyRequest, compositions: Compositions,
    space: SearchSpace, job: Job,
) -> str:  # fmt: skip
    """Name of a study: its file, its data set, and the overrides that change results."""
    if settings.study_name is not None:
        return _check_name(settings.study_name)
    config = compositions.composer.compose(job.overrides)
    label = config.hydra.runtime.choices.get("study") or "study"
    typed = [word for word in space.fixed if not _is_nameless(word)]
    words = sorted(
        word for word in typed if word not in request.defaults and word.partition("=")[0] != "data"
    )
    return _check_name(" ".join([f"{label}/{job.spec.data.name}", *words]))


def _check_name(name: str) -> str:
    """Name of a study, unless it is too short or too long.

    Raises:
        ConfigError: naming the key.
    """
    if not name.strip() or len(name) > 500:
        raise ConfigError(f"hydra.sweeper.study_name: expected 1 to 500 characters, got {name!r}")
    return name


def _identity(
    settings: StudySettings, compositions: Compositions, space: SearchSpace, job: Job
) -> dict[str, Any]:
    """Identity of a study, as plain values: trials of different identities do not compare."""
    searched = [key.lstrip("+").replace("/", ".") for key in space.searched]
    apart = (*searched, *NOT_RESULT, "device")
    config = {
        RENAMED.get(key, key): str(value)
        for key, value in flat(dict(job.spec.config)).items()
        if not in_0_1_0(key, value) and not is_within(key, apart)
    }
    if job.spec.data.content is not None:  # of examples that the configuration does not tell
        config["data.content"] = job.spec.data.content
    return {
        "space": space.as_text(),
        "metric": ", ".join(settings.metrics),
        "direction": ", ".join(settings.directions),
        "seeds": settings.seeds,
        "pruner": dict(settings.pruner),
        "sampler": settings.sampler["name"],
        "fixed": sorted(compositions.within_searched(space)),
        "config": config,
    }


def _take_part(
    settings: StudySettings,
    request: StudyRequest,
    compositions: Compositions,
    space: SearchSpace,
    jobs: Sequence[Job],
    launch: Launch,
    at_once: AtOnce,
    prepare: Callable[[], object],
    warnings: Sequence[str],
) -> None:
    """Open or join the study, announce it, and work on it."""
    spec = jobs[0].spec
    address = storage_address(settings.storage, tracking_uri(spec.tracking.uri))
    storage = open_storage(address)
    store = open_store(spec.tracking.uri, spec.experiment)
    name = _name(settings, request, compositions, space, jobs[0])
    if spec.general.fresh:
        forget_study(storage, name, settings.stale_after)
    # without binary layers a configuration does not tell what the others have
    binary = [job for job in jobs if job.spec.config["placement"]["layers"]]
    identity = _identity(settings, compositions, space, (binary or list(jobs))[0])
    study, made = open_study(
        storage, name, settings.directions, identity, sampler=sampler(settings.sampler)
    )
    lines = [*warnings, *warnings_for([job.spec for job in jobs])]
    if address.startswith(("/", "sqlite")):
        shared = shared_file_warning(Path(address.removeprefix("sqlite:///")))
        lines += [] if shared is None else [shared]
    for line in lines:
        print(line)
    done = TrialQueue(study, settings.n_trials, settings.stale_after).done()
    print(f"study {name!r}: {done} of {settings.n_trials} trials done, on {spec.data.title}")
    print(f"watch it: {dashboard_command(address)}", flush=True)
    prepare()
    Worker(
        settings=settings,
        compositions=compositions,
        space=space,
        study=study,
        made=made,
        store=store,
        address=address,
        seed=spec.general.seed,
        device=spec.general.device,
        stride=max(int(job.spec.config["trainer"]["epochs"]) for job in jobs),
        launch=launch,
        at_once=at_once(
            _total_seconds(settings, _trial_seconds(settings, jobs)),
            spec.config["trainer"].get("threads"),
        ),
    ).work()
