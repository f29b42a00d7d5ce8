"""What holds for every request, before any route: who may send one, how large it is, and what a browser may do with the answer."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response

from services.console.problems import Problem, answer
from streams.runtime.settings import Settings

MAX_BODY_BYTES = 2_000_000
_SAFE = ("GET", "HEAD", "OPTIONS")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
Next = Callable[[Request], Awaitable[Response]]


def policy(nonce: str) -> str:
    """The Content-Security-Policy of an answer: nothing from elsewhere, no inline script, no eval; styles with the nonce."""
    return (
        f"default-src 'self'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; connect-src 'self'; "
        "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


def add_guards(app: FastAPI, settings: Settings) -> None:
    """Refuse what does not come from the console's own page, and tell browsers what to refuse."""
    hosts = own_hosts(settings)

    @app.middleware("http")
    async def guard(request: Request, call_next: Next) -> Response:
        request.state.nonce = secrets.token_urlsafe(16)
        problem = _refused(request, hosts)
        response = answer(problem) if problem is not None else await call_next(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Content-Security-Policy", policy(request.state.nonce))
        # what a person sees is theirs; built files say otherwise
        response.headers.setdefault("Cache-Control", "no-store")
        if settings.console.startswith("https:"):
            response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        return response


def own_hosts(settings: Settings) -> frozenset[str]:
    """The Host headers that the console answers: others are a foreign name that points here (DNS rebinding)."""
    own = urlsplit(settings.console)
    port = f":{own.port}" if own.port is not None else ""
    local = ("127.0.0.1", "localhost", "[::1]") if own.hostname in ("127.0.0.1", "localhost", "::1") else ()
    return frozenset({own.netloc, *(f"{name}{port}" for name in local)})


def _refused(request: Request, hosts: frozenset[str]) -> Problem | None:
    if request.headers.get("host", "") not in hosts:
        return Problem(
            421, "host", "this console has another name: open it by the address that `tollgate status` shows"
        )
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > MAX_BODY_BYTES or "transfer-encoding" in request.headers:
        return Problem(413, "too_large", f"a body has a Content-Length of at most {MAX_BODY_BYTES} bytes")
    if request.method in _SAFE:
        return None
    # browsers say where a request comes from; who says nothing is no browser, and has no cookie by accident
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    own = origin is not None and urlsplit(origin).netloc == request.headers["host"]
    if (
        not (own or site == "same-origin")
        or (origin is not None and not own)
        or site not in (None, "same-origin")
    ):
        return Problem(403, "cross_site", "the request does not come from the console's own page")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if int(length) and kind != "application/json":
        return Problem(415, "encoding", "send application/json")
    return None
