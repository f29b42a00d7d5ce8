"""Clients of Kafka that have forgotten every broker, found out: else they would wait for ever and say nothing.

A broker that is shutting down may answer that there are no brokers. librdkafka (2.10 to 2.16 at least) then drops all it knew,
the bootstrap addresses too, and asks nobody again: no error, no record, no end (its issue 5301). A cluster that names at least
one broker at any moment does not bring it about; the one node of a local stack is run so that it does not either.
"""

from __future__ import annotations

from typing import Any

import msgspec

#: how often a client tells its statistics, and after how many of them without a broker it is given up
STATISTICS_S, GIVEN_UP_AFTER = 5.0, 2


class BrokersForgotten(Exception):
    """The client knows no broker, not even those that it was given, and will ask none: only a new client finds them."""


class _Broker(msgspec.Struct):
    source: str = ""


class _Statistics(msgspec.Struct):
    name: str = ""
    brokers: dict[str, _Broker] = {}


class _Watch:
    """What a client calls with its statistics, inside ``poll``, ``consume`` and ``flush``."""

    def __init__(self) -> None:
        self._without = 0

    def __call__(self, statistics: str) -> None:
        told = msgspec.json.decode(statistics, type=_Statistics)
        # the others are names of roles (a group's coordinator), which have no address of their own
        known = any(broker.source in ("configured", "learned") for broker in told.brokers.values())
        self._without = 0 if known else self._without + 1
        if self._without >= GIVEN_UP_AFTER:
            raise BrokersForgotten(f"{told.name} has forgotten every broker; only a new client finds one")


def remembering(statistics_s: float = STATISTICS_S) -> dict[str, Any]:
    """Settings of a client that raises BrokersForgotten out of ``poll``, ``consume`` or ``flush`` within about 10 s of that.

    For clients that are polled all the time only: of one that is not, statistics would pile up.
    """
    return {"statistics.interval.ms": int(statistics_s * 1000), "stats_cb": _Watch()}
