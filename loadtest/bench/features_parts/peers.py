"""Runs the peers on the same broker, one after the other, each in its own environment, and checks their results."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Any

import pyarrow as pa
from confluent_kafka.admin import AdminClient, NewTopic

from loadtest.bench.features_parts.backlog import send
from loadtest.bench.features_parts.kafka_and_redis import Parts
from loadtest.bench.features_parts.store_only import store_row
from loadtest.bench.features_parts.traffic import SEED, WARM_DAYS, Traffic
from loadtest.bench.harness.processes import running_once_said
from loadtest.bench.harness.table import Row, left_out, times
from loadtest.peers.feast_address import feast_address
from loadtest.peers.installing import PeerError, java_command, python_of
from loadtest.peers.meter import SHARES
from loadtest.peers.windows import Kept, add
from loadtest.traffic.simulator import create_world, history_table

#: payments of a card in the four weeks that peers get, on average
A_CARD = 60
#: Faust's tables are so slow that they get only a part: fewer cards, with as many payments each
TABLE_PART, HOPPING_PART = 20, 500
RUN_WITHIN_S = 600.0
FEAST_CARDS, FEAST_ROWS = 1_000, 300


@dataclass(frozen=True)
class Peer:
    """One tool. ``command`` installs what is missing and returns how to start it; it gets one event in ``part``; ``last``
    goes behind the common arguments."""

    name: str
    command: Callable[[], list[str]]
    what: str
    part: int = 1
    exact: bool = True
    last: tuple[str, ...] = ()


def peer_rows(parts: Parts, traffic: Traffic, events: int, ours: Row) -> Iterator[Row]:
    """Ours, then all peers as they are measured, each with its ratio to ours."""
    yield ours
    given: dict[int, Given] = {}
    for peer in PEER_LIST:
        if peer.part not in given:
            given[peer.part] = give(parts, f"peer-transactions-{peer.part}", events // peer.part)
        yield from peer_line(parts, peer, given[peer.part], ours)
    store = store_row(parts, traffic)
    yield store
    yield from feast_lines(parts, store)


@dataclass(frozen=True)
class Given:
    """Input of a peer: the topic, the numbers of events and cards, and the sums that correct windows give."""

    topic: str
    events: int
    cards: int
    expected: tuple[int, int]


def give(parts: Parts, topic: str, events: int) -> Given:
    """Four weeks of as many cards as make so many payments, onto a topic of their own."""
    table = peer_traffic(events)
    _create(parts, topic)
    send(parts.settings.kafka, topic, table)
    return Given(topic, events, len(table["card_id"].unique()), expected(table))


def peer_traffic(events: int) -> pa.Table:
    """Four weeks of as many cards as make so many payments."""
    end = datetime.now(UTC)
    world = create_world(SEED, max(1, events // A_CARD))
    return history_table(world, end - timedelta(days=WARM_DAYS), end, count=events)


def expected(table: pa.Table) -> tuple[int, int]:
    """The sums of all counts and of all sums that correct windows give after the last complete share."""
    kept: dict[str, Kept] = {}
    event_ms = table["event_time"].cast(pa.int64()).to_pylist()
    counts = sums = 0
    rows = zip(table["card_id"].to_pylist(), event_ms, table["amount_minor"].to_pylist(), strict=True)
    for card, at, amount in islice(rows, table.num_rows // SHARES * SHARES):
        windows = add(kept.setdefault(card, []), at, amount)
        counts += sum(windows[:4])
        sums += sum(windows[4:])
    return counts, sums % 2**53


def peer_line(parts: Parts, peer: Peer, given: Given, ours: Row) -> list[Row]:
    """CPU and memory of one peer's process. One mean, because commits fall unevenly into the shares of a run."""
    folder = Path(tempfile.mkdtemp(prefix="tollgate-peer-"))
    out = "out-" + "-".join(peer.name.lower().split())
    try:
        command = peer.command()
        _create(parts, out)
        arguments = [parts.settings.kafka, given.topic, out, str(given.events), str(folder), *peer.last]
        told = run([*command, *arguments], RUN_WITHIN_S)
        stored_mb = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    except PeerError as error:
        return [left_out(peer.name, str(error))]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    shares = f"{given.events:,} events, fifths from {min(told['us']):.1f} to {max(told['us']):.1f}"
    row = Row(f"{peer.name}: {peer.what}", [mean(told["us"])], "us an event")
    row = replace(row, factor=times(row, ours), note=f"{_verdict(peer, told, given)}; {shares}")
    return [row, *_memory(peer, told["rss_mb"], stored_mb, given.cards)]


