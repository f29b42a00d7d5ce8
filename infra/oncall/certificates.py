"""When the certificates of a stack with TLS end, as metrics: those that Kafka and Redis show to their clients now, and that of the stack's own
authority.

A server is asked, not its file: it goes on showing the certificate with which it was started.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Mapping
from datetime import datetime

from cryptography import x509

from features.store.redis_address import RedisAddress
from streams.runtime.kafka.connection import part_of
from streams.runtime.metrics import CERTIFICATE_ENDS
from streams.runtime.settings import Settings, load_settings

logger = logging.getLogger(__name__)

#: certificates end by the day; one that was just renewed is to be seen while a person waits for it
EVERY_S = 30.0
ANSWER_WITHIN_S = 3.0
AUTHORITY = "authority"


def follow_certificates(home: str, stop: threading.Event) -> None:
    """Set the metrics until stopped. A stack without TLS has none."""
    while not stop.is_set():
        settings = load_settings(home)
        for name, address in servers(settings).items():
            try:
                CERTIFICATE_ENDS.labels(name).set(shown_by(*address).timestamp())
            except (OSError, ValueError) as error:
                # a server that is away has an alert of its own; the value from before still holds
                logger.info("%s showed no certificate: %s", name, error)
        show_authority(settings)
        stop.wait(EVERY_S)


def servers(settings: Settings) -> Mapping[str, tuple[str, int]]:
    """Host and port of each server to which this stack connects with TLS, by name; of Kafka the first that is named."""
    found: dict[str, tuple[str, int]] = {}
    part = part_of(settings.kafka)
    if part is not None and part.tls:
        host, _, port = settings.kafka.split(",")[0].rpartition(":")
        found["kafka"] = (host, int(port))
    redis = RedisAddress.of(settings.redis_address)
    if redis.tls:
        found["redis"] = (redis.host, redis.port)
    return found


def shown_by(host: str, port: int) -> datetime:
    """When the certificate ends that a server shows.

    Raises:
        OSError: it does not answer, or speaks no TLS.
        ValueError: what it shows does not parse.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # it is looked at, not trusted: one that has ended, or names another host, has an end too
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((host, port), timeout=ANSWER_WITHIN_S) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        shown = secured.getpeercert(binary_form=True)
    if shown is None:
        raise ValueError(f"{host}:{port} shows no certificate")
    return x509.load_der_x509_certificate(shown).not_valid_after_utc


def show_authority(settings: Settings) -> None:
    """When the certificate ends that all clients of the stack's own servers trust."""
    if settings.secure and settings.secure_files.ca.exists():
        found = x509.load_pem_x509_certificate(settings.secure_files.ca.read_bytes())
        CERTIFICATE_ENDS.labels(AUTHORITY).set(found.not_valid_after_utc.timestamp())
