"""Jobs of a sweep: a shared composition gives the specification that composing each job gives."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig

from bnn.errors import ConfigError
from bnn.paths import folder
from bnn.runs.grid import distinct_jobs
from bnn.runs.jobs import JobComposer
from bnn.specify import specify

SMALL = ["model=mlp", "model.hidden=4", "device=cpu"]


JOBS = [
    ["seed=3"],
    ["seed=3", "optimizer.lr=0.2"],
    ["optimizer=adam", "optimizer.lr=1", "seed=1"],
    ["optimizer.groups.estimator.lr=0.1"],
    ["estimator=reinforce", "estimator.baseline.samples=3"],
    ["estimator/baseline=moving_average", "estimator=reinforce", "trainer.epochs=2"],
    ["neuron.law=gaussian", "anneal=geometric", "anneal.rate=1.5"],
    ["placement=none", "anneal=none", "anneal.slope=2.0"],
    ["placement=none", "neuron.law=gaussian", "seed=2"],
    ["placement=none", "estimator=reinforce"],
    ["placement.layers=[0]", "trainer.batch_size=32"],
    ["data.limit=100", "seed=1"],
    ["trainer.precision=bf16", "tracking.experiment=other"],
    ["experiment=estimators", "vars.by=disarm", "seed=4"],
    ["experiment=estimators", "vars.by=rebar", "trainer.epochs=1"],
    ["lab.every=1", "lab.draws=3", "device=auto"],
]


@pytest.fixture(scope="module")
def composer() -> Iterator[JobComposer]:
    """Composer that has made every job of JOBS, and so holds all that jobs share."""
    with initialize_config_dir(str(folder("conf")), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("train", SMALL, run_mode=RunMode.MULTIRUN)
        made = JobComposer(loader, config)
        for words in JOBS:
            made.job(words)
        yield made


@pytest.mark.integration
@pytest.mark.parametrize("words", JOBS, ids=" ".join)
def test_a_job_is_the_composition_of_its_overrides(words: list[str], composer: JobComposer) -> None:
    alone = specify(composer.compose(words))
    job = composer.job(words)
    assert job.spec.config == alone.config and job.spec.digest == alone.digest
    assert job.spec == alone


@pytest.mark.integration
def test_a_value_may_replace_the_lookup_of_an_entry_that_a_table_lacks(
    composer: JobComposer,
) -> None:
    loader = GlobalHydra.instance().config_loader()
    config = loader.load_configuration("train", [], run_mode=RunMode.MULTIRUN)
    words = ["experiment=vae", "vars.by=mine", "+vars.estimators.mine={name: st}"]
    job = JobComposer(loader, config).job([*words, "optimizer.lr=0.02"])
    assert job.spec.config["optimizer"]["lr"] == 0.02
    with pytest.raises(ConfigError, match=r"vars\.by=mine: expected one of st, mve"):
        JobComposer(loader, config).job(words)


REFUSED = [
    ["seed=-1"],
    ["seed=x"],
    ["optimizer.lr=0"],
    ["trainer.epochs=0"],
    ["neuron.law=cauchy"],
    ["neuron.law=uniform", "estimator=reinforce"],
    ["estimator.baseline.samples=1", "estimator=reinforce"],
    ["lab.draws=1"],
]


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_a_job_that_cannot_run_is_refused_as_its_composition_is(
    words: list[str], composer: JobComposer
) -> None:
    with pytest.raises(ConfigError) as alone:
        specify(composer.compose(words))
    composer.job(["seed=1"])
    with pytest.raises(ConfigError) as refused:
        composer.job(words)
    assert str(refused.value) == f"{alone.value} (in the job {' '.join(words)})"


@pytest.mark.integration
def test_jobs_of_one_choice_share_its_composition_and_its_network(
    composer: JobComposer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    composed, built = [], []
    compose, build = composer.compose, __import__("bnn.specify", fromlist=["x"]).build_model

    def counted(words: list[str]) -> DictConfig:
        composed.append(words)
        return compose(words)

    def counted_build(*arguments: object) -> object:
        built.append(arguments)
        return build(*arguments)

    monkeypatch.setattr(composer, "compose", counted)
    monkeypatch.setattr("bnn.specify.build_model", counted_build)
    choices = [
        [f"estimator={name}", f"seed={seed}", f"optimizer.lr={lr}"]
        for name in ("st", "reinmax")
        for seed in range(100)
        for lr in (0.1, 0.2, 0.1)
    ]
    jobs = distinct_jobs(composer, choices)
    assert len(jobs) == 400 and len({job.spec.digest for job in jobs}) == 400
    assert len(composed) == 2 and len(built) <= 4
    assert "checking 600 configurations" in capsys.readouterr().err


def test_a_sweep_over_a_key_that_changes_no_result_says_so(
    composer: JobComposer, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [["estimator=st", f"trainer.threads={threads}"] for threads in (1, 2)]
    assert len(distinct_jobs(composer, words)) == 1
    assert "note: trainer.threads changes no result: runs that differ" in capsys.readouterr().err
    distinct_jobs(composer, [[f"seed={seed}", "trainer.threads=2"] for seed in (1, 2)])
    assert capsys.readouterr().err == ""
