"""Replicas on a Ray of its own with so many logical GPUs, NumPy in CuPy's place: what each is shown, and what it scores with.

``python -m tests.integration.gpu_placement_script HOME GPUS REPLICAS`` prints one JSON object; one more replica asks for no GPU.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from typing import Any

import numpy as np

from models.scoring.backends import XgboostBackend
from services.scoring.ray.environment import apply
from services.scoring.ray.placement import gpu_share, replica_resources
from streams.runtime.settings import Settings
from tests.support.bundle_samples import content
from tests.support.models_data import make_dataset

#: a shared machine was seen to stand still for 40 s
START_S = 120.0
#: and Ray gives itself half a minute to start
ATTEMPTS = 3


def main(home: str, gpus: int, replicas: int) -> None:
    # as the scoring process does it
    apply(Settings(home=home))
    import ray

    def start_ray(gpus: int, folder: str) -> None:
        for attempt in range(ATTEMPTS):
            try:
                ray.init(
                    address="local", num_cpus=2, num_gpus=gpus, include_dashboard=False, object_store_memory=80 * 2**20,
                    _temp_dir=folder, _node_ip_address="127.0.0.1", log_to_driver=False,
                )  # fmt: skip
                return
            except Exception:  # Ray has no type of its own for it
                ray.shutdown()
                if attempt == ATTEMPTS - 1:
                    raise

    class Replica:
        def look(self, model: bytes, rows: Any, expected: Any) -> dict[str, Any]:
            from models.scoring.gpu_backends import gpu_backends
            from tests.support import numpy_as_cupy

            numpy_as_cupy.install()
            backends = gpu_backends(model)
            return {
                "shown": os.environ.get("CUDA_VISIBLE_DEVICES"),
                "backends": [backend.name for backend in backends],
                "worst": max([0.0, *(float(np.abs(b.margin(rows) - expected).max()) for b in backends)]),
            }

    with tempfile.TemporaryDirectory(prefix="tg-", dir="/tmp") as folder:
        start_ray(gpus, folder)
        try:
            share = gpu_share(int(ray.cluster_resources().get("GPU", 0)), replicas)
            # a margin of the CPU's own, which a GPU must give too
            model, rows = content().model_ubj, make_dataset(300, seed=8).matrix
            expected = XgboostBackend(model).margin(rows)
            placed: Any = ray.remote(Replica).options(**replica_resources(share))
            actors = [placed.remote() for _ in range(replicas)]
            actors.append(ray.remote(Replica).options(**replica_resources(0.0)).remote())
            *seen, without = ray.get(
                [actor.look.remote(model, rows, expected) for actor in actors], timeout=START_S
            )
            left = ray.available_resources().get("GPU", 0)
            print(json.dumps({"share": share, "left": left, "seen": seen, "without": without}))
        finally:
            ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
