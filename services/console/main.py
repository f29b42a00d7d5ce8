"""The console's process: an HTTP server on loopback, a thread that follows Kafka, one that sends labels. All its wiring is here."""

from __future__ import annotations

import importlib.metadata
import logging
import threading
import time

import uvicorn

from features.store.redis_client import RespClient
from services.console.app import build_app
from services.console.kept.database import Database
from services.console.kept.follower import Follower
from services.console.kept.taking import Taker
from services.console.outside.parts import Outside
from services.console.people.door import Door
from services.console.people.sessions import OneAtATime, Sessions
from services.console.wiring import Console
from services.console.work import sender
from services.console.work.cases import Cases
from services.console.work.desk import Desk
from streams.runtime.process import Process, quiet_collector, start_process

logger = logging.getLogger(__name__)
REDIS_WITHIN_S = 3.0
#: open event streams are cut off after this long
STOP_S = 3


def wire(process: Process) -> tuple[Console, Follower]:
    """The console of a stack, and what follows Kafka for it."""
    settings = process.settings
    database = Database(settings.console_dir / "console.sqlite")
    follower = Follower(settings.home, Taker(database))
    sessions = Sessions(OneAtATime(RespClient(settings.redis_address, REDIS_WITHIN_S)))
    console = Console(
        settings=settings, database=database, sessions=sessions,
        door=Door(settings.access_dir, sessions, time.time), desk=Desk(database), cases=Cases(database), outside=Outside(settings),
        standing=lambda: follower.standing, clock=time.time, version=importlib.metadata.version("tollgate"),
    )  # fmt: skip
    return console, follower


def main() -> None:
    """Run until asked to stop."""
    process = start_process("console")
    console, follower = wire(process)
    send = sender.to_kafka(process.settings.home)
    threads = [
        threading.Thread(target=follower.run, args=(process.stop,), name="follower"),
        threading.Thread(target=sender.run, args=(console.database, send, process.stop), name="labels"),
    ]
    config = uvicorn.Config(
        build_app(console), host="127.0.0.1", port=console.port, log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=STOP_S, proxy_headers=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    # the process's own handlers set ``stop``, which ends the server with the rest
    web = threading.Thread(target=server.run, name="http")
    for thread in (*threads, web):
        thread.start()
    quiet_collector()
    logger.info("the console is at %s", process.settings.console)
    while not process.stop.wait(0.5):
        if not web.is_alive():
            # the port was taken: the supervisor tries again
            process.stop.set()
    server.should_exit = True
    for thread in (*threads, web):
        thread.join(10)


if __name__ == "__main__":
    main()
