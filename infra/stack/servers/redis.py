"""Redis' configuration: append-only file synced each second, no snapshots, a unix socket and loopback TCP, a password.

On a secured stack TCP with TLS only, and a user for each principal (``infra.stack.secure.redis_users``).
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from infra.memory import total_mb
from infra.stack.ports import port_of
from infra.stack.private import secret
from infra.stack.secure.redis_users import acl_file
from streams.log.rights import RIGHTS
from streams.runtime.settings import Settings

PASSWORD_FILE = "redis.password"


def with_password(settings: Settings) -> Settings:
    """The settings with the stack's own password in Redis' address; it is created if it is absent. A Redis elsewhere has its own, and
    in a secured stack each principal has.
    """
    if settings.elsewhere.redis is not None or settings.secure:
        return settings
    password = secret(settings.keys_dir / PASSWORD_FILE)
    return msgspec.structs.replace(settings, redis=f"redis://:{password}@127.0.0.1:{port_of(settings.redis)}")


def config(settings: Settings) -> str:
    """``redis.conf`` for Redis 6.2 and later; of a secured stack for 7.0 and later."""
    entries: dict[str, object] = {
        "bind": "127.0.0.1",
        **(_secured(settings) if settings.secure else _plain(settings)),
        "protected-mode": "yes",
        "daemonize": "no",
        "dir": f'"{data_dir(settings)}"',
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
        # at the limit Redis refuses writes and keeps serving reads; without a limit the kernel would kill it, or another process
        "maxmemory": f"{memory_mb(settings)}mb",
        # nothing that is stored may vanish
        "maxmemory-policy": "noeviction",
        # state is overwritten constantly: rewrite the file at four times its compact size, not at twice. Each rewrite takes
        # seconds of a core and doubles p99; at 10,000 transactions a second the file grows by about 25 MB a second. Redis
        # reads a file of 3 GB in 15 s when it starts
        "auto-aof-rewrite-percentage": 300,
        "auto-aof-rewrite-min-size": "3gb",
        # profiles are already compact, and compressing them in a rewrite would take CPU from the hot path
        "rdbcompression": "no",
        # the decision index keeps the entries of 60 days in 65,536 hashes, with ids of up to 256 bytes. A listpack is one block of
        # memory and is searched from its start: 6 us at 500 entries, against 2 us in a hash table. "ziplist" is the setting's
        # older name, which later versions accept
        "hash-max-ziplist-value": 256,
        "hash-max-ziplist-entries": 128,
        "lazyfree-lazy-expire": "yes",
        "tcp-backlog": 128,
        # a process title would overwrite the environment by which a stack finds its leftover processes
        "set-proc-title": "no",
        "hz": 10,
    }
    return "".join(f"{key} {value}\n" for key, value in entries.items())


def _plain(settings: Settings) -> dict[str, object]:
    return {
        "port": port_of(settings.redis),
        "unixsocket": f'"{settings.redis_socket}"',
        "unixsocketperm": "700",
        "requirepass": urlsplit(settings.redis).password or '""',
    }


def _secured(settings: Settings) -> dict[str, object]:
    files = settings.secure_files
    return {
        "port": 0,
        "tls-port": port_of(settings.redis),
        "tls-cert-file": f'"{files.certificate}"',
        "tls-key-file": f'"{files.key}"',
        "tls-ca-cert-file": f'"{files.ca}"',
        # clients come with a password
        "tls-auth-clients": "no",
        "aclfile": f'"{users_file(settings)}"',
    }


def memory_mb(settings: Settings) -> int:
    """Redis' limit. While it rewrites its file it needs up to as much again, so by default it gets half of the machine's memory."""
    return settings.redis_memory_mb or max(64, total_mb() // 2)


def data_dir(settings: Settings) -> Path:
    return settings.root / "redis"


def config_file(settings: Settings) -> Path:
    return data_dir(settings) / "redis.conf"


def users_file(settings: Settings) -> Path:
    return data_dir(settings) / "users.acl"


def prepare(settings: Settings) -> None:
    """Write the configuration, and a secured stack's users.

    Raises:
        PartError: a principal's password is missing.
    """
    data_dir(settings).mkdir(parents=True, exist_ok=True)
    config_file(settings).write_text(config(settings))
    if settings.secure:
        files = settings.secure_files
        users = acl_file(RIGHTS, lambda principal: files.redis(settings.redis, principal).password)
        users_file(settings).write_text(users)
