"""The on-call process: watches the stack from outside, and receives the alerts of Alertmanager.

``POST /alerts`` is the webhook; it stores and logs alerts. ``GET /pages`` returns the stored alerts as a JSON list, ``GET /runbooks/NAME``
the runbook of an alert, ``GET /healthz`` 200. What it sees of the stack are metrics (``watch``, ``lag``, ``facts``, ``certificates``, ``servers``).
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from infra.oncall.certificates import follow_certificates
from infra.oncall.facts import follow_facts
from infra.oncall.lag import follow_lag
from infra.oncall.pages import InvalidPage, Pages, alerts_of
from infra.oncall.servers import follow_servers
from infra.oncall.watch import watch
from infra.stack.health.asking import watched
from infra.stack.tools import CHECKOUT
from streams.runtime.process import start_process

MAX_BODY_BYTES = 1_000_000
READ_TIMEOUT_S = 5.0
#: alerts of one call that the log names; all are stored
MAX_LOGGED = 100
RUNBOOKS = CHECKOUT / "infra" / "runbooks"

log = logging.getLogger(__name__)


class OnCallServer(ThreadingHTTPServer):
    """An HTTP server on loopback; alerts are stored in ``pages``."""

    daemon_threads = True

    def __init__(self, port: int, pages: Pages) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.pages = pages


class Handler(BaseHTTPRequestHandler):
    """Handles one request."""

    server: OnCallServer
    timeout = READ_TIMEOUT_S

    def do_GET(self) -> None:
        if self.path == "/pages":
            self._answer(200, self.server.pages.read())
        elif self.path == "/healthz":
            self._answer(200, {"status": "ok"})
        elif self.path.startswith("/runbooks/"):
            self._runbook(self.path.removeprefix("/runbooks/"))
        else:
            self._answer(404, {"error": f"no such page: {self.path}"})

    def _runbook(self, name: str) -> None:
        # only a name of the folder's list is opened, whatever the path says
        pages = {path.stem: path for path in RUNBOOKS.glob("*.md")}
        if name in pages:
            self._send(200, "text/plain; charset=utf-8", pages[name].read_bytes())
        else:
            self._answer(404, {"error": f"no runbook of that name; there are {', '.join(sorted(pages))}"})

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if self.path != "/alerts":
            self._answer(404, {"error": f"no such page: {self.path}"})
        elif not length.isdigit() or int(length) > MAX_BODY_BYTES:
            self._answer(
                413, {"error": f"a body of at most {MAX_BODY_BYTES} bytes with Content-Length is required"}
            )
        else:
            self._take(self.rfile.read(int(length)))

    def _take(self, body: bytes) -> None:
        try:
            alerts = alerts_of(body, datetime.now(UTC))
        except InvalidPage as error:
            self._answer(400, {"error": str(error)})
            return
        self.server.pages.add(alerts)
        for alert in alerts[:MAX_LOGGED]:
            log.warning("%s %s: %s", alert["status"].upper(), alert["alert"], alert["summary"])
        self._answer(200, {"kept": len(alerts)})

    def _answer(self, status: int, value: object) -> None:
        self._send(status, "application/json", json.dumps(value).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)


def main() -> None:
    process = start_process("oncall")
    port = int(process.settings.oncall.rsplit(":", 1)[1])
    server = OnCallServer(port, Pages(process.settings.root / "oncall" / "pages.jsonl"))
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    watch(watched(process.settings), process.stop)
    home = process.settings.home
    followed: tuple[tuple[str, Callable[[], None]], ...] = (
        ("lag", lambda: follow_lag(home, process.stop)),
        ("facts", lambda: follow_facts(process.settings, process.stop)),
        ("certificates", lambda: follow_certificates(home, process.stop)),
        ("servers", lambda: follow_servers(home, process.stop)),
    )
    for name, follow in followed:
        threading.Thread(target=follow, name=name, daemon=True).start()
    log.info("waiting for alerts at %s/alerts", process.settings.oncall)
    process.stop.wait()
    server.shutdown()


if __name__ == "__main__":
    main()
