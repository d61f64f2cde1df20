"""Page of `python -m bnn.lab`: its tables, its figure, and the errors of its command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.matrix import one_in

from bnn.config.compose import compose
from bnn.data import load
from bnn.lab.__main__ import main
from bnn.specify import setup
from bnn.training.loop import fit

TOY = ["data=digits", "data.limit=200", "model=mlp", "model.hidden=4", "model.norm=none"]
FEW = ["--draws", "12", "--warm", "2", "--epochs", "1", "--batch", "8"]
SHOWN = (
    "exact enumeration",
    "| st density",
    "| arms 4",
    "| enumeration",
    "8 validation images",
    "linear2",
    "variance × evaluations |",
    "Unbiased estimators by variance × ms: enumeration",
    "Variance × evaluations, layer by",
)


@pytest.mark.integration
def test_the_page_measures_all_estimators_on_all_layers(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    main([*TOY, *FEW, "--figure", str(tmp_path / "lab.png")])
    page = capsys.readouterr().out
    for words in SHOWN:
        assert words in page
    assert (tmp_path / "lab.png").stat().st_size > 10_000
    assert "Not measured" not in page


def test_the_page_measures_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    checked = setup(compose([*TOY, "trainer.epochs=1", "trainer.progress=none"]))
    data = load(checked.spec.config["data"], 0, 0.1)
    metadata = dict(checked.spec.config)
    fit(checked.model, checked.training, data, folder=tmp_path, metadata=metadata)
    words = ["--estimator", "estimator=st", "--draws", "12", "--batch", "8"]
    main(["--checkpoint", str(tmp_path / "best.pt"), *words])
    assert "checkpoint best.pt" in capsys.readouterr().out


@pytest.mark.integration
@pytest.mark.parametrize(
    "words, expected",
    one_in(
        3,
        [
            (["--estimator", "estimator=enumeration", "data=digits"], "estimator=enumeration"),
            (["--estimator", "estimator=cubic", "data=digits"], "estimator=cubic"),
            (["neuron.law=uniform", "data=digits"], "neuron.law=uniform"),
            (["placement=none", "data=digits"], "without binary layers"),
            (["--estimator", "estimator=st trainer.precision=bf16"], "begin with estimator"),
            (["--checkpoint", "best.pt", "model.norm=group"], "leave out the overrides"),
            (["--checkpoint", __file__], "is no checkpoint that can be read"),
            (["--checkpoint", "nowhere.pt"], "no such file"),
            ([*TOY, *FEW, "--figure", "lab.gif"], "ends in .png"),
            (["--passes", "8"], "--passes: this option is called --evaluations now"),
            (["--draws", "1"], "--draws: expected a whole number of at least 2"),
        ],
    ),
)
def test_bad_input_ends_with_one_line_and_an_exit_code(
    words: list[str], expected: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    code = ended.value.code
    message = code if isinstance(code, str) else capsys.readouterr().err
    assert code != 0 and expected in message and "Traceback" not in message
