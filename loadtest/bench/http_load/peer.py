"""The peer service in its own processes, and what a request costs it."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import redis

from loadtest.bench.harness.processes import running_once_said
from loadtest.peers.feast_address import feast_address
from loadtest.peers.installing import PeerError
from streams.runtime.settings import Settings

START_WITHIN_S = 120.0
#: a database of its own on the stack's Redis
DATABASE = 5
PORT_OFFSET = 38


@contextmanager
def running_peer(settings: Settings, model: Path, workers: int) -> Iterator[tuple[str, psutil.Process]]:
    """(its address, its first process); ended and its data removed afterwards.

    Raises:
        PeerError: it did not start in time.
    """
    folder = Path(tempfile.mkdtemp(prefix="tollgate-peer-"))
    port = settings.port_base + PORT_OFFSET
    store = feast_address(settings.redis, DATABASE)
    command = [
        sys.executable, "-m", "loadtest.peers.feast_service", store, str(model), str(port), str(workers), str(folder),
    ]  # fmt: skip
    try:
        filled = running_once_said(command, lambda line: line.startswith('{"filled"'), START_WITHIN_S)
        with filled as (process, _):
            url = f"http://127.0.0.1:{port}"
            _answers(url)
            yield url, process
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _forget(settings)


def _answers(url: str) -> None:
    until_s = time.monotonic() + START_WITHIN_S
    while time.monotonic() < until_s:
        try:
            httpx.get(f"{url}/openapi.json", timeout=5.0).raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise PeerError(f"{url} did not answer within {START_WITHIN_S:g} s")


def _forget(settings: Settings) -> None:
    with redis.Redis.from_url(settings.redis, db=DATABASE) as client:
        client.flushdb()


def model_file(settings: Settings) -> Path:
    """The model that the stack serves now.

    Raises:
        PeerError: it serves none.
    """
    told: dict[str, str] = json.loads(httpx.get(f"{settings.http}/v1/model", timeout=5.0).content)
    if not told.get("version"):
        raise PeerError("the stack serves no model")
    return settings.bundles_dir.joinpath(told["model"], told["version"], "model.ubj")
