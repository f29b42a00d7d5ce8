"""Detect Kafka clients that have forgotten every broker. Undetected, they wait for ever without an error.

A broker that is shutting down may answer that there are no brokers. librdkafka (at least 2.10 to 2.16) then drops all
addresses it knew, the bootstrap addresses too, and connects to none again (its issue 5301). A cluster that always names at
least one broker does not cause this; the single node of a local stack is run so that it does not cause it either.
"""

from __future__ import annotations

from typing import Any

import msgspec

#: interval of a client's statistics, and the number of them without a broker after which the client is given up
STATISTICS_S, GIVEN_UP_AFTER = 5.0, 2


class BrokersForgotten(Exception):
    """The client knows no broker any more, not even the bootstrap addresses. Only a new client can connect."""


class _Broker(msgspec.Struct):
    source: str = ""


class _Statistics(msgspec.Struct):
    name: str = ""
    brokers: dict[str, _Broker] = {}


class _Watch:
    """Statistics callback of a client; runs inside ``poll``, ``consume`` and ``flush``."""

    def __init__(self) -> None:
        self._without = 0

    def __call__(self, statistics: str) -> None:
        parsed = msgspec.json.decode(statistics, type=_Statistics)
        # other sources are roles (such as the group's coordinator), which have no address of their own
        known = any(broker.source in ("configured", "learned") for broker in parsed.brokers.values())
        self._without = 0 if known else self._without + 1
        if self._without >= GIVEN_UP_AFTER:
            raise BrokersForgotten(f"{parsed.name} has forgotten every broker; only a new client can connect")


def remembering(statistics_s: float = STATISTICS_S) -> dict[str, Any]:
    """Client settings with which ``poll``, ``consume`` or ``flush`` raises BrokersForgotten about 10 s after the loss.

    Only for clients that are polled all the time; for others the statistics would pile up.
    """
    return {"statistics.interval.ms": int(statistics_s * 1000), "stats_cb": _Watch()}
