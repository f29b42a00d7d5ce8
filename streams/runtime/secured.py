"""The stack's own Kafka and Redis with TLS and passwords (``tollgate up --secure``): as whom a process connects, with which files.

Every process has a principal of its own. ``tollgate up`` names it in the process's environment; who has none, a command, acts as the
operator. What each may do stands in ``streams.log.rights``.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import NamedTuple

from streams.runtime.parts import KafkaPart, RedisPart

#: set by `tollgate up` for each process; its children inherit it
PRINCIPAL_VARIABLE = "TOLLGATE_PRINCIPAL"
#: who runs the commands
OPERATOR = "operator"
#: Kafka itself, which may do everything: `tollgate up` creates topics and rights in its name
BROKER = "broker"
#: the commands that write the processor's state anew
REBUILD = "rebuild"
#: Prometheus, which sends alerts to Alertmanager
PROMETHEUS = "prometheus"


def principal_here() -> str:
    """The principal of this process."""
    return os.environ.get(PRINCIPAL_VARIABLE) or OPERATOR


class WebAddress(str):
    """The address of a server that asks for a name and a password (HTTP basic), which carries how to come in. Its text shows neither."""

    __slots__ = ("part",)
    part: tuple[str, Path]

    def __new__(cls, url: str, principal: str, password: Path) -> WebAddress:
        self = super().__new__(cls, url)
        self.part = (principal, password)
        return self


def credentials(address: str) -> tuple[str, str] | None:
    """Name and password for an address; None for a plain one.

    Raises:
        OSError: the password cannot be read.
    """
    if not isinstance(address, WebAddress):
        return None
    principal, password = address.part
    return principal, password.read_text().strip()


def authorization(address: str) -> dict[str, str]:
    """The headers of a request to an address; none for a plain one.

    Raises:
        OSError: the password cannot be read.
    """
    found = credentials(address)
    if found is None:
        return {}
    return {"Authorization": f"Basic {base64.b64encode(':'.join(found).encode()).decode()}"}


class SecureFiles(NamedTuple):
    """Certificates and passwords of a secured stack; all have mode 0600."""

    folder: Path

    @property
    def ca(self) -> Path:
        """The certificate that clients trust."""
        return self.folder / "ca.pem"

    @property
    def ca_key(self) -> Path:
        return self.folder / "ca.key"

    @property
    def certificate(self) -> Path:
        """Of the servers on 127.0.0.1."""
        return self.folder / "server.pem"

    @property
    def key(self) -> Path:
        return self.folder / "server.key"

    @property
    def keystore(self) -> Path:
        """Key and certificates in one file, as Kafka wants them."""
        return self.folder / "kafka.pem"

    def password(self, principal: str) -> Path:
        """The password of a principal, for Kafka and Redis."""
        return self.folder / f"{principal}.password"

    def kafka(self, servers: str, principal: str) -> KafkaPart:
        """How a principal connects to Kafka. The broker's own password cannot be kept in Kafka, so it comes by PLAIN."""
        return KafkaPart(
            bootstrap=servers, security="sasl_ssl", mechanism="PLAIN" if principal == BROKER else "SCRAM-SHA-512",
            username=principal, password_file=str(self.password(principal)), ca_file=str(self.ca),
            replication_factor=1, min_in_sync_replicas=1,
        )  # fmt: skip

    def web(self, url: str, principal: str) -> WebAddress:
        """The address of Prometheus, Alertmanager or MLflow, with how a principal comes in."""
        return WebAddress(url, principal, self.password(principal))

    def redis(self, url: str, principal: str) -> RedisPart:
        """How a principal connects to Redis."""
        return RedisPart(
            url=url, username=principal, password_file=str(self.password(principal)), ca_file=str(self.ca)
        )
