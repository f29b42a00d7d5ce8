"""The labels worker: one Faust worker that reads `labels` and `decisions`. All its wiring is here."""

from __future__ import annotations

import threading

from features.store.partition_lease import Leases
from features.store.redis_client import RespClient
from streams.labels.sent_outcomes import sent_outcomes
from streams.labels.stage import TOPICS, LabelsStage
from streams.log.offsets.log_marks import LogMarks, eras
from streams.log.offsets.watch_logs import watch_logs
from streams.runtime.chunk.app import run_chunk_app
from streams.runtime.chunk.chunk import Positions
from streams.runtime.chunk.pacing import Pacing
from streams.runtime.edge_keys import EdgeKeys
from streams.runtime.kafka.clients import AT_FLUSH, new_producer
from streams.runtime.process import Process, start_process

GROUP = "labels"
#: nobody waits for its results: larger fetches, five a second, cost a third of the CPU
FETCH_BYTES = 65_536
PACING = Pacing(chunk_interval_s=0.2)


def run(process: Process) -> None:
    """Run until asked to stop."""
    settings = process.settings
    client = RespClient(settings.redis_address)
    leases = Leases(client, GROUP)
    marks = LogMarks(settings.kafka, client, GROUP)
    stage = LabelsStage(
        settings.partitions, client, new_producer(settings.kafka, process.name, **AT_FLUSH), leases,
        EdgeKeys(settings.edge_keys_path), settings.known_tenants, marks,
    )  # fmt: skip

    def start(assigned: list[tuple[str, int]]) -> Positions:
        before = leases.lease(assigned)
        lost = marks.begin(before)
        if lost:
            starts = {place: found.start for place, found in lost.items()}
            leases.write(list(lost), {}, marks.writes_of(lost, before), starts)
        # after the lease nobody else writes: all outcomes of the previous worker are on the log by now
        owned = {partition for _, partition in assigned}
        stage.remember(sent_outcomes(settings.kafka, owned), owned, eras(client, assigned))
        return leases.positions(assigned)

    threading.Thread(target=watch_logs, args=(marks,), name="log-marks", daemon=True).start()
    run_chunk_app(
        process, GROUP, TOPICS, stage.handle, start,
        tick=leases.verify, fetch_min_bytes=FETCH_BYTES, pacing=PACING,
    )  # fmt: skip


if __name__ == "__main__":
    run(start_process("labels-0", signals=False))
