"""Faults of tracking stores and disks: no record is lost, and each fault is one line.

Run alone, it ends with the number of faults that were tried and survived:
`python -m pytest -m "not slow" tests/test_store_faults.py`.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import random
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Run, RunData, RunInfo, RunTag
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND, INVALID_PARAMETER_VALUE
from support.command_line import QUICK, client, run_here, runs
from support.matrix import one_in

from bnn import sync
from bnn.errors import TrackingError
from bnn.tracking import outbox
from bnn.tracking.outbox import Outbox
from bnn.tracking.store import open_store
from bnn.training.step import TrainState

RUN = "a" * 32
NO_RUN = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"Run with id={RUN} not found"}


class Faults:
    """Numbers of faults that were tried, and of those after which nothing was missing."""

    def __init__(self) -> None:
        self.tried = self.survived = 0

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Context manager around one fault and the checks that follow it."""
        self.tried += 1
        yield
        self.survived += 1


@pytest.fixture(scope="module")
def faults(request: pytest.FixtureRequest) -> Iterator[Faults]:
    count = Faults()
    yield count
    plugins = request.config.pluginmanager
    if reporter := plugins.getplugin("terminalreporter"):
        with plugins.getplugin("capturemanager").global_and_fixture_disabled():
            reporter.ensure_newline()
            reporter.write_line(f"faults tried {count.tried} / survived {count.survived}")


class MemoryStore:
    """Client of a store with one run, whose tags are the records that it has taken.

    `fault` is what the store does in place of taking a call; tags whose key begins with `bad` are
    refused.
    """

    tracking_uri = "memory://store"

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self.fault: Callable[[], None] | None = None
        self.has_run = True

    def _answer(self) -> None:
        if self.fault is not None:
            self.fault()
        if not self.has_run:
            raise RestException(NO_RUN)

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        self._answer()
        if key.startswith("bad"):
            raise MlflowException("a key that is none", error_code=INVALID_PARAMETER_VALUE)
        if self.fault is not takes_nothing:
            self.tags[key] = value

    def get_run(self, run_id: str) -> Run:
        self._answer()
        info = RunInfo(run_id, "0", "me", "RUNNING", 0, None, LifecycleStage.ACTIVE)
        return Run(info, RunData(tags=[RunTag(key, value) for key, value in self.tags.items()]))


def takes_nothing() -> None:
    """The empty page of a proxy, which MLflow's client takes for success."""


def is_away() -> None:
    raise MlflowException("API request to http://store failed with exception refused")


def has_another_page() -> None:
    raise MlflowException(
        "API request to endpoint /x failed with error code 404 != 200. Response body: '<html>'",
        error_code=ENDPOINT_NOT_FOUND,
    )


def has_a_proxy_of_json() -> None:
    raise RestException({"message": "no Route matched with those values"})


def lost_the_run() -> None:
    raise RestException(NO_RUN)


STORE_FAULTS = [takes_nothing, is_away, has_another_page, has_a_proxy_of_json, lost_the_run]


def open_box(store: MemoryStore, folder: Path) -> Outbox:
    return Outbox(store, RUN, folder)  # type: ignore[arg-type]


def tag(box: Outbox, key: str, payload: bytes = b"") -> None:
    box.send("tag", {"key": key, "value": "1"}, payload)


def keys_in(path: Path) -> set[str]:
    """Keys of the tags in a file of records, of which damaged lines count by their number."""
    found: set[str] = set()
    for line in path.read_bytes().split(b"\n") if path.exists() else []:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            found.add(json.loads(line)["values"]["key"])
    return found


def waiting_box(store: MemoryStore, folder: Path, keys: str) -> Outbox:
    """Outbox of a store that was away while these tags were logged."""
    store.fault, box = is_away, open_box(store, folder)
    for key in keys.split():
        tag(box, key)
    store.fault = None
    return box


