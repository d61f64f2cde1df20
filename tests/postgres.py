"""A throw-away PostgreSQL cluster from the distribution's packages."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _program(name: str) -> str:
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if found := shutil.which(
        name, path=os.pathsep.join([*map(str, homes), os.environ.get("PATH", "")])
    ):
        return found
    pytest.skip(
        f"PostgreSQL is not installed ({name} is missing): tests that start a cluster of their own are skipped"
    )


@contextmanager
def cluster(user: str, password: str, database: str) -> Iterator[int]:
    """A cluster as the image of docker-compose.yml makes one: a superuser with a password, and a database. Its port."""
    initdb, control, psql = _program("initdb"), _program("pg_ctl"), _program("psql")
    port, folder = free_port(), Path(tempfile.mkdtemp(prefix="bnn-postgres-"))
    as_user: dict[str, Any] = {}
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        name = "postgres" if "postgres" in {each.pw_name for each in pwd.getpwall()} else "nobody"
        owner = pwd.getpwnam(name)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        as_user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}

    def call(*words: str, **options: Any) -> None:
        subprocess.run(words, check=True, capture_output=True, cwd=folder, timeout=60, **options)

    secret = folder / "password"
    secret.write_text(password)
    os.chmod(secret, 0o644)
    data = str(folder / "data")
    call(
        initdb,
        "-D",
        data,
        "-U",
        user,
        "-A",
        "scram-sha-256",
        f"--pwfile={secret}",
        "--no-sync",
        **as_user,
    )
    options = (
        f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    )
    call(control, "-D", data, "-w", "-o", options, "-l", str(folder / "log"), "start", **as_user)
    try:
        environment = {**os.environ, "PGPASSWORD": password}
        words = [
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
            "-U",
            user,
            "-d",
            "postgres",
            "-v",
            "ON_ERROR_STOP=1",
            "-q",
        ]
        call(psql, *words, "-c", f"CREATE DATABASE {database}", env=environment)
        yield port
    finally:
        call(control, "-D", data, "-m", "immediate", "stop", **as_user)
        shutil.rmtree(folder, ignore_errors=True)


def run_sql(port: int, user: str, password: str, script: str) -> None:
    words = [
        _program("psql"),
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
        "-U",
        user,
        "-d",
        "postgres",
        "-v",
        "ON_ERROR_STOP=1",
        "-q",
    ]
    subprocess.run(
        words,
        input=script,
        text=True,
        check=True,
        capture_output=True,
        env={**os.environ, "PGPASSWORD": password},
    )
