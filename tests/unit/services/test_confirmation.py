"""A command says what the replicas serve, not what they were told."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from services.rollout.confirmation import NotServed, confirm, serving
from streams.runtime.settings import Settings

METRICS = """# TYPE tollgate_model_info gauge
tollgate_model_info{{arm="champion",version="{before}"}} 0.0
tollgate_model_info{{arm="champion",version="{version}"}} 1.0
tollgate_model_info{{arm="challenger",version="9.9.9"}} 1.0
# TYPE tollgate_rollout_sequence gauge
tollgate_rollout_sequence{{outcome="served"}} {served}
tollgate_rollout_sequence{{outcome="refused"}} {refused}
"""


class Replica:
    """A process that lives, and its metrics."""

    def __init__(self, settings: Settings, name: str, served: float, refused: float = 0.0) -> None:
        self.served, self.refused, replica = served, refused, self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = METRICS.format(
                    before="1.0.0", version="1.1.0", served=replica.served, refused=replica.refused
                )
                self.send_response(200)
                self.end_headers()
                self.wfile.write(text.encode())
                replica.served += 1

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", settings.metrics_port(name)), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        settings.run_dir.mkdir(exist_ok=True)
        (settings.run_dir / f"{name}.pid").write_text(f"1\n{os.getpid()}\n")


@pytest.fixture
def settings(tmp_path: Path, free_port_base: Callable[[], int]) -> Settings:
    return Settings(home=str(tmp_path), port_base=free_port_base())


@pytest.fixture
def replica(settings: Settings) -> Iterator[Callable[..., Replica]]:
    made: list[Replica] = []

    def make(name: str, served: float, refused: float = 0.0) -> Replica:
        made.append(Replica(settings, name, served, refused))
        return made[-1]

    yield make
    for one in made:
        one.server.shutdown()
        one.server.server_close()


def test_all_replicas_are_waited_for(settings: Settings, replica: Callable[..., Replica]) -> None:
    # each look finds one more record served
    replica("scoring-stream-0", 3)
    replica("scoring-http-0", 1)
    assert confirm(settings, 3) == {"scoring-http-0": "1.1.0", "scoring-stream-0": "1.1.0"}


def test_a_replica_that_refuses_or_stays_behind_is_named(
    settings: Settings, replica: Callable[..., Replica]
) -> None:
    replica("scoring-stream-0", 5)
    refusing = replica("scoring-http-0", 1, 5)
    with pytest.raises(NotServed, match=r"scoring-http-0 refused the bundle and still serves 1\.1\.0"):
        confirm(settings, 5)
    refusing.refused, refusing.served = 0, -1000
    with pytest.raises(NotServed, match="scoring-http-0 did not serve it within 0 s"):
        confirm(settings, 5, within_s=0)


def test_without_replicas_nothing_is_claimed(settings: Settings) -> None:
    assert confirm(settings, 5) == {}
    settings.run_dir.mkdir()
    (settings.run_dir / "scoring-http-0.pid").write_text("")
    assert confirm(settings, 5) == {} and serving(settings, "scoring-http-0") is None
