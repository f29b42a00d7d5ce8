"""Feast's online store on the stack's own state: the serving kernel computes every entry of the catalogue on request.

``type: features.store.feast_store.TollgateOnlineStore`` in ``feature_store.yaml`` names this class (Feast's extension point: feast
0.67, ``infra/online_stores/online_store.py``). A view of an entity returns its current features, before any payment. The view of
transactions takes a transaction that has not happened and returns the vector that the HTTP edge would score. Decision 19.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
import numpy as np
from feast import FeatureView
from feast.errors import FeastError
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel, RepoConfig

from features.catalogue import FEATURES, INDEX
from features.store.current_features import Matrix, of_entities, of_transactions
from features.store.profiles.reader import ProfileReader, ProfilesUnavailable, RedisProfiles
from features.store.views import JOIN_KEYS
from features.transaction import Transaction, from_ms

#: event time of a row and its values by name; None where there is nothing
Row = tuple[datetime | None, dict[str, Value] | None]

#: entity, and join key, of a transaction that has not happened: the JSON text that ``POST /v1/score`` takes
TRANSACTION_ENTITY = "transaction_json"
#: view of such transactions: every entry of the catalogue
SCORING_VIEW = "scoring_features"
#: entity -> its view, with the catalogue's entries of that entity
ENTITY_VIEWS = {entity: f"{entity}_features" for entity in JOIN_KEYS}

_ENTITY_OF = {view: entity for entity, view in ENTITY_VIEWS.items()}
#: NaN becomes null, since JSON has no NaN
_UNKNOWN = Value()
_NOTHING: Row = (None, None)


class TollgateOnlineStoreConfig(FeastConfigBaseModel):
    """``online_store`` of ``feature_store.yaml``. ``redis``: ``redis://host:port`` or ``unix:///path``; ``partitions``: per topic."""

    type: Literal["features.store.feast_store.TollgateOnlineStore"]
    redis: str
    partitions: int
    timeout_s: float = 5.0


class OnlineStoreError(FeastError):
    """An error of this store. Feast's feature server returns it as an HTTP status with the text."""

    status = 500

    def http_status_code(self) -> int:
        return self.status


class StateUnavailable(OnlineStoreError):
    """The profiles cannot be read now, or are incomplete (rebuild)."""

    status = 503


class InvalidTransaction(OnlineStoreError):
    """A join key of SCORING_VIEW is not a transaction."""

    status = 422


class NotOnline(OnlineStoreError):
    """An online request for a view of the archive."""

    status = 422


class WriteRefused(OnlineStoreError):
    """Feast tried to write; only the stream may write state."""

    status = 403


class TollgateOnlineStore(OnlineStore):
    """Answers with the serving kernel. The stream is the only writer: Feast writes and deletes nothing here."""

    def __init__(self) -> None:
        self._reader: ProfileReader | None = None
        self._making = threading.Lock()

    def now_ms(self) -> int:
        """The time for which entity views are computed, milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[Row]:
        """One row per key: current values, and the event time of the entity's newest payment (for SCORING_VIEW: of the transaction).

        Raises:
            StateUnavailable, InvalidTransaction, NotOnline.
        """
        keys = [key.entity_values[0].string_val for key in entity_keys]
        reader = self._reader_of(config.online_store)
        try:
            if table.name == SCORING_VIEW:
                return _scoring_rows(reader, keys, requested_features)
            if table.name in _ENTITY_OF:
                entity = _ENTITY_OF[table.name]
                return _entity_rows(reader, entity, keys, self.now_ms(), requested_features)
        except ProfilesUnavailable as error:
            raise StateUnavailable(str(error)) from error
        raise NotOnline(f"{table.name} is a view of the archive: use get_historical_features")

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[tuple[EntityKey, dict[str, Value], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Raises: WriteRefused, always."""
        raise WriteRefused(
            f"{table.name} is computed from profiles that only the stream writes: publish to `transactions` and `labels` instead;"
            " `tollgate features rebuild` rebuilds all state from the log"
        )

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Any],
        entities_to_keep: Sequence[Any],
        partial: bool,
    ) -> None:
        """Nothing to do: a view has no storage of its own. ``feast apply`` never changes state."""

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Any]) -> None:
        """Nothing to do, as in ``update``: ``feast teardown`` deletes Feast's registry and no profile."""

    def _reader_of(self, config: TollgateOnlineStoreConfig) -> ProfileReader:
        with self._making:
            if self._reader is None:
                self._reader = RedisProfiles(config.redis, config.partitions, config.timeout_s)
            return self._reader


def _entity_rows(
    reader: ProfileReader, entity: str, ids: list[str], at_ms: int, requested: list[str] | None
) -> list[Row]:
    rows, newest_ms = of_entities(reader, entity, ids, at_ms)
    own = [f.name for f in FEATURES if f.entity == entity]
    found = _rows(rows, [from_ms(ms) if ms else None for ms in newest_ms.tolist()], own, requested)
    return [row if name else _NOTHING for name, row in zip(ids, found, strict=True)]


def _scoring_rows(reader: ProfileReader, texts: list[str], requested: list[str] | None) -> list[Row]:
    transactions = [_transaction(text) for text in texts]
    rows = of_transactions(reader, transactions)
    moments = [transaction.event_time for transaction in transactions]
    return _rows(rows, moments, [f.name for f in FEATURES], requested)


def _transaction(text: str) -> Transaction:
    try:
        return msgspec.json.decode(text, type=Transaction)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise InvalidTransaction(
            f"{TRANSACTION_ENTITY} is not a transaction as POST /v1/score takes it, in JSON: {error}"
        ) from error


def _rows(
    rows: Matrix, moments: Sequence[datetime | None], names: list[str], requested: list[str] | None
) -> list[Row]:
    """Rows (n, WIDTH) in Feast's form, with the requested names only."""
    asked = names if requested is None else frozenset(requested)
    wanted = [name for name in names if name in asked]
    values = rows[:, [INDEX[name] for name in wanted]]
    unknown = np.isnan(values)
    return [
        (
            moment,
            {
                name: _UNKNOWN if nan else Value(float_val=value)
                for name, value, nan in zip(wanted, *row, strict=True)
            },
        )
        for moment, *row in zip(moments, values.tolist(), unknown.tolist(), strict=True)
    ]
