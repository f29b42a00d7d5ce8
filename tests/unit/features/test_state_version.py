"""Nobody changes a record of state without deciding whether stored state is still right; versions share no field and no key."""

from __future__ import annotations

import hashlib

from features.profile.codec import LAYOUT
from features.profile.records import FRAUDS, PAYER, SHARED_ENTITY, STATE_VERSION
from features.store.keys import VIEWS, entity_key, fields_ever_of, fields_of, hset, read_fields, views_of
from features.store.state_versions import applied_key, group_of, label_statement_prefix, unfinished_key

#: version -> what its records look like. A change of a record is a new version, with a line of its own: stored state lacks the past
#: of what the record now keeps. Where zero is right for all that was stored before, it is the same version, and its line changes.
RECORDS = {1: "e9d825e4a358fe2e"}


def fingerprint() -> str:
    """16 hex digits over names, types and places of all fields."""
    records = [
        sorted((name, str(field[0]), field[1]) for name, field in (dtype.fields or {}).items())
        for dtype in (PAYER, SHARED_ENTITY, FRAUDS)
    ]
    return hashlib.sha256(repr((LAYOUT, records)).encode()).hexdigest()[:16]


def test_a_changed_record_is_a_decision() -> None:
    assert RECORDS.get(STATE_VERSION) == fingerprint(), (
        "a record in features/profile/records.py is not what it was: raise STATE_VERSION if stored profiles lack what it now keeps"
        " (features/ADDING.md), else change the line here"
    )


def test_the_first_version_has_the_names_that_it_always_had() -> None:
    assert [view.name for view in views_of(1)] == [
        "card_state", "card_frauds", "merchant_state", "device_state", "ip_state", "customer_state", "customer_frauds",
    ]  # fmt: skip
    assert (group_of(1), applied_key(3, group_of(1))) == (
        "processor",
        "tollgate:processor:applied:entities:3",
    )
    assert label_statement_prefix(group_of(1)) == "tollgate:processor:said:"


def test_versions_share_hashes_and_nothing_in_them() -> None:
    fields = [{field for view in views_of(version) for field in fields_of(view)} for version in range(1, 30)]
    assert len(set.union(*fields)) == sum(map(len, fields)) == 29 * len(fields[0])
    assert {view.entity for view in views_of(2)} == {view.entity for view in VIEWS}
    prefixes = [f"tollgate:{group_of(version)}:" for version in range(1, 30)]
    assert not any(a != b and a.startswith(b) for a in prefixes for b in prefixes)
    assert unfinished_key(2).startswith("tollgate:processor-v2:")


def test_a_views_fields_are_those_that_are_written() -> None:
    for view in VIEWS:
        since = b"since" if view.in_parts else None
        written = hset(view, "id", 1, b"profile", *[0] * len(view.numbers), since=since)
        assert written[1] == entity_key(view.entity, "id")
        assert fields_of(view) == written[2::2]
        assert read_fields(view) == fields_of(view)[: 1 + view.in_parts]


def test_what_older_code_wrote_goes_with_its_version() -> None:
    """Else a hash of which only this is left would stay."""
    card, frauds = VIEWS[:2]
    # murmur3 of "card_state:last_event_ms", as Feast had it
    assert fields_ever_of(card) == (*fields_of(card), bytes.fromhex("cfd354b2"))
    assert fields_ever_of(frauds) == fields_of(frauds)
