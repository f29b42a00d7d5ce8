"""Feast's entities, views and services of this project, derived from the catalogue and the archive's columns.

``features.store.feast_store`` answers online views, Feast's own file store answers views of the archive (decision 19).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureService, FeatureView, Field, FileSource
from feast.data_format import ParquetFormat
from feast.types import FeastType, Float32, Float64, Int32, Int64, String
from feast.value_type import ValueType

from features.attributes import NO_ATTRIBUTES, Attributes, Kind
from features.catalogue import CATALOGUE_HASH, FEATURES
from features.feast_repo.archived import FOLDER, attribute_column
from features.feature import Feature
from features.store.feast_store import ENTITY_VIEWS, SCORING_VIEW, TRANSACTION_ENTITY
from features.store.views import JOIN_KEYS

#: columns of the archive besides the catalogue's that a point-in-time join can return
_FACTS: dict[str, FeastType] = {"amount_minor": Int64, "missing": Int32}
_KINDS: dict[Kind, FeastType] = {"number": Float64, "text": String}
_TRANSACTION_KEY = "transaction_id"
_FOR_EVER = timedelta(0)

HISTORY_VIEW = "transaction_features"
#: by transaction, not by card: if a card has several payments with the same event time, Feast's Dask store picks any of them
SERVED_VIEW = "served_features"
ENTITY_SERVICE = "entity_features"
SCORING_SERVICE = "scoring_features"
HISTORY_SERVICE = "fraud_history"
SERVED_SERVICE = "served_features"


@dataclass(frozen=True)
class Definitions:
    """All objects to apply, in order of their dependencies."""

    entities: tuple[Entity, ...]
    source: FileSource
    views: tuple[FeatureView, ...]
    services: tuple[FeatureService, ...]

    def objects(self) -> list[Entity | FileSource | FeatureView | FeatureService]:
        return [*self.entities, self.source, *self.views, *self.services]


def definitions(archive_dir: Path, attributes: Attributes = NO_ATTRIBUTES) -> Definitions:
    """Entities, views and services over an archive folder (absolute path). Reads no file and opens no connection."""
    entities = {name: _entity(name, key, f"one {name}") for name, key in JOIN_KEYS.items()}
    transaction = _entity("transaction", _TRANSACTION_KEY, "one transaction, by its id")
    coming = _entity(
        TRANSACTION_ENTITY,
        TRANSACTION_ENTITY,
        "a transaction that is about to happen, as POST /v1/score takes it: JSON text",
    )
    source = FileSource(
        name=HISTORY_VIEW,
        path=str(archive_dir / FOLDER),
        file_format=ParquetFormat(),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )
    online = [_entity_view(entities[name], view, source) for name, view in ENTITY_VIEWS.items()]
    scoring = _online_view(
        SCORING_VIEW, coming, FEATURES, source, "what the model would see of a transaction now"
    )
    history = _archived_view(
        HISTORY_VIEW,
        entities["card"],
        source,
        (JOIN_KEYS["card"], _TRANSACTION_KEY),
        "features of a card's newest transaction at a moment, as they were served",
        attributes,
    )
    served = _archived_view(
        SERVED_VIEW,
        transaction,
        source,
        (_TRANSACTION_KEY,),
        "features that one transaction was decided with",
        attributes,
    )
    services = (
        _service(
            ENTITY_SERVICE, online, "features of a card, customer, merchant, device and address as of now"
        ),
        _service(SCORING_SERVICE, [scoring], "what the model would see of a transaction now"),
        _service(HISTORY_SERVICE, [history], "features of cards' newest transactions, as they were served"),
        _service(SERVED_SERVICE, [served], "features that decisions were made with"),
    )
    return Definitions(
        (*entities.values(), transaction, coming), source, (*online, scoring, history, served), services
    )


def _entity(name: str, key: str, description: str) -> Entity:
    return Entity(name=name, join_keys=[key], value_type=ValueType.STRING, description=description)


def _entity_view(entity: Entity, name: str, source: FileSource) -> FeatureView:
    own = [feature for feature in FEATURES if feature.entity == entity.name]
    what = f"features of a {entity.name} as of now, before any payment; features that need a payment are null"
    return _online_view(name, entity, own, source, what)


def _online_view(
    name: str, entity: Entity, features: Iterable[Feature], source: FileSource, description: str
) -> FeatureView:
    """A view of current values. Its source is the archive only because Feast fails without one, before our store can refuse a write
    with a reason. ``features.feast_repo.offline_store`` refuses historical requests for such a view.
    """
    schema = [Field(name=entity.join_key, dtype=String), *_fields(features)]
    return FeatureView(
        name=name, entities=[entity], ttl=_FOR_EVER, schema=schema, online=True, source=source, description=description
    )  # fmt: skip


def _archived_view(
    name: str,
    entity: Entity,
    source: FileSource,
    keys: tuple[str, ...],
    description: str,
    attributes: Attributes,
) -> FeatureView:
    facts = [Field(name=fact, dtype=kind) for fact, kind in _FACTS.items()]
    columns = [Field(name=f.column, dtype=Float32, description=f.description) for f in FEATURES]
    own = [
        Field(name=attribute_column(key, found.type), dtype=_KINDS[found.type], description=found.meaning)
        for key, found in attributes.declared.items()
    ]
    schema = [*(Field(name=key, dtype=String) for key in keys), *facts, *columns, *own]
    return FeatureView(
        name=name, entities=[entity], ttl=_FOR_EVER, schema=schema, online=False, source=source, description=description
    )  # fmt: skip


def _fields(features: Iterable[Feature]) -> list[Field]:
    return [Field(name=f.name, dtype=Float32, description=f.description) for f in features]


def _service(name: str, views: list[FeatureView], description: str) -> FeatureService:
    tags = {"catalogue": CATALOGUE_HASH}
    return FeatureService(name=name, features=list(views), tags=tags, description=description)
