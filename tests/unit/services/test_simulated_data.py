"""Training says what share of its data was simulated, also when the first model's data set helps a later one."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from services.trainer.simulated_data import is_marked, mark_seed, marked, seed_is_simulated, share_in_words


def test_a_simulated_history_stays_known_as_such(tmp_path: Path) -> None:
    table = pa.table({"amount_minor": [1, 2]}).replace_schema_metadata({b"as_of_ms": b"7"})
    assert not is_marked(table)
    made = marked(table)
    assert is_marked(made) and made.schema.metadata[b"as_of_ms"] == b"7" and made.equals(table)
    mark_seed(tmp_path, is_marked(made))
    assert seed_is_simulated(tmp_path)
    # a model trained from a file of one's own replaces the data set
    mark_seed(tmp_path, is_marked(table))
    assert not seed_is_simulated(tmp_path)
    mark_seed(tmp_path, False)


def test_the_share_in_words() -> None:
    assert share_in_words(300, 400) == "75% of the rows simulated"
    assert share_in_words(0, 400) == share_in_words(0, 0) == "none simulated"
