"""Two versions of the state in one process: a store seen by the other version, where 1 stands for 2 and 2 for 1.

Code has one version. A worker that works through the mirror reads and writes, as version 1, what is version 2 in the store
behind it, and finds that store's version 1 as another one, 2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from features.store.keys import fields_of, views_of
from features.store.redis_client import Command
from features.store.state_versions import SERVING_KEY, VERSIONS_KEY
from tests.support.parity_world import MemoryRedis, plain

_FIELDS = dict(
    pair
    for one, two in zip(views_of(1), views_of(2), strict=True)
    for ours, theirs in zip(fields_of(one), fields_of(two), strict=True)
    for pair in ((ours, theirs), (theirs, ours))
)
_GROUPS = {"processor": "processor-v2", "processor-v2": "processor"}
_NUMBERS = {b"1": b"2", b"2": b"1"}


def _mirrored(part: Any) -> Any:
    if isinstance(part, bytes):
        return _FIELDS.get(part, part)
    if isinstance(part, str):
        return re.sub(r"(?<=^tollgate:)processor(-v2)?(?=:)", lambda found: _GROUPS[found.group()], part)
    return part


class Mirror(MemoryRedis):
    """The same store, seen by the other version."""

    def __init__(self, behind: MemoryRedis) -> None:
        super().__init__()
        self._behind = behind

    def call(self, commands: Sequence[Command]) -> list[Any]:
        self._behind.crash_next, self.crash_next = self.crash_next, False
        sent: list[Command] = []
        for command in plain(commands):
            whole = tuple(_mirrored(part) for part in command)
            if command[0] in ("SET", "SADD", "SREM") and command[1] in (SERVING_KEY, VERSIONS_KEY):
                whole = (*command[:2], _NUMBERS[str(command[2]).encode()].decode())
            sent.append(whole)
        replies = self._behind.call(sent)
        for place, command in enumerate(sent):
            if command[0] == "SMEMBERS":
                replies[place] = [_NUMBERS[number] for number in replies[place]]
            if command[:2] == ("GET", SERVING_KEY) and replies[place]:
                replies[place] = _NUMBERS[replies[place]]
        return replies
