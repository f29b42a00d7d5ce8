"""What happened at the console's door: sign-ins, refusals, lockouts. The rollout process copies them to `audit`, once each.

`audit` has one writer, so others leave a line here: ``<home>/access/console-events.json``. The file keeps the newest ``KEPT``; the
writer merges repeats, so that somebody who hammers the door does not push out what others did.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from streams.access.directory import AccessError
from streams.access.private_files import locked, write_private

EVENTS_FILE = "console-events.json"
KEPT = 1_000

Kind = Literal[
    "sign in",
    "sign out",
    "sign in refused",
    "locked out",
    "refused",
    "password set",
    "break glass",
    "broken glass used",
]


class ConsoleEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event. ``name``: as it was typed, at most 64 characters; ``why``: what was asked, or why it was refused."""

    id: str
    at: datetime
    kind: Kind
    name: str
    role: str = ""
    why: str = ""


def read_events(folder: Path) -> list[ConsoleEvent]:
    """The kept events, oldest first.

    Raises:
        AccessError: the file does not parse.
    """
    path = folder / EVENTS_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[ConsoleEvent])
    except FileNotFoundError:
        return []
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise AccessError(f"{path} does not parse ({error}): remove it") from error


def add_event(folder: Path, event: ConsoleEvent) -> None:
    """Keep an event; on the disk when this returns."""
    with locked(folder):
        write_private(folder / EVENTS_FILE, msgspec.json.encode([*read_events(folder), event][-KEPT:]))
