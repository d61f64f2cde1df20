"""Summary of networks: bits, memory and multiply-adds by layer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.command_line import run_here, runs
from torch import nn

import bnn
from bnn.analysis.summary import LayerSummary, summarise, summary_table
from bnn.summary import main, network_of


def layers(model: nn.Module, *shape: int) -> dict[str, LayerSummary]:
    x = torch.rand(16, *shape, generator=torch.Generator().manual_seed(0))
    return {one.name: one for one in summarise(model, x)}


def test_binary_weights_on_bits_are_what_a_count_of_bits_replaces() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        bnn.nn.BatchNorm(4),
        bnn.Deterministic(),
        nn.Conv2d(4, 6, 3, stride=2),
        bnn.nn.Real(),
        nn.Flatten(),
        nn.Linear(54, 10),
    )
    found = layers(bnn.binarize(net, weights="sign", layers="all"), 1, 8, 8)
    first, second, last = found["0"], found["3"], found["6"]
    assert (first.inputs, second.inputs, last.inputs) == ("real", "bits", "real")
    assert {first.weight_bits, second.weight_bits, last.weight_bits} == {1}
    assert second.output == (6, 3, 3)
    assert second.multiply_adds == second.binary_multiply_adds == 9 * 6 * 4 * 9
    assert first.multiply_adds == 64 * 4 * 9 and first.binary_multiply_adds == 0
    assert second.float_bytes == 4 * (216 + 6) and second.packed_bytes == 27 + 4 * 6
    assert found["1"].others == 16, "scale, shift, running mean and variance of 4 channels"


def test_real_weights_are_32_bits_and_signed_bits_are_bits() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), bnn.Stochastic(), _Signs(), nn.Linear(3, 2))
    found = layers(net, 1, 2, 2)
    assert found["4"].inputs == "bits" and found["4"].weight_bits == 32
    assert found["4"].binary_multiply_adds == 0 and found["4"].multiply_adds == 6
    assert found["1"].packed_bytes == found["1"].float_bytes == 4 * 15


class _Signs(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x - 1


def test_a_transposed_convolution_multiplies_at_every_input() -> None:
    found = layers(nn.Sequential(nn.ConvTranspose2d(2, 3, 4, stride=2)), 2, 5, 5)
    assert found["0"].multiply_adds == 25 * 2 * 3 * 16


def test_a_layer_that_is_called_twice_multiplies_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(self.linear(x))

    found = layers(Twice(), 3)
    assert found["linear"].multiply_adds == 18 and found["linear"].weights == 9


def test_totals_are_sums() -> None:
    first = LayerSummary("a", "Linear", (3,), "real", 12, 32, 3, 12)
    table = summary_table([first, LayerSummary("b", "BinaryLinear", (2,), "bits", 9, 1, 1, 9)])
    cells = [cell.strip() for cell in table.splitlines()[-1].strip("|").split("|")]
    assert [cell for cell in cells if cell] == ["total", "21", "100", "66", "12", "9"]


def test_an_untrained_network_is_described_by_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model=mlp", "model.hidden=8", "weights=sign", "weights.layers=all"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("mlp · stochastic · st · both · sign weights · s0 on MNIST")
    assert "| total" in printed
    assert main(["model=gated_mlp"]) == 0
    said = (
        "Gates: 52,736 multiply-adds for every image and 39,700 for each open block of 40; 449,736"
    )
    assert said in capsys.readouterr().out
    assert main(["model=nope"]) == 1
    assert "model=nope: expected one of" in capsys.readouterr().err
    assert main(["nothing.pt"]) == 1
    assert "nothing.pt: no such file" in capsys.readouterr().err


@pytest.mark.integration
def test_a_run_is_described_by_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["data=digits", "data.limit=64", "model=mlp", "model.hidden=4", "trainer.epochs=1"]
    done = run_here(tmp_path, *words, "tracking.model=false", "weights=sign", "device=cpu")
    assert done.returncode == 0, done.stderr
    (run,) = runs(tmp_path, "run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    model, config = network_of([run.info.run_id[:8]], None)
    assert config["model"]["hidden"] == 4
    found = {one.name: one for one in summarise(model, torch.rand(16, 1, 8, 8))}
    assert found["linear2"].weight_bits == 1 and found["linear2"].inputs == "bits"
