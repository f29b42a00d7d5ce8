"""Decides of each accepted transaction whether it came before: the same again, or another under its identity.

The newest are known exactly (``identity_table``), and survive a restart (``identity_blocks``). A payment whose event time is not newer
than that of all that was forgotten is looked up in the decision index, for as long as the index remembers. What is older than the
index remembers cannot be told from a repetition and is refused, never decided twice.

Repeated records of one offset are another matter: ``streams/log/offsets/source_offsets.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from features.identity import identities_of
from features.kernels.columns import Payments
from features.store.profiles.slot_table import keyed_hashes
from features.store.redis_client import Command, RespClient
from features.transaction import Transaction, from_ms
from models.decision import Decision
from streams.contracts.invalid_event import InvalidEvent
from streams.log import refused_identities
from streams.log.decision_index import (
    IndexedDecision,
    PageError,
    decode_page,
    entries_in,
    lookups,
    page_key,
    parse_entry,
    row_of,
)
from streams.log.records import decode_entities, digest_of
from streams.processor.identities.blocks import IdentityBlocks, Rows, by_partition, secret
from streams.processor.identities.chunk_ids import WhoPaid
from streams.processor.identities.table import (
    ANEW,
    CONFLICT,
    FIRST,
    OFFSET_BITS,
    REPEATED,
    Hashes,
    IdentityTable,
    Met,
    Places,
    Verdicts,
    contents_of,
    place_of,
)
from streams.processor.intake import Accepted

#: a verdict beside those of the table: nobody can say any more whether it was decided before
TOO_OLD = 3
_decision_decoder = msgspec.json.Decoder(Decision)


class Judged(NamedTuple):
    """Verdicts on n transactions (n,), and the commands that keep the first ones, to be written with the state."""

    verdicts: Verdicts
    writes: list[Command]
    #: of those that are refused, by row
    refused: dict[int, InvalidEvent]


class KnownTransactions:
    """All that one worker knows of the transactions of its partitions."""

    def __init__(
        self,
        client: RespClient,
        partitions: int,
        clock: Callable[[], float] = time.time,
        table: Callable[[], IdentityTable] = IdentityTable,
        blocks: Callable[[int], IdentityBlocks] = IdentityBlocks,
    ) -> None:
        """``clock``: seconds since 1970."""
        self._client = client
        self._clock = clock
        self._new_table = table
        self._table = table()
        self._blocks = blocks(partitions)
        self._secret = (0, 0)

    def load(self, positions: dict[int, int]) -> None:
        """Begin a session with partitions of `transactions`; ``positions``: the next offset to apply of each.

        Raises:
            StoreUnavailable: Redis did not answer in time.
        """
        self._secret = secret(self._client)
        self._table = self._new_table()
        self._blocks.load(self._client, positions, self._table, self._now_ms())

    def begin_without_state(self) -> None:
        """Begin a session in which nothing is written: what came before it is known to the decision index only."""
        self._table = self._new_table()
        self._table.forget_before(self._now_ms())

    def log_lost(self, partitions: Sequence[int]) -> list[Command]:
        """Commands to write when the offsets of partitions begin again; call it after ``load``."""
        return [command for p in partitions for command in self._blocks.log_lost(p, self._now_ms())]

    def judge(self, accepted: Accepted, who: WhoPaid, payments: Payments, *, silent: bool = False) -> Judged:
        """What n transactions are, in their order. The first ones are known from now on.

        Args:
            silent: the records were handled by another version of the state: what is on its own place is the first.

        Raises:
            StoreUnavailable: Redis did not come back in time, or answered with an error.
        """
        names = keyed_hashes(*who.own, self._secret)
        contents = contents_of(payments, who.cards)
        places = np.array(accepted.partitions, dtype=np.int64) << OFFSET_BITS
        places |= payments["offset"]
        self._table.make_room(len(accepted))
        known = np.zeros(len(accepted), dtype=np.uint8)
        if len(accepted) and int(accepted.event_ms.min()) <= self._table.forgotten_ms:
            suspects = np.flatnonzero(accepted.event_ms <= self._table.forgotten_ms)
            known[suspects] = self._looked_up(accepted.take(suspects.tolist()))
        met = self._table.meet(names, contents, places, known, accepted.event_ms)
        verdicts = met.verdicts
        if silent:
            verdicts[met.firsts == places] = FIRST
        if accepted.replays:
            self._decide_anew(accepted, names, places, met)
        first = verdicts == FIRST
        writes: list[Command] = []
        for partition, rows in by_partition(accepted.partitions, first).items():
            offsets = places[rows] - place_of(partition, 0)
            of = Rows(offsets, names[rows], contents[rows], accepted.event_ms[rows])
            writes += self._blocks.writes(partition, of, self._now_ms())
        refused = {}
        if not first.all():
            refused = {
                row: _refusal(accepted.transactions[row], int(verdicts[row]), int(met.firsts[row]))
                for row in np.flatnonzero((verdicts == CONFLICT) | (verdicts == TOO_OLD)).tolist()
            }
        return Judged(verdicts, writes, refused)

    def _decide_anew(self, accepted: Accepted, names: Hashes, places: Places, met: Met) -> None:
        """What was sent again from the dead letters is no repetition of the record that was refused. A record that was decided was not
        refused, whatever a dead letter says: anybody may have written it."""
        again = [
            row
            for row, of in enumerate(accepted.replays or ())
            if of is not None and met.firsts[row] == place_of(*of) and met.verdicts[row] != FIRST
        ]
        if not again:
            return
        found = self._looked_up(accepted.take(again))
        for row in (row for row, is_ in zip(again, found, strict=True) if is_ in (FIRST, TOO_OLD)):
            met.verdicts[row] = ANEW
            self._table.move(int(names[row]), int(places[row]))

    def _looked_up(self, suspects: Accepted) -> Verdicts:
        """Verdicts on n transactions by the decision index; FIRST where it knows none of their identity, (n,)."""
        now_s = self._clock()
        columns = suspects.columns
        identities = identities_of(columns.tenant, columns.transaction_id)
        replies: list[Any] = self._client.with_retry([lookups(identities, now_s)])
        entries = entries_in(replies, now_s)
        unknowable_ms = self._blocks.unknowable_ms(int(now_s * 1000))
        out = np.where(suspects.event_ms <= unknowable_ms, TOO_OLD, FIRST).astype(np.uint8)
        for row, entry in enumerate(entries):
            if entry is not None:
                decided = self._decided(entry)
                out[row] = REPEATED if decided is None else _compared(suspects, row, decided)
        return out

    def _decided(self, entry: bytes) -> IndexedDecision | None:
        """The decision that an entry points to; None where it cannot be read: it was decided, whatever it was."""
        try:
            place = parse_entry(entry)
            (stored,) = self._client.with_retry([("GET", page_key(place.page))])
            return row_of(decode_page(stored or b""), place)
        except PageError:
            return None

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def _compared(suspects: Accepted, row: int, indexed: IndexedDecision) -> int:
    """A transaction against the decision of its identity. FIRST: the decision is of this very record, handled before a crash."""
    tx, edge = suspects.transactions[row], suspects.decided[row] if suspects.decided else None
    try:
        decision = _decision_decoder.decode(indexed.decision)
        named = decode_entities(indexed.entities) if indexed.entities else None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return REPEATED
    if edge is not None and edge.decision == indexed.decision:
        return FIRST
    if edge is None and decision.received_at == from_ms(suspects.appended_ms[row]):
        return FIRST
    same = (decision.card_id, decision.event_time) == (tx.card_id, tx.event_time)
    if named is not None:
        same = same and named.merchant_id == tx.merchant_id and named.digest in (None, digest_of(tx))
    return REPEATED if same else CONFLICT


def _refusal(tx: Transaction, verdict: int, first: int) -> InvalidEvent:
    who = f"transaction {tx.transaction_id} of tenant {tx.tenant}"
    if verdict == TOO_OLD:
        return InvalidEvent(
            refused_identities.TOO_OLD, "event_time",
            f"{who} is older than what this stack remembers, so it may have been decided before: it is not decided (again). "
            "A file of old payments belongs into a stack of its own (`tollgate up --home`), or to `tollgate train`",
        )  # fmt: skip
    where = "and was decided (`tollgate decisions` knows it)"
    if first >= 0:
        where = f"as transactions/{first >> OFFSET_BITS}/{first & ((1 << OFFSET_BITS) - 1)}"
    return InvalidEvent(
        refused_identities.CONFLICT, "transaction_id",
        f"{who} came before with another card, amount, currency, merchant or time, {where}: give this one an id of its own",
    )  # fmt: skip
