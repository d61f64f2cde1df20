"""Compose file of the team's server: its schema, and its services as processes."""

from __future__ import annotations

import base64
import contextlib
import copy
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.server import get_app_client
from support.command_line import QUICK, ForkedCommand, bnn_train, environment
from support.postgres import cluster, free_port, run_sql

ROOT = Path(__file__).resolve().parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SECRETS = {
    "POSTGRES_PASSWORD": "c0ffee11",
    "MLFLOW_DB_PASSWORD": "f00d1e55",
    "OPTUNA_DB_PASSWORD": "ba5eba11",
    "MLFLOW_ADMIN_PASSWORD": "decaf00dc0ffee",
    "MLFLOW_SECRET_KEY": "5eed5eed",
}
VARIABLE = re.compile(r"\$\{(\w+)(?:(:-|:\?)([^}]*))?\}")


class Unset(Exception):
    """A variable that the user has to give was not given."""


def filled(text: str, values: Mapping[str, str]) -> str:
    """`text` as compose interpolates it."""

    def value(found: re.Match[str]) -> str:
        name, rule, rest = found.groups()
        if given := values.get(name):
            return given
        if rule == ":?":
            raise Unset(name)
        return rest or ""

    return VARIABLE.sub(value, text).replace("$$", "$")


def config_file(name: str) -> str:
    """Content of a configuration file of the services."""
    return (ROOT / COMPOSE["configs"][name]["file"]).read_text()


