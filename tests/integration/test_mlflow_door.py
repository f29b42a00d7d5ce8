"""MLflow of a secured stack: nobody reaches it without a name and a password, over HTTP or by its socket."""

from __future__ import annotations

import base64
import http.server
import socketserver
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from infra.stack import StackError, settings_for
from infra.stack.health.asking import NotListening, ask_http
from infra.stack.programs import programs
from infra.stack.secure.preparing import ensure_files
from infra.stack.servers import mlflow
from infra.stack.tools import find_tools
from services.trainer import tracking
from streams.runtime.parts import MlflowPart
from streams.runtime.secured import OPERATOR, authorization, credentials
from streams.runtime.settings import Settings, acting_as
from tests.support.waiting import STALL_S, until

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


class Behind(http.server.BaseHTTPRequestHandler):
    """In place of MLflow: answers with the path, and with what it is told of passwords."""

    def do_GET(self) -> None:
        body = f"{self.path} {self.headers.get('authorization')}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *_: Any) -> None:
        """Not on the screen."""


class OnASocket(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


@pytest.fixture
def secured(tmp_path: Path, free_port_base: Callable[[], int]) -> Settings:
    # a socket's path is short
    settings = settings_for(tmp_path, free_port_base(), secure=True)
    ensure_files(settings.secure_files, NOW)
    settings.socket_dir.mkdir(parents=True, exist_ok=True)
    mlflow.prepare(settings)
    return settings


@pytest.fixture
def door(secured: Settings) -> Iterator[Settings]:
    """HAProxy as `tollgate up --secure` starts it, and something behind it."""
    path = mlflow.socket(secured)
    with OnASocket(str(path), Behind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with subprocess.Popen(mlflow.door_command(secured, find_tools())) as running:
            try:
                until(lambda: ask(secured, "/health", {})[0] == 200, 30, "the door")
                yield secured
            finally:
                running.terminate()
                running.wait(STALL_S)
                server.shutdown()


def ask(settings: Settings, path: str, headers: dict[str, str]) -> tuple[int, str]:
    try:
        request = urllib.request.Request(f"{settings.mlflow}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=STALL_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
    except urllib.error.URLError:
        return 0, ""


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"}


def test_only_who_has_a_password_comes_in(door: Settings) -> None:
    for principal in (OPERATOR, "trainer"):
        # MLflow is not told the password
        address = acting_as(door, principal).mlflow
        assert ask(door, "/api/2.0/mlflow/runs", authorization(address)) == (200, "/api/2.0/mlflow/runs None")
    operator = door.secure_files.password(OPERATOR).read_text()
    others = [
        {}, basic(OPERATOR, "wrong"), basic("", ""), basic("admin", operator), {"Authorization": f"Bearer {operator}"},
        # a password of the stack, of one who has no business there
        authorization(acting_as(door, "producer").mlflow), authorization(acting_as(door, "labels").mlflow),
    ]  # fmt: skip
    for headers in others:
        for path in (
            "/",
            "/api/2.0/mlflow/runs",
            "/health/../api",
            "/health%2f..%2fapi",
            "//health",
            "/HEALTH",
            "/health/x",
        ):
            assert ask(door, path, headers)[0] == 401, (path, headers)
    # open, and says nothing: whoever asks for the state asks it
    assert ask(door, "/health", {}) == (200, "/health None")
    assert tracking.reachable(door)


def test_a_door_with_nobody_behind_it_says_that_mlflow_starts(secured: Settings) -> None:
    """Not that it does not answer: MLflow takes half a minute to start, its door does not."""
    with subprocess.Popen(mlflow.door_command(secured, find_tools())) as running:
        try:
            until(lambda: ask(secured, "/health", {})[0] == 503, 30, "the door")
            with pytest.raises(NotListening):
                ask_http(f"{secured.mlflow}/health")
        finally:
            running.terminate()
            running.wait(STALL_S)


def test_its_files_are_their_owners_alone(secured: Settings) -> None:
    path = mlflow.door_file(secured)
    assert path.stat().st_mode & 0o777 == 0o600
    mlflow.prepare(secured)
    assert path.stat().st_mode & 0o777 == 0o600
    words = [secured.secure_files.password(name).read_text() for name in mlflow.MAY_COME_IN]
    assert all(word in path.read_text() for word in words)
    assert mlflow.socket(secured).parent == secured.socket_dir


def test_mlflow_listens_where_only_its_door_comes(secured: Settings) -> None:
    table = {program.name: program for program in programs(secured, find_tools())}
    assert f"--uds {mlflow.socket(secured)}" in table["mlflow"].command
    assert str(mlflow.door_file(secured)) in table[mlflow.DOOR].command
    with pytest.raises(StackError, match="make setup"):
        programs(secured, replace(find_tools(), haproxy=None))
    plain = settings_for(secured.root, secured.port_base)
    known = {program.name: program for program in programs(plain, replace(find_tools(), haproxy=None))}
    assert mlflow.DOOR not in known and "--uvicorn-opts" not in known["mlflow"].command


def test_the_address_carries_who_comes_only_to_our_own(secured: Settings) -> None:
    assert credentials(acting_as(secured, "trainer").mlflow) == (
        "trainer", secured.secure_files.password("trainer").read_text(),
    )  # fmt: skip
    elsewhere = msgspec.structs.replace(secured.elsewhere, mlflow=MlflowPart(url="https://mlflow.example"))
    other = msgspec.structs.replace(secured, elsewhere=elsewhere, mlflow="https://mlflow.example")
    assert credentials(other.mlflow) is None
