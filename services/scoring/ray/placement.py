"""The share of a GPU that each scoring replica requests from Ray."""

from __future__ import annotations

import math
from typing import Any

#: replicas mostly wait for records: Ray must not reserve a whole core for each
REPLICA_CPUS = 0.1
#: of the HTTP edge; of the stream's there may be two (``stream_replicas`` of the settings)
HTTP_REPLICAS = 1


def gpu_share(gpus: int, replicas: int) -> float:
    """The share of one GPU that each of ``replicas`` requests when there are ``gpus``; 0 without a GPU.

    At most 1, because a replica computes on one device. Ray places a share on a single GPU, so the share is small enough for
    the GPU with the most replicas.
    """
    return 1 / math.ceil(replicas / gpus) if gpus else 0.0


def replica_resources(share: float) -> dict[str, Any]:
    """Ray's options for a replica. Without a share it sees no GPU and scores on the CPU."""
    return {"num_cpus": REPLICA_CPUS, "num_gpus": share}
