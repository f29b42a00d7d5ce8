"""The ports of a stack, the owner of a port, and a free block of ports for a test."""

from __future__ import annotations

import random
import socket
import time
from pathlib import Path

import psutil

from infra.stack.errors import StackUsageError
from streams.runtime.settings import METRICS_PORTS, Settings

KAFKA, CONTROLLER, REDIS, HTTP, PROMETHEUS, ALERTMANAGER, MLFLOW, ONCALL, CONSOLE = range(9)
#: offsets 9 to 39 are for Ray (``services.scoring.ray.environment``), 40 and above serve metrics
RAY = range(10, 35)
#: of these, Ray's replicas take the first that they can listen on
REPLICAS = range(10, 30)
BLOCK = max(METRICS_PORTS.values()) + 1
#: the kernel assigns ports from here on to outgoing connections
EPHEMERAL = 32768
SERVED = {
    "kafka": KAFKA,
    "kafka controller": CONTROLLER,
    "redis": REDIS,
    "http": HTTP,
    "prometheus": PROMETHEUS,
    "alertmanager": ALERTMANAGER,
    "mlflow": MLFLOW,
    "oncall": ONCALL,
    "console": CONSOLE,
}


#: Kafka splits a folder's name at a comma, supervisord cuts one at # or ;, MLflow's database begins its options at ?
_SIGNS = ',;#?"\\'


def settings_for(
    home: Path, port_base: int, *, embedded: bool = False, redis_socket: str = "", secure: bool = False
) -> Settings:
    """The settings of a stack in ``home`` whose ports start at ``port_base``.

    Raises:
        StackUsageError: the block would include ephemeral or privileged ports; or the folder's name has a character that the files of
            Kafka, Redis, MLflow or supervisord take for one of their own signs.
    """
    taken = sorted(set(str(home)) & set(_SIGNS))
    if taken or not str(home).isprintable():
        raise StackUsageError(
            f"--home may not hold {' '.join(taken) or 'unprintable characters'}, which Kafka or another part takes for a sign of its own"
        )
    if not 1024 <= port_base <= EPHEMERAL - BLOCK:
        raise StackUsageError(f"--port-base must be between 1024 and {EPHEMERAL - BLOCK}, not {port_base}")

    def url(offset: int) -> str:
        return f"http://127.0.0.1:{port_base + offset}"

    return Settings(
        home=str(home),
        port_base=port_base,
        kafka=f"127.0.0.1:{port_base + KAFKA}",
        redis=f"{'rediss' if secure else 'redis'}://127.0.0.1:{port_base + REDIS}",
        redis_socket=redis_socket,
        http=url(HTTP),
        prometheus=url(PROMETHEUS),
        alertmanager=url(ALERTMANAGER),
        mlflow=url(MLFLOW),
        oncall=url(ONCALL),
        console=url(CONSOLE),
        embedded=embedded,
        secure=secure,
    )


def port_of(address: str) -> int:
    """The port of ``host:port`` or of a URL without path."""
    return int(address.rsplit(":", 1)[1])


#: longer than ``is_free`` holds a port
_PROBE_S = 0.2


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        # as servers do: connections of an earlier run in TIME_WAIT do not block the port
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def owner(port: int) -> str:
    """The process that listens on a port, as ``pid 12 (java)`` or as much of it as this user may see."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return "a process of another user"
    for connection in connections:
        here = connection.laddr and connection.laddr.port == port
        if here and connection.status == psutil.CONN_LISTEN and connection.pid:
            try:
                return f"pid {connection.pid} ({psutil.Process(connection.pid).name()})"
            except psutil.Error:
                return f"pid {connection.pid}"
    return "an unknown process"


def _closing(port: int) -> bool:
    """Whether nothing is left on a port but closed connections, which may hold it for a minute more: uvicorn in a replica of Ray binds
    without SO_REUSEADDR."""
    states = {c.status for c in psutil.net_connections(kind="tcp") if c.laddr and c.laddr.port == port}
    return states == {psutil.CONN_TIME_WAIT}


def busy(port_base: int) -> list[str]:
    """One text for each port of the block that is taken: port, purpose, owner."""
    wanted = {
        **SERVED,
        **{f"Ray, {offset}": offset for offset in RAY},
        **{f"metrics of {name}": offset for name, offset in METRICS_PORTS.items()},
    }
    taken = {what: port_base + offset for what, offset in wanted.items() if not is_free(port_base + offset)}
    if taken:
        # another `up` that looks for free ports holds each for a moment
        time.sleep(_PROBE_S)
    out = []
    for what, port in taken.items():
        if is_free(port):
            continue
        if not _closing(port):
            out.append(f"port {port} ({what}) is taken by {owner(port)}")
        elif port - port_base not in REPLICAS:
            out.append(f"port {port} ({what}) is closing: it is free again within a minute")
    return out


def answers(port: int, timeout_s: float = 0.5) -> bool:
    """Whether something accepts connections on a loopback port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout_s):
            return True
    except OSError:
        return False


def free_port_base(first: int = 20_000, last: int = EPHEMERAL - BLOCK) -> int:
    """A port base whose whole block is free now; random, so that parallel test runs rarely collide.

    Raises:
        StackUsageError: none found.
    """
    for _ in range(200):
        base = random.randrange(first, last, 10)
        if all(is_free(base + offset) for offset in range(BLOCK)):
            return base
    raise StackUsageError(f"no {BLOCK} free ports in a row between {first} and {last}")
