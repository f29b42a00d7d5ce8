"""How much memory Redis uses, and how much it may use."""

from __future__ import annotations

import re
from typing import NamedTuple

from features.store.redis_client import RespClient, StoreUnavailable


class Memory(NamedTuple):
    """Bytes; ``limit`` 0: none. At the limit Redis refuses writes (policy ``noeviction``)."""

    used: int
    limit: int

    @property
    def share(self) -> float:
        """How full Redis is: 1 is full; 0 without a limit."""
        return self.used / self.limit if self.limit else 0.0


def memory_of(client: RespClient) -> Memory:
    """Ask Redis; about 0.1 ms.

    Raises:
        StoreUnavailable: Redis does not answer, or does not say.
    """
    (reply,) = client.call([("INFO", "memory")])
    said = dict(
        re.findall(rb"^(used_memory|maxmemory):(\d+)\r?$", reply if isinstance(reply, bytes) else b"", re.M)
    )
    if len(said) != 2:
        raise StoreUnavailable(f"Redis does not say how much memory it uses: {reply!r:.100}")
    return Memory(int(said[b"used_memory"]), int(said[b"maxmemory"]))
