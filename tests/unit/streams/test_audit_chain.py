"""The chain of the audit: a changed, missing, moved or cut entry is found, by its number."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.access.audit_chain import Head, NoEntry, check_chain, hash_of, opened, seal
from streams.access.directory import Directory, change_directory, read_directory
from streams.access.identity import Identity, acting, key_file, service
from streams.contracts.audit import AuditEntry

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def entry(number: int, previous: str, **more: object) -> AuditEntry:
    fields = {
        "action": "approve", "result": "accepted", "model": "fraud", "version": f"1.{number}.0", "by": "ada", "signed_by": "ada",
        "role": "approver", "why": 'a "quoted", reason é', "request_id": f"r{number}", "detail": {"share": 1.0, "n": number},
        "at": NOW, **more,
    }  # fmt: skip
    return AuditEntry(entry=number, previous=previous, **fields)  # type: ignore[arg-type]


def chain(identity: Identity, length: int) -> list[bytes]:
    raws: list[bytes] = []
    head = Head()
    for number in range(1, length + 1):
        raws.append(seal(entry(number, head.hash), identity))
        head = Head(number, hash_of(raws[-1]))
    return raws


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("access")


@pytest.fixture(scope="module")
def writer(folder: Path) -> Identity:
    return service(folder, "rollout", NOW)


@pytest.fixture(scope="module")
def five(writer: Identity) -> list[bytes]:
    return chain(writer, 5)


@pytest.fixture(scope="module")
def directory(folder: Path, writer: Identity) -> Directory:
    return read_directory(folder)


def head_of(raws: list[bytes]) -> Head:
    return Head(len(raws), hash_of(raws[-1]))


def test_a_whole_chain_is_good(five: list[bytes], directory: Directory) -> None:
    report = check_chain(five, directory, [head_of(five), head_of(five[:3])])
    assert (report.entries, report.ok, report.first_bad, report.faults) == (5, True, None, [])
    assert [opened(raw, directory).entry for raw in five] == [1, 2, 3, 4, 5]
    empty = check_chain([], directory, [Head()])
    assert (empty.entries, empty.ok) == (0, True)


@pytest.mark.parametrize("place", range(5))
def test_a_missing_entry_is_named(five: list[bytes], directory: Directory, place: int) -> None:
    left = five[:place] + five[place + 1 :]
    report = check_chain(left, directory, [head_of(five)])
    assert (report.ok, report.first_bad, len(report.faults)) == (False, place + 1, 1)


@pytest.mark.parametrize("length", range(5))
def test_a_cut_end_is_found_by_a_head_noted_elsewhere(
    five: list[bytes], directory: Directory, length: int
) -> None:
    report = check_chain(five[:length], directory, [Head(), head_of(five)])
    assert (report.entries, report.ok, report.first_bad) == (length, False, length + 1)


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(range(5), 2)))
def test_swapped_entries_are_found(five: list[bytes], directory: Directory, one: int, other: int) -> None:
    moved = list(five)
    moved[one], moved[other] = moved[other], moved[one]
    assert check_chain(moved, directory).first_bad == one + 1


@given(data=st.data())
def test_any_changed_byte_is_found(five: list[bytes], directory: Directory, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, 4))
    at = data.draw(st.integers(0, len(five[place]) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda byte: byte != five[place][at]))
    changed = bytearray(five[place])
    changed[at] = value
    raws = [*five[:place], bytes(changed), *five[place + 1 :]]
    report = check_chain(raws, directory, [head_of(five)])
    # hexadecimal digits of a signature mean the same in both cases; the next entry's hash tells them apart
    if bytes(changed).lower() == five[place].lower() and place == 4:
        assert report.first_bad == 5
    elif bytes(changed).lower() == five[place].lower():
        assert report.first_bad in (place + 1, place + 2)
    else:
        assert report.first_bad == place + 1


@given(raw=st.binary(max_size=400))
def test_foreign_bytes_are_no_entry(five: list[bytes], directory: Directory, raw: bytes) -> None:
    with pytest.raises(NoEntry):
        opened(raw, directory)
    with pytest.raises(NoEntry):
        opened(raw + five[0][-140:], directory)
    assert check_chain([*five, raw], directory).first_bad == 6


def test_an_entry_that_stands_twice_is_found(five: list[bytes], directory: Directory) -> None:
    report = check_chain([*five, five[1]], directory)
    assert (report.first_bad, len(report.faults)) == (2, 1)


def test_entries_of_a_person_or_another_stack_are_not_the_audits(
    five: list[bytes], folder: Path, tmp_path: Path
) -> None:
    person = acting(folder, None, NOW)
    other = service(tmp_path, "rollout", NOW)
    for identity in (person, other):
        raw = seal(entry(6, hash_of(five[-1])), identity)
        assert check_chain([*five, raw], read_directory(folder)).first_bad == 6


def test_a_replaced_key_still_vouches_for_what_it_signed_before(tmp_path: Path) -> None:
    raws = chain(service(tmp_path, "rollout", NOW), 2)
    key_file(tmp_path, "rollout").unlink()
    later = NOW + timedelta(days=1)
    new = service(tmp_path, "rollout", later)
    raws.append(seal(entry(3, hash_of(raws[-1]), at=later), new))
    assert check_chain(raws, read_directory(tmp_path)).ok
    old_key = change_directory(tmp_path, lambda known: known).members[0]
    assert old_key.revoked_at == later
