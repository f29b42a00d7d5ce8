"""The on-call receiver keeps what Alertmanager sends, and refuses what is something else."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import infra.oncall.pages
from infra.oncall.main import OnCallServer
from infra.oncall.pages import InvalidPage, Pages, alerts_of

WEBHOOK = {
    "version": "4",
    "status": "firing",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "DriftSevere", "severity": "warning"},
            "annotations": {
                "summary": "moved",
                "description": "look",
                "runbook_url": "infra/runbooks/DriftSevere.md",
            },
            "startsAt": "2026-11-21T10:00:00Z",
            "endsAt": "0001-01-01T00:00:00Z",
        }
    ],
}


@pytest.fixture
def address(tmp_path: Path, free_port_base: Callable[[], int]) -> Iterator[str]:
    port = free_port_base()
    server = OnCallServer(port, Pages(tmp_path / "pages.jsonl"))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{port}"
    server.shutdown()
    thread.join(5)
    server.server_close()


def post(url: str, body: bytes) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_runbooks_are_served_by_the_name_of_their_alert(address: str) -> None:
    with urllib.request.urlopen(f"{address}/runbooks/KafkaDown", timeout=5) as answer:
        assert answer.read().startswith(b"# KafkaDown\n")
    for name in ("Nothing", "../decisions/0001-the-way-of-one-transaction", "..%2f..%2fREADME"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{address}/runbooks/{name}", timeout=5)
        assert refused.value.code == 404


def test_an_alert_is_kept_and_given_back(address: str) -> None:
    assert post(f"{address}/alerts", json.dumps(WEBHOOK).encode()) == 200
    with urllib.request.urlopen(f"{address}/pages", timeout=5) as answer:
        pages = json.load(answer)
    assert [(p["alert"], p["status"], p["summary"]) for p in pages] == [("DriftSevere", "firing", "moved")]


def test_however_much_is_sent_the_file_is_bounded_and_the_newest_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(infra.oncall.pages, "MAX_BYTES", 20_000)
    pages = Pages(tmp_path / "pages.jsonl")
    for number in range(500):
        alert = {"status": "firing", "labels": {"alertname": f"A{number}", "filler": "x" * 300}}
        pages.add(alerts_of(json.dumps({"alerts": [alert]}).encode(), datetime.now(UTC)))
        assert (tmp_path / "pages.jsonl").stat().st_size < 21_000
    names = [page["alert"] for page in pages.read()]
    assert names == [f"A{number}" for number in range(500 - len(names), 500)] and len(names) > 10


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"[]", b'{"alerts": [1]}', b'{"alerts": [{"labels": {}}]}']
)
def test_what_is_no_alert_is_refused(address: str, body: bytes) -> None:
    assert post(f"{address}/alerts", body) == 400
    with urllib.request.urlopen(f"{address}/pages", timeout=5) as answer:
        assert json.load(answer) == []


def test_a_line_cut_short_by_a_crash_is_left_out(tmp_path: Path) -> None:
    pages = Pages(tmp_path / "pages.jsonl")
    pages.add(alerts_of(json.dumps(WEBHOOK).encode(), datetime(2026, 11, 21, tzinfo=UTC)))
    with (tmp_path / "pages.jsonl").open("a") as file:
        file.write('{"alert": "Drif')
    assert [page["alert"] for page in pages.read()] == ["DriftSevere"]


def test_deeply_wrong_types_are_refused() -> None:
    for body in (b'{"alerts": {"a": 1}}', b'{"alerts": ' + b"[" * 100_000, b"\xff\xfe"):
        with pytest.raises(InvalidPage):
            alerts_of(body, datetime(2026, 11, 21, tzinfo=UTC))
