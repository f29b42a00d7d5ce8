"""Rows of a table onto a topic, and the store filled with what four weeks before them left: a processor finds both."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from features.engine import Arena, Profiles
from features.profile.day_totals import counts_24h
from features.store.batch_commands import pack_hset
from features.store.keys import CARD_STATE, CUSTOMER_STATE, PAYMENTS_OF, View
from features.store.redis_client import RespClient
from loadtest.bench.features_parts.traffic import Traffic
from loadtest.traffic.sending import Sender
from streams.mapping.encoding import encode_keys, encode_transactions

SLICE = 5_000


def send(bootstrap: str, topic: str, table: pa.Table) -> None:
    """Produce every row as a transaction and wait until the broker has all of them.

    Raises:
        SendError: it does not take them.
    """
    sender = Sender(bootstrap, "tollgate-bench")
    try:
        for start in range(0, table.num_rows, SLICE):
            part = table.slice(start, SLICE).combine_chunks()
            sender.send_all(topic, encode_keys(part["card_id"]), encode_transactions(part))
        sender.finish()
    except BaseException:
        sender.abandon()
        raise


def fill_store(client: RespClient, traffic: Traffic, state: Profiles) -> None:
    """Write warm profiles of all five entities as the processor would have written them."""
    _write(client, CARD_STATE, traffic.card_names, state.cards, 0)
    _write(client, CUSTOMER_STATE, traffic.customer_names, state.customers, 0)
    first = 0
    for entity, names in zip(("merchant", "device", "ip"), traffic.shared_entity_names, strict=True):
        _write(client, PAYMENTS_OF[entity], names, state.shared_entities, first)
        first += len(names)


def _write(client: RespClient, view: View, names: list[str], arena: Arena, first: int) -> None:
    for start in range(0, len(names), SLICE):
        some = names[start : start + SLICE]
        slots = np.arange(first + start, first + start + len(some))
        # who comes only after the history has nothing yet
        known = arena["last_ms"][slots] > 0
        slots = slots[known]
        present = [name for name, there in zip(some, known.tolist(), strict=True) if there]
        if not present:
            continue
        last_ms = arena["last_ms"][slots]
        scalars = [counts_24h(arena, slots), np.zeros(len(slots), np.int64)]
        wanted = np.column_stack(scalars[: len(view.numbers)])
        client.call([pack_hset(view, present, arena, slots, last_ms, wanted, np.zeros(len(slots), np.bool_))])
