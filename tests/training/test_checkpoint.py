"""Checkpoints: a file whose bytes were altered is refused in one line, or its content is the same.

A file of version 0.1.0 or 0.2.0, which has no checksum, opens as before.
"""

from __future__ import annotations

import io
import pickle
import random
import re
import signal
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bnn.errors import CheckpointError
from bnn.training import checkpoint

ALTERED = 400


def content() -> dict[str, Any]:
    """Content like that of a best.pt, of a network of 64 weights."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7))
    return {
        "epoch": 3,
        "value": 0.25,
        "model": net.state_dict(),
        "history": [{"val/loss": float("nan"), "lr": 0.1}],
        "about": {"seed": 0, "name": "mlp", "hidden": (3, 2), "limit": None, "bias": True},
    }


def saved(folder: Path) -> Path:
    checkpoint.save(folder / "best.pt", content())
    return folder / "best.pt"


def flipped(whole: bytes, position: int) -> bytes:
    return whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :]


def test_an_altered_byte_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    path = saved(tmp_path)
    whole, before = path.read_bytes(), checkpoint.checksum(checkpoint.load(path))
    refused, others = 0, 0
    positions = random.Random(0).sample(range(len(whole)), ALTERED)
    for position in positions:
        path.write_bytes(flipped(whole, position))
        try:
            others += checkpoint.checksum(checkpoint.load(path)) != before
        except CheckpointError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            assert "weights_only" not in str(error)
            refused += 1
    assert others == 0
    assert ALTERED / 2 < refused < ALTERED, "bytes that fill up to 64 mean nothing"


def test_torch_alone_reads_other_weights_from_an_altered_file(tmp_path: Path) -> None:
    """The control: without the comparison the file above opens."""
    path = saved(tmp_path)
    whole, weights = path.read_bytes(), content()["model"]["0.weight"]
    altered = flipped(whole, whole.index(weights.numpy().tobytes()) + 3)
    found = torch.load(io.BytesIO(altered), weights_only=True)["model"]["0.weight"]
    assert not torch.equal(found, weights)
    path.write_bytes(altered)
    with pytest.raises(CheckpointError, match="is damaged"):
        checkpoint.load(path)


def test_content_that_was_changed_and_written_by_other_means_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    stored = torch.load(path, weights_only=True)
    stored["model"]["0.weight"][0, 0] += 1
    torch.save(stored, path)
    with pytest.raises(CheckpointError, match="differs from its checksum"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(epoch=4),
        lambda c: c.update(epoch=3.0),
        lambda c: c.update(epoch="3"),
        lambda c: c["about"].update(hidden=[3, 2]),
        lambda c: c["about"].update(bias=1),
        lambda c: c["about"].update(other=c["about"].pop("seed")),
        lambda c: c["model"].update({"0.weight": c["model"]["0.weight"].reshape(5, 7)}),
        lambda c: c["model"].update({"0.bias": c["model"]["0.bias"].double()}),
        lambda c: c["model"].update({"0.bias": -c["model"]["0.bias"]}),
    ],
)
def test_names_types_shapes_and_values_count(change) -> None:
    changed = content()
    change(changed)
    assert checkpoint.checksum(changed) != checkpoint.checksum(content())


def test_a_path_may_be_a_string(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "best.pt", content())
    by_string, by_path = (checkpoint.load(kind(tmp_path / "best.pt")) for kind in (str, Path))
    assert checkpoint.checksum(by_string) == checkpoint.checksum(by_path)


def test_the_layout_in_memory_does_not_count(tmp_path: Path) -> None:
    images = torch.randn(2, 3, 4, 4)
    kinds = {
        "channels_last": images.to(memory_format=torch.channels_last),
        "bf16": images.bfloat16(),
        "scalar": torch.tensor(True),
        "none": torch.zeros(0, 3),
        "view": torch.arange(6)[1::2],
        "ordered": OrderedDict(a=nn.Parameter(torch.ones(2))),
    }
    assert checkpoint.checksum(kinds["channels_last"]) == checkpoint.checksum(images)
    checkpoint.save(tmp_path / "kinds.pt", kinds)
    found = checkpoint.load(tmp_path / "kinds.pt")
    assert torch.equal(found["channels_last"], images) and torch.equal(found["view"], kinds["view"])


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_a_file_without_a_checksum_opens_as_before(version: str, tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    torch.save({"version": version, **content()}, path)
    found = checkpoint.load(path)
    assert checkpoint.checksum(found) == checkpoint.checksum({"version": version, **content()})
    whole, weights = path.read_bytes(), content()["model"]["0.weight"]
    path.write_bytes(flipped(whole, whole.index(weights.numpy().tobytes()) + 3))
    with pytest.raises(CheckpointError, match=r"record .*data/0 differs"):
        checkpoint.load(path)


class Foreign:
    """Class that unpickling with `weights_only=True` refuses."""


@pytest.mark.parametrize(
    "kind", ["network", "foreign", "pickle", "text", "empty", "half", "tensor", "zip", "folder"]
)
def test_whatever_is_no_checkpoint_is_one_line_without_advice_to_trust_it(
    kind: str, tmp_path: Path
) -> None:
    path = saved(tmp_path)
    whole = path.read_bytes()
    if kind in ("network", "foreign", "tensor"):
        values = {"network": nn.Linear(2, 2), "foreign": {"x": Foreign()}, "tensor": torch.ones(2)}
        torch.save(values[kind], path)
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "zip":
        path.write_bytes(b"PK\5\6" + bytes(18))
    else:
        contents = {
            "pickle": pickle.dumps(Foreign()),
            "text": b"words",
            "empty": b"",
            "half": whole[: len(whole) // 2],
        }
        path.write_bytes(contents[kind])
    with pytest.raises(CheckpointError) as refused:
        checkpoint.load(path)
    message = str(refused.value)
    assert message.startswith(str(path)) and "\n" not in message
    assert not re.search("weights_only|trust|arbitrary", message), message


def test_a_last_pt_that_is_damaged_says_how_to_go_on_without_it(tmp_path: Path) -> None:
    last = tmp_path / checkpoint.LAST
    checkpoint.save(last, {"history": [], "best": {}, "updates": content()})
    assert checkpoint.load_last(last)["history"] == []
    last.write_bytes(last.read_bytes()[:-100])
    with pytest.raises(CheckpointError) as refused:
        checkpoint.load_last(last)
    message = str(refused.value)
    assert str(last) in message and "resume=false" in message and "\n" not in message
    assert "init_from" not in message, "there is no best.pt"
    best = saved(tmp_path)
    with pytest.raises(CheckpointError, match=f"model.init_from={re.escape(str(best))}"):
        checkpoint.load_last(last)


def test_a_best_pt_in_place_of_a_last_pt_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is no last\.pt: it lacks best, updates; .*resume"):
        checkpoint.load_last(saved(tmp_path))


def test_a_signal_in_the_middle_of_a_write_waits_for_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within torch's writer an interruption becomes a RuntimeError, as of a disk that is full."""

    class Interrupted(io.BufferedWriter):
        def write(self, data: Any) -> int:
            signal.raise_signal(signal.SIGINT)
            return super().write(data)

    monkeypatch.setattr(Path, "open", lambda path, mode: Interrupted(io.FileIO(path, mode)))
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path / "best.pt", content())
    monkeypatch.undo()
    assert not (tmp_path / "best.pt.part").exists()
    assert set(checkpoint.load(tmp_path / "best.pt")) >= {"model"}
