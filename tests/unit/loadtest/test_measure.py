"""Which transactions a measurement takes for its own run's. No Kafka."""

from __future__ import annotations

from typing import Any

import pytest

from loadtest.traffic.measuring_process import Begin, _mine


class Sent:
    """A record of `transactions`, as far as it is looked at."""

    def __init__(self, value: bytes | None, *headers: tuple[str, bytes]) -> None:
        self._value, self._headers = value, list(headers)

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> list[tuple[str, bytes]]:
        return self._headers


@pytest.mark.parametrize(
    ("value", "ours"),
    [
        (b'{"event_time":"2026","transaction_id":"runab-17","card_id":"c"}', True),
        (b'{"transaction_id":"runzz-0"}', True),
        # of another run, whose prefix begins with ours or is ours without its last letters
        (b'{"transaction_id":"runnerab-17"}', False), (b'{"transaction_id":"ruab-17"}', False),
        (b'{"transaction_id":"run-17"}', False), (b'{"transaction_id":"runab"}', False),
        (b'{"card_id":"runab-17","transaction_id":"x"}', False), (b"", False), (None, False),
    ],
)  # fmt: skip
def test_a_run_is_known_by_its_ids(value: bytes | None, ours: bool) -> None:
    mine: Any = _mine(Begin("nowhere", None, {}, id_prefix="run"))
    assert mine(Sent(value)) is ours


def test_a_replay_is_known_by_its_header() -> None:
    mine: Any = _mine(Begin("nowhere", None, {}, run="abc"))
    assert mine(Sent(b"{}", ("tollgate-run", b"abc")))
    assert not mine(Sent(b"{}", ("tollgate-run", b"abcd"))) and not mine(Sent(b"{}"))
