"""The console as an ASGI application: guards, the API's routes, the built pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI

from services.console.guards import add_guards
from services.console.pages import BUILT, add_pages
from services.console.problems import add_problems
from services.console.routes import (
    cases,
    decisions,
    links,
    lists,
    models,
    oidc,
    oncall,
    overview,
    people,
    queue,
    rules,
    session,
)
from services.console.wiring import Console

ROUTERS = (
    session.router, oidc.router, overview.router, queue.router, decisions.router, cases.router, links.router, models.router, rules.router,
    lists.router, oncall.router, people.router,
)  # fmt: skip


def build_app(console: Console, built: Path = BUILT) -> FastAPI:
    """The whole application of one console."""
    app = described()
    app.state.console = console
    add_guards(app, console.settings)
    add_problems(app)

    @app.get("/healthz", include_in_schema=False)
    def healthy() -> dict[str, Any]:
        return {"status": "alive", **console.behind()}

    # last: it takes every path
    add_pages(app, built)
    return app


def described() -> FastAPI:
    """The API's routes alone, for its OpenAPI document."""
    app = FastAPI(
        title="Tollgate console",
        version="1",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    for router in ROUTERS:
        app.include_router(router)
    return app
