"""Answers of Redis as they come in: cut anywhere, whole replies come out; what nothing was asked for breaks the connection off."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.store.redis_client import FEED_BYTES, RespClient, StoreUnavailable, replies_in
from services.scoring.edge.store import _Connection
from tests.support.answering_server import answering

_VALUES = st.lists(
    st.one_of(
        st.none(), st.binary(max_size=40), st.sampled_from([b"p" * (FEED_BYTES - 7), b"q" * 3 * FEED_BYTES])
    ),
    min_size=1,
    max_size=12,
)


def _as_redis(values: list[bytes | None]) -> bytes:
    """One MGET's reply."""
    return b"*%d\r\n" % len(values) + b"".join(
        b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value) for value in values
    )


@given(st.lists(_VALUES, min_size=1, max_size=6), st.lists(st.floats(0, 1), max_size=4))
def test_however_an_answer_is_cut_its_replies_come_out_in_order(
    answers: list[list[bytes | None]], cuts: list[float]
) -> None:
    data = b"".join(_as_redis(values) for values in answers)
    places = sorted({0, len(data), *(int(cut * len(data)) for cut in cuts)})
    reader = hiredis.Reader()
    found = []
    for start, stop in pairwise(places):
        found += replies_in(reader, data[start:stop])
    assert found == answers
    assert reader.gets() is False


def test_an_answer_to_nothing_ends_the_connection_so_that_no_later_command_takes_it() -> None:
    with answering(b"+OK\r\n+OK\r\n") as address:
        client = RespClient(address)
        with pytest.raises(StoreUnavailable, match="2 replies to 1 commands"):
            client.call([("PING",)])
        assert client._socket is None


class _Transport:
    aborted = False

    def abort(self) -> None:
        self.aborted = True


def test_an_answer_to_nothing_ends_the_edges_connection_too() -> None:
    async def heard() -> bool:
        transport, connection = _Transport(), _Connection(asyncio.Event())
        connection.connection_made(transport)  # type: ignore[arg-type]
        connection.data_received(b"+OK\r\n")
        return transport.aborted

    assert asyncio.run(heard())
