"""`model.init_from`: a training begins with the weights of a finished run or of a checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from support.command_line import QUICK, client, run_here, runs
from torch import Tensor

from bnn.build import TrainingSetup, read_dataset
from bnn.config.compose import compose
from bnn.errors import ConfigError
from bnn.restore import load_checkpoint
from bnn.specify import setup, specify
from bnn.training import checkpoint
from bnn.training.callback import Callback, FitContext
from bnn.training.loop import fit

SMALL = ["device=cpu", "data=digits", "data.limit=192", "model=mlp", "model.hidden=16"]
SHORT = [*SMALL, "trainer.progress=none", "trainer.epochs=1", "trainer.evaluation_samples=1"]


class First(Callback):
    """Copy of the weights before the first step."""

    def on_fit_start(self, context: FitContext) -> None:
        self.weights = {key: one.clone() for key, one in context.model.state_dict().items()}


def prepared(*overrides: str) -> TrainingSetup:
    return setup(compose([*SHORT, *overrides]))


def weights(file: Path) -> dict[str, Tensor]:
    return {k: v for k, v in checkpoint.load(file)["model"].items() if not k.endswith(".slope")}


@pytest.fixture(scope="module")
def best(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of a finished training without binary layers."""
    made = prepared("placement=none", "seed=5")
    folder, about = tmp_path_factory.mktemp("source"), made.spec.checkpoint_metadata
    result = fit(made.model, made.training, read_dataset(made.spec), folder=folder, metadata=about)
    assert result.checkpoint is not None
    return result.checkpoint


@pytest.mark.parametrize("name", ["best.pt", "last.pt"])
def test_a_training_begins_with_exactly_these_weights(best: Path, name: str) -> None:
    made, plain, first = prepared(f"model.init_from={best.parent / name}"), prepared(), First()
    fit(made.model, made.training, read_dataset(made.spec), callbacks=[first])
    source = weights(best)  # one epoch: the best is the last
    assert source and all(torch.equal(first.weights[key], source[key]) for key in source)
    assert not torch.equal(plain.model.state_dict()["linear1.weight"], source["linear1.weight"])


def test_the_slopes_are_those_of_the_new_run(best: Path) -> None:
    made, first = prepared(f"model.init_from={best}", "anneal=none", "anneal.slope=3"), First()
    fit(made.model, made.training, read_dataset(made.spec), callbacks=[first])
    assert {float(v) for k, v in first.weights.items() if k.endswith(".slope")} == {3.0}


def test_the_network_of_its_checkpoint_needs_the_source_no_more(best: Path, tmp_path: Path) -> None:
    source = shutil.copy(best, tmp_path / "source.pt")
    made = prepared(f"model.init_from={source}")
    folder, about = tmp_path / "run", made.spec.checkpoint_metadata
    fit(made.model, made.training, read_dataset(made.spec), folder=folder, metadata=about)
    Path(source).unlink()
    model, _ = load_checkpoint(folder / "best.pt")
    assert all(torch.equal(model.state_dict()[k], v) for k, v in made.model.state_dict().items())


def test_the_result_key_follows_the_content_of_the_source(best: Path, tmp_path: Path) -> None:
    copy, other = shutil.copy(best, tmp_path / "copy.pt"), tmp_path / "other.pt"
    content = checkpoint.load(best)
    content["model"]["linear1.bias"] += 1
    checkpoint.save(other, content)
    none, here, there, changed = (
        specify(compose([*SHORT, *words]))
        for words in ([], *([f"model.init_from={path}"] for path in (best, copy, other)))
    )
    assert here.result_key == there.result_key and here.digest == there.digest
    assert len({none.result_key, here.result_key, changed.result_key}) == 3
    ids = [specify(compose([*SHORT, f"model.init_from={c * 32}"])).result_key for c in "ab"]
    assert ids[0] != ids[1], "two runs"


def test_without_it_digests_are_what_they_were() -> None:
    """The digest is that of version 0.1.0 (tests/test_config.py)."""
    for words in ([], ["model.init_from=null"], ["trainer.keep_last=true"]):
        earlier = ["anneal=none", "optimizer=sgd", "trainer.epochs=10"]
        spec = specify(compose(["data=digits", "device=cpu", *earlier, *words]))
        assert spec.digest == "11d8f63b4c8b" and "init_from" not in spec.config["model"]


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigError) as refused:
        specify(compose([*SHORT, *overrides]))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_the_first_parameter_that_does_not_fit_is_named(best: Path) -> None:
    said = refusal(f"model.init_from={best}", "model.hidden=17")
    assert "linear1.weight, [17, 64] in this network and [16, 64] in the checkpoint" in said
    said = refusal(f"model.init_from={best}", "model.norm=none")
    assert "norm1.weight, absent in this network and [16] in the checkpoint" in said


def test_weights_that_are_no_numbers_are_refused(best: Path, tmp_path: Path) -> None:
    content = checkpoint.load(best)
    content["model"]["linear2.weight"][0, :3] = torch.nan
    checkpoint.save(tmp_path / "nan.pt", content)
    said = refusal(f"model.init_from={tmp_path / 'nan.pt'}")
    assert "linear2.weight has 3 values that are NaN or infinite" in said


def test_a_source_that_is_none_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(f"model.init_from={tmp_path}/best.pt")
    assert "give more digits" in refusal("model.init_from=123456")
    (tmp_path / "text.pt").write_text("no checkpoint")
    assert "no checkpoint that can be read" in refusal(f"model.init_from={tmp_path}/text.pt")
    checkpoint.save(tmp_path / "other.pt", {"optimizer": {}})
    assert "expected a best.pt or last.pt" in refusal(f"model.init_from={tmp_path}/other.pt")


@pytest.mark.integration
def test_a_run_is_named_by_its_id_or_the_first_digits_of_it(tmp_path: Path) -> None:
    words = [*QUICK, *SHORT]
    assert run_here(tmp_path, *words).returncode == 0
    (source,) = runs(tmp_path, "run")
    run_id = source.info.run_id
    begun = run_here(tmp_path, *words, f"model.init_from={run_id}", "seed=1")
    assert begun.returncode == 0, begun.stderr
    run = runs(tmp_path, "run")[-1]
    assert run.data.tags["bnn.init_from"] == run.data.params["model.init_from"] == run_id
    assert run.data.tags["bnn.result_key"] != source.data.tags["bnn.result_key"]
    prefix = next(run_id[:n] for n in range(6, 33) if not run_id[:n].isdecimal())
    again = run_here(tmp_path, *words, f"model.init_from='{prefix}'", "trainer.epochs=2")
    assert again.returncode == 0, again.stderr
    assert runs(tmp_path, "run")[-1].data.tags["bnn.init_from"] == run_id
    client(tmp_path).set_terminated(run_id, "FAILED")
    for unknown in ("abcdefabcdef", run_id):
        refused = run_here(tmp_path, *words, f"model.init_from={unknown}", "seed=2")
        said = refused.stderr.strip().splitlines()[-1]
        assert refused.returncode == 1 and "Traceback" not in refused.stderr
        assert f"run {unknown}: expected a finished run, but there is none of this id" in said
