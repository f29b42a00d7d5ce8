"""The start of every process of a stack: arguments, JSON-lines logs, Prometheus port, stop on signals."""

from __future__ import annotations

import argparse
import gc
import json
import logging
import signal
import sys
import threading
import time
from dataclasses import dataclass, field

from prometheus_client import start_http_server

from streams.contracts.text.card_numbers import mask_text
from streams.runtime.heartbeat import Heartbeat
from streams.runtime.log_throttle import Repeats
from streams.runtime.settings import Settings, load_settings


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object a line: time, level, process, logger, text, and the traceback if there is one. Card numbers
    are masked, whoever wrote the text.
    """

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "text": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return mask_text(json.dumps(line))


@dataclass(frozen=True)
class Process:
    """A running process: its stack's settings, its name in ``tollgate status``, the event that asks it to stop, and its heartbeat."""

    settings: Settings
    name: str
    stop: threading.Event
    heartbeat: Heartbeat = field(default_factory=Heartbeat)


def log_json_lines(process: str) -> None:
    """Send all logging to standard error as JSON lines."""
    # Ray Serve replaces a replica's sys.stderr by an object that does not pass on what is written to it
    handler = logging.StreamHandler(sys.__stderr__)
    handler.setFormatter(JsonLines(process))
    handler.addFilter(Repeats())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for noisy in ("aiokafka", "faust", "mode", "urllib3", "httpx"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def quiet_collector() -> None:
    """Keep the garbage collector from walking the objects made at start-up: a full walk stops the process for 0.1 s.

    Call it once, when a process is set up. Cycles made later are still found, by rarer collections of young objects.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 50)


def start_process(
    default_name: str, *, metrics: bool = True, signals: bool = True, beats: bool = True
) -> Process:
    """Parse ``--home`` and ``--name``, start logging, metrics and heartbeat, and turn SIGTERM and SIGINT into ``Process.stop``.

    Without ``beats`` nobody ends the process when it stands still.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", required=True, help="folder of the stack")
    parser.add_argument("--name", default=default_name, help="name in `tollgate status`")
    args = parser.parse_args()
    settings = load_settings(args.home)
    log_json_lines(args.name)
    stop = threading.Event()
    if signals:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
    if metrics:
        start_http_server(settings.metrics_port(args.name), addr="127.0.0.1")
    process = Process(settings, args.name, stop)
    if beats:
        process.heartbeat.begin(settings.run_dir, process.name)
    return process
