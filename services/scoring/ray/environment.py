"""Environment variables that Ray reads at import: ports, token, switches.

Ports lie in the stack's own range (port base + 9 to + 39). Serve's default ports are the same for every Ray on a machine:
with them, one stack's HAProxy would route to another stack's replicas.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping

from streams.runtime.settings import Settings

HTTP_REPLICA_PORTS, GRPC_REPLICA_PORTS = (10, 19), (20, 29)
HAPROXY_METRICS_PORT, HAPROXY_STATS_PORT = 30, 31


def ray_environment(settings: Settings) -> dict[str, str]:
    """Values by variable name."""
    base = settings.port_base
    return {
        # ingress through HAProxy and settings for throughput (design, Scoring)
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(base + HTTP_REPLICA_PORTS[0]),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(base + HTTP_REPLICA_PORTS[1]),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(base + GRPC_REPLICA_PORTS[0]),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(base + GRPC_REPLICA_PORTS[1]),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(base + HAPROXY_METRICS_PORT),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(base + HAPROXY_STATS_PORT),
        # more threads gain nothing on few cores
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        # they cost a log line per request, parsed in Python (60 us), and the edge counts requests itself
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        # without them a client that stops inside a request, or a replica that stops inside an answer, holds a connection for an hour
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "20",
        "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": "20",
        # at its default of 0.1 s the controller's loop takes 4 % of a core
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
        # Serve's own metrics, which nothing here reads: by default each process exports them ten times a second
        "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "10000",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
        # Ray's default for workers is niceness 15: every other process would come first, and deadlines would be missed
        "RAY_worker_niceness": "0",
        # a replica without a GPU share sees no GPU
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
        # Ray's own ports listen on all interfaces: clients need the token
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(_token_file(settings)),
    }


def apply(variables: Mapping[str, str]) -> None:
    """Set those variables that are not set yet."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)


def _token_file(settings: Settings) -> str:
    path = settings.keys_dir / "ray.token"
    if not path.exists():
        settings.keys_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
    return str(path)