@pytest.mark.parametrize("fault", STORE_FAULTS)
def test_a_store_that_answers_without_the_run_takes_nothing_away(
    fault: Callable[[], None], tmp_path: Path, faults: Faults, capsys
) -> None:
    with faults.one():
        store = MemoryStore()
        box = waiting_box(store, tmp_path, "one two three")
        store.fault = fault
        box.close()
        said = capsys.readouterr().err
        assert len(box) == 3 and "has taken" not in said, said
        assert keys_in(tmp_path / "outbox/records.jsonl") == {"one", "two", "three"}
        (line,) = [each for each in said.splitlines() if "records.jsonl" in each]
        assert all(part in line for part in (RUN, "3 records", "memory://store", "bnn.sync"))
        store.fault = None
        open_box(store, tmp_path).close()
        assert set(store.tags) == {"one", "two", "three"}
        assert "has taken the 3 records" in capsys.readouterr().err
        assert not (tmp_path / "outbox").exists()


def test_a_reason_is_given_once(tmp_path: Path, capsys) -> None:
    store = MemoryStore()
    box = waiting_box(store, tmp_path, "one")
    store.fault = lost_the_run
    capsys.readouterr()
    for _ in range(3):
        box.flush()
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"has no run {RUN}" in said


def test_a_refused_record_moves_to_a_file_of_its_own(tmp_path: Path, faults: Faults, capsys):
    with faults.one():
        store = MemoryStore()
        box = waiting_box(store, tmp_path, "one bad two")
        box.close()
        said = capsys.readouterr().err
        assert set(store.tags) == {"one", "two"} and (box.delivered, box.refused) == (2, 1)
        assert "has taken the 2 records" in said and "refused 1 others" in said
        (line,) = (tmp_path / "outbox/refused.jsonl").read_text().splitlines()
        assert json.loads(line)["values"]["key"] == "bad" and json.loads(line)["reason"]
        assert not (tmp_path / "outbox/records.jsonl").exists()
        tag(box, "three")
        assert "three" in store.tags, "and the next record is not held up"


@pytest.mark.integration
def test_a_deleted_run_keeps_its_records(tmp_path: Path, faults: Faults, capsys) -> None:
    with faults.one():
        store = open_store(f"sqlite:///{tmp_path}/mlflow.db", "x")
        client = MlflowClient(store.uri)
        run_id = client.create_run(store.experiment_id).info.run_id
        client.delete_run(run_id)
        box = Outbox(client, run_id, tmp_path / "run")
        box.send("tag", {"key": "a", "value": "1"})
        box.close()
        assert len(box) == 1 and f"run {run_id} was deleted" in capsys.readouterr().err
        client.restore_run(run_id)
        box.close()
        assert client.get_run(run_id).data.tags["a"] == "1" and not len(box)


@pytest.mark.integration
@pytest.mark.parametrize("how", ["another file", "other contents of the file", "no file"])
def test_a_database_that_was_replaced_by_an_empty_one_loses_no_record(
    how: str, tmp_path: Path, faults: Faults, capsys
) -> None:
    with faults.one():
        file, full = tmp_path / "mlflow.db", tmp_path / "full.db"
        store = open_store(f"sqlite:///{file}", "x")
        client = MlflowClient(store.uri)
        run_id = client.create_run(store.experiment_id).info.run_id
        box = Outbox(client, run_id, tmp_path / "run")
        box.send("metrics", {"metrics": {"loss": 1.0}, "step": 1, "at": 1})
        shutil.copy(file, full)
        open_store(f"sqlite:///{tmp_path}/empty.db", "x")
        if how == "another file":
            os.replace(tmp_path / "empty.db", file)
        elif how == "other contents of the file":
            shutil.copyfile(tmp_path / "empty.db", file)
        else:
            file.unlink()
        for step in (2, 3):
            box.send("metrics", {"metrics": {"loss": 1.0}, "step": step, "at": step})
        box.close()
        line = capsys.readouterr().err.splitlines()[-1]
        assert ("no such file" if how == "no file" else f"has no run {run_id}") in line
        assert f"2 records of run {run_id} wait in {tmp_path}/run/outbox/records.jsonl" in line
        assert sync.main([str(tmp_path)]) == 1
        assert "2 records" in capsys.readouterr().err and file.exists() == (how != "no file")
        shutil.copy(full, file)
        assert sync.main([str(tmp_path)]) == 0, capsys.readouterr().err
        steps = [point.step for point in client.get_metric_history(run_id, "loss")]
        assert steps == [1, 2, 3]


