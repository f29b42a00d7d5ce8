"""Dead letters: list them with their state, correct one, send it again.

Who may write `dead-letters` may write there what no consumer refused. So a letter is compared with the record that it names, and one that
is not like it is only sent when a person says so, without the stack's seal: it is then worth no more than if anybody had sent it.

A replayed record has the header ``tollgate-replayed-from`` (``dead-letters/partition/offset``). After the broker has
acknowledged it, a note goes to the compacted topic `dead-letters-replayed`. If the command is killed in between, the letter
stays open; sending it twice is harmless, because a transaction counts once by its id.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import msgspec

from streams.contracts.invalid_event import UNREADABLE, InvalidEvent
from streams.contracts.label import parse_label
from streams.contracts.transaction_parsing import parse_transaction
from streams.log import topics
from streams.log.replayed import HEADER_REPLAYS, seal_replayed
from streams.log.seal import Keys
from streams.runtime.dead_letters import DeadLetter, decode_dead_letter, kept_of
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.kafka.log_reader import read_span, whole_log

ACKNOWLEDGED_WITHIN_S = 30.0
HEADER_REPLAYED_FROM = "tollgate-replayed-from"
#: records between two that are compared: reading them takes less than to begin anew
READ_ON = 10_000
_CONTRACTS: dict[str, Callable[[bytes], Any]] = {
    topics.TRANSACTIONS.name: parse_transaction,
    topics.LABELS.name: parse_label,
}


class ReplayRefused(Exception):
    """A dead letter cannot be sent as it is; the text says what to correct."""

    exit_code = 2


class Note(msgspec.Struct, frozen=True):
    """Notes that a dead letter was sent again."""

    replayed_at: str
    topic: str
    original: str


class Refused(msgspec.Struct, frozen=True):
    """A dead letter and its position; ``replayed_at`` is None until it is sent again."""

    partition: int
    offset: int
    letter: DeadLetter
    replayed_at: str | None

    @property
    def place(self) -> tuple[str, int, int]:
        """Topic, partition and offset of the refused record."""
        return self.letter.source_topic, self.letter.source_partition, self.letter.source_offset

    @property
    def id(self) -> str:
        """The position of the refused record: topic/partition/offset of its source."""
        return "/".join(map(str, self.place))


def list_refused(bootstrap: str, reason: str | None = None) -> list[Refused]:
    """All dead letters in the order of arrival, one per refused record.

    Raises:
        LedgerUnreachable: the broker does not answer.
    """
    names = (topics.DEAD_LETTERS.name, topics.DEAD_LETTERS_REPLAYED.name)
    start, end = whole_log(bootstrap, names)
    letters: list[tuple[int, int, DeadLetter]] = []
    notes: dict[str, Note] = {}

    def enter(records: list[Any]) -> None:
        for record in records:
            try:
                if record.topic() == names[0]:
                    letters.append((record.partition(), record.offset(), decode_dead_letter(record.value())))
                else:
                    notes[(record.key() or b"").decode()] = msgspec.json.decode(record.value(), type=Note)
            except (InvalidEvent, *UNREADABLE):
                continue  # neither a dead letter nor a note

    read_span(bootstrap, start, end, enter)
    out: dict[str, Refused] = {}
    for partition, offset, letter in sorted(letters, key=lambda item: item[:2]):
        note = notes.get(f"{partition}/{offset}")
        found = Refused(partition, offset, letter, note.replayed_at if note else None)
        # a consumer that was restarted may have refused the same record twice
        if reason in (None, letter.reason) and (found.id not in out or found.replayed_at):
            out[found.id] = found
    return list(out.values())


def mend(refused: Refused, changes: dict[str, Any], whole: bytes | None = None) -> bytes:
    """The bytes to send: ``whole`` if given, else the original with ``changes`` applied (None removes a field).

    Raises:
        ReplayRefused: the original is not a JSON object, or the result still breaks its contract.
    """
    if whole is None and refused.letter.truncated:
        raise ReplayRefused(
            f"{refused.id}: only the beginning of its {refused.letter.original_size:,} bytes is kept: replace it with --edit FILE"
        )
    raw = whole if whole is not None else refused.letter.original_bytes() or b""
    if changes:
        try:
            value = msgspec.json.decode(raw, type=dict[str, Any])
        except UNREADABLE as error:
            raise ReplayRefused(
                f"{refused.id} is not a JSON object ({error}): replace it with --edit FILE"
            ) from None
        value.update(changes)
        raw = msgspec.json.encode({name: field for name, field in value.items() if field is not None})
    contract = _CONTRACTS.get(refused.letter.source_topic)
    if contract is None:
        raise ReplayRefused(
            f"{refused.id}: records of {refused.letter.source_topic} are internal; they are rebuilt, not replayed"
        )
    try:
        contract(raw)
    except InvalidEvent as error:
        raise ReplayRefused(f"{refused.id} still breaks its contract: {error}") from None
    return raw


def unlike_their_source(bootstrap: str, letters: Iterable[Refused]) -> list[Refused]:
    """The letters that do not hold what stands at the place that they name: forged ones, and those whose record is no longer on the log.

    A letter without an original is like any record: nothing of it is sent.

    Raises:
        LedgerUnreachable: the broker does not answer.
    """
    left = {refused.place: refused for refused in letters if refused.letter.original is not None}
    kept, end = whole_log(bootstrap, {topic for topic, _, _ in left})

    def compare(records: list[Any]) -> None:
        for record in records:
            place = (record.topic(), record.partition(), record.offset())
            if place in left and left[place].letter.kept == kept_of(record.value()):
                del left[place]

    for topic, partition, first, last in _stretches(left):
        begin = max(first, kept[topic].get(partition, 0))
        until = min(last + 1, end[topic].get(partition, 0))
        read_span(bootstrap, {topic: {partition: begin}}, {topic: {partition: until}}, compare)
    return list(left.values())


def _stretches(places: Iterable[tuple[str, int, int]]) -> list[tuple[str, int, int, int]]:
    """(topic, partition, first and last offset) to read for these places; what lies close together is read at once."""
    out: list[tuple[str, int, int, int]] = []
    for topic, partition, offset in sorted(places):
        if out and out[-1][:2] == (topic, partition) and offset - out[-1][3] <= READ_ON:
            out[-1] = (topic, partition, out[-1][2], offset)
        else:
            out.append((topic, partition, offset, offset))
    return out


def send_again(
    bootstrap: str,
    mended: Iterable[tuple[Refused, bytes]],
    now: str,
    keys: Keys,
    *,
    unsealed: Collection[Refused] = (),
) -> int:
    """Send corrected records to their topics, wait for acknowledgement, then write the notes; returns the number sent.

    ``unsealed``: letters that are not like their source.

    Raises:
        DeliveryError: not acknowledged in time; letters without a note stay open.
    """
    producer = new_producer(bootstrap, "tollgate-dead-letters")
    sent: list[tuple[Refused, bytes]] = []
    for refused, raw in mended:
        key = msgspec.json.decode(raw, type=dict[str, Any])["card_id"].encode()
        origin = f"{topics.DEAD_LETTERS.name}/{refused.partition}/{refused.offset}"
        headers: list[tuple[str, str | bytes]] = [(HEADER_REPLAYED_FROM, origin)]
        if refused.letter.source_topic == topics.TRANSACTIONS.name and refused not in unsealed:
            # it may have been accepted before it was refused: without this it would be a repetition
            of = refused.letter.source_partition, refused.letter.source_offset
            headers.append((HEADER_REPLAYS, seal_replayed(keys.newest(), raw, *of)))
        producer.produce(refused.letter.source_topic, raw, key, headers=headers)
        sent.append((refused, raw))
    flush(producer, ACKNOWLEDGED_WITHIN_S)
    for refused, _ in sent:
        note = Note(now, refused.letter.source_topic, refused.id)
        place = f"{refused.partition}/{refused.offset}"
        producer.produce(topics.DEAD_LETTERS_REPLAYED.name, msgspec.json.encode(note), place)
    flush(producer, ACKNOWLEDGED_WITHIN_S)
    return len(sent)
