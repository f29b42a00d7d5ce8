"""Who asks, and what they may do: the dependencies of routes. A session acts with its person's role, read again for each request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from services.console.people.sessions import Session
from services.console.problems import forbidden, signed_out, unknown
from services.console.wiring import Console
from streams.access.directory import AccessDenied, Member, read_directory
from streams.access.logins import read_logins
from streams.access.roles import Permission

PERMISSIONS: tuple[Permission, ...] = (
    "propose", "approve", "reject", "rollback", "retrain", "access", "label", "read", "operate",
)  # fmt: skip


def console_of(request: Request) -> Console:
    """The console that answers."""
    console: Console = request.app.state.console
    return console


Here = Annotated[Console, Depends(console_of)]
#: what an emergency adds to any role; what needs a person's signature stays with the role that the directory gives
GLASS: frozenset[Permission] = frozenset({"operate", "label"})


@dataclass(frozen=True)
class Caller:
    """A signed-in person. ``tenants``: those whose payments they see; empty: all."""

    member: Member
    session: Session
    token: str
    tenants: tuple[str, ...]
    #: whether the person has broken the glass, and the time of that is not over
    emergency: bool = False

    @property
    def name(self) -> str:
        return self.member.name

    def sees(self, tenant: str) -> bool:
        """Whether payments of this tenant may be shown."""
        return not self.tenants or tenant in self.tenants

    def seen(self, wanted: str | None) -> Sequence[str]:
        """The tenants to ask for; empty: all. Raises: Problem 404 for a tenant that the person does not see."""
        if wanted is None:
            return self.tenants
        if not self.sees(wanted):
            # as if there were none: what exists elsewhere is nobody's business
            raise unknown(f"there is no tenant {wanted} here")
        return (wanted,)


def cookie_name(console: Console) -> str:
    """The session's cookie. ``__Host-`` needs https; loopback has no ports in cookies, so the name tells stacks apart."""
    return f"__Host-tollgate-{console.port}" if console.secure else f"tollgate-{console.port}"


def signed_in(request: Request, console: Here) -> Iterator[Caller]:
    """The person of the request's session, who asks a few things at once. Raises: Problem 401, 429."""
    caller = _caller(request, console)
    with console.turns.of(caller.name):
        yield caller


def _caller(request: Request, console: Console) -> Caller:
    token = request.cookies.get(cookie_name(console), "")
    now_s = console.clock()
    session = console.sessions.find(token, now_s) if token else None
    if session is None:
        raise signed_out()
    folder = console.settings.access_dir
    member = read_directory(folder).active(session.name)
    if member is None or member.role == "service" or member.added_at != session.member_since:
        console.sessions.end(token)
        raise signed_out()
    login = read_logins(folder).get(session.name)
    tenants = login.tenants if login is not None else ()
    # who is limited to some tenants since is limited in an emergency too
    emergency = session.glass_until_s > now_s and not tenants
    return Caller(member, session, token, tenants, emergency)


def still_signed_in(console: Console, token: str) -> bool:
    """Whether a session lives and its person is still known; does not lengthen it."""
    session = console.sessions.peek(token)
    if session is None:
        return False
    member = read_directory(console.settings.access_dir).active(session.name)
    return member is not None and member.added_at == session.member_since


SignedIn = Annotated[Caller, Depends(signed_in)]


def sees_all(caller: SignedIn) -> None:
    """For routes whose answer is made of every tenant's payments, or that decide who sees whose. Raises: Problem 403."""
    if caller.tenants:
        raise forbidden("only those who see all tenants may do this")


#: for ``dependencies`` of such a route
ALL_TENANTS = (Depends(sees_all),)


class May:
    """A dependency: the caller, if their role includes a permission. Raises: Problem 403, which is noted for the audit."""

    def __init__(self, permission: Permission) -> None:
        self.permission = permission

    def __call__(self, request: Request, caller: SignedIn, console: Here) -> Caller:
        try:
            read_directory(console.settings.access_dir).require(caller.name, self.permission)
        except AccessDenied as error:
            route: Any = request.scope.get("route")
            asked = f"{request.method} {getattr(route, 'path', request.url.path)}"
            if caller.emergency and self.permission in GLASS:
                console.door.note("broken glass used", caller.name, caller.member.role, asked)
                return caller
            console.door.note("refused", caller.name, caller.member.role, asked)
            raise forbidden(str(error)) from None
        return caller


Reader = Annotated[Caller, Depends(May("read"))]
Labeller = Annotated[Caller, Depends(May("label"))]
Proposer = Annotated[Caller, Depends(May("propose"))]
Approver = Annotated[Caller, Depends(May("approve"))]
Rejecter = Annotated[Caller, Depends(May("reject"))]
RollerBack = Annotated[Caller, Depends(May("rollback"))]
Retrainer = Annotated[Caller, Depends(May("retrain"))]
Operator = Annotated[Caller, Depends(May("operate"))]
Administrator = Annotated[Caller, Depends(May("access"))]
