"""What Feast knows of this project: entities, views and services, derived from the two declarations that the code uses.

Online views come from ``features.store.keys.VIEWS`` (what the hot path writes), the offline view from the
catalogue and the archive's columns. Nothing is declared twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource
from feast.data_format import ParquetFormat
from feast.types import Bytes, FeastType, Float32, Int32, Int64, String
from feast.value_type import ValueType

from features.catalogue import CATALOGUE_HASH, FEATURES
from features.feast_repo.archived import FOLDER, STATE_FOLDER
from features.store.keys import JOIN_KEYS, VIEWS, View

#: state is kept for as long as the longest window looks back, twice
_STATE_TTL = timedelta(days=60)
_TYPES: dict[str, FeastType] = {"bytes": Bytes, "int64": Int64}
#: columns of the archive beside the catalogue's that a point-in-time join may bring along
_FACTS: dict[str, FeastType] = {"amount_minor": Int64, "missing": Int32}
_TRANSACTION_KEY = "transaction_id"

HISTORY_VIEW = "transaction_features"
#: by transaction, not by card: of a card's payments with one event time Feast's Dask store takes any
SERVED_VIEW = "served_features"
ONLINE_SERVICE = "online_state"
HISTORY_SERVICE = "fraud_history"
SERVED_SERVICE = "served_features"


@dataclass(frozen=True)
class Definitions:
    """Everything that is applied, in the order in which it depends on each other."""

    entities: tuple[Entity, ...]
    sources: tuple[PushSource | FileSource, ...]
    views: tuple[FeatureView, ...]
    services: tuple[FeatureService, ...]

    def objects(self) -> list[Entity | PushSource | FileSource | FeatureView | FeatureService]:
        return [*self.entities, *self.sources, *self.views, *self.services]


def definitions(archive_dir: Path) -> Definitions:
    """Entities, views and services over an archive folder (absolute path). Reads and connects to nothing."""
    entities = {
        name: Entity(name=name, join_keys=[key], value_type=ValueType.STRING, description=f"one {name}")
        for name, key in JOIN_KEYS.items()
    }
    pushes = {view.name: _push_source(view, archive_dir) for view in VIEWS}
    online = [_online_view(view, entities[view.entity], pushes[view.name]) for view in VIEWS]
    source = _file_source(HISTORY_VIEW, archive_dir / FOLDER)
    entities["transaction"] = Entity(
        name="transaction", join_keys=[_TRANSACTION_KEY], value_type=ValueType.STRING, description="one transaction"
    )  # fmt: skip
    history, served = _history_view(entities["card"], source), _served_view(entities["transaction"], source)
    services = (
        _service(ONLINE_SERVICE, online, "state that features are made of"),
        _service(HISTORY_SERVICE, [history], "features of cards' newest transactions, as they were served"),
        _service(SERVED_SERVICE, [served], "features that decisions were made with"),
    )
    views = (*online, history, served)
    return Definitions(tuple(entities.values()), (*pushes.values(), source), views, services)


def _service(name: str, views: list[FeatureView], description: str) -> FeatureService:
    tags = {"catalogue": CATALOGUE_HASH}
    return FeatureService(name=name, features=list(views), tags=tags, description=description)


def _push_source(view: View, archive_dir: Path) -> PushSource:
    return PushSource(
        name=f"{view.name}_push",
        batch_source=_file_source(f"{view.name}_log", archive_dir / STATE_FOLDER / view.name),
    )


def _file_source(name: str, folder: Path) -> FileSource:
    return FileSource(
        name=name,
        path=str(folder),
        file_format=ParquetFormat(),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )


def _online_view(view: View, entity: Entity, source: PushSource) -> FeatureView:
    schema = [Field(name=JOIN_KEYS[view.entity], dtype=String)]
    schema += [Field(name=name, dtype=_TYPES[kind]) for name, kind in view.fields]
    return FeatureView(
        name=view.name, entities=[entity], ttl=_STATE_TTL, schema=schema, online=True, source=source,
        description=f"state of a {view.entity}, as the stream writes it",
    )  # fmt: skip


def _history_view(card: Entity, source: FileSource) -> FeatureView:
    keys = [Field(name=name, dtype=String) for name in (JOIN_KEYS["card"], _TRANSACTION_KEY)]
    return FeatureView(
        name=HISTORY_VIEW, entities=[card], ttl=timedelta(0), schema=[*keys, *_archived()], online=False, source=source,
        description="features of a card's newest transaction at a moment, as they were served",
    )  # fmt: skip


def _served_view(transaction: Entity, source: FileSource) -> FeatureView:
    schema = [Field(name=_TRANSACTION_KEY, dtype=String), *_archived()]
    return FeatureView(
        name=SERVED_VIEW, entities=[transaction], ttl=timedelta(0), schema=schema, online=False, source=source,
        description="features that one transaction was decided with",
    )  # fmt: skip


def _archived() -> list[Field]:
    facts = [Field(name=name, dtype=kind) for name, kind in _FACTS.items()]
    return facts + [Field(name=f.column, dtype=Float32, description=f.reason_text) for f in FEATURES]