@pytest.mark.integration
def test_a_database_that_is_deleted_between_two_runs_is_made_anew(
    tmp_path: Path, faults: Faults
) -> None:
    with faults.one():
        for _ in range(2):
            store = open_store(f"sqlite:///{tmp_path}/mlflow.db", "x")
            writer = MlflowClient(store.uri)
            run_id = writer.create_run(store.experiment_id).info.run_id
            assert writer.get_run(run_id).info.status == "RUNNING"
            (tmp_path / "mlflow.db").unlink()


@pytest.mark.integration
def test_records_go_to_another_store_that_has_their_run(tmp_path: Path, faults: Faults) -> None:
    from bnn.tracking.sync import flush_outboxes

    with faults.one():
        store = open_store(f"sqlite:///{tmp_path}/old.db", "x")
        client = MlflowClient(store.uri)
        run_id = client.create_run(store.experiment_id).info.run_id
        box = Outbox(client, run_id, tmp_path / "run")
        shutil.move(tmp_path / "old.db", tmp_path / "new.db")
        box.send("tag", {"key": "a", "value": "1"})
        assert [done for done, _ in flush_outboxes(tmp_path)] == [False]
        ((done, line),) = flush_outboxes(tmp_path, f"sqlite:///{tmp_path}/new.db")
        assert done and "new.db has taken the 1 records" in line, line
        moved = MlflowClient(f"sqlite:///{tmp_path}/new.db").get_run(run_id)
        assert moved.data.tags["a"] == "1"


PAGES: Mapping[str, tuple[int, str]] = {
    "404 HTML": (404, "<html>\nno such page</html>"),
    "404 JSON of a proxy": (404, '{"message": "no Route matched"}'),
    "404 JSON of FastAPI": (404, '{"detail": "Not Found"}'),
    "404 JSON of MLflow": (404, json.dumps(NO_RUN)),
    "400 HTML": (400, "<html>bad request</html>"),
    "403 HTML": (403, "<html>not for you</html>"),
    "413 HTML": (413, "<html>too large</html>"),
    "200 HTML": (200, "<html>welcome</html>"),
    "200 JSON": (200, "{}"),
    "200 empty": (200, ""),
    "502 HTML": (502, "<html>bad gateway</html>"),
    "503 JSON": (503, '{"error_code": "TEMPORARILY_UNAVAILABLE", "message": "later"}'),
}
"""Answers, by status and text, that stand in place of those of MLflow's server."""


class Proxy(BaseHTTPRequestHandler):
    """Proxy that gives one page for every address, or MLflow's answers for one run with tags."""

    page: tuple[int, str] | None = None
    tags: dict[str, str] = {}  # noqa: RUF012

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, text = type(self).page or (200, self._of_mlflow(body))
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _of_mlflow(self, body: bytes) -> str:
        if "set-tag" in self.path:
            sent = json.loads(body)
            type(self).tags[sent["key"]] = sent["value"]
        if "runs/get" not in self.path:
            return "{}"
        info = {"run_id": RUN, "run_uuid": RUN, "experiment_id": "0", "status": "RUNNING",
                "lifecycle_stage": "active"}  # fmt: skip
        tags = [{"key": key, "value": value} for key, value in type(self).tags.items()]
        return json.dumps({"run": {"info": info, "data": {"tags": tags}}})

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[type[Proxy], str]]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(Proxy, "page", None)
    monkeypatch.setattr(Proxy, "tags", {})
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield Proxy, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_in_place_of_mlflow_takes_no_record(
    name: str, proxy: tuple[type[Proxy], str], tmp_path: Path, faults: Faults, capsys
) -> None:
    with faults.one():
        server, uri = proxy
        box = Outbox(MlflowClient(uri), RUN, tmp_path / "run")
        server.page = (502, "away")
        box.send("tag", {"key": "one", "value": "1"})
        server.page = PAGES[name]
        box.send("tag", {"key": "two", "value": "2"})
        box.close()
        assert sync.main([str(tmp_path)]) == 1
        said = capsys.readouterr()
        assert keys_in(tmp_path / "run/outbox/records.jsonl") == {"one", "two"}
        assert "taken" not in said.err + said.out and len(said.err.splitlines()) == 3
        server.page = None
        assert sync.main([str(tmp_path)]) == 0
        assert server.tags == {"one": "1", "two": "2"} and not list(tmp_path.rglob("outbox"))


