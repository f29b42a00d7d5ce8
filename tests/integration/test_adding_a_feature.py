"""The worked example of ``features/ADDING.md``, applied to a copy of the code: what it promises is there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.worked_example import ROOT, apply

LOOK = """
import json
import numpy as np, pyarrow as pa
from pathlib import Path
from features.catalogue import FEATURES, INDEX
from features.kernels.columns import columns_of
from features.feast_repo.definitions import HISTORY_VIEW, SCORING_VIEW, SERVED_VIEW, definitions
from features.store.profiles.batch import Gather
from features.replay import replay
from models.scoring.words import words_of
from features.transaction import Transaction, from_ms

START = 1_760_000_000_000
amounts = [500, 501, 1000, 700]
rows = [
    Transaction(transaction_id=f"t-{i}", event_time=from_ms(START + i * 3_600_000), card_id="c", merchant_id="m",
                customer_id="cu", amount_minor=amount, currency="EUR")
    for i, amount in enumerate(amounts)
]
history = pa.table({
    "transaction_id": [t.transaction_id for t in rows], "card_id": ["c"] * 4, "merchant_id": ["m"] * 4,
    "customer_id": ["cu"] * 4, "event_time": pa.array([t.event_time for t in rows], pa.timestamp("ms", "UTC")),
    "amount_minor": amounts, "currency": ["EUR"] * 4,
})
offline = replay(history, batch=1)
gather = Gather(rows)
online, _ = gather.compute(columns_of(rows, [t.event_ms for t in rows], [0, 1, 2, 3]), apply=True)
fields = {v.name: [field.name for field in v.schema] for v in definitions(Path("/archive")).views}
views = ("card_features", SCORING_VIEW, HISTORY_VIEW, SERVED_VIEW)
column = INDEX["card_whole_24h"]
print(json.dumps({
    "training": offline[:, column].tolist(),
    "serving": online[:, column].tolist(),
    "customer": offline[:, INDEX["customer_whole_24h"]].tolist(),
    "before": gather.known_before(np.array([rows[-1].event_ms] * 4))[0, column].item(),
    "feast": all("card_whole_24h" in fields[view] for view in views),
    "reason": words_of(FEATURES[column])(3.0, 1.5, "EUR"),
    "documented": next(f.error for f in FEATURES if f.name == "card_whole_24h"),
}))
"""


COMPILED = """
import numpy as np
from features.catalogue import INDEX, WIDTH
from features.kernels.columns import PAYMENT
from features.kernels.shared_entity import fraud_features, shared_entity_features
from features.profile.records import FRAUDS, SHARED_ENTITY, new_arena

payments = np.zeros(2, PAYMENT)
payments["event_ms"] = 1_760_000_000_000
out = np.full((2, WIDTH), np.nan, np.float32)
out[:, INDEX["amount"]] = 100
shared_entity_features(payments, np.zeros((2, 3), np.int64), new_arena(SHARED_ENTITY, 2), out)
fraud_features(payments, np.zeros((2, 2), np.int64), new_arena(FRAUDS, 2), out)
filled = [name for name, column in INDEX.items() if not np.isnan(out[0, column])]
print(sorted({name.split("_")[0] for name in filled}), len(filled))
"""


@pytest.mark.timeout(720)
def test_the_example_does_what_it_says(tmp_path: Path) -> None:
    for name in ("features", "models", "streams", "services"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    assert apply((ROOT / "features" / "ADDING.md").read_text(), tmp_path) == 5
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    looked = subprocess.run(
        [sys.executable, "-c", LOOK],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert looked.returncode == 0, looked.stderr
    found = json.loads(looked.stdout)
    assert found["training"] == found["serving"] == found["customer"] == [1, 1, 2, 3]
    assert found["before"] == 3
    assert found["feast"] is True
    assert found["reason"][:2] == ["CARD_WHOLE_24H", "3 payments of whole units in the last 24 hours"]
    assert found["documented"] == "Counts only among the newest 40 payments."
    listed = subprocess.run(
        [sys.executable, "-m", "services.cli.main", "features", "catalogue", "--json"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    names = [feature["name"] for feature in json.loads(listed.stdout)["features"]]
    assert {"card_whole_24h", "customer_whole_24h"} <= set(names), listed.stderr


def printed(script: str, root: Path) -> str:
    """What a script says with the code under ``root``, compiled code kept there."""
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-c", script]
    ran = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=200)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_kernels_that_were_compiled_before_write_where_the_columns_are_now(tmp_path: Path) -> None:
    """An installation grows in place, and keeps what it compiled."""
    shutil.copytree(ROOT / "features", tmp_path / "features", ignore=shutil.ignore_patterns("__pycache__"))
    before = printed(COMPILED, tmp_path)
    apply((ROOT / "features" / "ADDING.md").read_text(), tmp_path)
    assert printed(COMPILED, tmp_path) == before
    assert before.startswith("['amount', 'card', 'customer', 'device', 'ip', 'merchant']")
    assert list(
        (tmp_path / "features" / "kernels" / "__pycache__").glob("shared_entity.shared_entity_columns*.nbi")
    )
