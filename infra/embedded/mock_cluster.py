"""librdkafka's mock cluster through its public C interface (rdkafka_mock.h): a broker without Java.

Topics are created here, because the mock does not support CreateTopics. Nothing is durable, LogAppendTime is not
supported (records keep their producer's time), and there is no log retention: memory grows with every record.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from pathlib import Path

import confluent_kafka

_PRODUCER = 0
_ERROR_BYTES = 512


class MockClusterError(Exception):
    """librdkafka could not be loaded, or refused to host a cluster or a topic."""


class MockCluster:
    """One mock broker on a free loopback port, until ``close``. ``topics``: name to partition count."""

    def __init__(self, topics: Mapping[str, int]) -> None:
        self._library = _load()
        error = ctypes.create_string_buffer(_ERROR_BYTES)
        self._client = self._library.rd_kafka_new(_PRODUCER, None, error, _ERROR_BYTES)
        if not self._client:
            raise MockClusterError(f"librdkafka: {error.value.decode()}")
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._client, 1)
        if not self._cluster:
            raise MockClusterError("librdkafka would not host a mock cluster")
        for name, partitions in topics.items():
            code = self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1)
            if code:
                raise MockClusterError(f"topic {name} could not be created: librdkafka error {code}")
        self.bootstrap: str = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def close(self) -> None:
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)


def _load() -> ctypes.CDLL:
    library = ctypes.CDLL(str(_library_file(_candidates())))
    signatures: dict[str, tuple[object, list[object]]] = {
        "rd_kafka_new": (
            ctypes.c_void_p,
            [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t],
        ),
        "rd_kafka_mock_cluster_new": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int]),
        "rd_kafka_mock_topic_create": (
            ctypes.c_int,
            [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int],
        ),
        "rd_kafka_mock_cluster_bootstraps": (ctypes.c_char_p, [ctypes.c_void_p]),
        "rd_kafka_mock_cluster_destroy": (None, [ctypes.c_void_p]),
        "rd_kafka_destroy": (None, [ctypes.c_void_p]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _candidates() -> Iterable[Path]:
    assert confluent_kafka.__file__ is not None
    return (Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs").glob("librdkafka*.so*")


def _library_file(candidates: Iterable[Path]) -> Path:
    for path in candidates:
        return path
    raise MockClusterError(
        "the confluent-kafka wheel contains no librdkafka on this machine: use a real Kafka"
    )
