"""Sends a history table through the stack as fast as it decides, so that a new stack has state before live traffic."""

from __future__ import annotations

import secrets

import pyarrow as pa
import pyarrow.compute as pc

from loadtest.traffic.measuring_client import Measurement
from loadtest.traffic.measuring_process import Result
from loadtest.traffic.sending import LABELS, TRANSACTIONS, Backpressure, Sender
from loadtest.traffic.simulator.world import letters
from streams.log.records import HEADER_DEADLINE_MS
from streams.mapping.encoding import encode_keys, encode_labels, encode_transactions

SLICE = 2_000
IN_FLIGHT = 20_000
#: without a new decision
WAIT_S = 60.0


def send_backlog(bootstrap: str, redis_address: str, table: pa.Table) -> Result:
    """Send a history table without deadlines, and the labels known by its newest event; wait for the decisions.

    Raises:
        LedgerUnreachable, SendError, MeasurementError: the broker, scoring or the measuring process does not answer.
    """
    run = letters(secrets.randbelow(19**8), 8)
    headers = [("tollgate-run", run), (HEADER_DEADLINE_MS, "0")]
    newest = pc.max(table["event_time"])
    known = table.filter(pc.fill_null(pc.less_equal(table["label_time"], newest), False))
    sender = Sender(bootstrap, "tollgate-backlog")
    with Measurement(bootstrap, redis_address, run=run) as measurement:
        hold = Backpressure(lambda: measurement.accounted, IN_FLIGHT)
        try:
            for begin in range(0, table.num_rows, SLICE):
                part = table.slice(begin, SLICE).combine_chunks()
                hold.wait(begin, lambda: False, measurement.check)
                sender.send_all(
                    TRANSACTIONS, encode_keys(part["card_id"]), encode_transactions(part), headers
                )
            if known.num_rows:
                sender.send_all(LABELS, encode_keys(known["card_id"]), encode_labels(known))
            sender.finish()
        except BaseException:
            sender.abandon()
            raise
        return measurement.finish(table.num_rows, WAIT_S)
