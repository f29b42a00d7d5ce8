"""Signing in: password, limits, lockout, and what is noted for the audit."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from services.console.people.provider import SignInRefused
from services.console.people.sessions import Session, Sessions
from services.console.problems import Problem, forbidden, too_many
from streams.access.console_events import ConsoleEvent, Kind, add_event
from streams.access.directory import AccessError, read_directory
from streams.access.logins import login_of, password_fits, use_link
from streams.runtime.metrics import CONSOLE_GLASS

logger = logging.getLogger(__name__)
#: wrong passwords of one name within the window, after which the name is locked until the window ends
MAX_WRONG, LOCKED_S = 5, 900
#: attempts a minute of one address, right or wrong
MAX_OF_ADDRESS, ADDRESS_S = 30, 60
#: refusals of one kind by one person are noted once in this time
NOTE_AGAIN_S = 60
#: passwords checked at once: each takes 19 MiB and 50 ms of a core
AT_ONCE, WAIT_S = 2, 5.0
_NAME_LENGTH = 64


class Door:
    """Lets people in. ``folder``: ``<home>/access``; ``clock``: seconds since 1970."""

    def __init__(self, folder: Path, sessions: Sessions, clock: Callable[[], float]) -> None:
        self._folder, self._sessions, self._clock = folder, sessions, clock
        self._checking = threading.BoundedSemaphore(AT_ONCE)

    def enter(self, name: str, password: str, address: str) -> tuple[str, Session]:
        """A session for a person with the right password, and its token.

        Raises:
            Problem: 401, the same for an unknown name and a wrong password; 429 after too many attempts.
        """
        self.knock(address)
        wrong, left_s = self._sessions.tried(f"name:{name}")
        if wrong >= MAX_WRONG:
            raise too_many(
                "too many wrong passwords for this name: try again later, or ask for a new link", left_s
            )
        login = login_of(self._folder, name)
        with self._turn():
            fits = password_fits(login, password)
        if not fits or login is None:
            count = self._sessions.attempts(f"name:{name}", LOCKED_S)
            if count == MAX_WRONG:
                self.note("locked out", name, why=f"{count} wrong passwords", once=False)
            else:
                self.note("sign in refused", name, why=f"from {address}")
            raise Problem(401, "wrong_credentials", "the name or the password is wrong")
        self._sessions.forgive(f"name:{name}")
        return self._begin(name)

    def enter_by_link(self, token: str, password: str, address: str) -> tuple[str, Session]:
        """A session for the person whom a one-time link is for; the password is theirs from now on.

        Raises:
            Problem: 429 after too many attempts. AccessError: the link does not count, or the password does not fit.
        """
        self.knock(address)
        with self._turn():
            login = use_link(self._folder, token, password, self.now())
        self._sessions.forgive(f"name:{login.name}")
        self.note("password set", login.name, why="by a one-time link", once=False)
        return self._begin(login.name)

    def enter_known(self, name: str, address: str) -> tuple[str, Session]:
        """A session for a person whom the provider knows by this name.

        Raises:
            SignInRefused: ``not_known``: this stack does not know them, or the name is a program's.
        """
        member = read_directory(self._folder).active(name)
        if member is None or member.role == "service":
            self.note("sign in refused", name, why=f"known to the provider only, from {address}")
            raise SignInRefused("not_known", f"{name} is known to the provider, but not to this stack")
        return self._begin(name)

    def knock(self, address: str) -> None:
        """Count an attempt. Raises: Problem 429: too many from this address."""
        count = self._sessions.attempts(f"address:{address}", ADDRESS_S)
        if count > MAX_OF_ADDRESS:
            raise too_many("too many attempts from this address", ADDRESS_S)

    def leave(self, token: str, session: Session) -> None:
        """End a session."""
        self._sessions.end(token)
        self.note("sign out", session.name, once=False)

    def break_glass(self, token: str, session: Session, role: str, why: str, minutes: int) -> Session:
        """Let a person do for a while what an emergency needs; it stands on the audit, and pages."""
        changed = msgspec.structs.replace(session, glass_until_s=self._clock() + 60 * minutes)
        self._sessions.replace(token, changed)
        self.note("break glass", session.name, role, f"for {minutes} min: {why}", once=False)
        CONSOLE_GLASS.inc()
        return changed

    def note(self, kind: Kind, name: str, role: str = "", why: str = "", *, once: bool = True) -> None:
        """Note an event for the audit; with ``once``, one like it at most every ``NOTE_AGAIN_S``."""
        name = name[:_NAME_LENGTH]
        if once and self._sessions.attempts(f"noted:{kind}:{name}:{why}", NOTE_AGAIN_S) > 1:
            return
        event = ConsoleEvent(
            id=secrets.token_hex(8), at=self.now(), kind=kind, name=name, role=role, why=why[:300]
        )
        try:
            add_event(self._folder, event)
        except (OSError, AccessError):
            # an unwritable note must not lock people out of a system in trouble; the log has it
            logger.exception("not on the audit: %s", event)

    def now(self) -> datetime:
        """The clock's time."""
        return datetime.fromtimestamp(self._clock(), UTC)

    def _begin(self, name: str) -> tuple[str, Session]:
        member = read_directory(self._folder).active(name)
        if member is None:
            raise forbidden(f"{name} is not known to this stack any more")
        made = self._sessions.begin(name, member.added_at, self._clock())
        self.note("sign in", name, member.role, once=False)
        return made

    def _turn(self) -> _Turn:
        return _Turn(self._checking)


class _Turn:
    """One of the few places at which passwords are checked. Raises: Problem 429 when none is free in time."""

    def __init__(self, places: threading.BoundedSemaphore) -> None:
        self._places = places

    def __enter__(self) -> None:
        if not self._places.acquire(timeout=WAIT_S):
            raise too_many("many people sign in at this moment", 1)

    def __exit__(self, *_: object) -> None:
        self._places.release()
