"""Redis' address in the form that Feast's own store takes."""

from __future__ import annotations

from features.store.redis_address import RedisAddress


def feast_address(redis: str, database: int = 0) -> str:
    """``host:port,db=N,password=...`` of ``redis://:password@host:port``."""
    address = RedisAddress.of(redis)
    password = f",password={address.password}" if address.password else ""
    return f"{address.host}:{address.port},db={database}{password}"
