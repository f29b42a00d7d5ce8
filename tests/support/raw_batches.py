"""Record batches as bytes, so that a test can send what no client library would: sent to the broker over a bare socket."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence

from aiokafka.conn import ScramAuthenticator
from aiokafka.record.util import calc_crc32c

from streams.runtime.kafka.clients import new_admin
from streams.runtime.kafka.connection import part_of, tls_context

Headers = Sequence[tuple[bytes, bytes | None]]
NO_CODEC, GZIP, SNAPPY, LZ4, ZSTD = range(5)
_PRODUCE, _HANDSHAKE, _AUTHENTICATE = 0, 17, 36


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
    name = _text(topic)
    body = struct.pack(">hhii", -1, 1, 30_000, 1) + name + struct.pack(">iii", 1, partition, len(raw)) + raw
    with _connected(bootstrap, leader) as connection:
        answer = _asked(connection, _PRODUCE, 7, body)
    code, offset = struct.unpack_from(">hq", answer, 4 + len(name) + 4 + 4)
    if code:
        raise OSError(f"the broker refused the batch: error {code}")
    return int(offset)


def _connected(bootstrap: str, leader: tuple[str, int]) -> socket.socket:
    """A connection to the leader as whoever the address says: on a secured one with TLS and SCRAM."""
    bare = socket.create_connection(leader, timeout=30)
    part = part_of(bootstrap)
    if part is None:
        return bare
    connection = tls_context(part.ca_file, "", "").wrap_socket(bare, server_hostname=leader[0])
    scram = ScramAuthenticator(
        loop=None, sasl_plain_username=part.username, sasl_plain_password=part.password, sasl_mechanism=part.mechanism
    )  # fmt: skip
    _asked(connection, _HANDSHAKE, 1, _text(part.mechanism))
    scram.process_server_first_message(_authenticated(connection, scram.first_message()))
    scram.process_server_final_message(_authenticated(connection, scram.final_message()))
    return connection


def _authenticated(connection: socket.socket, said: str) -> str:
    """One step of SCRAM: what the broker answers."""
    answer = _asked(connection, _AUTHENTICATE, 0, struct.pack(">i", len(said)) + said.encode())
    code, length = struct.unpack_from(">hh", answer)
    text = 4 + max(length, 0)
    if code:
        raise OSError(f"the broker lets nobody in: {answer[4:text].decode()}")
    return answer[text + 4 :].decode()


def _asked(connection: socket.socket, api: int, version: int, body: bytes) -> bytes:
    """The answer to one request, without its correlation id."""
    request = struct.pack(">hhi", api, version, 1) + _text("raw") + body
    connection.sendall(struct.pack(">i", len(request)) + request)
    (size,) = struct.unpack(">i", _read(connection, 4))
    return _read(connection, size)[4:]


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def _leader(bootstrap: str, topic: str, partition: int) -> tuple[str, int]:
    found = new_admin(bootstrap).list_topics(topic, timeout=30)
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
