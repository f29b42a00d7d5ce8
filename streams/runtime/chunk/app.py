"""A Faust worker that handles chunks: all records of one topic from one fetch arrive as one message and are committed together.

Faust makes an event of every record, at 75-88 us each (decision 2). Here its consumer yields one message per fetch and
topic, with the records of all partitions. Only offsets of finished chunks are committed. Faust manages the group, the
rebalancing and the life cycle.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from time import monotonic
from typing import Any

import faust
from faust.transport.drivers import aiokafka as driver
from yarl import URL

from streams.log.topics import Topic
from streams.runtime.blame import blameless
from streams.runtime.chunk.aside import Aside
from streams.runtime.chunk.chunk import Chunk, Positions
from streams.runtime.chunk.consumer import EXIT_HANDLER_FAILED, ChunkConsumer
from streams.runtime.chunk.pacing import AT_ONCE, Pacing
from streams.runtime.dead_letters import DeadLetters
from streams.runtime.heartbeat import BEAT_S, Heartbeat
from streams.runtime.kafka.clients import HEARTBEAT_MS, SESSION_MS
from streams.runtime.kafka.connection import faust_credentials
from streams.runtime.process import Process, quiet_collector
from streams.runtime.set_aside import set_aside_of

logger = logging.getLogger(__name__)


def run_chunk_app(
    process: Process,
    group: str,
    topics: list[Topic],
    handle: Callable[[Chunk], Future[None] | None],
    start_positions: Callable[[list[tuple[str, int]]], Positions] | None = None,
    *,
    settle: Callable[[], None] | None = None,
    tick: Callable[[], None] | None = None,
    tick_s: float = 1.0,
    on_stop: Callable[[], None] | None = None,
    fetch_min_bytes: int = 1,
    pacing: Pacing = AT_ONCE,
    sample_above: int = 0,
) -> None:
    """Run one Faust worker until SIGTERM. ``handle`` gets each chunk; ``tick`` runs between chunks every ``tick_s`` seconds.

    ``handle`` and ``tick`` run in one thread, ``start_positions`` in another, but never at the same time.

    If ``handle`` returns a Future, its chunk is finished when the Future is; the next chunk may be handled before that.
    ``settle`` waits until all chunks are finished. It runs before partitions are revoked and before ``start_positions``.

    ``start_positions`` gets the assigned (topic, partition) pairs and returns the offsets to start at; pairs left out start
    at the group's committed offset. If ``handle`` raises, the process ends with exit code 70, nothing past the failed chunk
    is committed, and the supervisor restarts it. With ``fetch_min_bytes`` above 1 a fetch waits for that many bytes or half a
    second: fewer, larger chunks. If a fetch returns more than ``sample_above`` records (0: never), the next fetch begins at
    the end of the log: for consumers that only need a sample, so that reading costs less.
    """
    starting = threading.Lock()
    start = _alone(start_positions, starting) if start_positions else None
    app = _new_app(process, group, start, fetch_min_bytes, pacing, sample_above, settle)
    for topic in topics:
        channel = app.topic(topic.name, key_serializer="raw", value_serializer="raw", allow_empty=True)
        app.agent(channel, name=f"{group}-{topic.name}", concurrency=1)(_agent(handle))
    app.timer(interval=BEAT_S)(_mover(process.heartbeat))
    if tick is not None:
        app.timer(interval=tick_s)(_ticker(tick, starting))
    worker = faust.Worker(
        app,
        loglevel="WARNING",
        override_logging=False,
        redirect_stdouts=False,
        quiet=True,
        workdir=process.settings.home,
    )
    quiet_collector()
    logger.info("worker of group %s starts on %s", group, ", ".join(topic.name for topic in topics))
    try:
        worker.execute_from_commandline()
    finally:
        if on_stop is not None:
            on_stop()
    logger.info("worker of group %s stopped", group)


def _new_app(
    process: Process,
    group: str,
    start: Callable[[list[tuple[str, int]]], Positions] | None,
    fetch_min_bytes: int,
    pacing: Pacing,
    sample_above: int = 0,
    settle: Callable[[], None] | None = None,
) -> faust.App:
    app = faust.App(
        group,
        broker=[URL(f"kafka://{server}") for server in process.settings.kafka.split(",")],
        broker_credentials=faust_credentials(process.settings.kafka),
        store="memory://",
        datadir=str(process.settings.run_dir / f"faust-{process.name}"),
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        broker_client_id=process.name,
        broker_session_timeout=SESSION_MS / 1000,
        broker_heartbeat_interval=HEARTBEAT_MS / 1000,
        broker_request_timeout=30.0,
        broker_commit_interval=1.0,
        stream_wait_empty=True,
        stream_processing_timeout=600.0,
    )
    letters = DeadLetters(process.settings.kafka, process.name)
    consumer = type(
        "Consumer",
        (ChunkConsumer,),
        {
            "aside": Aside(set_aside_of(process.settings, process.name, group, letters)),
            "start_positions": staticmethod(start) if start else None,
            "settle": staticmethod(settle) if settle else None,
            "fetch_min_bytes": fetch_min_bytes,
            "pacing": pacing,
            "sample_above": sample_above,
        },
    )
    transport = type("Transport", (driver.Transport,), {"Consumer": consumer})
    app.transport = transport(app.conf.broker, app)
    return app


def _agent(handle: Callable[[Chunk], Future[None] | None]) -> Callable[[Any], Any]:
    async def consume(stream: Any) -> None:
        loop = asyncio.get_running_loop()
        async for chunk in stream:
            if not chunk.current():
                logger.info(
                    "%d records from %s are skipped: their partitions have been reassigned",
                    len(chunk.records),
                    chunk.topic,
                )
                chunk.finish()
                continue
            started = monotonic()
            what = f"chunk of {len(chunk.records)} records from {chunk.topic}"
            chunk.begin()
            try:
                committed = handle(chunk)
            except Exception as error:  # the process edge: log, stop, let the supervisor restart
                logger.exception("%s failed", what)
                _stop(chunk, error)
                return
            if committed is None:
                chunk.finish()
            else:
                committed.add_done_callback(partial(_ended, what, chunk, loop))
            if monotonic() - started > 5:
                logger.warning("a chunk of %d records took %.1f s", len(chunk.records), monotonic() - started)

    return consume


def _stop(chunk: Chunk, error: BaseException) -> None:
    """End the process: the next one handles the chunk again, and blames its records if they may be to blame."""
    if blameless(error):
        chunk.forgive()
    os._exit(EXIT_HANDLER_FAILED)


def _ended(what: str, chunk: Chunk, loop: asyncio.AbstractEventLoop, committed: Future[None]) -> None:
    """Finish a chunk when its Future is done; runs in the thread that completed the Future."""
    error = committed.exception()
    if error is not None:  # the process edge, as above
        logger.error("%s failed to commit", what, exc_info=error)
        _stop(chunk, error)
        return
    with contextlib.suppress(RuntimeError):
        # the loop is closed: the process ends, and the next owner of the partitions starts from the state
        loop.call_soon_threadsafe(chunk.finish)


def _alone(
    start: Callable[[list[tuple[str, int]]], Positions], starting: threading.Lock
) -> Callable[[list[tuple[str, int]]], Positions]:
    def start_alone(assigned: list[tuple[str, int]]) -> Positions:
        with starting:
            return start(assigned)

    return start_alone


def _mover(heartbeat: Heartbeat) -> Callable[[], Any]:
    async def move() -> None:
        heartbeat.moves()

    return move


def _ticker(tick: Callable[[], None], starting: threading.Lock) -> Callable[[], Any]:
    async def run_tick() -> None:
        if not starting.acquire(blocking=False):
            # partitions are being assigned, on the connections that a tick would use
            return
        try:
            tick()
        except Exception:  # the process edge, as above
            logger.exception("periodic work failed")
            os._exit(EXIT_HANDLER_FAILED)
        finally:
            starting.release()

    return run_tick
