"""What oncall sees of the stack from outside: who answers, and how far each group is behind."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from infra.oncall.lag import show
from infra.oncall.watch import Verdict
from infra.stack.health import asking
from infra.stack.health.asking import (
    STARTING_S,
    NoAnswer,
    NotListening,
    Watched,
    ask_http,
    ask_kafka,
    ask_redis,
)
from infra.stack.health.standing import Waiting
from streams.runtime.metrics import CONSUMER_LAG


def test_a_process_is_starting_until_it_answers_and_then_up_or_down() -> None:
    verdict = Verdict("processor-0", began_s=0.0)
    assert verdict.heard(False, 10.0) is None
    assert verdict.up is None
    assert verdict.heard(True, 20.0) is True
    # only changes are told
    assert verdict.heard(True, 25.0) is None
    assert verdict.heard(False, 30.0) is False
    assert verdict.heard(True, 35.0) is True


def test_a_process_that_never_answers_is_down_after_its_time_to_start() -> None:
    verdict = Verdict("kafka", began_s=0.0)
    assert verdict.heard(False, STARTING_S - 1) is None
    assert verdict.heard(False, STARTING_S) is False


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(int(self.path[1:]))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=serving.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{serving.server_port}"
    serving.shutdown()
    thread.join(5)
    serving.server_close()


@pytest.fixture
def frozen() -> Iterator[int]:
    """A port whose owner accepts connections, as the kernel does for a frozen process, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_an_answer_is_any_but_a_servers_error(server: str) -> None:
    ask_http(f"{server}/200")
    ask_http(f"{server}/404")
    with pytest.raises(NoAnswer, match="status 503"):
        ask_http(f"{server}/503")


@pytest.mark.parametrize(
    "ask",
    [
        lambda port: ask_http(f"http://127.0.0.1:{port}/"),
        lambda port: ask_redis(f"redis://127.0.0.1:{port}"),
        lambda port: ask_kafka(f"127.0.0.1:{port}"),
    ],
)
def test_a_frozen_process_and_one_that_is_gone_do_not_answer(
    ask: Callable[[int], None],
    frozen: int,
    free_port_base: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asking, "ANSWER_WITHIN_S", 0.3)
    with pytest.raises(NoAnswer):
        ask(frozen)
    with pytest.raises(NoAnswer):
        ask(free_port_base())


def test_nothing_listens_is_told_apart(free_port_base: Callable[[], int]) -> None:
    with pytest.raises(NotListening):
        ask_http(f"http://127.0.0.1:{free_port_base()}/")


def test_all_are_asked_at_once(server: str, frozen: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ANSWER_WITHIN_S", 0.3)
    found = asking.unanswered(
        [
            Watched("good", lambda: ask_http(f"{server}/200")),
            Watched("frozen", lambda: ask_http(f"http://127.0.0.1:{frozen}/")),
        ]
    )
    assert found.keys() == {"frozen"}
    assert asking.unanswered([]) == {}


def test_lag_is_the_end_less_the_position_and_goes_with_its_partition() -> None:
    def values() -> dict[tuple[str, ...], float]:
        return {tuple(sample.labels.values()): sample.value for sample in CONSUMER_LAG.collect()[0].samples}

    here, there = ("labels", "decisions", 0), ("archive", "features", 1)
    shown = show({here: Waiting(90, 100, 100), there: Waiting(7, 5, 5)}, set())
    assert values() == {("labels", "decisions", "0"): 10, ("archive", "features", "1"): 0}
    assert show({here: Waiting(100, 100, 100)}, shown) == {here}
    assert values() == {("labels", "decisions", "0"): 0}
    show({}, {here})
    assert values() == {}
