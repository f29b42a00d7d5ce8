"""Which part of a GPU each scoring replica asks Ray for."""

from __future__ import annotations

import math
from typing import Any

#: replicas wait most of their time for records; Ray must not count a whole core for each
REPLICA_CPUS = 0.1


def gpu_share(gpus: int, replicas: int) -> float:
    """The part of one GPU that each of ``replicas`` gets of so many GPUs; 0 where there is none.

    Never more than one, because a replica computes on one device. Ray places a part on a single GPU, so the share is such that the
    fullest GPU still holds all of its replicas.
    """
    return 1 / math.ceil(replicas / gpus) if gpus else 0.0


def replica_resources(share: float) -> dict[str, Any]:
    """Ray's options for a replica. Ray shows a replica without a share no GPU, and it scores on the CPU."""
    return {"num_cpus": REPLICA_CPUS, "num_gpus": share}
