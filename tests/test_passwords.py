"""Passwords in addresses: nothing prints or records them, and files that hold one are private."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from support.command_line import QUICK, bnn_train, runs

from bnn.errors import BnnError, exit_code, keep_files_private, without_password
from bnn.tuning.worker import parent_key


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://ada:s3cret@host/db", "postgresql://ada:***@host/db"),
        (
            "postgresql://host/db?user=ada&password=s3cret",
            "postgresql://host/db?user=ada&password=***",
        ),
        ("mysql://host/db?passwd=s3cret&x=1", "mysql://host/db?passwd=***&x=1"),
        ("http://host/?Token=s3cret", "http://host/?Token=***"),
        (
            "postgresql://ada:s3c:r@t@host/db?sslpassword=s3cret",
            "postgresql://ada:***@host/db?sslpassword=***",
        ),
        ("http://host/?page=1&passwords=2", "http://host/?page=1&passwords=2"),
    ],
)
def test_an_address_is_shown_without_its_passwords(address: str, shown: str) -> None:
    assert without_password(address) == shown


def test_an_error_is_printed_without_passwords(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        raise BnnError("postgresql://host/db?password=s3cret: no answer")

    assert exit_code(command) == 1
    assert capsys.readouterr().err == "error: postgresql://host/db?password=***: no answer\n"


@pytest.mark.parametrize(
    ("word", "private"), [("a=x?password=s3cret", True), ("a=x?page=1", False)]
)
def test_a_command_with_a_password_makes_private_files(word: str, private: bool) -> None:
    before = os.umask(0o022)
    try:
        keep_files_private(["-m", word])
        assert os.umask(0o022) == (0o077 if private else 0o022)
    finally:
        os.umask(before)


def test_a_study_names_its_parent_run_without_the_password_of_the_store() -> None:
    key = parent_key("postgresql+psycopg://mlflow:s3cret@host/mlflow")
    assert key.endswith("postgresql+psycopg://mlflow:***@host/mlflow")


@pytest.mark.integration
@pytest.mark.parametrize("mode", ["one run", "a sweep"])
def test_a_password_on_the_command_line_is_in_private_files_alone(
    mode: str, tmp_path: Path
) -> None:
    result = bnn_train(
        tmp_path,
        *(["-m"] if mode == "a sweep" else []),
        *QUICK,
        "model=mlp",
        "data.limit=192",
        "++hydra.job.env_set.STORE='a?password=s3cret'",
    )
    assert result.returncode == 0, result.stderr
    assert "s3cret" not in result.stdout + result.stderr
    (run,) = runs(tmp_path, "run")
    assert "s3cret" not in str(run.data)
    assert all("s3cret" not in str(run.to_dictionary()) for run in runs(tmp_path, "sweep"))
    holders = [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and b"s3cret" in path.read_bytes() and path.suffix != ".db"
    ]
    assert holders, "Hydra writes the command line"
    assert {stat.S_IMODE(path.stat().st_mode) for path in holders} == {0o600}
