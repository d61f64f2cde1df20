"""docs/data.md tells the truth: its code runs, and its table is that of conf/data/folder.yaml."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import bnn
from bnn.data import DATASETS, spec_of
from bnn.paths import folder

PAGE = (Path(bnn.__file__).resolve().parent.parent / "docs" / "data.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_table_has_the_keys_of_the_folder_and_their_defaults() -> None:
    told = {
        key: default.strip("`")
        for key, default in re.findall(r"^\| `data\.(\w+)` \| (\S+) \|", PAGE, re.MULTILINE)
    }
    given = OmegaConf.to_container(OmegaConf.load(folder("conf") / "data" / "folder.yaml"))
    plain = {
        key: "null" if value is None else str(value)
        for key, value in given.items()
        if key != "name"
    }
    assert told == plain | {"root": "none"}


def test_the_data_set_of_the_page_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS._constructors, "stripes", None)
    _, _, function, use = blocks("python")
    scope: dict = {}
    exec(function, scope)
    exec(use, scope)
    assert scope["data"].spec.shape == (1, 12, 12) and scope["data"].spec.classes == 2
    (yaml,) = blocks("yaml")
    assert spec_of(OmegaConf.to_container(OmegaConf.create(yaml))) == spec_of({"name": "stripes"})


def test_the_call_with_tensors_is_one() -> None:
    scope = {name: torch.rand(20, 4, 4) for name in ("images", "test_images")}
    scope |= {name: torch.arange(20) % 3 for name in ("labels", "test_labels")}
    exec(blocks("python")[0], scope)
    assert scope["data"].spec.classes == 3
