"""Packed files and their runner, and ONNX: the bits and classes of the network they came from."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.command_line import run_here, runs
from support.matrix import one_in
from torch import Tensor, nn

import bnn
from bnn.config.compose import compose
from bnn.data import DatasetSpec
from bnn.errors import ConfigError
from bnn.export import runner
from bnn.export.__main__ import main
from bnn.export.lowering import lowered
from bnn.export.onnx import write_onnx
from bnn.export.packed import packed_arrays, write_packed
from bnn.export.runner import PackedNetwork
from bnn.nn.handlers import apply, threshold
from bnn.nn.readings import Reading
from bnn.nn.sites import Site
from bnn.restore import Trained
from bnn.specify import setup

IMAGES = 1000
SPEC = DatasetSpec("mnist", "MNIST", (1, 28, 28), 10, 60_000, 10_000, 0.13, 0.31, 255)


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """Network whose norms have every sign of their scale, and 0, and statistics of their own."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, bnn.nn.BatchNorm | bnn.nn.RunningNorm):
            with torch.no_grad():
                module.weight.normal_(generator=generator)
                module.weight[0] = 0
                module.bias.normal_(0, 0.3, generator=generator)
                module.running_mean.normal_(0, 0.5, generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
    return model.eval()


def pixels(n: int, spec: DatasetSpec = SPEC) -> Tensor:
    """Images of random strokes, in the data set's 8-bit grey."""
    generator = torch.Generator().manual_seed(1)
    rough = torch.rand(n, 1, 7, 7, generator=generator)
    images = nn.functional.interpolate(rough, size=spec.shape[1:], mode="bilinear")
    return (spec.max_value * (images > 0.6) * images).round()


def trained(*words: str) -> tuple[Trained, DatasetSpec]:
    made = setup(compose(["device=cpu", *words]))
    about = made.spec.checkpoint_metadata
    return Trained(randomised(made.model), made.training.task, about), made.spec.data


def compared(
    of: Trained, spec: DatasetSpec, folder: Path
) -> tuple[int, list[tuple[Tensor, Tensor, Tensor]]]:
    """Classes that agree among IMAGES, and of each binary layer both bits and pre-activations."""
    file = folder / "network.npz"
    write_packed(file, packed_arrays(of, spec))
    images = pixels(IMAGES, spec)
    inputs = (images / spec.max_value - spec.mean) / spec.std
    network, bits = PackedNetwork(str(file)), []
    outputs = network.outputs(images.numpy(), bits)
    sites: list[Tensor] = []

    def record(layer: object) -> Tensor:
        if isinstance(layer, Site):
            sites.append(layer.preactivation)
        return threshold(layer)

    with torch.no_grad():
        expected = apply(of.model, inputs, record)
    agreeing = int((torch.from_numpy(outputs).argmax(1) == expected.argmax(1)).sum())
    found = []
    for packed, a in zip(bits, sites, strict=True):
        mine = torch.from_numpy(packed)
        if mine.shape != a.shape:  # taken before the max-pool
            mine = nn.functional.max_pool2d(mine.float(), 2) > 0
        found.append((mine, a > 0, a.abs()))
    return agreeing, found


NETWORKS = {
    "cnn": ["model=cnn"],
    "cnn, binary weights": ["model=cnn", "weights=sign"],
    "cnn, all weights binary": ["model=cnn", "weights=sign", "weights.layers=all"],
    "cnn, mean scale": ["model=cnn", "weights=sign", "weights.scale=mean", "weights.layers=all"],
    "cnn, bop": ["model=cnn", "weights=bop", "weights.layers=all"],
    "cnn, no norm": ["model=cnn", "model.norm=none", "weights=sign"],
    "mlp": ["model=mlp"],
    "mlp, binary weights": ["model=mlp", "weights=sign", "weights.layers=all"],
    "mlp, running norm": ["model=mlp", "model.norm=running", "weights=sign"],
    "sbn": ["model=sbn", "placement=all"],
    "sbn, binary weights": ["model=sbn", "placement=all", "weights=sign"],
    "cnn, first": ["model=cnn", "placement=first", "weights=sign"],
    "cnn, last": ["model=cnn", "placement=last", "weights=sign", "weights.layers=all"],
}
"""Deterministic networks; those of one binary layer have a real-valued activation beside it."""


@pytest.mark.integration
@pytest.mark.parametrize("words", one_in(3, NETWORKS.values()), ids=NETWORKS)
def test_a_packed_file_has_the_bits_and_classes_of_its_network(
    words: list[str], tmp_path: Path
) -> None:
    agreeing, layers = compared(*trained(*words, "neuron=deterministic"), tmp_path)
    assert agreeing >= 0.999 * IMAGES
    for packed, bits, distance in layers:
        certain = distance > 1e-4
        assert torch.equal(packed[certain], bits[certain])
        assert certain.float().mean() > 0.9 and 0.02 < bits.float().mean() < 0.98


@pytest.mark.integration
def test_a_stochastic_network_is_stored_by_its_thresholded_reading(tmp_path: Path) -> None:
    of, spec = trained("model=cnn", "weights=sample", "neuron.law=gaussian", "placement=first")
    agreeing, _ = compared(of, spec, tmp_path)
    assert agreeing >= 0.999 * IMAGES
    about = PackedNetwork(str(tmp_path / "network.npz")).about
    assert about["reading"] == "threshold"


@pytest.mark.integration
@pytest.mark.parametrize(
    "neuron, law",
    one_in(
        3,
        itertools.product(
            ["noisy_rectifier", "stochastic_smooth"],
            ["logistic", "uniform", "triangular", "gaussian"],
        ),
    ),
)
def test_real_valued_units_are_evaluated_without_their_noise(
    neuron: str, law: str, tmp_path: Path
) -> None:
    words = [f"neuron={neuron}", f"neuron.law={law}", "estimator=none", "model=mlp"]
    agreeing, _ = compared(*trained(*words), tmp_path)
    assert agreeing >= 0.999 * IMAGES


def test_a_wrong_fold_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Controls: a norm's negative scale taken for a positive one, and a padding of ones."""
    of, spec = trained("model=cnn", "weights=sign", "neuron=deterministic")
    arrays = packed_arrays(of, spec)
    flipped = {key: np.abs(a) if key.endswith("sign") else a for key, a in arrays.items()}
    file = tmp_path / "network.npz"
    images = pixels(200, spec).numpy()
    write_packed(file, arrays)
    right = PackedNetwork(str(file)).classes(images)
    write_packed(file, flipped)
    assert (PackedNetwork(str(file)).classes(images) != right).mean() > 0.2
    write_packed(file, arrays)
    pad = np.pad
    monkeypatch.setattr(
        runner.np, "pad", lambda x, width: pad(x, width, constant_values=x.dtype == bool)
    )
    bits: list[np.ndarray] = []
    PackedNetwork(str(file)).outputs(images, bits)
    monkeypatch.undo()
    zeros: list[np.ndarray] = []
    PackedNetwork(str(file)).outputs(images, zeros)
    assert (bits[0] == zeros[0]).all() and (bits[1] != zeros[1]).any()


def test_a_count_of_bits_is_the_product() -> None:
    generator = np.random.default_rng(0)
    for inputs in (1, 8, 27, 400):
        x = generator.random((5, inputs)) < 0.4
        weight = generator.choice([-1.0, 1.0], (3, inputs))
        packed = np.packbits(weight > 0, axis=1)
        expected = x @ weight.T
        assert (runner.product(x, packed, inputs) == expected).all()
        real = generator.random((5, inputs)).astype(np.float32)
        for stored in (packed, weight.astype(np.float32)):
            found = runner.product(real, stored, inputs)
            np.testing.assert_allclose(found, real @ weight.T, rtol=1e-5, atol=1e-5)


def test_bits_are_counted_without_numpy_2(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = np.arange(256, dtype=np.uint8)[:, None]
    expected = [bin(byte).count("1") for byte in range(256)]
    assert runner.popcount(packed).tolist() == expected
    monkeypatch.delattr(runner.np, "bitwise_count")
    assert runner.popcount(packed).tolist() == expected


def test_the_runner_is_short_and_needs_numpy_alone(tmp_path: Path) -> None:
    source = Path(runner.__file__)
    assert len(source.read_text().splitlines()) < 150
    of, spec = trained("model=mlp", "model.hidden=16", "weights=sign", "data=digits")
    file, images = tmp_path / "network.npz", pixels(20, spec).numpy()
    write_packed(file, packed_arrays(of, spec))
    np.save(tmp_path / "images.npy", images)
    (tmp_path / "runner.py").write_text(source.read_text())
    watched = (
        "import runpy, sys; sys.argv = sys.argv[1:]; "
        "runpy.run_path('runner.py', run_name='__main__'); "
        "assert not {'torch', 'bnn', 'scipy'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", watched, "runner.py", "network.npz", "images.npy"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    for wrong, said in {
        "small.npy": "expected images of shape ['n', 1, 8, 8], got [20, 8, 8]",
        "scaled.npy": "expected pixels from 0 to 16, got 0 to 1",
        "nothing.npy": "No such file",
        "network.npz": "expected network.npz images.npy",
        "empty.npy": "expected network.npz images.npy",
    }.items():
        (tmp_path / "empty.npy").touch()
        np.save(tmp_path / "small.npy", images[:, 0])
        np.save(tmp_path / "scaled.npy", images / 16)
        failed = subprocess.run(
            [sys.executable, "runner.py", "network.npz", wrong],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert failed.returncode == 1 and said in failed.stderr
        assert len(failed.stderr.strip().splitlines()) == 1
    with pytest.raises(ValueError, match="at least one image"):
        PackedNetwork(str(file)).classes(images[:0])
    printed = [int(line) for line in done.stdout.split()]
    assert printed == PackedNetwork(str(file)).classes(images).tolist()


REFUSED = {
    "gated": (["model=gated_mlp"], "GatedMLP: .* expected a chain of linear"),
    "group norm": (["model=cnn", "model.norm=group"], "GroupNorm depends on each sample"),
    "generator": (
        ["task=gan", "model=cnn_generator"],
        "ConvTranspose2d: no layer of a packed file",
    ),
}


@pytest.mark.parametrize("words, said", REFUSED.values(), ids=REFUSED)
def test_networks_of_another_form_are_refused(words: list[str], said: str) -> None:
    model = setup(compose(["device=cpu", *words])).model
    with pytest.raises(ConfigError, match=said):
        lowered(model)


def test_what_the_runner_does_not_know_is_refused() -> None:
    class Branches(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.linear(x)

    class Flattens(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(start_dim=2)

    class Aside(nn.Module):
        """It returns the output of its first layer, and keeps that of the second."""

        def __init__(self) -> None:
            super().__init__()
            self.linear, self.aside = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            output = self.linear(x)
            self.kept = self.aside(output)
            return output

    class Pair(Aside):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            output = self.linear(x)
            return output, output

    others: dict[str, nn.Module] = {
        "Aside: it returns something other than": Aside(),
        "Pair: it returns something other than": Pair(),
        "Branches: the forward pass is no chain": Branches(),
        "a path around a layer": Residual(),
        "expected Flatten": nn.Sequential(nn.Flatten(2)),
        "write its arguments by position": Flattens(),
        "Tanh: no layer of a packed file": nn.Sequential(nn.Linear(2, 2), nn.Tanh()),
        "expected one group": nn.Sequential(nn.Conv2d(2, 2, 3, groups=2)),
        "expected no dilation": nn.Sequential(nn.Conv2d(1, 1, 3, dilation=2)),
        "expected a square kernel": nn.Sequential(nn.Conv2d(1, 1, (3, 5))),
        "expected one without padding": nn.Sequential(nn.MaxPool2d(2, padding=1)),
        "that no linear layer feeds": nn.Sequential(bnn.Deterministic()),
    }
    for said, model in others.items():
        with pytest.raises(ConfigError, match=said):
            lowered(model)


def test_rectifiers_are_layers_in_every_spelling(tmp_path: Path) -> None:
    class Rectified(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.last = nn.Linear(2, 3), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(nn.functional.relu(self.linear(x)))

    class Method(Rectified):
        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.linear(x).relu())

    for model in (Rectified(), Method()):
        assert [layer.kind for layer in lowered(model)].count("rectifier") == 1


def test_pixels_out_of_range_are_refused() -> None:
    _, spec = trained("data=digits", "model=mlp", "neuron=deterministic")
    network = PackedNetwork.__new__(PackedNetwork)
    network.about = {"shape": list(spec.shape), "max_value": spec.max_value}
    images = pixels(2, spec).numpy()
    for wrong, said in ((16 * images, "pixels from 0 to 16, got 0 to 2"), (-images, "got -1")):
        with pytest.raises(ValueError, match=said):
            network.outputs(wrong)


def test_binary_weights_are_a_bit_each(tmp_path: Path) -> None:
    of, spec = trained("model=mlp", "weights=sign", "weights.layers=all", "neuron=deterministic")
    arrays = packed_arrays(of, spec)
    weights = {key: a for key, a in arrays.items() if key.endswith("weight")}
    assert all(a.dtype == np.uint8 for a in weights.values())
    assert sum(a.nbytes for a in weights.values()) == (784 * 256 + 256 * 256 + 256 * 10) // 8
    written = write_packed(tmp_path / "network.npz", arrays)
    assert written < 4 * sum(p.numel() for p in of.model.parameters()) / 20


@pytest.mark.integration
@pytest.mark.parametrize(
    "words",
    [
        NETWORKS["cnn, binary weights"],
        NETWORKS["sbn"],
        ["model=gated_mlp"],
        ["model=gated_cnn", "model.gates=open", "placement=none", "model/sparsity=none"],
    ],
    ids=["cnn", "sbn", "gated", "open"],
)
def test_onnx_gives_the_classes_of_the_network(words: list[str], tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    of, spec = trained(*words)
    write_onnx(tmp_path / "network.onnx", of, spec)
    session = onnxruntime.InferenceSession(str(tmp_path / "network.onnx"))
    images = pixels(IMAGES, spec)
    (found,) = session.run(None, {"images": (images / spec.max_value).numpy()})
    (one,) = session.run(None, {"images": (images[:1] / spec.max_value).numpy()})
    np.testing.assert_allclose(one, found[:1], rtol=1e-4, atol=1e-6)
    inputs = (images / spec.max_value - spec.mean) / spec.std
    expected = torch.softmax(Reading.threshold().outputs(of.model, inputs)[0], 1)
    assert (torch.from_numpy(found).argmax(1) == expected.argmax(1)).sum() >= 0.999 * IMAGES
    assert found.shape == (IMAGES, 10)


@pytest.mark.integration
def test_the_command_writes_a_run_and_refuses_what_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data=digits", "data.limit=64", "model=mlp", "model.hidden=16", "trainer.epochs=1"]
    done = run_here(tmp_path, *words, "tracking.model=false", "weights=sign", "device=cpu")
    assert done.returncode == 0, done.stderr
    (run,) = runs(tmp_path, "run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert main([run.info.run_id[:8], "--runner"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("network.npz: ") and "as those of the network" in printed
    assert (tmp_path / "network.npz").is_file() and (tmp_path / "runner.py").is_file()
    refused = {
        "expected a finished run": ["0123456789"],
        "nothing.pt: no such file": ["nothing.pt"],
        "--output: no/where.npz cannot be written": [run.info.run_id, "--output", "no/where.npz"],
        "leave --onnx or --runner out": [run.info.run_id, "--onnx", "--runner"],
        "the name of the runner's own file": [run.info.run_id, "--runner", "--output", "runner.py"],
    }
    for said, given in refused.items():
        assert main(given) == 1
        error = capsys.readouterr().err
        assert said in error and len(error.strip().splitlines()) == 1, error
    for given in ([run.info.run_id, "--table", "--onnx"], [run.info.run_id, run.info.run_id]):
        with pytest.raises(SystemExit, match="2"):
            main(given)
    assert main([run.info.run_id, "--table"]) == 0
    assert "| mlp · stochastic" in capsys.readouterr().out
