"""Metrics of a bounded number of series. Some values of labels are words of others (tenants, catalogues, names in policies): whoever invents
new ones may neither fill this process' memory nor Prometheus' disk.
"""

from __future__ import annotations

from typing import Any, Self

import prometheus_client

#: series of one metric in one process; further ones are counted together
MAX_SERIES = 1000
#: the value of all labels of those
OTHER = "other"


class _Bounded:
    """``labels`` of a metric that gives at most ``max_series`` series, and one more for all others."""

    max_series = MAX_SERIES

    def labels(self, *values: Any, **named: Any) -> Self:
        """As in prometheus_client."""
        known: set[Any] = self.__dict__.setdefault("_known_series", set())
        key = (values, tuple(sorted(named.items())))
        if key not in known:
            if len(known) >= self.max_series:
                values, named = (OTHER,) * len(values), dict.fromkeys(named, OTHER)
            else:
                known.add(key)
        return super().labels(*values, **named)  # type: ignore[misc,no-any-return]

    def clear(self) -> None:
        """Remove every series; as many may follow."""
        self.__dict__.pop("_known_series", None)
        super().clear()  # type: ignore[misc]


class Counter(_Bounded, prometheus_client.Counter):
    """A counter of a bounded number of series."""


class Gauge(_Bounded, prometheus_client.Gauge):
    """A gauge of a bounded number of series."""


class Histogram(_Bounded, prometheus_client.Histogram):
    """A histogram of a bounded number of series."""


class TenantCounter(Counter):
    """A counter by tenant: each transaction names one."""

    max_series = 100
