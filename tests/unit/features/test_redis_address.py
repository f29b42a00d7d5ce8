"""Redis' address: parts, what is said first, and what messages show of it."""

from __future__ import annotations

import pytest

from features.store.redis_address import RedisAddress


def test_parts() -> None:
    assert RedisAddress.of("redis://:s%2Fecret@h:1234")[:6] == ("", "h", 1234, "", "s/ecret", False)
    assert RedisAddress.of("redis://h").port == 6379
    assert RedisAddress.of("unix://u:p@/a%20b/s.sock")[:6] == ("/a b/s.sock", "", 0, "u", "p", False)
    assert RedisAddress.of("rediss://h?ssl_ca_certs=%2Fca.pem")[5:] == (True, "/ca.pem", "", "")


def test_tls_checks_whom_it_talks_to() -> None:
    assert RedisAddress.of("redis://h").tls_context() is None
    context = RedisAddress.of("rediss://h").tls_context()
    assert context is not None and context.check_hostname
    with pytest.raises(FileNotFoundError):
        RedisAddress.of("rediss://h?ssl_ca_certs=/no/such.pem").tls_context()


def test_a_client_says_its_password_first() -> None:
    assert RedisAddress.of("redis://:secret@h:1").greeting == [("AUTH", "secret")]
    assert RedisAddress.of("redis://u:secret@h:1").greeting == [("AUTH", "u", "secret")]
    assert RedisAddress.of("unix:///s").greeting == []


def test_a_message_never_shows_the_password() -> None:
    for text in ("redis://u:secret@h:1", "unix://:secret@/s"):
        assert "secret" not in str(RedisAddress.of(text))
    with pytest.raises(ValueError, match="not an address of Redis") as refused:
        RedisAddress.of("http://u:secret@h:1")
    assert "secret" not in str(refused.value)
