"""How to connect to a Kafka: librdkafka's properties, and Faust's credentials."""

from __future__ import annotations

import ssl
from typing import Any

from streams.runtime.parts import KafkaPart


class KafkaAddress(str):
    """Bootstrap servers, ``host:port,host:port``, which carry how to connect to them. Its text shows no secret."""

    __slots__ = ("part",)
    part: KafkaPart | None

    def __new__(cls, servers: str, part: KafkaPart | None = None) -> KafkaAddress:
        self = super().__new__(cls, servers)
        self.part = part
        return self

    def __reduce__(self) -> tuple[type[KafkaAddress], tuple[str, KafkaPart | None]]:
        return KafkaAddress, (str(self), self.part)


def connection(bootstrap: str) -> dict[str, Any]:
    """librdkafka's properties for a connection; plain for an address that carries nothing.

    Raises:
        PartError: a secret cannot be read.
    """
    properties: dict[str, Any] = {"bootstrap.servers": str(bootstrap)}
    part = part_of(bootstrap)
    if part is None or part.security == "plaintext":
        return properties
    properties["security.protocol"] = part.security
    if part.security.startswith("sasl"):
        properties |= {
            "sasl.mechanism": part.mechanism, "sasl.username": part.username, "sasl.password": part.password,
        }  # fmt: skip
    files = {
        "ssl.ca.location": part.ca_file, "ssl.certificate.location": part.certificate_file,
        "ssl.key.location": part.key_file,
    }  # fmt: skip
    return properties | {name: path for name, path in files.items() if path}


def faust_credentials(bootstrap: str) -> Any:
    """``broker_credentials`` of a Faust app; None for a connection without TLS and password.

    Raises:
        PartError: a secret cannot be read.
    """
    part = part_of(bootstrap)
    if part is None or part.security == "plaintext":
        return None
    # imported here: commands read addresses without loading Faust
    from faust.auth import SASLCredentials, SSLCredentials

    context = tls_context(part.ca_file, part.certificate_file, part.key_file) if part.tls else None
    if not part.security.startswith("sasl"):
        return SSLCredentials(context=context)
    return SASLCredentials(
        username=part.username, password=part.password, mechanism=part.mechanism, ssl_context=context
    )


def tls_context(ca_file: str, certificate_file: str, key_file: str) -> ssl.SSLContext:
    """A client's context that checks the server's certificate and name."""
    context = ssl.create_default_context(cafile=ca_file or None)
    if certificate_file:
        context.load_cert_chain(certificate_file, key_file)
    return context


def part_of(bootstrap: str) -> KafkaPart | None:
    """What an address carries; None for a plain one."""
    return bootstrap.part if isinstance(bootstrap, KafkaAddress) else None
