"""MLflow's server. On a secured stack it listens on a socket in a private folder, and HAProxy before it asks for a name and a password.

MLflow has an app of its own for that, which its makers call experimental, and which leaves some routes open. What stands before it needs to
know nothing of its routes. HAProxy is there anyway: it comes with Ray Serve.
"""

from __future__ import annotations

from pathlib import Path

from infra.stack.errors import StackError
from infra.stack.ports import port_of
from infra.stack.private import secret
from infra.stack.tools import Tools
from streams.runtime.secured import OPERATOR
from streams.runtime.settings import Settings

#: who may come in: the trainer writes, who runs commands looks
MAY_COME_IN = (OPERATOR, "trainer")
DOOR = "mlflow-door"
#: the path that stays open says only that the server lives: `tollgate status` asks it in everybody's name.
#: A bundle's files are a few MB; a page asks for a list of runs
ANSWER_WITHIN_S, REQUEST_WITHIN_S = 60, 10


def folder(settings: Settings) -> Path:
    return settings.root / "mlflow"


def command(settings: Settings, tools: Tools) -> tuple[str, ...]:
    """The server's."""
    there = folder(settings)
    # the socket comes before the port, which MLflow names in any case
    by_socket = ("--uvicorn-opts", f"--uds {socket(settings)}") if settings.secure else ()
    return (
        str(tools.python), "-m", "mlflow", "server", *by_socket,
        "--host", "127.0.0.1",
        "--port", str(port_of(settings.mlflow)),
        "--workers", "1",
        "--backend-store-uri", f"sqlite:///{there / 'mlflow.db'}",
        "--artifacts-destination", str(there / "artifacts"),
    )  # fmt: skip


def door_command(settings: Settings, tools: Tools) -> tuple[str, ...]:
    """HAProxy's.

    Raises:
        StackError: it is not installed.
    """
    if tools.haproxy is None:
        raise StackError(
            "no HAProxy, with which MLflow asks for a password: run `make setup` (it comes with ray[serve])"
        )
    return (str(tools.haproxy), "-db", "-f", str(door_file(settings)))


def door_file(settings: Settings) -> Path:
    return folder(settings) / "door.cfg"


def socket(settings: Settings) -> Path:
    """Where the server of a secured stack listens."""
    return settings.socket_dir / "mlflow.sock"


def prepare(settings: Settings) -> None:
    """Create the folders, and on a secured stack HAProxy's file."""
    (folder(settings) / "artifacts").mkdir(parents=True, exist_ok=True)
    if not settings.secure:
        return
    path = door_file(settings)
    # it holds passwords, as the files in keys/secure do
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(_door(settings))


def _door(settings: Settings) -> str:
    users = "\n".join(
        f"    user {name} insecure-password {secret(settings.secure_files.password(name))}"
        for name in MAY_COME_IN
    )
    return f"""global
    maxconn 256
defaults
    mode http
    # while MLflow starts, whoever asks is told so at once
    retries 0
    timeout connect 5s
    timeout client {ANSWER_WITHIN_S}s
    timeout server {ANSWER_WITHIN_S}s
    timeout http-request {REQUEST_WITHIN_S}s
userlist people
{users}
frontend door
    bind 127.0.0.1:{port_of(settings.mlflow)}
    http-request auth realm tollgate unless {{ path /health }} or {{ http_auth(people) }}
    http-request del-header authorization
    default_backend mlflow
backend mlflow
    server mlflow unix@{socket(settings)}
"""
