"""What was decided on each transaction of a run, and how much fraud that caught. Pure but for the file between two processes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models.policy.policy import DECISIONS
from streams.log import topics

_CODES = {name: code for code, name in enumerate(DECISIONS)}
_ENTRY = np.dtype([("id", np.int64), ("code", np.int8)])


class _Decided(msgspec.Struct):
    transaction_id: str
    decision: str
    tenant: str = "default"


class Verdicts:
    """Collects decisions from records: 9 bytes each."""

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(_Decided)
        self._parts: list[npt.NDArray[Any]] = []

    def add(self, records: Sequence[Any]) -> None:
        """Take the decisions among some records; other records are ignored."""
        found = []
        for record in records:
            if record.topic() != topics.DECISIONS.name:
                continue
            try:
                decided = self._decoder.decode(record.value())
            except (msgspec.MsgspecError, UnicodeDecodeError, TypeError):
                continue
            if decided.decision in _CODES:
                found.append((_key(decided.tenant, decided.transaction_id), _CODES[decided.decision]))
        self._parts.append(np.array(found, dtype=_ENTRY))

    def save(self, path: Path) -> None:
        """Write what was collected, in the order of the log."""
        np.save(path, np.concatenate(self._parts) if self._parts else np.array([], dtype=_ENTRY))


def caught(path: Path, sent: pa.Table) -> dict[str, Any]:
    """Decisions by name, and what they did to labelled transactions. A first decision counts; review and decline catch.

    Args:
        path: written by ``Verdicts.save``.
        sent: transactions with ``transaction_id``, ``tenant``, ``label``, ``amount_minor`` and ``currency``.
    """
    entries = np.load(path)
    ids, first = np.unique(entries["id"], return_index=True)
    codes = entries["code"][first]
    columns = zip(sent["tenant"].to_pylist(), sent["transaction_id"].to_pylist(), strict=True)
    keys = np.fromiter((_key(tenant, name) for tenant, name in columns), np.int64, sent.num_rows)
    places = np.searchsorted(ids, keys).clip(max=max(0, len(ids) - 1))
    known = ids[places] == keys if len(ids) else np.zeros(len(keys), dtype=bool)
    code = np.where(known, codes[places] if len(ids) else 0, -1)
    stopped = code > 0
    label = np.array(sent["label"].to_pylist(), dtype=object)
    fraud, honest = known & (label == "fraud"), known & (label == "legit")
    amounts, currencies = np.asarray(sent["amount_minor"]), sent["currency"].to_pylist()
    out: dict[str, Any] = {"decisions": {name: int((code == c).sum()) for name, c in _CODES.items()}}
    out["labelled"] = int(np.isin(label, ("fraud", "legit")).sum())
    out["caught"] = None if not (fraud.any() or honest.any()) else {
        "frauds": int(fraud.sum()), "frauds_caught": int((fraud & stopped).sum()),
        "honest": int(honest.sum()), "false_alarms": int((honest & stopped).sum()),
        "recall": _share(fraud & stopped, fraud), "precision": _share(fraud & stopped, (fraud | honest) & stopped),
        "false_alarm_rate": _share(honest & stopped, honest),
        "fraud_minor": _by_currency(amounts, currencies, fraud), "fraud_caught_minor": _by_currency(amounts, currencies, fraud & stopped),
    }  # fmt: skip
    return out


def lines(report: dict[str, Any]) -> list[str]:
    """The same as text."""
    out = ["decisions      " + ", ".join(f"{count:,} {name}" for name, count in report["decisions"].items())]
    found = report["caught"]
    if found is None:
        why = "nothing that has a label was decided now" if report["labelled"] else "the file has no labels"
        return [*out, f"caught         {why}"]
    share = "-" if found["recall"] is None else f"{found['recall']:.1%}"
    alarms = "-" if found["false_alarm_rate"] is None else f"{found['false_alarm_rate']:.2%}"
    return [
        *out,
        f"caught         {found['frauds_caught']:>12,} of {found['frauds']:,} frauds ({share}), reviewed or declined",
        f"false alarms   {found['false_alarms']:>12,} of {found['honest']:,} honest payments ({alarms})",
    ]


def _key(tenant: str, transaction_id: str) -> int:
    digest = blake2b(f"{tenant}\0{transaction_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _share(part: npt.NDArray[np.bool_], whole: npt.NDArray[np.bool_]) -> float | None:
    return round(float(part.sum() / whole.sum()), 6) if whole.any() else None


def _by_currency(amounts: Any, currencies: Iterable[str], rows: npt.NDArray[np.bool_]) -> dict[str, int]:
    """Sums in minor units; amounts of different currencies are never added."""
    out: dict[str, int] = {}
    for amount, currency, wanted in zip(amounts.tolist(), currencies, rows.tolist(), strict=True):
        if wanted:
            out[currency] = out.get(currency, 0) + amount
    return out
