"""Memory of this machine, or of the container that this process runs in (cgroup 2), in MB (2**20 bytes)."""

from __future__ import annotations

from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")


def total_mb(cgroup: Path = CGROUP) -> int:
    """All memory that this process may ever use."""
    limit, _ = _of_container(cgroup)
    total = psutil.virtual_memory().total // 2**20
    return total if limit is None else min(total, limit)


def free_mb(cgroup: Path = CGROUP) -> int:
    """Memory that is not in use."""
    limit, used = _of_container(cgroup)
    free = psutil.virtual_memory().available // 2**20
    return free if limit is None else min(free, limit - used)


def _of_container(cgroup: Path) -> tuple[int | None, int]:
    """The container's limit, None without one, and its use."""
    try:
        limit, used = (cgroup / "memory.max").read_text().strip(), (cgroup / "memory.current").read_text()
    except OSError:
        return None, 0
    return (int(limit) // 2**20, int(used) // 2**20) if limit.isdigit() else (None, 0)
