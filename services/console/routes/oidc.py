"""Sign in through a company's provider: a browser goes there and comes back. Answers are redirects, because a person navigates."""

from __future__ import annotations

import logging
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse

from services.console.people.caller import Here, cookie_name
from services.console.people.provider import BEGUN_LIVES_S, Provider, SignInRefused
from services.console.problems import Problem, unknown
from services.console.routes.session import address_of, set_session_cookie
from services.console.wiring import Console

router = APIRouter(prefix="/api/v1/oidc", tags=["session"])
logger = logging.getLogger(__name__)
State = Annotated[str, Query(max_length=128)]
Code = Annotated[str, Query(max_length=4096)]
Error = Annotated[str, Query(max_length=256)]


@router.get("", status_code=303, response_class=RedirectResponse)
def go(request: Request, console: Here) -> RedirectResponse:
    """Send the browser to the provider."""
    provider = _provider(console)
    try:
        console.door.knock(address_of(request))
        url, state, browser, begun = provider.begin()
    except (SignInRefused, Problem) as error:
        return _refused(console, error)
    console.sessions.remember(state, begun, BEGUN_LIVES_S)
    answer = RedirectResponse(url, 303)
    # lax: it must come along when the provider sends the browser back
    answer.set_cookie(
        _begun_cookie(console), browser, max_age=BEGUN_LIVES_S, path="/api/v1/oidc", secure=console.secure, httponly=True,
        samesite="lax",
    )  # fmt: skip
    return answer


@router.get("/back", status_code=303, response_class=RedirectResponse)
def back(
    request: Request, console: Here, state: State = "", code: Code = "", error: Error = ""
) -> RedirectResponse:
    """The provider sends the browser back, with a code or an error."""
    provider = _provider(console)
    begun = console.sessions.recall(state) if state else None
    try:
        if begun is None:
            raise SignInRefused("too_old", "nobody began this sign-in, or too long ago")
        if error or not code:
            raise SignInRefused("refused", f"the provider says {error[:100]!r}")
        name = provider.finish(begun, request.cookies.get(_begun_cookie(console), ""), code)
        token, _ = console.door.enter_known(name, address_of(request))
    except (SignInRefused, Problem) as refused:
        return _refused(console, refused)
    answer = RedirectResponse("/", 303)
    set_session_cookie(console, answer, token)
    answer.delete_cookie(_begun_cookie(console), path="/api/v1/oidc")
    return answer


def _provider(console: Console) -> Provider:
    part = console.settings.elsewhere.oidc
    if part is None:
        raise unknown("settings name no provider: sign in with name and password")
    return Provider(part, f"{console.settings.console}/api/v1/oidc/back")


def _refused(console: Console, error: Exception) -> RedirectResponse:
    """Back to the sign-in page, which says why in words of its own: nothing that came from elsewhere is shown there."""
    reason = getattr(error, "reason", "refused")
    logger.warning("sign-in through the provider: %s (%s)", error, reason)
    if reason != "too_many":
        console.door.note("sign in refused", "", why=f"provider: {reason}")
    return RedirectResponse(f"/?signin={reason}", 303)


def _begun_cookie(console: Console) -> str:
    return cookie_name(console).removeprefix("__Host-") + "-begun"
