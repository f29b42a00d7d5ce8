"""HTTP edges on real sockets, with a store and a broker in memory that they share: replicas that can be stopped and started."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import uvicorn

from models.scorer import Scorer
from services.scoring.edge import Edge
from services.scoring.edge_limits import Limits
from services.scoring.http_app import build_app
from streams.settings import Settings
from tests.running import STALL_S
from tests.unit.edge_fakes import FakeModel, FakePublisher, FakeStore


class Replica:
    """One edge in a thread and loop of its own, on a port that it keeps over restarts."""

    def __init__(
        self, scorer: Scorer | None, store: FakeStore, publisher: FakePublisher, limits: Limits
    ) -> None:
        self.store, self.publisher, self._limits = store, publisher, limits
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

    async def _run(self, started: Future[uvicorn.Server]) -> None:
        edge = Edge(
            Settings(home="/nowhere", deadline_ms=5000),
            FakeModel(self._scorer),
            self.store,
            self.publisher,
            self._limits,
        )
        config = uvicorn.Config(build_app(edge), port=self.port, log_level="error", lifespan="off")
        config.timeout_graceful_shutdown = 2
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        while not server.started and not task.done():
            await asyncio.sleep(0.005)
        started.set_result(server)
        await task


@contextmanager
def replicas(scorer: Scorer | None, count: int, limits: Limits | None = None) -> Iterator[list[Replica]]:
    """``count`` replicas on one store and one broker, listening."""
    store, publisher = FakeStore(), FakePublisher()
    made = [Replica(scorer, store, publisher, limits or Limits()) for _ in range(count)]
    for replica in made:
        replica.start()
    try:
        yield made
    finally:
        for replica in made:
            replica.stop()
