"""The header of a transaction that a person sends again from the dead letters: sealed, because who sends it is decided although its identity
is known."""

from __future__ import annotations

from streams.log.seal import REPLAYED, Forged, Key, Keys, opened, sealed

#: of which record of `transactions` it is the repetition: "partition:offset", sealed
HEADER_REPLAYS = "tollgate-replays"


def seal_replayed(key: Key, value: bytes, partition: int, offset: int) -> bytes:
    """The header HEADER_REPLAYS of a record with this value; partition and offset are those of the refused record."""
    return sealed(key, REPLAYED, value, b"%d:%d" % (partition, offset))


def open_replayed(keys: Keys, raw: bytes | None, value: bytes) -> tuple[int, int]:
    """Partition and offset of the refused record.

    Raises:
        Forged: this stack's command did not send it.
    """
    partition, _, offset = opened(keys, REPLAYED, value, raw).partition(b":")
    if not (partition.isdigit() and offset.isdigit()):
        raise Forged("unreadable", "the seal names no record")
    return int(partition), int(offset)
