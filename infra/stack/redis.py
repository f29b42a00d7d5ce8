"""Redis: append-only file each second, no snapshots by age, a unix socket beside loopback TCP."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from infra.stack.ports import port_of
from streams.runtime.settings import Settings

#: a unix socket's path may take 107 bytes
_LONGEST = 100


def socket_dir(home: Path) -> Path:
    """Folder for unix sockets: the stack's run folder, or a short one of this user's where that is too long."""
    run = home / "run"
    if len(os.fsencode(run)) + len("/supervisor.sock") <= _LONGEST:
        return run
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"tollgate-{os.getuid()}-{digest}"


def config(settings: Settings) -> str:
    """``redis.conf``; every line is understood by Redis 6.2 and later."""
    entries = {
        "bind": "127.0.0.1",
        "port": port_of(settings.redis),
        "unixsocket": settings.redis_socket,
        "unixsocketperm": "700",
        "protected-mode": "yes",
        "daemonize": "no",
        "dir": f'"{data_dir(settings)}"',
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
        "maxmemory": "0",
        "maxmemory-policy": "noeviction",
        # state is overwritten all the time: rewrite when the file is four times what it must be, not twice. At 10,000
        # transactions a second it grew by 26 MB a second when profiles were written whole (half of that now), and each
        # rewrite costs seconds of a core and doubles p99; a file of 3 GB is read in 15 s when Redis starts
        "auto-aof-rewrite-percentage": 300,
        "auto-aof-rewrite-min-size": "3gb",
        # profiles are packed already, and a rewrite takes its processor time from the hot path
        "rdbcompression": "no",
        # an entity's hash is a few fields in one piece of memory, its profile of up to 2 KB among them: a table for them
        # costs a miss of the cache for each. The older of the setting's two names, which later versions know too
        "hash-max-ziplist-value": 4096,
        # 65,536 hashes hold the ledger index' entries of 60 days. One piece is searched from its beginning: at 500 entries that takes
        # 6 us, a table 2
        "hash-max-ziplist-entries": 128,
        "lazyfree-lazy-expire": "yes",
        "tcp-backlog": 128,
        # its own title would overwrite the environment by which a stack's orphans are found
        "set-proc-title": "no",
        "hz": 10,
    }
    return "".join(f"{key} {value}\n" for key, value in entries.items())


def data_dir(settings: Settings) -> Path:
    return settings.root / "redis"


def config_file(settings: Settings) -> Path:
    return data_dir(settings) / "redis.conf"


def prepare(settings: Settings) -> None:
    data_dir(settings).mkdir(parents=True, exist_ok=True)
    config_file(settings).write_text(config(settings))
