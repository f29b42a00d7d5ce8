"""What the edge does with connections: slow ones, idle ones, pipelined and broken requests, bodies that are too large."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from services.scoring.edge.edge import Edge
from services.scoring.edge.limits import Limits
from services.scoring.http import app as http_app
from services.scoring.http import direct as http_direct
from tests.support.edge_server import Replica, replicas
from tests.support.waiting import STALL_S

TX: dict[str, Any] = {
    "transaction_id": "tx-1", "event_time": "2026-11-21T10:15:30.123Z", "card_id": "card-42", "merchant_id": "m-9",
    "amount_minor": 1299, "currency": "EUR",
}  # fmt: skip
#: without a model: what is tested here comes before and after it
LIMITS = Limits(body_bytes=2000, batch_bytes=4000)


@pytest.fixture(scope="module", params=[True, False], ids=["direct", "asgi"])
def edge(request: pytest.FixtureRequest) -> Iterator[Replica]:
    with replicas(None, 1, LIMITS, direct=request.param) as (replica,):
        yield replica


@pytest.fixture(scope="module")
def direct() -> Iterator[Replica]:
    with replicas(None, 1, LIMITS) as (replica,):
        yield replica


@pytest.fixture
def latency_sensitive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests must be whole within a moment."""
    for module in (http_app, http_direct):
        monkeypatch.setattr(module, "REQUEST_WITHIN_S", 0.2)


@contextmanager
def connected(edge: Replica) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", edge.port), timeout=STALL_S) as connection:
        yield connection


def request(body: bytes, path: str = "/v1/score", **headers: str) -> bytes:
    told = {"Content-Length": str(len(body)), "X-Deadline-Ms": "9000"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"POST {path} HTTP/1.1\r\nHost: edge\r\n{lines}\r\n".encode() + body


def scored(number: int) -> bytes:
    return json.dumps(TX | {"transaction_id": f"tx-{number}"}).encode()


def answers(connection: socket.socket, count: int) -> list[tuple[int, dict[str, str], Any]]:
    """(status, headers, JSON) of the next ``count`` answers."""
    file = connection.makefile("rb")
    out = []
    for _ in range(count):
        status = int(file.readline().split()[1])
        headers = {}
        while (line := file.readline().strip()) != b"":
            name, _, value = line.decode().partition(": ")
            headers[name.lower()] = value
        body = file.read(int(headers["content-length"]))
        out.append((status, headers, json.loads(body)))
    return out


def until_closed(connection: socket.socket) -> bytes:
    """Everything that still comes before the edge closes the connection; fails when it stays open."""
    received = b""
    while chunk := connection.recv(65_536):
        received += chunk
    return received


def test_a_connection_serves_one_request_after_another(edge: Replica) -> None:
    with connected(edge) as connection:
        for number in range(3):
            connection.sendall(request(scored(number)))
            status, headers, body = answers(connection, 1)[0]
            assert (status, headers["content-type"]) == (200, "application/json")
            assert body["transaction_id"] == f"tx-{number}"
        connection.sendall(request(b"{}"))
        status, headers, body = answers(connection, 1)[0]
        assert (status, headers["content-type"], body["status"]) == (422, "application/problem+json", 422)
        connection.sendall(request(scored(4), Connection="close"))
        assert b"connection: close" in until_closed(connection).lower()


def test_pipelined_requests_are_answered_in_order(edge: Replica) -> None:
    with connected(edge) as connection:
        batch = b'{"transactions":[%b]}' % scored(12)
        connection.sendall(
            request(scored(10)) + request(scored(11)) + request(batch, "/v1/score/batch")
            + b"GET /healthz HTTP/1.1\r\nHost: edge\r\n\r\n" + request(b"nonsense") + request(scored(13))
        )  # fmt: skip
        given = answers(connection, 6)
        assert [status for status, _, _ in given] == [200, 200, 200, 200, 422, 200]
        assert given[1][2]["transaction_id"] == "tx-11"
        assert given[2][2]["decisions"][0]["transaction_id"] == "tx-12"
        assert given[5][2]["transaction_id"] == "tx-13"


def test_a_body_in_pieces_is_one_body(edge: Replica) -> None:
    with connected(edge) as connection:
        whole = request(scored(20))
        for at in range(0, len(whole), 50):
            connection.sendall(whole[at : at + 50])
        assert answers(connection, 1)[0][2]["transaction_id"] == "tx-20"
        chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(scored(21)), scored(21))
        head = b"POST /v1/score HTTP/1.1\r\nHost: edge\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head + chunks)
        assert answers(connection, 1)[0][2]["transaction_id"] == "tx-21"
        connection.sendall(request(scored(22), Expect="100-continue"))
        assert connection.makefile("rb").readline().startswith((b"HTTP/1.1 100", b"HTTP/1.1 200"))


