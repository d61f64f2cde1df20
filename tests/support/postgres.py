"""A temporary PostgreSQL cluster from the programs of the distribution's packages."""

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
    """A TCP port of the loopback interface that no process listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _program(name: str) -> str:
    """Path of a PostgreSQL program, newest version first; the test is skipped without one."""
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    places = os.pathsep.join([*map(str, homes), os.environ.get("PATH", "")])
    if found := shutil.which(name, path=places):
        return found
    pytest.skip(
        f"PostgreSQL is not installed ({name} is missing): "
        "tests that start a cluster of their own are skipped"
    )


def _server_user(folder: Path) -> dict[str, Any]:
    """Arguments of `subprocess.run` under which the server starts: PostgreSQL refuses root."""
    if os.getuid() != 0:
        return {}
    name = "postgres" if "postgres" in {each.pw_name for each in pwd.getpwall()} else "nobody"
    owner = pwd.getpwnam(name)
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


def _psql(port: int, user: str, database: str) -> list[str]:
    """Command of `psql`; it stops at the first error."""
    address = f"-h 127.0.0.1 -p {port} -U {user} -d {database}"
    return [_program("psql"), *address.split(), "-v", "ON_ERROR_STOP=1", "-q"]


@contextmanager
def cluster(user: str, password: str) -> Iterator[int]:
    """Cluster as the image of docker-compose.yml makes one, with a superuser.

    Args:
        user: name of the superuser.
        password: password of the superuser.

    Yields:
        The port on the loopback interface.
    """
    initdb, control = _program("initdb"), _program("pg_ctl")
    port, folder = free_port(), Path(tempfile.mkdtemp(prefix="bnn-postgres-"))
    as_user = _server_user(folder)

    def call(*words: str, **options: Any) -> None:
        subprocess.run(words, check=True, capture_output=True, cwd=folder, timeout=60, **options)

    secret = folder / "password"
    secret.write_text(password)
    os.chmod(secret, 0o644)
    data = str(folder / "data")
    login = ["-U", user, "-A", "scram-sha-256", f"--pwfile={secret}"]
    call(initdb, "-D", data, *login, "--no-sync", **as_user)
    places = f"-c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    options = ["-o", f"-p {port} {places} -c fsync=off", "-l", str(folder / "log")]
    call(control, "-D", data, "-w", *options, "start", **as_user)
    try:
        yield port
    finally:
        call(control, "-D", data, "-m", "immediate", "stop", **as_user)
        shutil.rmtree(folder, ignore_errors=True)


def run_sql(
    port: int, user: str, password: str, script: str, database: str = "postgres", **variables: str
) -> str:
    """Output of SQL statements, which run up to the first error.

    Args:
        port: port of the cluster.
        user: role.
        password: password of the role.
        script: statements, with commands of psql.
        database: name of the database.
        variables: environment of psql.

    Raises:
        subprocess.CalledProcessError: for a statement or a connection that is refused.
    """
    return subprocess.run(
        [*_psql(port, user, database), "-At"],
        input=script,
        text=True,
        check=True,
        capture_output=True,
        env={**os.environ, "PGPASSWORD": password, **variables},
    ).stdout
