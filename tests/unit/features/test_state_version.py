"""Nobody changes a record of state without deciding whether stored state is still right."""

from __future__ import annotations

import hashlib

from features.profile.codec import FORMAT
from features.profile.records import FRAUDS, PAYER, SHARED_ENTITY, STATE_VERSION
from features.store.keys import key
from features.store.state_versions import unfinished_key
from features.store.views import VIEWS

#: version -> what its records look like. A change of a record is a new version, with a line of its own: stored state lacks the past
#: of what the record now keeps. Where zero is right for all that was stored before, it is the same version, and its line changes.
RECORDS = {1: "8cb0ac406f102af2"}


def fingerprint() -> str:
    """16 hex digits over names, types and places of all fields."""
    records = [
        sorted((name, str(field[0]), field[1]) for name, field in (dtype.fields or {}).items())
        for dtype in (PAYER, SHARED_ENTITY, FRAUDS)
    ]
    return hashlib.sha256(repr((FORMAT, records)).encode()).hexdigest()[:16]


def test_a_changed_record_is_a_decision() -> None:
    assert RECORDS.get(STATE_VERSION) == fingerprint(), (
        "a record in features/profile/records.py is not what it was: raise STATE_VERSION if stored profiles lack what it now keeps"
        " (features/ADDING.md), else change the line here"
    )


def test_versions_share_no_key() -> None:
    names = ("a", "1:a", "}v1:card:a")
    keys = [key(view, name, 2, version) for version in range(1, 30) for view in VIEWS for name in names]
    assert len(set(keys)) == len(keys)
    assert len({unfinished_key(version) for version in range(1, 30)}) == 29