def test_bodies_are_bounded_whatever_their_head_says(edge: Replica) -> None:
    with connected(edge) as connection:
        connection.sendall(request(b" " * 2001))
        assert answers(connection, 1)[0][0] == 413
    with connected(edge) as connection:
        connection.sendall(b"POST /v1/score HTTP/1.1\r\nHost: edge\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.sendall(b"1000\r\n" + b" " * 4096 + b"\r\n0\r\n\r\n")
        assert answers(connection, 1)[0][0] == 413


def test_who_sends_a_body_that_is_too_large_reads_why_and_goes_on(edge: Replica) -> None:
    """Whatever is still on its way: an answer before the body's end would reach many senders as a broken connection."""
    with connected(edge) as connection:
        for number in range(20):
            connection.sendall(request(b" " * 300_000))
            ((status, _, body),) = answers(connection, 1)
            assert (status, body["reason"]) == (413, "too_large")
            connection.sendall(request(scored(70 + number)))
            assert answers(connection, 1)[0][0] == 200


@pytest.mark.parametrize("path", ["/v1/score", "/v1/score/batch", "/v1/labels", "/v1/scores", "/v1%2Fscore"])
def test_nothing_is_answered_before_the_whole_body_is_there(edge: Replica, path: str) -> None:
    """Behind HAProxy an earlier answer breaks the connection, and the next request on it may wait for ever."""
    with connected(edge) as connection:
        whole = request(b" " * 300_000, path)
        connection.sendall(whole[:-1])
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(STALL_S)
        connection.sendall(whole[-1:])
        ((status, _, _),) = answers(connection, 1)
        assert status in (404, 413)
        connection.sendall(request(scored(90)))
        assert answers(connection, 1)[0][0] == 200


def test_a_body_beyond_all_measure_is_refused_by_its_head(edge: Replica) -> None:
    with connected(edge) as connection:
        connection.sendall(
            request(b"")[:-4].replace(b"Content-Length: 0", b"Content-Length: 999999999") + b"\r\n\r\n"
        )
        assert answers(connection, 1)[0][0] == 413


def test_what_is_no_http_is_refused(edge: Replica) -> None:
    with connected(edge) as connection:
        connection.sendall(b"\x16\x03\x01\x00nonsense\r\n\r\n")
        assert until_closed(connection).startswith(b"HTTP/1.1 400")


def test_what_is_no_http_is_refused_with_a_problem(direct: Replica) -> None:
    with connected(direct) as connection:
        connection.sendall(b"\x16\x03\x01\x00nonsense\r\n\r\n")
        ((status, headers, body),) = answers(connection, 1)
        assert (status, headers["content-type"]) == (400, "application/problem+json")
        assert (body["status"], body["reason"]) == (400, "not_http")
        assert until_closed(connection) == b""


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [("GET", "/nowhere", 404, "no_route"), ("GET", "/v1/score", 405, "method"), ("PUT", "/v1/score/batch", 405, "method")],
)  # fmt: skip
def test_unknown_routes_and_wrong_methods_are_problems(
    edge: Replica, method: str, path: str, status: int, reason: str
) -> None:
    with connected(edge) as connection:
        connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: edge\r\n\r\n".encode())
        ((given, headers, body),) = answers(connection, 1)
        assert (given, headers["content-type"]) == (status, "application/problem+json")
        assert (body["status"], body["reason"], headers.get("allow")) == (
            status,
            reason,
            "POST" if status == 405 else None,
        )


@pytest.mark.parametrize("name", ["begin", "score_batch"], ids=["at once", "later"])
def test_errors_that_nobody_foresaw_are_problems(
    edge: Replica, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("what only the log may hold")

    monkeypatch.setattr(Edge, name, broken)
    path = "/v1/score" if name == "begin" else "/v1/score/batch"
    with connected(edge) as connection:
        for _ in range(2):
            connection.sendall(request(b'{"transactions":[]}', path))
            ((status, headers, body),) = answers(connection, 1)
            assert (status, headers["content-type"]) == (500, "application/problem+json")
            assert (body["status"], body["reason"]) == (500, "internal")
            assert "log may hold" not in str(body)
            assert "RuntimeError" not in str(body)


@pytest.mark.usefixtures("latency_sensitive")
@pytest.mark.parametrize("path", ["/v1/score", "/v1/score/batch", "/v1/labels"])
def test_a_slow_body_is_cut(edge: Replica, path: str) -> None:
    with connected(edge) as connection:
        connection.sendall(request(scored(30), path)[:-5])
        status, _, body = answers(connection, 1)[0]
        assert (status, body["reason"]) == (408, "too_slow")


@pytest.mark.usefixtures("latency_sensitive")
def test_slow_headers_are_cut(direct: Replica) -> None:
    with connected(direct) as connection:
        connection.sendall(b"POST /v1/score HTTP/1.1\r\nHost: ed")
        assert until_closed(connection).startswith(b"HTTP/1.1 408")


def test_idle_connections_are_closed(direct: Replica) -> None:
    with connected(direct) as silent, connected(direct) as used:
        used.sendall(request(scored(50)))
        assert answers(used, 1)[0][0] == 200
        assert until_closed(used) == b""
        assert until_closed(silent) == b""


def test_a_caller_that_goes_away_takes_nothing_along(direct: Replica) -> None:
    direct.publisher.silent = True
    try:
        with connected(direct) as gone, connected(direct) as stays:
            gone.sendall(request(scored(60)))
            stays.sendall(request(scored(60)))
            gone.close()
            while not direct.publisher.waiting:
                stays.settimeout(0.05)
                with pytest.raises(TimeoutError):
                    stays.recv(1)
            stays.settimeout(STALL_S)
            direct.publisher.silent = False
            direct.acknowledge()
            assert answers(stays, 1)[0][2]["transaction_id"] == "tx-60"
    finally:
        direct.publisher.silent = False
