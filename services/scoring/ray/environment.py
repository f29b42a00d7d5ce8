"""Environment variables that Ray reads at import: ports, addresses, token, switches.

Ray listens on loopback only, and every port with a fixed number lies in the stack's own range (port base + 9 to + 39). Serve's
default ports are the same for every Ray on a machine: with them, one stack's HAProxy would route to another stack's replicas.
"""

from __future__ import annotations

import os
import resource
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from infra.stack.tools import haproxy
from services.scoring.edge.problems import PROBLEM_JSON, Problem, too_large, too_slow, unavailable
from services.scoring.ray import closed_haproxy
from streams.contracts.deadline import MAX_DEADLINE_MS
from streams.runtime.settings import Settings

HTTP_REPLICA_PORTS, GRPC_REPLICA_PORTS = (10, 19), (20, 29)
AUTOSCALER_PORT, DASHBOARD_PORT, AGENT_PORT, FALLBACK_HTTP_PORT, FALLBACK_GRPC_PORT = 30, 31, 32, 33, 34
#: HAProxy needs two files per connection, and two for the pipe of every fourth; others are for replicas, checks and its own
MAX_CONNECTIONS, OTHER_FILES = 16_384, 300
#: prefixes of the variables that Ray reads: none is inherited
OF_RAY = ("RAY_", "AUTOSCALER_METRIC_PORT", "DASHBOARD_METRIC_PORT")


def ray_environment(settings: Settings) -> dict[str, str]:
    """Values by variable name."""
    base = settings.port_base
    return {
        # a node is 127.0.0.1, and with it every server of Ray listens on loopback. Ray's constant
        # ray_constants.ENABLE_RAY_CLUSTER, despite its name, is read on every system
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "AUTOSCALER_METRIC_PORT": str(base + AUTOSCALER_PORT),
        "DASHBOARD_METRIC_PORT": str(base + DASHBOARD_PORT),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(base + FALLBACK_HTTP_PORT),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(base + FALLBACK_GRPC_PORT),
        # ingress through HAProxy and settings for throughput (design, Scoring)
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # calls between deployments through Ray, which asks for its token (``closing.no_inner_server``)
        "RAY_SERVE_USE_GRPC_BY_DEFAULT": "0",
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(base + HTTP_REPLICA_PORTS[0]),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(base + HTTP_REPLICA_PORTS[1]),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(base + GRPC_REPLICA_PORTS[0]),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(base + GRPC_REPLICA_PORTS[1]),
        **_haproxy(settings),
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
        # every user of this machine can reach its loopback ports: clients need the token
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(_token_file(settings)),
    }


def _haproxy(settings: Settings) -> dict[str, str]:
    """HAProxy: its files in the stack's private folder, its limits, and ``closed_haproxy`` in its place."""
    folder = haproxy_folder(settings)
    connections = max_connections(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    return {
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(Path(__file__).with_name("haproxy.sh")),
        "TOLLGATE_PYTHON": sys.executable,
        closed_haproxy.BINARY: _binary(),
        closed_haproxy.ANSWERS: str(folder),
        # no client address may hold them all
        closed_haproxy.PER_ADDRESS: str(connections * 3 // 4),
        "RAY_SERVE_HAPROXY_MAXCONN": str(connections),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        # Serve puts the node's id, 56 characters, between the folder and the name, and a socket's path has at most 107
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "s"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "m"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(settings.metrics_port("haproxy")),
        # more threads gain nothing on few cores
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        # Serve's own, not HAProxy's: they cost a log line per request, parsed in Python (60 us), and the edge counts requests itself
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        # without them a client that reads no answer, or a replica that stops inside one, holds a connection for an hour
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "20",
        # above the longest deadline that a caller may ask for
        "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": str(MAX_DEADLINE_MS // 1000 + 5),
        # replicas are on this machine. HAProxy tries four times: with what a replica may take no request waits for longer than 23 s
        "RAY_SERVE_HAPROXY_TIMEOUT_CONNECT_S": "2",
    }


def max_connections(open_files: int) -> int:
    """HAProxy's limit of connections where a process may have ``open_files`` files open (RLIM_INFINITY: -1)."""
    if open_files < 0:
        return MAX_CONNECTIONS
    return max(64, min(MAX_CONNECTIONS, (open_files - OTHER_FILES) * 2 // 5))


def apply(settings: Settings) -> None:
    """Set the variables in this process, drop every other variable of Ray's, and write the files that they name."""
    write_answers(settings)
    for inherited in [name for name in os.environ if name.startswith(OF_RAY)]:
        del os.environ[inherited]
    os.environ.update(ray_environment(settings))


def write_answers(settings: Settings) -> Path:
    """Write HAProxy's own answers; returns their folder."""
    folder = haproxy_folder(settings)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, problem in _answers().items():
        (folder / name).write_bytes(_response(problem))
    return folder


def haproxy_folder(settings: Settings) -> Path:
    """Folder of HAProxy's files, one stack's alone."""
    return settings.temp_dir / "h"


def _answers() -> Mapping[str, Problem]:
    """What HAProxy itself answers, by file name."""
    gone = "no replica of the edge can be reached; send the transaction again, it is decided once"
    slow, large = too_slow(closed_haproxy.REQUEST_WITHIN_S), too_large(closed_haproxy.MAX_BODY)
    return {
        "too_slow.http": slow,
        "too_large.http": large,
        "no_replica.http": unavailable("no_replica", gone),
    }


def _response(problem: Problem) -> bytes:
    body = problem.to_json()
    headers = {
        "Content-Type": PROBLEM_JSON,
        "Content-Length": str(len(body)),
        "Connection": "close",
        **problem.headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {problem.status} {problem.title}\r\n{lines}\r\n".encode() + body


def _binary() -> str:
    """HAProxy's.

    Raises:
        FileNotFoundError: it is not installed.
    """
    found = haproxy()
    if found is None:
        raise FileNotFoundError("no HAProxy: run `make setup` (it comes with ray[serve])")
    return str(found)


def _token_file(settings: Settings) -> Path:
    path = settings.keys_dir / "ray.token"
    if not path.exists():
        settings.keys_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
    return path
