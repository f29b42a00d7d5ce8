"""Scoring replicas on Ray's logical GPUs: each gets its share of a device, and none where there is none to get."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.scoring.ray.placement import gpu_share
from streams.runtime.settings import Settings

ROOT = Path(__file__).parents[2]


def placed(home: Path, gpus: int, replicas: int) -> dict[str, Any]:
    script = [sys.executable, "-m", "tests.integration.gpu_placement_script"]
    done = subprocess.run(
        [*script, str(home), str(gpus), str(replicas)],
        cwd=ROOT, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_two_replicas_share_the_one_gpu_and_score_as_the_cpu_does(tmp_path: Path) -> None:
    found = placed(tmp_path, gpus=1, replicas=2)
    assert (found["share"], found["left"]) == (0.5, 0)
    for replica in found["seen"]:
        assert replica["shown"] == "0"
        assert replica["backends"] == ["xgboost-cuda"]
        assert replica["worst"] <= 1e-5
    # NumPy would offer a device to whoever is shown one
    assert found["without"] == {"shown": "", "backends": [], "worst": 0.0}


@pytest.mark.parametrize(
    ("gpus", "replicas", "share"),
    [(0, 2, 0), (1, 1, 1), (1, 2, 1 / 2), (1, 3, 1 / 3), (2, 3, 1 / 2), (2, 2, 1), (8, 3, 1)],
)
def test_all_replicas_find_room_and_none_asks_for_more_than_one_device(
    gpus: int, replicas: int, share: float
) -> None:
    assert gpu_share(gpus, replicas) == pytest.approx(share)
    assert share <= 1
    if gpus:
        # a share lies on one GPU whole
        assert gpus * int(1 / share + 1e-9) >= replicas


def test_settings_hold_no_negative_number_of_gpus() -> None:
    assert Settings(home=".").gpus is None
    with pytest.raises(ValueError, match="gpus"):
        Settings(home=".", gpus=-1)
