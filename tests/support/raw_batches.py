"""Record batches as bytes, so that a test can send what no client library would: sent to the broker over a bare socket."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence

from aiokafka.record.util import calc_crc32c
from confluent_kafka.admin import AdminClient

Headers = Sequence[tuple[bytes, bytes | None]]
NO_CODEC, GZIP, SNAPPY, LZ4, ZSTD = range(5)
_PRODUCE, _VERSION = 0, 7


def varint(number: int) -> bytes:
    """A signed number in Kafka's zigzag form."""
    number = number << 1 ^ number >> 63
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def record(offset_delta: int, key: bytes | None, value: bytes | None, headers: Headers = ()) -> bytes:
    """One record of a batch (magic 2); header names are bytes, valid UTF-8 or not."""

    def sized(raw: bytes | None) -> bytes:
        return varint(-1) if raw is None else varint(len(raw)) + raw

    body = b"\0" + varint(0) + varint(offset_delta) + sized(key) + sized(value) + varint(len(headers))
    body += b"".join(varint(len(name)) + name + sized(text) for name, text in headers)
    return varint(len(body)) + body


def batch(records: Sequence[bytes], *, codec: int = NO_CODEC, compressed: bytes | None = None) -> bytes:
    """A record batch; ``compressed``: what stands in place of the records, for a ``codec``."""
    now_ms = int(time.time() * 1000)
    payload = b"".join(records) if compressed is None else compressed
    checked = (
        struct.pack(">hiqqqhii", codec, len(records) - 1, now_ms, now_ms, -1, -1, -1, len(records)) + payload
    )
    rest = struct.pack(">ibI", -1, 2, calc_crc32c(checked)) + checked
    return struct.pack(">qi", 0, len(rest)) + rest


def send_batch(bootstrap: str, topic: str, partition: int, raw: bytes) -> int:
    """Produce a batch; returns its base offset.

    Raises:
        OSError: the broker refused it or does not answer.
    """
    leader = _leader(bootstrap, topic, partition)
    name = topic.encode()
    body = struct.pack(">hhih", _PRODUCE, _VERSION, 1, 3) + b"raw"
    body += struct.pack(">hhii", -1, 1, 30_000, 1) + struct.pack(">h", len(name)) + name
    body += struct.pack(">iii", 1, partition, len(raw)) + raw
    with socket.create_connection(leader, timeout=30) as connection:
        connection.sendall(struct.pack(">i", len(body)) + body)
        (size,) = struct.unpack(">i", _read(connection, 4))
        answer = _read(connection, size)
    code, offset = struct.unpack_from(">hq", answer, 4 + 4 + 2 + len(name) + 4 + 4)
    if code:
        raise OSError(f"the broker refused the batch: error {code}")
    return int(offset)


def _leader(bootstrap: str, topic: str, partition: int) -> tuple[str, int]:
    found = AdminClient({"bootstrap.servers": bootstrap}).list_topics(topic, timeout=30)
    leader = found.brokers[found.topics[topic].partitions[partition].leader]
    return leader.host, leader.port


def _read(connection: socket.socket, size: int) -> bytes:
    out = b""
    while len(out) < size:
        part = connection.recv(size - len(out))
        if not part:
            raise OSError("the broker closed the connection")
        out += part
    return out