def strings(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        for value in tree.values():
            yield from strings(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from strings(value)
    elif isinstance(tree, str):
        yield tree


def check(document: Mapping[str, Any], path: Path) -> int:
    path.write_text(json.dumps(document))
    words = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        str(path),
    ]
    return subprocess.run(words, capture_output=True).returncode


def test_the_file_is_what_the_compose_specification_says(tmp_path: Path) -> None:
    assert check(COMPOSE, tmp_path / "docker-compose.json") == 0
    wrong = copy.deepcopy(COMPOSE)
    wrong["services"]["mlflow"]["prots"] = wrong["services"]["mlflow"].pop("ports")
    assert check(wrong, tmp_path / "wrong.json") != 0


@pytest.mark.parametrize("secret", SECRETS)
def test_nothing_starts_without_each_secret(secret: str) -> None:
    given = {key: value for key, value in SECRETS.items() if key != secret}
    with pytest.raises(Unset, match=secret):
        list(map(lambda text: filled(text, given), strings(COMPOSE)))
    assert list(map(lambda text: filled(text, SECRETS), strings(COMPOSE)))
    example = (ROOT / ".env.example").read_text()
    assert re.search(f"^{secret}=$", example, re.M), "the example names it, and gives it no value"


def test_the_example_names_every_variable() -> None:
    example = (ROOT / ".env.example").read_text()
    used = {found[0] for text in strings(COMPOSE) for found in VARIABLE.findall(text)}
    assert used == set(re.findall(r"^#?([A-Z0-9_]+)=", example, re.M))


@pytest.mark.parametrize("service", COMPOSE["services"])
def test_services_are_pinned_checked_and_closed(service: str) -> None:
    about = COMPOSE["services"][service]
    assert re.fullmatch(r"(postgres:\d+\.\d+-\w+|bnn-server:\d+)", about["image"])
    assert about["healthcheck"]["test"][0] == "CMD"
    assert about["read_only"] and about["cap_drop"] == ["ALL"]
    assert about["security_opt"] == ["no-new-privileges:true"]
    for port in about["ports"]:
        assert filled(port, {}).startswith("127.0.0.1:"), (
            "open to this machine alone, unless the user says otherwise"
        )


def test_the_image_is_pinned_and_does_not_run_as_root() -> None:
    folder = ROOT / COMPOSE["services"]["mlflow"]["build"]
    lines = (folder / "Dockerfile").read_text()
    assert re.search(r"^FROM python:\d+\.\d+\.\d+-", lines, re.M)
    assert re.search(r"^USER bnn$", lines, re.M)
    assert "--require-hashes" in lines
    direct = re.findall(
        r"^([\w-]+)(?:\[\w+\])?==([\w.]+)$", (folder / "requirements.in").read_text(), re.M
    )
    pinned = (folder / "requirements.txt").read_text()
    assert "://" not in pinned, "no address of a package index"
    packages = re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==(\S+)(.*(?:\n    .*)*)", pinned, re.M)
    assert len(direct) == 5 and {*direct} <= {(name, version) for name, version, _ in packages}
    assert all("--hash=sha256:" in rest for _, _, rest in packages)


def test_no_service_has_a_password_in_an_address() -> None:
    for text in [*strings(COMPOSE), config_file("auth")]:
        assert not re.search(r"://[^/\s]*:[^/\s]*@", text), text


@dataclass
class Team:
    """The services as processes."""

    mlflow: str
    dashboard: str
    studies: str
    port: int

    def sql(self, role: str, script: str, database: str = "postgres") -> str:
        """Output of SQL statements of a role of the services."""
        password = SECRETS[f"{role.upper()}_DB_PASSWORD"]
        return run_sql(self.port, role, password, script, database)

    def get(self, path: str, password: str | None = None) -> tuple[int, bytes]:
        request = urllib.request.Request(f"{self.mlflow}{path}")
        if password:
            token = base64.b64encode(f"admin:{password}".encode()).decode()
            request.add_header("Authorization", f"Basic {token}")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


def start(service: str, moved: Mapping[str, str], folder: Path) -> subprocess.Popen:
    """Process of a service, by its command and environment.

    Args:
        moved: addresses and paths that differ outside of containers.
    """

    def here(text: str) -> str:
        for before, after in moved.items():
            text = text.replace(before, after)
        return text

    about = COMPOSE["services"][service]
    values = {key: here(filled(value, SECRETS)) for key, value in about["environment"].items()}
    words = [here(filled(word, SECRETS)) for word in about["command"]]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (folder / f"{service}.log").open("w") as log:
        return subprocess.Popen(
            words,
            env={**environment(), **{k: v for k, v in values.items() if v}, "PATH": path},
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def healthy(service: str, moved: Mapping[str, str], process: subprocess.Popen, log: Path) -> None:
    """Wait for the service's own health check."""
    words = COMPOSE["services"][service]["healthcheck"]["test"][1:]
    for before, after in moved.items():
        words = [word.replace(before, after) for word in words]
    words[0] = sys.executable
    deadline = time.monotonic() + 120
    while subprocess.run(words, capture_output=True).returncode:
        assert time.monotonic() < deadline and process.poll() is None, log.read_text()[-2000:]
        time.sleep(0.5)


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    for needed in ("psycopg", "flask_wtf", "optuna_dashboard"):
        pytest.importorskip(needed)
    folder = tmp_path_factory.mktemp("team")
    superuser = ("postgres", SECRETS["POSTGRES_PASSWORD"])
    passwords = {
        key: filled(value, SECRETS)
        for key, value in COMPOSE["services"]["postgres"]["environment"].items()
    }
    with cluster(*superuser) as server:
        port = server.port
        run_sql(port, *superuser, config_file("roles"), **passwords)
        one, two = free_port(), free_port()
        moved = {
            "postgres:5432": f"127.0.0.1:{port}",
            "0.0.0.0": "127.0.0.1",
            "/etc/mlflow/auth.ini": f"{folder}/auth.ini",
            "/artifacts": f"{folder}/artifacts",
            "/opt/bnn": str(ROOT / COMPOSE["services"]["mlflow"]["build"]),
        }
        ini = config_file("auth").replace("postgres:5432", f"127.0.0.1:{port}")
        (folder / "auth.ini").write_text(ini)
        processes = []
        try:
            for service, theirs, ours in (("mlflow", "5000", one), ("dashboard", "8080", two)):
                moves = {**moved, theirs: str(ours)}
                processes.append(start(service, moves, folder))
                healthy(service, moves, processes[-1], folder / f"{service}.log")
            storage = f"postgresql+psycopg://optuna:{SECRETS['OPTUNA_DB_PASSWORD']}@127.0.0.1:{port}/optuna"
            yield Team(f"http://127.0.0.1:{one}", f"http://127.0.0.1:{two}", storage, port)
        finally:
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.mark.server
def test_the_server_asks_for_the_password(team: Team) -> None:
    search = "/api/2.0/mlflow/experiments/search?max_results=5"
    assert team.get(search)[0] == 401
    assert team.get(search, "password1234")[0] == 401
    assert team.get(search, SECRETS["MLFLOW_ADMIN_PASSWORD"])[0] == 200


@pytest.mark.server
@pytest.mark.parametrize(
    "path", ["{mlflow}/api/2.0/mlflow/experiments/search", "{dashboard}/api/studies"]
)
def test_a_foreign_host_name_is_refused(team: Team, path: str) -> None:
    address = path.format(mlflow=team.mlflow, dashboard=team.dashboard)
    request = urllib.request.Request(address, headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=20)
    assert refused.value.code == 403


@pytest.mark.server
def test_a_worker_s_password_opens_the_studies_alone(team: Team) -> None:
    for role, own, others in (
        ("optuna", ["optuna"], ["mlflow", "auth", "postgres", "template1"]),
        ("mlflow", ["mlflow", "auth"], ["optuna", "postgres", "template1"]),
    ):
        for database in own:
            assert team.sql(role, "SELECT rolsuper OR rolcreaterole OR rolcreatedb FROM pg_roles "
                            f"WHERE rolname = '{role}'", database) == "f\n"  # fmt: skip
            with pytest.raises(subprocess.CalledProcessError) as refused:
                team.sql(role, "COPY (SELECT 1) TO PROGRAM 'true'", database)
            assert "must be superuser" in refused.value.stderr
        for database in others:
            with pytest.raises(subprocess.CalledProcessError) as refused:
                team.sql(role, "SELECT 1", database)
            assert "permission denied for database" in refused.value.stderr


@pytest.mark.slow
@pytest.mark.server
def test_users_change_each_other_s_runs_and_delete_their_own_alone(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ada", "bob"):
        for key, value in login(team).items():
            monkeypatch.setenv(key, value)
        get_app_client("basic-auth", team.mlflow).create_user(name, "correct horse battery")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "correct horse battery")
    client = MlflowClient(team.mlflow)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    run = client.create_run(client.create_experiment("hers")).info.run_id
    client.set_tag(run, "note", "hers")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "bob")
    client.set_tag(run, "note", "his")  # docs/team-server.md says so
    assert client.get_run(run).data.tags["note"] == "his"
    with pytest.raises(MlflowException, match="Permission denied"):
        client.delete_run(run)


def login(team: Team) -> dict[str, str]:
    password = SECRETS["MLFLOW_ADMIN_PASSWORD"]
    return {
        "MLFLOW_TRACKING_URI": team.mlflow,
        "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD": password,
    }


@pytest.mark.slow
@pytest.mark.server
def test_a_run_and_a_study_of_two_workers_end_up_there(
    team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*QUICK, "model=mlp", "data.limit=192", "tracking=server"]
    refused = bnn_train(tmp_path, *words, **{**login(team), "MLFLOW_TRACKING_PASSWORD": "wrong"})
    assert (
        refused.returncode == 1
        and len(refused.stderr.splitlines()) == 1
        and "wrong" not in refused.stderr
    )
    study = [
        "-m",
        *words,
        "study=learning_rate",
        "hydra.sweeper.n_trials=3",
        f"hydra.sweeper.storage={team.studies}",
    ]
    one, two = tmp_path / "one", tmp_path / "two"
    workers = []
    for folder in (one, two):
        folder.mkdir()
        workers.append(ForkedCommand(folder, *study, **login(team)))
    answers = [worker.communicate() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], answers
    for key, value in login(team).items():
        monkeypatch.setenv(key, value)
    store = MlflowClient(team.mlflow)
    found = store.search_runs([store.get_experiment_by_name("bnn/digits").experiment_id])
    trials = [run for run in found if run.data.tags["bnn.kind"] == "trial"]
    assert sorted(run.data.tags["trial"] for run in trials) == ["0", "1", "2"]
    assert {run.info.status for run in trials} == {"FINISHED"}
    assert {run.data.tags["bnn.run_dir"].split("/multirun")[0] for run in trials} <= {
        str(one),
        str(two),
    }
    assert any(
        item.path == "checkpoint/best.pt"
        for item in store.list_artifacts(trials[0].info.run_id, "checkpoint")
    )
    with urllib.request.urlopen(f"{team.dashboard}/api/studies", timeout=20) as answer:
        names = [each["study_name"] for each in json.loads(answer.read())["study_summaries"]]
    assert any("learning_rate" in name for name in names)
    shown = "".join(out + err for out, err in answers)
    assert not [secret for secret in SECRETS.values() if secret in shown]
    assert not list(tmp_path.rglob("mlflow.db"))
