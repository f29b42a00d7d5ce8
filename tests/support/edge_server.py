"""HTTP edges on real sockets, with a store and a broker in memory that they share: replicas that can be stopped and started."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import uvicorn

from models.scoring.scorer import Scorer
from services.scoring.edge.edge import Edge
from services.scoring.edge.limits import Limits
from services.scoring.http.app import build_app
from services.scoring.http.direct import direct_protocol
from streams.runtime.settings import Settings
from tests.support.edge_fakes import FakeModel, FakePublisher, FakeStore
from tests.support.edge_keys import KEYS
from tests.support.waiting import STALL_S

#: an idle connection is kept so long
IDLE_S = 1


class Replica:
    """One edge in a thread and loop of its own, on a port that it keeps over restarts."""

    def __init__(
        self,
        scorer: Scorer | None,
        store: FakeStore,
        publisher: FakePublisher,
        limits: Limits,
        direct: bool,
    ) -> None:
        self.store, self.publisher, self._limits, self._direct = store, publisher, limits, direct
        self._scorer = scorer
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            self.port = held.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns once it listens."""
        started: Future[uvicorn.Server] = Future()
        self._thread = threading.Thread(target=self._serve, args=(started,), daemon=True)
        self._thread.start()
        self._server = started.result(STALL_S)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(STALL_S)
        assert not self._thread.is_alive()

    def _serve(self, started: Future[uvicorn.Server]) -> None:
        asyncio.run(self._run(started))

    def acknowledge(self) -> None:
        """The broker says yes to the oldest record that waits; from any thread."""
        self._loop.call_soon_threadsafe(self.publisher.waiting.pop(0), None)

    async def _run(self, started: Future[uvicorn.Server]) -> None:
        self._loop = asyncio.get_running_loop()
        edge = Edge(
            Settings(home="/nowhere", deadline_ms=5000),
            FakeModel(self._scorer),
            self.store,
            self.publisher,
            self._limits,
            KEYS,
        )
        app = build_app(edge)
        protocol = direct_protocol(app.scoring) if self._direct else "auto"
        config = uvicorn.Config(app, port=self.port, log_level="error", lifespan="off", http=protocol)
        config.timeout_graceful_shutdown, config.timeout_keep_alive = 2, IDLE_S
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        while not server.started and not task.done():
            await asyncio.sleep(0.005)
        started.set_result(server)
        await task


@contextmanager
def replicas(
    scorer: Scorer | None, count: int, limits: Limits | None = None, *, direct: bool = True
) -> Iterator[list[Replica]]:
    """``count`` replicas on one store and one broker, listening; ``direct`` as in production, else through ASGI."""
    store, publisher = FakeStore(), FakePublisher()
    made = [Replica(scorer, store, publisher, limits or Limits(), direct) for _ in range(count)]
    for replica in made:
        replica.start()
    try:
        yield made
    finally:
        for replica in made:
            replica.stop()
