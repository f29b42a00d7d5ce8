"""What ``settings.toml`` in the stack's folder says: which parts run elsewhere (a company's Kafka, Redis and MLflow), which attributes
of one's own transactions carry (``features.attributes``), how much is explored (``models.policy.exploration``), and how many reviews
people can do (``models.policy.review_terms``).

    [kafka]
    bootstrap = "kafka-1.example:9093,kafka-2.example:9093"
    security = "sasl_ssl"
    username = "tollgate"
    password_file = "/run/secrets/kafka"
    ca_file = "/etc/ssl/company.pem"

    [redis]
    url = "rediss://redis.example:6380"
    password_env = "REDIS_PASSWORD"

    [mlflow]
    url = "https://mlflow.example"

    [oidc]                                       # people sign in to the console through it
    issuer = "https://login.example"
    client_id = "tollgate"
    password_file = "/run/secrets/oidc"          # the client's secret

    [exploration]                                # off without it
    share = 0.02                                 # of the payments that a score declines
    into = "review"                              # or "approve"
    cap_minor_per_day = { EUR = 50000 }          # for each tenant
    [exploration.tenants.shop-b]
    share = 0.0

    [review]                                     # thresholds are chosen by it
    per_day = 300

Secrets stay where they are: only the name of their file or environment variable is kept. Each part's text for people shows none.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from features.attributes import ATTRIBUTE_NAME, Attribute, Declared
from models.policy.exploration import OFF, ExplorationTerms
from models.policy.review_terms import NO_TERMS, ReviewTerms

PARTS_FILE = "settings.toml"
Security = Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


class PartError(Exception):
    """``settings.toml`` or a secret that it names cannot be used; the text names the place and the remedy."""

    exit_code = 2


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who we are there. Of ``password_file`` and ``password_env`` at most one is given."""

    username: str = ""
    password_file: str = ""
    password_env: str = ""
    #: certificates (PEM): whom to trust, else the system's; and our own with its key, for mutual TLS
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""

    def __post_init__(self) -> None:
        if self.password_file and self.password_env:
            raise ValueError("password_file and password_env are both given: keep one")
        if bool(self.certificate_file) != bool(self.key_file):
            raise ValueError("certificate_file and key_file belong together")

    @property
    def password(self) -> str:
        """The password, read now; empty if none is named.

        Raises:
            PartError: its file or variable is not there.
        """
        if self.password_env:
            if self.password_env not in os.environ:
                raise PartError(f"the environment variable {self.password_env} (password_env) is not set")
            return os.environ[self.password_env]
        if not self.password_file:
            return ""
        try:
            return Path(self.password_file).read_text().strip()
        except OSError as error:
            raise PartError(
                f"the password in {self.password_file} cannot be read: {error.strerror}"
            ) from error


