"""Prepares a processor's backlog: sends a table's rows to a topic, and fills Redis with profiles of the four weeks before."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa

from features.engine import Arena, Profiles
from features.store.commands import pack_mset
from features.store.redis_client import RespClient
from features.store.sweep import day_of
from features.store.views import CARD_STATE, CUSTOMER_STATE, PAYMENTS_OF, View
from loadtest.bench.features_parts.traffic import Traffic
from loadtest.traffic.sending import Sender
from streams.mapping.encoding import encode_keys, encode_transactions

SLICE = 5_000


def send(bootstrap: str, topic: str, table: pa.Table) -> None:
    """Produce every row as a transaction and wait until the broker has all of them.

    Raises:
        SendError: the broker does not take them.
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


def fill_store(client: RespClient, partitions: int, traffic: Traffic, state: Profiles) -> None:
    """Write warm profiles of all five entities as the processor would have written them."""
    _write(client, partitions, CARD_STATE, traffic.card_names, state.cards, 0)
    _write(client, partitions, CUSTOMER_STATE, traffic.customer_names, state.customers, 0)
    first = 0
    for entity, names in zip(("merchant", "device", "ip"), traffic.shared_entity_names, strict=True):
        _write(client, partitions, PAYMENTS_OF[entity], names, state.shared_entities, first)
        first += len(names)


def _write(
    client: RespClient, partitions: int, view: View, names: list[str], arena: Arena, first: int
) -> None:
    for start in range(0, len(names), SLICE):
        some = names[start : start + SLICE]
        slots = np.arange(first + start, first + start + len(some))
        # entities that appear only after the history have no profile yet
        known = arena["last_ms"][slots] > 0
        slots = slots[known]
        present = [name for name, there in zip(some, known.tolist(), strict=True) if there]
        client.call([pack_mset(view, present, arena, slots, partitions, day_of(time.time()))])
