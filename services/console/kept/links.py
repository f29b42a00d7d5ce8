"""What is linked with an entity through payments that were not approved, up to two steps away.

Each link is between a card and something that it paid with or at: a device, an address, a merchant, a customer. From a card the
first step leads to these and the second to other cards; from a device the first leads to its cards, the second to what else they used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from sqlite3 import Connection, Row
from typing import Any

from services.console.kept.rows import ENTITIES, Wanted, instant

CARD = "card"
#: entities shown in all, of them in the first step, and how many of those are followed to the second
MAX_NODES, MAX_FIRST, MAX_FOLLOWED = 200, 100, 60
#: newest payments that are read of the start, and of each entity that is followed
OF_START, OF_OTHERS = 1_000, 200
#: an entity with more payments than this is shown and not followed: what everybody uses links nobody
HUB = 500

#: (kind, id)
Node = tuple[str, str]


@dataclass
class _Link:
    """Payments that a card and something else have in common."""

    payments: int = 0
    fraud: int = 0
    times: list[int] = field(default_factory=list)


def links(connection: Connection, wanted: Wanted, start: Node) -> dict[str, Any]:
    """Entities and the links between them, ``start`` first. ``wanted``: tenant and time.

    ``rarity`` of a link is Jaccard's index: of all payments of its two ends, the share that they have in common. 1: they occur only
    together; near 0: one of them occurs with everybody.
    """
    read = _Reading(connection, wanted)
    first = [node for node, _ in Counter(read.beside(start, OF_START)).most_common()]
    shown = first[:MAX_FIRST]
    totals = {node: read.total(node) for node in (start, *shown)}
    hubs = [node for node in shown if totals[node]["payments"] > HUB]
    followed = [node for node in shown if node not in hubs][:MAX_FOLLOWED]
    # who is linked through several comes first
    second: Counter[Node] = Counter()
    for node in followed:
        second.update(set(read.beside(node, OF_OTHERS)) - {start, *first})
    far = [node for node, _ in second.most_common(MAX_NODES - 1 - len(shown))]
    totals |= {node: read.total(node) for node in far}
    steps = {start: 0} | dict.fromkeys(shown, 1) | dict.fromkeys(far, 2)
    return {
        "nodes": [{"kind": kind, "id": name, "step": steps[kind, name], **totals[kind, name]} for kind, name in steps],
        "links": list(_links(read.payments.values(), totals)),
        "left_out": len(first) - len(shown) + len(second) - len(far),
        "not_followed": [{"kind": kind, "id": name} for kind, name in hubs],
    }  # fmt: skip


class _Reading:
    """Reads payments by entity, each once."""

    def __init__(self, connection: Connection, wanted: Wanted) -> None:
        self._connection, self._wanted = connection, wanted
        self.payments: dict[int, Row] = {}

    def beside(self, node: Node, limit: int) -> list[Node]:
        """The other ends of an entity's links, one for each payment of its newest."""
        columns = ", ".join(f"d.{column}" for column in ENTITIES.values())
        found = self._rows(f"d.id, d.decided_ms, d.label, {columns}", node, limit)
        self.payments.update((row["id"], row) for row in found)
        kinds = [kind for kind in ENTITIES if (kind == CARD) != (node[0] == CARD)]
        return [
            (kind, row[ENTITIES[kind]]) for row in found for kind in kinds if row[ENTITIES[kind]] is not None
        ]

    def total(self, node: Node) -> dict[str, Any]:
        """Counts over the newest payments of an entity; ``payments`` is at most ``HUB`` + 1."""
        found = self._rows("d.decided_ms, d.label, d.decision", node, HUB + 1)
        labels = Counter(row["label"] for row in found)
        return {
            "payments": len(found), "declined": sum(row["decision"] == "decline" for row in found), "fraud": labels["fraud"],
            "genuine": labels["legit"], "last": instant(found[0]["decided_ms"]) if found else None,
            "first": instant(found[-1]["decided_ms"]) if found else None,
        }  # fmt: skip

    def _rows(self, columns: str, node: Node, limit: int) -> Sequence[Row]:
        where, values = replace(self._wanted, entities=dict([node])).where()
        return self._connection.execute(
            f"SELECT {columns} FROM decision d WHERE {where} ORDER BY d.decided_ms DESC LIMIT ?",
            (*values, limit),
        ).fetchall()


def _links(payments: Iterable[Row], totals: dict[Node, dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """The links between shown entities, of the payments that were read."""
    found: dict[tuple[Node, Node], _Link] = {}
    for row in payments:
        card = (CARD, row[ENTITIES[CARD]])
        for kind, column in ENTITIES.items():
            other = (kind, row[column])
            if kind != CARD and card in totals and other in totals:
                link = found.setdefault((card, other), _Link())
                link.payments += 1
                link.fraud += row["label"] == "fraud"
                link.times.append(row["decided_ms"])
    for (card, other), link in found.items():
        either = totals[card]["payments"] + totals[other]["payments"] - link.payments
        yield {
            "kind": other[0], "card": card[1], "id": other[1], "payments": link.payments, "fraud": link.fraud,
            "rarity": round(min(1.0, link.payments / max(1, either)), 4), "first": instant(min(link.times)),
            "last": instant(max(link.times)),
        }  # fmt: skip
