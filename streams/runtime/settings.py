"""Addresses, ports and paths of one stack: a frozen value, written by ``tollgate up`` and read by every process.

A stack is a folder (``home``). Its ``settings.json`` holds addresses, ports and paths; a process gets the
folder as ``--home`` (or ``TOLLGATE_HOME``) and nothing else. Nothing here opens a connection.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import tempfile
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit

import msgspec

from features.attributes import Attributes, Declared
from models.policy.exploration import OFF, ExplorationTerms
from models.policy.review_terms import NO_TERMS, ReviewTerms
from streams.access.private_files import write_private
from streams.contracts.deadline import DEFAULT_DEADLINE_MS
from streams.contracts.tenants import Tenants
from streams.runtime.kafka.connection import KafkaAddress
from streams.runtime.parts import Parts, for_principal, with_credentials
from streams.runtime.secured import OPERATOR, SecureFiles, principal_here

SETTINGS_FILE = "settings.json"
DEFAULT_HOME = Path(".tollgate")
DEFAULT_PORT_BASE = 19000
#: the path of a unix socket has at most 107 bytes; servers add a suffix while they create one
MAX_SOCKET_PATH = 100


class SettingsError(Exception):
    """The stack's settings are missing or unreadable; the text names the file and the remedy."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses and limits of one stack. Ports stay below 32768 (ephemeral ports begin there)."""

    home: str
    port_base: int = DEFAULT_PORT_BASE
    kafka: str = "127.0.0.1:19000"
    redis: str = "redis://127.0.0.1:19002"
    #: the system's temporary folder as `tollgate up` found it; empty: as this process finds it
    temp: str = ""
    #: Redis' unix socket when Redis runs on this machine (half the cost of TCP), else empty
    redis_socket: str = ""
    http: str = "http://127.0.0.1:19003"
    prometheus: str = "http://127.0.0.1:19004"
    alertmanager: str = "http://127.0.0.1:19005"
    mlflow: str = "http://127.0.0.1:19006"
    oncall: str = "http://127.0.0.1:19007"
    console: str = "http://127.0.0.1:19008"
    partitions: int = 2
    #: workers of the processor's group, 1 or 2; the partitions are divided among them
    processors: int = 1
    #: replicas that score the stream, 1 or 2: with two, one takes over the partitions of the other if it dies or hangs
    stream_replicas: int = 1
    #: GPUs that the replicas of scoring share; null: as many as the machine has; 0: none, they score on the CPU
    gpus: int | None = None
    #: size of a processor's profile cache in MiB; profiles that are not in it are read from Redis
    profile_cache_mb: int = 1024
    #: memory that Redis may use, in MiB; null: half of what this machine, or its container, has
    redis_memory_mb: int | None = None
    deadline_ms: int = DEFAULT_DEADLINE_MS
    #: file of the keys that seal the HTTP edge's decisions on their way through Kafka; empty: ``keys/edge.keys`` of the home
    edge_keys: str = ""
    #: tenants that may send payments and labels; empty: any
    tenants: tuple[str, ...] = ()
    #: the one of ``tenants`` for which events of others count; empty: they are refused by name
    unknown_tenant: str = ""
    #: attributes of one's own that transactions may carry, from ``settings.toml``
    attributes: Declared = {}
    #: payments that are let through to learn their outcome, from ``settings.toml``
    exploration: ExplorationTerms = OFF
    #: reviews that people can do and what decisions cost, from ``settings.toml``
    review: ReviewTerms = NO_TERMS
    #: parts that run elsewhere; ``kafka``, ``redis`` and ``mlflow`` are then their addresses
    elsewhere: Parts = Parts()
    #: "required": the HTTP edge answers only requests with an API key; "open", on loopback addresses only: also others
    access: Literal["open", "required"] = "open"
    #: True when Kafka is librdkafka's mock cluster, which keeps nothing on disk
    embedded: bool = False
    #: the stack's own Kafka and Redis have TLS, passwords and rights for each process, and the HTTP edge takes only requests with an
    #: API key, whatever ``access`` says (``tollgate up --secure``)
    secure: bool = False
    #: as whom this process connects to them; in the file always the operator
    principal: str = OPERATOR

    def __post_init__(self) -> None:
        part = None
        if self.elsewhere.kafka is not None:
            part = for_principal(self.elsewhere.kafka, self.principal)
        elif self.secure:
            part = self.secure_files.kafka(str(self.kafka), self.principal)
        # an address that carries how to connect: clients are given nothing else
        msgspec.structs.force_setattr(self, "kafka", KafkaAddress(self.kafka, part))
        if self.secure:
            own = () if self.elsewhere.mlflow is not None else ("mlflow",)
            for name in ("prometheus", "alertmanager", *own):
                address = self.secure_files.web(getattr(self, name), self.principal)
                msgspec.structs.force_setattr(self, name, address)
        for name in ("processors", "stream_replicas"):
            if getattr(self, name) not in (1, 2):
                raise ValueError(f"{name} is 1 or 2, not {getattr(self, name)}")
        if self.access == "open" and not _is_loopback(self.http):
            raise ValueError(f'http is {self.http}, which others can reach: access must be "required"')
        if self.gpus is not None and self.gpus < 0:
            raise ValueError(f"gpus is null, 0 or more, not {self.gpus}")
        if self.redis_memory_mb is not None and self.redis_memory_mb < 1:
            raise ValueError(f"redis_memory_mb is null, 1 or more, not {self.redis_memory_mb}")
        # raises what is wrong with it
        _ = self.known_tenants
        if self.profile_cache_mb < 0:
            raise ValueError(f"profile_cache_mb is 0 or more, not {self.profile_cache_mb}")

    @property
    def known_tenants(self) -> Tenants:
        """Whose events are taken, and with which attributes."""
        return Tenants(frozenset(self.tenants), self.unknown_tenant, self.declared)

    @property
    def declared(self) -> Attributes:
        """The attributes of one's own."""
        return Attributes(self.attributes)

    @property
    def root(self) -> Path:
        return Path(self.home)

    @property
    def redis_address(self) -> str:
        """The address for the hot path, with its password: of the socket if there is one.

        Raises:
            PartError: its password is not in the settings, and cannot be read.
        """
        if self.elsewhere.redis is not None:
            return with_credentials(for_principal(self.elsewhere.redis, self.principal))
        if self.secure:
            return with_credentials(self.secure_files.redis(self.redis, self.principal))
        if not self.redis_socket:
            return self.redis
        credentials, at, _ = urlsplit(self.redis).netloc.rpartition("@")
        return f"unix://{credentials}{at}{quote(self.redis_socket)}"

    @property
    def redis_shown(self) -> str:
        """``redis`` without its password, for screens and logs."""
        scheme, _, rest = self.redis.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"

    @property
    def bundles_dir(self) -> Path:
        """Published model bundles, one folder per version."""
        return self.root / "bundles"

    @property
    def keys_dir(self) -> Path:
        """Ed25519 signing key and trusted public keys for bundles; HMAC key for card numbers."""
        return self.root / "keys"

    @property
    def secure_files(self) -> SecureFiles:
        """Certificates and passwords of a secured stack."""
        return SecureFiles(self.keys_dir / "secure")

    @property
    def edge_keys_path(self) -> Path:
        """Keys that seal the HTTP edge's decisions (``streams.runtime.edge_keys``)."""
        return Path(self.edge_keys) if self.edge_keys else self.keys_dir / "edge.keys"

    @property
    def access_dir(self) -> Path:
        """People and services with their keys, and API keys."""
        return self.root / "access"

    @property
    def console_dir(self) -> Path:
        """What the console keeps of decisions, and the work on them."""
        return self.root / "console"

    @property
    def rollout_dir(self) -> Path:
        """Kept by the rollout process beside its topics: the newest signed record of each model, the head of the audit."""
        return self.root / "rollout"

    @property
    def archive_dir(self) -> Path:
        """Parquet written by the archive, read by Feast's offline store and the trainer."""
        return self.root / "archive"

    @property
    def feast_dir(self) -> Path:
        return self.root / "feast"

    @property
    def run_dir(self) -> Path:
        """Sockets and the pid files of Ray replicas."""
        return self.root / "run"

    @property
    def temp_dir(self) -> Path:
        """Folder of this stack alone (mode 0700) in the system's temporary folder; ``tollgate down`` removes it."""
        digest = hashlib.sha256(f"{os.getuid()}:{self.home}".encode()).hexdigest()[:10]
        return Path(self.temp or tempfile.gettempdir()) / f"tollgate-{digest}"

    @property
    def socket_dir(self) -> Path:
        """Folder for unix sockets: the run folder, or if its path is too long, ``temp_dir``."""
        fits = len(os.fsencode(self.run_dir)) + len("/supervisor.sock") <= MAX_SOCKET_PATH
        return self.run_dir if fits else self.temp_dir

    @property
    def ray_dir(self) -> Path:
        """Ray's session folder. The path is short because it holds unix sockets."""
        return self.temp_dir / "ray"

    @property
    def log_dir(self) -> Path:
        return self.root / "logs"

    def metrics_port(self, process: str) -> int:
        """Prometheus port of a process, by its name in ``tollgate status``."""
        return self.port_base + METRICS_PORTS[process]

    def save(self) -> Path:
        path, kept = self.root / SETTINGS_FILE, acting_as(self, OPERATOR)
        # it holds Redis' password
        write_private(path, msgspec.json.format(msgspec.json.encode(kept, enc_hook=str), indent=2))
        return path