@pytest.mark.parametrize("name", [name for name in PAGES if name != "404 JSON of MLflow"])
def test_a_server_that_is_not_mlflows_is_one_line_at_the_start(
    name: str, proxy: tuple[type[Proxy], str], faults: Faults
) -> None:
    with faults.one():
        server, uri = proxy
        server.page = PAGES[name]
        with pytest.raises(TrackingError) as raised:
            open_store(uri, "x")
        assert "\n" not in str(raised.value) and uri in str(raised.value)


@pytest.mark.parametrize(
    "damage",
    [b"{", b"\xff\xfe\x00", b"null", b"[1]", b'{"call": "tag"}', b'{"call": [], "values": {}}',
     b'{"call": "no", "values": {}, "payload": ""}', b"[" * 100_000,
     b'{"call": "tag", "values": {"key": "x"}, "payload": ""}'],
    ids=range(9),
)  # fmt: skip
def test_a_damaged_line_holds_up_no_other(
    damage: bytes, tmp_path: Path, faults: Faults, capsys
) -> None:
    with faults.one():
        store = MemoryStore()
        waiting_box(store, tmp_path, "one two three")
        records = tmp_path / "outbox/records.jsonl"
        first, _, third = records.read_bytes().splitlines()
        records.write_bytes(b"\n".join([first, damage, third, first[:20]]))
        box = open_box(store, tmp_path)
        assert "2 damaged lines" in capsys.readouterr().err and len(box) == 2
        box.close()
        assert set(store.tags) == {"one", "three"} and not records.exists()
        kept = (tmp_path / "outbox/damaged.jsonl").read_bytes()
        assert kept == damage + b"\n" + first[:20] + b"\n"


def test_a_last_line_without_its_line_break_is_a_record(tmp_path: Path) -> None:
    store = MemoryStore()
    waiting_box(store, tmp_path, "one two")
    records = tmp_path / "outbox/records.jsonl"
    records.write_bytes(records.read_bytes()[:-1])
    box = open_box(store, tmp_path)
    store.fault = is_away
    tag(box, "three")
    store.fault = None
    open_box(store, tmp_path).close()
    assert set(store.tags) == {"one", "two", "three"}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"run_id": "../.."}'])
def test_an_outbox_whose_address_is_damaged_is_kept(
    content: str, tmp_path: Path, faults: Faults, capsys
) -> None:
    with faults.one():
        store = MemoryStore()
        waiting_box(store, tmp_path, "one")
        capsys.readouterr()
        (tmp_path / "outbox/address.json").write_text(content)
        assert sync.main([str(tmp_path)]) == 1
        said = capsys.readouterr().err
        assert len(said.splitlines()) == 1 and '"uri": "ADDRESS"' in said
        waiting_box(store, tmp_path, "two").close()
        assert set(store.tags) == {"two"}
        assert keys_in(tmp_path / "outbox-unknown/records.jsonl") == {"one"}


OS_CALLS = ("open", "write", "fsync", "replace", "ftruncate", "unlink", "rmdir", "mkdir")


class Killed(BaseException):
    """End of a process: nothing catches it."""


