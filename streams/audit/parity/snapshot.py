"""Reads for a parity window: profiles with their positions at one moment, and the entity updates appended since."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import hiredis

from features.profile.codec import ProfileError
from features.store.keys import GROUP, applied_key
from features.store.partition_lease import Leases
from features.store.profiles.batch import Gather, StoreRefused
from features.store.redis_client import Command, RespClient, StoreUnavailable, replies_to
from features.store.state_versions import ASK_WHOLE, is_whole
from features.store.views import FRAUDS_OF, PAYMENTS_OF
from streams.audit.parity.recompute import Begin, Place
from streams.audit.parity.window import ParityWindow, Spans
from streams.log.feature_batch import FeatureRecord
from streams.log.other_catalogues import Layouts
from streams.log.topics import ENTITIES
from streams.runtime.kafka.log_reader import LedgerUnreachable, LogRow, read_span
from streams.runtime.metrics import PARITY_SKIPPED
from streams.runtime.settings import Settings

logger = logging.getLogger(__name__)


def store_window(settings: Settings, layouts: Layouts) -> ParityWindow:
    """A window on a stack's store and broker, with its own connection."""
    client = RespClient(settings.redis_address)
    return ParityWindow(
        layouts,
        settings.partitions,
        lambda records: begin_in(client, records, settings.partitions),
        lambda spans: items_in(settings.kafka, spans),
    )


def look(window: ParityWindow, now_s: float) -> int:
    """``window.tick``; if the store or broker does not give what it needs, the sample is skipped and counted."""
    try:
        return window.tick(now_s)
    except (StoreUnavailable, StoreRefused, ProfileError, LedgerUnreachable) as error:
        PARITY_SKIPPED.inc()
        logger.warning("no parity of all entities this time: %s", error)
        return 0


def begin_in(client: RespClient, records: Sequence[FeatureRecord], partitions: int) -> Begin | None:
    """The profiles of the records' entities as stored now; None while there is no complete state.

    Raises:
        StoreUnavailable: Redis is away or refuses. StoreRefused, ProfileError: as ``Gather.load``.
    """
    gather = Gather([record.transaction for record in records])
    places = [(ENTITIES.name, partition) for partition in range(partitions)]
    beside: list[Command] = [
        ASK_WHOLE, Leases(client, GROUP).ask_stored(places), *(("HGETALL", applied_key(p)) for _, p in places)
    ]  # fmt: skip
    reads = gather.commands(partitions)
    # MULTI gives one moment, because writers also use one EXEC
    replies = client.call([("MULTI",), *beside, *reads, ("EXEC",)])[-1]
    if isinstance(replies, hiredis.ReplyError) or len(replies) != len(beside) + replies_to(reads):
        raise StoreUnavailable(f"the store did not give state at one moment: {replies}")
    if not is_whole(replies[0]):
        return None
    gather.load(replies[len(beside) :])
    applied = {
        (partition, *_source(name)): int(offset)
        for (_, partition), pairs in zip(places, replies[2 : len(beside)], strict=True)
        for name, offset in zip(pairs[::2], pairs[1::2], strict=True)
    }
    positions = {p: int(at or 0) for (_, p), at in zip(places, replies[1], strict=True)}
    return Begin(_profiles(gather, records), positions, applied)


def _profiles(gather: Gather, records: Sequence[FeatureRecord]) -> dict[Place, Any]:
    out: dict[Place, Any] = {}
    for i, record in enumerate(records):
        tx = record.transaction
        for slot, entity, name in zip(
            gather.shared_entity_slots[i].tolist(), ("merchant", "device", "ip"), (tx.merchant_id, tx.device_id, tx.ip), strict=True
        ):  # fmt: skip
            if name:
                out[(entity, name), PAYMENTS_OF[entity].name] = gather.shared_entities[slot]
        card, customer = gather.fraud_slots[i].tolist()
        out[("card", tx.card_id), FRAUDS_OF["card"].name] = gather.frauds[card]
        if tx.customer_id:
            whose = ("customer", tx.customer_id)
            out[whose, PAYMENTS_OF["customer"].name] = gather.customers[gather.customer_slots[i]]
            out[whose, FRAUDS_OF["customer"].name] = gather.frauds[customer]
    return out


def _source(name: bytes) -> tuple[str, int]:
    topic, _, partition = name.decode().rpartition(":")
    return topic, int(partition)


def items_in(bootstrap: str, spans: Spans) -> list[LogRow]:
    """Records of `entities` in the given spans.

    Raises:
        LedgerUnreachable: the broker does not answer, or stops answering.
    """
    out: list[LogRow] = []
    read_span(
        bootstrap,
        {ENTITIES.name: {partition: first for partition, (first, _) in spans.items()}},
        {ENTITIES.name: {partition: end for partition, (_, end) in spans.items()}},
        lambda records: out.extend(map(LogRow.of, records)),
        stall_s=5.0,
    )
    return out