def _verdict(peer: Peer, told: dict[str, Any], given: Given) -> str:
    """Whether the peer's windows are correct."""
    if not peer.exact:
        return "windows of whole steps, so not compared with the exact ones"
    return (
        "all windows right" if given.expected == (told["counts"], told["sums"]) else "NOT the right windows"
    )


def _memory(peer: Peer, rss_mb: float | None, stored_mb: float, cards: int) -> list[Row]:
    if not peer.exact:
        return []
    out = []
    if rss_mb is not None:
        out.append(("memory", rss_mb, "growth of its process, including prefetched records,"))
    if stored_mb:
        out.append(("disk", stored_mb, "its files"))
    return [
        Row(
            f"{where} per million: card, four windows, {peer.name}", [mb * 1e6 / cards], "MB",
            note=f"{how} with {cards:,} cards, scaled",
        )
        for where, mb, how in out
    ]  # fmt: skip


def feast_lines(parts: Parts, store: Row) -> list[Row]:
    """Feast's SDK on the same Redis."""
    folder = Path(tempfile.mkdtemp(prefix="tollgate-peer-"))
    address = feast_address(parts.settings.redis)
    command = [
        sys.executable, "-m", "loadtest.peers.feast_store", address, str(FEAST_CARDS), str(FEAST_ROWS), str(folder),
    ]  # fmt: skip
    try:
        told = run(command, RUN_WITHIN_S)
    except PeerError as error:
        return [left_out("Feast", str(error))]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rows = [
        Row("Feast SDK: get_online_features and push, a row at a time", told["row_us"], "us a row"),
        Row("Feast SDK: the same, 256 rows at once", told["batch_us"], "us a row"),
    ]
    return [replace(row, factor=times(row, store)) for row in rows]


def _create(parts: Parts, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": parts.settings.kafka, "log_level": 5})
    admin.create_topics([NewTopic(topic, parts.settings.partitions, 1)])[topic].result(60)


def run(command: list[str], within_s: float) -> dict[str, Any]:
    """Start a program, wait for its line of JSON, end it.

    Raises:
        PeerError: it ended, or said nothing within ``within_s``.
    """
    # Faust's worker writes a terminal escape first, on the same line
    with running_once_said(command, lambda line: line.endswith("}\n") and "{" in line, within_s) as (_, line):
        told: dict[str, Any] = json.loads(line[line.index("{") :])
        return told


def _faust() -> list[str]:
    return [sys.executable, "-m", "loadtest.peers.faust_tables"]


def _quix() -> list[str]:
    return [python_of("quix"), "-m", "loadtest.peers.quix_state"]


def _bytewax() -> list[str]:
    return [python_of("bytewax"), "-m", "loadtest.peers.bytewax_state"]


def _kafka_streams() -> list[str]:
    return java_command("Windows")


PEER_LIST = (
    Peer("Faust", _faust, "a table of each card's payments", part=TABLE_PART, last=("kept",)),
    Peer("Faust windows", _faust, "eight hopping tables", part=HOPPING_PART, exact=False, last=("hopping",)),
    Peer("Quix Streams", _quix, "state in RocksDB"),
    Peer("Bytewax", _bytewax, "stateful map, recovery in SQLite"),
    Peer("Kafka Streams", _kafka_streams, "store in RocksDB", last=("plain",)),
    Peer(
        "Kafka Streams cached",
        _kafka_streams,
        "the same, written at commits only, each 30 s: later than this run's end",
        last=("cached",),
    ),
)
