"""Openings of Ray for which it has no settings: the port of a node's agent, folders that everybody may write to, a replica's own server."""

from __future__ import annotations

from contextlib import suppress
from functools import partialmethod
from pathlib import Path
from typing import Any

from ray._private.parameter import RayParams
from ray.serve._private import replica


def agent_listens_on(port: int) -> None:
    """Let the agent of a node that ``ray.init`` starts later in this process listen on ``port``, in place of 52365."""
    kind: Any = RayParams
    kind.__init__ = partialmethod(kind.__init__, dashboard_agent_listen_port=port)


def no_inner_server() -> None:
    """In a replica, before it is initialised: its gRPC server for other deployments gets no port.

    It would listen on all addresses, without a token, and unpickle what it receives. Nothing here calls one deployment from another,
    and Serve's own proxy calls replicas through Ray (RAY_SERVE_USE_GRPC_BY_DEFAULT).
    """
    serve: Any = replica
    serve.add_port_to_grpc_server = lambda _server, _address: 0


def close_folders(session: Path) -> None:
    """Take everybody's right to write from Ray's folders, which Ray gives explicitly, whatever the umask."""
    for folder in (session, *session.rglob("*")):
        if folder.is_dir() and not folder.is_symlink():
            # one that Ray has just removed needs no closing
            with suppress(FileNotFoundError):
                folder.chmod(0o700)
