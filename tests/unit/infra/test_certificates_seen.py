"""What oncall sees of certificates: the one that a server shows, whatever its file holds by now."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.oncall.certificates import AUTHORITY, servers, show_authority, shown_by
from infra.stack.ports import settings_for
from infra.stack.secure.certificates import AUTHORITY_LASTS, SERVER_LASTS, ensure_certificates
from streams.runtime.metrics import CERTIFICATE_ENDS
from streams.runtime.secured import SecureFiles
from tests.support.metric_values import counted as value_of
from tests.support.waiting import STALL_S

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


@contextmanager
def serving(files: SecureFiles) -> Iterator[int]:
    """A server with the stack's certificate, as it stands now; gives its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(STALL_S)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listening.accept()
                    client.settimeout(STALL_S)
                    with suppress(OSError):
                        context.wrap_socket(client, server_side=True).close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listening.getsockname()[1])
        # accept() of a thread does not end when another one closes the socket
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
    thread.join(STALL_S)


def test_a_server_shows_the_certificate_with_which_it_was_started(tmp_path: Path) -> None:
    files = SecureFiles(tmp_path / "secure")
    ensure_certificates(files, NOW)
    with serving(files) as port:
        assert shown_by("127.0.0.1", port) == NOW + SERVER_LASTS
        # a new file changes nothing for clients until the server starts again
        ensure_certificates(files, NOW + SERVER_LASTS)
        assert shown_by("127.0.0.1", port) == NOW + SERVER_LASTS
    with serving(files) as port:
        assert shown_by("127.0.0.1", port) == NOW + 2 * SERVER_LASTS


def test_one_that_has_ended_has_an_end_too(tmp_path: Path) -> None:
    files = SecureFiles(tmp_path / "secure")
    long_ago = datetime.now(UTC) - SERVER_LASTS - timedelta(days=1)
    ensure_certificates(files, long_ago)
    with serving(files) as port:
        assert shown_by("127.0.0.1", port) == (long_ago + SERVER_LASTS).replace(microsecond=0)


def test_a_server_without_tls_shows_none(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:
        # what it says is no TLS
        thread = threading.Thread(target=lambda: plain.accept()[0].sendall(b"-ERR unknown\r\n" * 4))
        thread.start()
        with pytest.raises(OSError):
            shown_by("127.0.0.1", plain.getsockname()[1])
        thread.join(STALL_S)


def test_servers_with_tls_are_asked_and_others_are_not(tmp_path: Path) -> None:
    assert servers(settings_for(tmp_path, 21_000)) == {}
    secured = settings_for(tmp_path, 21_000, secure=True)
    secured.secure_files.folder.mkdir(parents=True)
    secured.secure_files.password("operator").write_text("secret")
    assert servers(secured) == {"kafka": ("127.0.0.1", 21_000), "redis": ("127.0.0.1", 21_002)}


def test_the_authority_of_a_secured_stack_is_watched(tmp_path: Path) -> None:
    secured = settings_for(tmp_path, 21_000, secure=True)
    ensure_certificates(secured.secure_files, NOW)
    show_authority(secured)
    assert value_of(CERTIFICATE_ENDS.labels(AUTHORITY)) == (NOW + AUTHORITY_LASTS).timestamp()
