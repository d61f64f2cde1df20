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


class Cluster:
    """Cluster as the image of docker-compose.yml makes one, with a superuser.

    Args:
        folder: folder that is its own.
        user: name of the superuser.
        password: password of the superuser.
    """

    def __init__(self, folder: Path, user: str, password: str) -> None:
        self.port, self.folder = free_port(), folder
        self._user = _server_user(folder)
        secret = folder / "password"
        secret.write_text(password)
        os.chmod(secret, 0o644)
        login = ["-U", user, "-A", "scram-sha-256", f"--pwfile={secret}"]
        self._call("initdb", *login, "--no-sync")

    def _call(self, program: str, *words: str) -> None:
        command = [_program(program), "-D", str(self.folder / "data"), *words]
        options: dict[str, Any] = {"cwd": self.folder, "timeout": 60, **self._user}
        subprocess.run(command, check=True, capture_output=True, **options)

    def start(self) -> None:
        places = f"-c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        options = ["-o", f"-p {self.port} {places} -c fsync=off", "-l", str(self.folder / "log")]
        self._call("pg_ctl", "-w", *options, "start")

    def stop(self) -> None:
        self._call("pg_ctl", "-m", "immediate", "stop")


@contextmanager
def cluster(user: str, password: str) -> Iterator[Cluster]:
    """Context manager with a cluster that has been started."""
    folder = Path(tempfile.mkdtemp(prefix="bnn-postgres-"))
    try:
        made = Cluster(folder, user, password)
        made.start()
        try:
            yield made
        finally:
            made.stop()
    finally:
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