def acting_as(settings: Settings, principal: str) -> Settings:
    """The settings for one who connects to a secured Kafka and Redis as somebody else."""
    return msgspec.structs.replace(settings, principal=principal)


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


#: offset from ``port_base``, by process name
METRICS_PORTS = {
    "processor-0": 40,
    "processor-1": 41,
    "labels-0": 44,
    "labels-1": 45,
    "scoring": 46,
    "haproxy": 47,
    "drift-0": 48,
    "archive-0": 50,
    "trainer-0": 52,
    "rollout-0": 54,
    "scoring-stream-0": 56,
    "scoring-stream-1": 57,
    "scoring-http-0": 60,
    "scoring-http-1": 61,
    "oncall": 62,
    "console": 63,
}


def find_home(home: str | Path | None = None) -> Path:
    """The given folder, else ``TOLLGATE_HOME``, else ``.tollgate`` in the working directory."""
    return Path(home or os.environ.get("TOLLGATE_HOME") or DEFAULT_HOME).resolve()


def load_settings(home: str | Path | None = None) -> Settings:
    """Read a stack's settings, for the principal of this process.

    Raises:
        SettingsError: no stack was started in that folder, or its file does not parse.
    """
    path = find_home(home) / SETTINGS_FILE
    try:
        return acting_as(msgspec.json.decode(path.read_bytes(), type=Settings), principal_here())
    except FileNotFoundError:
        raise SettingsError(
            f"no stack in {path.parent}: start one with `tollgate up --home {shlex.quote(str(path.parent))}`"
        ) from None
    except msgspec.MsgspecError as error:
        raise SettingsError(
            f"{path} does not parse ({error}): remove it and run `tollgate up` again"
        ) from error