class KafkaPart(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Kafka that runs elsewhere. Topics that are absent are created with these factors."""

    bootstrap: str
    security: Security = "plaintext"
    mechanism: Mechanism = "SCRAM-SHA-512"
    replication_factor: int = 3
    min_in_sync_replicas: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.min_in_sync_replicas <= self.replication_factor:
            raise ValueError("min_in_sync_replicas is between 1 and replication_factor")
        if self.security.startswith("sasl") and not self.username:
            raise ValueError(f"security {self.security} needs a username")

    @property
    def tls(self) -> bool:
        return self.security.endswith("ssl")


class RedisPart(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Redis that runs elsewhere: ``redis://host:port``, ``rediss://host:port`` (TLS) or ``unix:///path``."""

    url: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if "@" in self.url:
            raise ValueError(
                "url holds a user or a password: use username, and password_file or password_env"
            )


class MlflowPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An MLflow server that runs elsewhere. It reads its own variables for users and tokens (MLFLOW_TRACKING_...)."""

    url: str


class OidcPart(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The OpenID Connect provider through which people sign in to the console. The client's secret is ``password_file`` or ``password_env``;
    a public client has none. Whom it knows must be known to the stack too (``tollgate access add``), which gives the role."""

    issuer: str
    client_id: str
    #: the claim of the ID token that is a person's name here; an email address must be verified
    claim: Literal["email", "preferred_username", "sub"] = "email"
    scope: str = "openid email profile"
    #: whether people with a password may sign in with it too, for when the provider is away
    passwords: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        found = urlsplit(self.issuer)
        if found.scheme != "https" and not (
            found.scheme == "http" and found.hostname in ("127.0.0.1", "localhost", "::1")
        ):
            raise ValueError("issuer is an https address")
        if self.username or self.certificate_file:
            raise ValueError("[oidc] has client_id and a secret, no username and no certificate of its own")
        if "openid" not in self.scope.split():
            raise ValueError("scope holds openid")


#: in a part's names it stands for who connects (``streams.runtime.secured``), so that each process may have rights of its own
PRINCIPAL = "{principal}"
AnyPart = TypeVar("AnyPart", bound=_Part)


def for_principal(part: AnyPart, principal: str) -> AnyPart:
    """The part with the principal's name in its user, secrets and certificates, where they ask for it."""
    names = ("username", "password_file", "password_env", "certificate_file", "key_file")
    return msgspec.structs.replace(
        part, **{name: getattr(part, name).replace(PRINCIPAL, principal) for name in names}
    )


class Parts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What runs elsewhere; None: the stack runs its own."""

    kafka: KafkaPart | None = None
    redis: RedisPart | None = None
    mlflow: MlflowPart | None = None
    oidc: OidcPart | None = None


def with_credentials(part: RedisPart) -> str:
    """The address of a Redis as clients take it: user, password and certificates in it.

    Raises:
        PartError: the password cannot be read.
    """
    scheme, _, rest = part.url.partition("://")
    password = part.password
    who = f"{quote(part.username, safe='')}:{quote(password, safe='')}@" if password else ""
    files = {
        "ssl_ca_certs": part.ca_file, "ssl_certfile": part.certificate_file, "ssl_keyfile": part.key_file,
    }  # fmt: skip
    query = urlencode({name: path for name, path in files.items() if path})
    return f"{scheme}://{who}{rest}" + (f"?{query}" if query else "")


class SettingsText(NamedTuple):
    """What a stack's user says in ``settings.toml``."""

    parts: Parts
    attributes: dict[str, Attribute]
    exploration: ExplorationTerms = OFF
    review: ReviewTerms = NO_TERMS


def read_settings_file(home: Path) -> SettingsText:
    """What the file in a stack's folder says; nothing if there is none. Relative paths are those of the folder.

    Raises:
        PartError: the file does not parse, or names something unknown.
    """
    path = home / PARTS_FILE
    try:
        told = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return SettingsText(Parts(), {})
    except (OSError, ValueError, RecursionError) as error:
        raise PartError(f"{path} does not parse: {error}") from error
    for section in told.values():
        for name in ("password_file", "ca_file", "certificate_file", "key_file"):
            if isinstance(section, dict) and isinstance(section.get(name), str) and section[name]:
                section[name] = str(home / section[name])
    named = told.get("attributes")
    for name in named if isinstance(named, dict) else ():
        if not ATTRIBUTE_NAME.fullmatch(name):
            raise PartError(
                f"{path}: an attribute is called by lower-case letters, digits and _, at most 32, a letter first: not {name!r}"
            )
    try:
        attributes = msgspec.convert(told.pop("attributes", {}), Declared)
        exploration = msgspec.convert(told.pop("exploration", {}), ExplorationTerms)
        review = msgspec.convert(told.pop("review", {}), ReviewTerms)
        return SettingsText(msgspec.convert(told, Parts), attributes, exploration, review)
    except (msgspec.ValidationError, ValueError) as error:
        raise PartError(f"{path}: {error}") from error