@contextlib.contextmanager
def killed_at(number: int, partial: bool) -> Iterator[list[str]]:
    """Context manager in which the process ends at one of its calls of the operating system.

    Args:
        number: number of the call, from 0.
        partial: whether a write puts half of its bytes on disk first.

    Yields:
        Names of the calls that were made.
    """
    made: list[str] = []

    def call(name: str, real: Callable[..., Any], *words: Any, **options: Any) -> Any:
        made.append(name)
        if len(made) == number + 1 and name == "write" and partial:
            real(words[0], bytes(words[1])[: len(words[1]) // 2])
        if len(made) > number:  # also in what cleans up
            raise Killed
        return real(*words, **options)

    with pytest.MonkeyPatch.context() as patched:
        for name in OS_CALLS:
            patched.setattr(os, name, functools.partial(call, name, getattr(os, name)))
        with contextlib.suppress(Killed):
            yield made


def spoil(records: Path, key: str) -> None:
    """Damage the record of a tag."""
    records.write_bytes(records.read_bytes().replace(f'"{key}'.encode(), f"\0{key}".encode()))


@pytest.mark.parametrize("partial", [False, True])
def test_a_kill_at_any_call_of_the_system_loses_no_record(
    partial: bool, tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept with a payload, set aside as damaged or refused, delivered and deleted."""
    monkeypatch.setattr(os, "fsync", lambda file: None)  # for speed
    number, ended = 0, False
    while not ended:
        with faults.one():
            folder, store = tmp_path / str(number), MemoryStore()
            waiting_box(store, folder, "one spoiled bad two")
            spoil(folder / "outbox/records.jsonl", "spoiled")
            written = {"one", "two"}
            with killed_at(number, partial) as made:
                box = open_box(store, folder)
                tag(box, "three", b"payload")
                written.add("three")
                box.deliver()
            ended = len(made) <= number
            open_box(store, folder).close()
            assert set(store.tags) - {"three"} == written - {"three"}
            assert written <= set(store.tags)
            assert keys_in(folder / "outbox/refused.jsonl") == {"bad"}
            assert b"\0spoiled" in (folder / "outbox/damaged.jsonl").read_bytes()
            assert not (folder / "outbox/records.jsonl").exists()
        number += 1
    assert number > 20 and {"write", "fsync", "replace"} <= set(made)


@contextlib.contextmanager
def room_for(size: int) -> Iterator[list[int]]:
    """Context manager in which a disk has room for so many bytes; yields what was written."""
    write, written = os.write, [0]

    def fills_up(file: int, content: Any) -> int:
        fits = min(size - written[0], len(content))
        if fits <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written[0] += fits
        return write(file, bytes(content)[:fits])

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "write", fills_up)
        yield written


@pytest.mark.integration
def test_a_disk_that_is_full_at_any_byte_loses_no_record(
    tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda file: None)  # for speed
    size, full = 0, True
    while full:
        with faults.one():
            folder, store = tmp_path / str(size), MemoryStore()
            waiting_box(store, folder, "one spoiled bad two")
            spoil(folder / "outbox/records.jsonl", "spoiled")
            written, full = {"one", "two"}, False
            with room_for(size) as used:
                box = open_box(store, folder)
                for key in ("three", "four"):
                    try:
                        tag(box, key, b"payload")
                        written.add(key)
                    except TrackingError as error:
                        full = "No space left" in str(error)
                box.deliver()
            full = full or used[0] >= size
            box = open_box(store, folder)
            tag(box, "five")
            box.close()
            assert set(store.tags) == written | {"five"}
            assert keys_in(folder / "outbox/refused.jsonl") == {"bad"}
            assert b"\0spoiled" in (folder / "outbox/damaged.jsonl").read_bytes()
        shutil.rmtree(folder)
        size += 1
    assert size > 300


@contextlib.contextmanager
def small_disk(folder: Path, size: str, *options: str) -> Iterator[Path]:
    """Context manager with a file system of its own; skips where it cannot be made."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a file system of its own needs the rights of root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_real_disk_that_is_full_loses_no_record(tmp_path: Path, faults: Faults) -> None:
    with small_disk(tmp_path / "small", "64k") as folder, faults.one():
        store = MemoryStore()
        store.fault, box, written = is_away, open_box(store, folder), set()
        with pytest.raises(TrackingError, match="No space left on device"):
            for number in range(100):
                tag(box, f"key{number}", b"payload" * 500)
                written.add(f"key{number}")
        assert 3 < len(written) < 20
        store.fault = None
        open_box(store, folder).close()
        assert set(store.tags) == written and not (folder / "outbox").exists()


@pytest.mark.parametrize("seed", one_in(3, range(60)))
def test_what_was_written_is_delivered_waits_or_is_set_aside(
    seed: int, tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random sequences of records and faults: delivered + waiting + set aside = written."""
    monkeypatch.setattr(outbox, "RETRY", 0.0)
    monkeypatch.setattr(os, "fsync", lambda file: None)  # for speed
    draw, store = random.Random(seed), MemoryStore()
    records = tmp_path / "outbox/records.jsonl"
    box, written, spoiled = open_box(store, tmp_path), set(), set()
    for number in range(40):
        store.fault = draw.choice([None, None, *STORE_FAULTS])
        if not len(box) and store.fault is takes_nothing:
            store.fault = None  # a first call that seems to succeed is not kept
        with faults.one():
            what = draw.choice(["log", "log", "log", "refused", "reopen", "full", "kill", "spoil"])
            key = f"{'bad' if what == 'refused' else 'key'}{number}"
            if what in ("log", "refused"):
                tag(box, key, draw.choice([b"", b"payload"]))
                written.add(key)
            elif what == "full":
                with room_for(draw.randrange(400)), contextlib.suppress(TrackingError):
                    tag(box, key)
                    written.add(key)
            elif what == "kill":
                with killed_at(draw.randrange(30), draw.random() < 0.5):
                    tag(box, key)
                    written.add(key)
                box = open_box(store, tmp_path)
            elif what == "spoil" and (lines := sorted(keys_in(records) - set(store.tags))):
                spoiled.add(lines[0])
                spoil(records, lines[0])
                box = open_box(store, tmp_path)
            else:
                box = open_box(store, tmp_path)
            aside = keys_in(tmp_path / "outbox/refused.jsonl") | spoiled
            assert written <= set(store.tags) | keys_in(records) | aside
    store.fault = None
    open_box(store, tmp_path).close()
    delivered, refused = set(store.tags), keys_in(tmp_path / "outbox/refused.jsonl")
    assert not records.exists() and not delivered & refused
    assert written <= delivered | refused | spoiled
    assert {key for key in written - spoiled if key.startswith("key")} <= delivered
    assert {key for key in written - spoiled if key.startswith("bad")} <= refused
    damaged = tmp_path / "outbox/damaged.jsonl"
    kept = damaged.read_bytes() if damaged.exists() else b""
    assert all(b"\0" + key.encode() + b'"' in kept for key in spoiled)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of MLflow with the experiment `x`."""
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    open_store(f"sqlite:///{path}", "x")
    return path


def text_file(path: Path, database: Path) -> Path:
    path.write_text("epoch,loss\n" * 100)
    return path


def cut_off(path: Path, database: Path) -> Path:
    path.write_bytes(database.read_bytes()[:100_000])
    return path


def a_folder(path: Path, database: Path) -> Path:
    path.mkdir()
    return path


def a_pipe(path: Path, database: Path) -> Path:
    os.mkfifo(path)
    return path


def a_loop(path: Path, database: Path) -> Path:
    path.symlink_to(path)
    return path


def in_a_loop(path: Path, database: Path) -> Path:
    path.symlink_to(path)
    return path / "mlflow.db"


def a_link_to_nothing(path: Path, database: Path) -> Path:
    path.symlink_to("/mnt/disk/that/is/away.db")
    return path


def below_a_file(path: Path, database: Path) -> Path:
    path.write_text("")
    return path / "mlflow.db"


def a_long_name(path: Path, database: Path) -> Path:
    return path.with_name("x" * 300)


def a_long_path(path: Path, database: Path) -> Path:
    return path.joinpath(*["folder"] * 1000)


FILES: Mapping[Callable[[Path, Path], Path], str] = {
    text_file: "expected an SQLite database, got another file",
    cut_off: "damaged or was cut off",
    a_folder: "got a folder",
    a_pipe: "expected the file of a database",
    a_loop: "Too many levels of symbolic links",
    in_a_loop: "the folder of",
    a_link_to_nothing: "which does not exist",
    below_a_file: "the folder of",
    a_long_name: "File name too long",
    a_long_path: "File name too long",
}


@pytest.mark.integration
@pytest.mark.parametrize("make", FILES, ids=lambda make: make.__name__)
def test_a_file_that_is_no_database_is_one_line_at_once(
    make: Callable[[Path, Path], Path], database: Path, tmp_path: Path, faults: Faults
) -> None:
    with faults.one():
        path = make(tmp_path / "mlflow.db", database)
        before = path.read_bytes() if os.path.isfile(path) else b""
        started = time.process_time()
        with pytest.raises(TrackingError) as raised:
            open_store(f"sqlite:///{path}", "x")
        assert FILES[make] in str(raised.value) and "\n" not in str(raised.value)
        assert str(path) in str(raised.value) and time.process_time() - started < 1
        assert before == (path.read_bytes() if os.path.isfile(path) else b""), (
            "it is left as it was"
        )
        assert os.path.islink(path) == (make in (a_loop, a_link_to_nothing))


@pytest.mark.integration
def test_a_locked_database_is_waited_for_with_a_line(
    database: Path, tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    with faults.one():
        monkeypatch.setattr("bnn.tracking.database.BUSY_LIMIT", 0.3)
        path = tmp_path / "mlflow.db"
        shutil.copy(database, path)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(TrackingError, match="another process has locked"):
                open_store(f"sqlite:///{path}", "x")
            assert capsys.readouterr().err.count("warning: waiting up to") == 1
            other.execute("ROLLBACK")
        assert open_store(f"sqlite:///{path}", "x").experiment == "x"


def test_a_lock_that_is_held_for_ever_is_one_line(
    tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bnn.tracking.database import file_lock

    with faults.one(), file_lock(tmp_path / "mlflow.db", "tracking.uri"):
        monkeypatch.setattr("bnn.tracking.database.LOCK_LIMIT", 0.1)
        with pytest.raises(TrackingError, match=r"has held .*mlflow.db.lock"):  # noqa: SIM117
            with file_lock(tmp_path / "mlflow.db", "tracking.uri"):
                pass


def test_a_slow_answer_is_announced(capsys) -> None:
    from bnn.tracking.failures import announced

    with announced("the store", patience=0.01):
        time.sleep(0.2)
    assert capsys.readouterr().err == "warning: still waiting for the store\n"
    with announced("the store"):
        pass
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    "uri",
    ["postgresql+psycopg://ada:secret@127.0.0.1:1/x", "postgresql+nothing://ada:secret@h/x",
     "postgresql+psycopg://ada:secret@127.0.0.1:abc/x", "mssql+away://ada:secret@h/x"],
)  # fmt: skip
def test_a_database_server_that_is_away_is_one_line_after_a_few_attempts(
    uri: str, faults: Faults, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    with faults.one():
        monkeypatch.setattr("bnn.tracking.database.CONNECTION_PAUSES", (0.01, 0.01))
        with pytest.raises(TrackingError) as raised:
            open_store(uri, "x")
        assert "\n" not in str(raised.value) and "secret" not in str(raised.value)
        said = capsys.readouterr().err
        assert "secret" not in said and said.count("warning: waiting") <= 1


@pytest.mark.integration
@pytest.mark.parametrize("size", ["64k", "2m"])
def test_a_full_disk_is_one_line(
    size: str, database: Path, tmp_path: Path, faults: Faults, capsys
) -> None:
    with small_disk(tmp_path / "small", size) as folder, faults.one():
        if size != "64k":
            shutil.copy(database, folder / "mlflow.db")
        with contextlib.suppress(OSError), (folder / "rest").open("wb", buffering=0) as rest:
            for _ in range(10_000):
                rest.write(b"x" * 4096)
        with pytest.raises(TrackingError) as raised:
            open_store(f"sqlite:///{folder}/mlflow.db", "another")
        text = str(raised.value)
        assert "\n" not in text and ("disk is full" in text or "No space left" in text), text
        assert not capsys.readouterr().err


@pytest.mark.integration
def test_a_read_only_disk_is_one_line(database: Path, tmp_path: Path, faults: Faults) -> None:
    with small_disk(tmp_path / "small", "2m") as folder, faults.one():
        shutil.copy(database, folder / "mlflow.db")
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        with pytest.raises(TrackingError, match="to read and to write") as raised:
            open_store(f"sqlite:///{folder}/mlflow.db", "x")
        assert "\n" not in str(raised.value)


@pytest.mark.integration
def test_a_file_without_permission_is_one_line(
    database: Path, tmp_path: Path, faults: Faults
) -> None:
    """As another user than root, whom no permission stops."""
    with faults.one():
        path = tmp_path / "mlflow.db"
        shutil.copy(database, path)
        path.chmod(0)
        said, user = [], os.geteuid()
        for parent in [tmp_path, *tmp_path.parents] if user == 0 else []:
            if parent.is_relative_to(tmp_path.parents[2]) and parent != Path("/tmp"):
                parent.chmod(0o755)
        try:
            if user == 0:
                os.seteuid(65534)
            with pytest.raises(TrackingError) as raised:
                open_store(f"sqlite:///{path}", "x")
            said.append(str(raised.value))
        finally:
            os.seteuid(user)
        assert str(path) in said[0] and "to read and to write" in said[0] and "\n" not in said[0]


@pytest.mark.integration
def test_outputs_that_are_a_loop_of_links_are_one_line(tmp_path: Path, faults: Faults) -> None:
    with faults.one():
        (tmp_path / "outputs").symlink_to("outputs")
        result = run_here(tmp_path, *QUICK, "model=mlp")
        assert result.returncode == 1 and len(result.stderr.splitlines()) == 1
        assert "outputs/" in result.stderr and "Too many levels" in result.stderr


@pytest.mark.integration
def test_a_database_that_is_replaced_during_a_training_loses_no_record(
    tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """Between two epochs by an empty one, as after a server's restart on another disk."""
    with faults.one():
        file, full, train = tmp_path / "mlflow.db", tmp_path / "full.db", TrainState.epoch
        epochs = iter(range(1, 100))

        def epoch(updates: TrainState, progress: Any) -> dict[str, float]:
            if next(epochs) == 2:
                shutil.move(file, full)
                open_store(f"sqlite:///{file}", "bnn/digits")
            return train(updates, progress)

        with monkeypatch.context() as patched:
            patched.setattr(TrainState, "epoch", epoch)
            result = run_here(
                tmp_path, *QUICK, "trainer.epochs=3", "data.limit=192", "model=mlp",
                "trainer.progress=none",
            )  # fmt: skip
        assert result.returncode == 0, result.stderr
        assert "taken" not in result.stderr
        (records,) = tmp_path.rglob("records.jsonl")
        count = len(records.read_bytes().splitlines())
        *_, last = [line for line in result.stderr.splitlines() if "has no run" in line]
        assert count > 5 and f"{count} records of run" in last
        assert str(records) in last and "--to ADDRESS" in last
        assert sync.main([str(tmp_path)]) == 1
        assert len(records.read_bytes().splitlines()) == count
        shutil.move(full, file)
        capsys.readouterr()
        assert sync.main([str(tmp_path)]) == 0
        assert f"taken the {count} records" in capsys.readouterr().out
        (run,) = runs(tmp_path, "run")
        points = client(tmp_path).get_metric_history(run.info.run_id, "val/loss")
        assert [point.step for point in points] == [1, 2, 3] and run.info.status == "FINISHED"
        assert not list(tmp_path.rglob("outbox"))
