"""Look up in the decision index what it holds for labels' transactions. Unreadable values are logged and treated as absent."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from features.store.redis_client import RespClient
from streams.contracts.decision import decode_decision
from streams.contracts.invalid_event import UNREADABLE, InvalidEvent
from streams.labels.join import KnownDecision, StoredLabel
from streams.log.decision_index import PageError, Place, decode_page, page_key, parse_entry, row_of
from streams.log.records import HEADER_ENTITIES, DecidedEntities, decode_entities

logger = logging.getLogger(__name__)

#: pages read at once: bounds memory when the labels of a whole month arrive together
PAGES_AT_ONCE = 64

_label_decoder = msgspec.msgpack.Decoder(StoredLabel)


class Asked(NamedTuple):
    """A label's record, the identity of its transaction, and its entry in the index."""

    record: Any
    identity: str
    entry: bytes | None


def known_decisions(client: RespClient, asked: Sequence[Asked]) -> dict[str, KnownDecision]:
    """The decisions of labels' transactions that the index holds.

    Raises:
        StoreUnavailable: Redis did not answer in time.
    """
    wanted: dict[str, list[tuple[Asked, Place]]] = {}
    for one in asked:
        if one.entry:
            try:
                place = parse_entry(one.entry)
            except PageError as error:
                _log_unreadable("stored decision", one.record, error)
                continue
            wanted.setdefault(place.page, []).append((one, place))
    out: dict[str, KnownDecision] = {}
    pages = iter(wanted)
    while names := list(islice(pages, PAGES_AT_ONCE)):
        (stored,) = client.with_retry([("MGET", *map(page_key, names))])
        for name, raw in zip(names, stored, strict=True):
            out.update(_on_page(raw, wanted[name]))
    return out


def _on_page(raw: bytes | None, wanted: Sequence[tuple[Asked, Place]]) -> dict[str, KnownDecision]:
    out = {}
    try:
        page = decode_page(raw or b"")
    except PageError as error:
        for one, _ in wanted:
            _log_unreadable("stored decision", one.record, error)
        return {}
    for one, place in wanted:
        try:
            indexed = row_of(page, place)
            out[one.identity] = known_decision(indexed.decision, indexed.entities, one.record)
        except (PageError, InvalidEvent) as error:
            _log_unreadable("stored decision", one.record, error)
    return out


def known_decision(decision: bytes, entities: bytes | None, record: Any) -> KnownDecision:
    """A decision with its entities; ``record`` is named in log messages: the decision's, or the label's that needs it.

    Raises:
        InvalidEvent: it is not a decision. Unreadable entities are returned as None.
    """
    return KnownDecision(decode_decision(decision), _entities(entities, record))


def stored_label(raw: bytes | None, record: Any) -> StoredLabel | None:
    """The stored newest label of a record's transaction; None if there is none or it is unreadable."""
    if not raw:
        return None
    try:
        stored: StoredLabel = _label_decoder.decode(raw)
    except UNREADABLE as error:
        _log_unreadable("stored label", record, error)
        return None
    return stored


def _entities(raw: bytes | None, record: Any) -> DecidedEntities | None:
    if not raw:
        return None
    try:
        return decode_entities(raw)
    except UNREADABLE as error:
        _log_unreadable(HEADER_ENTITIES, record, error)
        return None


def _log_unreadable(what: str, record: Any, error: Exception) -> None:
    # the error's text may quote a value, which must not be logged
    logger.warning(
        "the %s of %s[%d] offset %d does not decode (%s): treated as absent",
        what, record.topic, record.partition, record.offset, type(error).__name__,
    )  # fmt: skip
