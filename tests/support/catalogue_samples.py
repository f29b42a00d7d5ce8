"""Catalogues before and after this code's: a layout with fewer, other and changed entries, its vectors, a model trained on it."""

from __future__ import annotations

import functools
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from features.catalogue import NAMES
from features.vector_layouts import OWN, Layout, aligned_columns
from models.bundle.content import Bundle, BundleContent, load_bundle, publish
from models.bundle.signing import ensure_keys
from models.training.dataset import Dataset
from models.training.training import bundle_content, train
from streams.log.feature_batch import FeatureRecord
from streams.log.other_catalogues import Layouts
from tests.support.archive_samples import Record
from tests.support.bundle_samples import CREATED, QUICK
from tests.support.feature_batches import decode_features, encode_features
from tests.support.models_data import make_dataset

#: no other catalogue is on record
UNKNOWN = Layouts({}.get)
#: entries that the catalogue before had not: one of a payer's, one at the end
NEW = ("card_count_10m", "ip_fraud_rate_30d")


def layout(
    catalogue: str, names: Collection[str], changed: Collection[str] = (), strange: Collection[str] = ()
) -> Layout:
    """Entries of this code's catalogue by name, some with another definition, and some that this code has not."""
    own = dict(zip(NAMES, OWN.definitions, strict=True))
    definitions = {name: "0ddba11s" if name in changed else own[name] for name in names}
    definitions |= dict.fromkeys(strange, "5ca1ab1e")
    return Layout(catalogue, tuple(definitions), tuple(definitions.values()))


#: the catalogue before: what is new is not in it, and what follows stands at other places
BEFORE = layout("be" * 8, [name for name in NAMES if name not in NEW])
#: one after: it has all of this code's and more
AFTER = layout("af" * 8, NAMES, strange=["tomorrow"])


def as_written_by(writer: Layout, record: FeatureRecord) -> FeatureRecord:
    """The record as code of another catalogue would have made it; what this code has not is 7."""
    own = np.frombuffer(record.vector, "<f4")[None]
    places = writer.places_in(OWN)
    vector = aligned_columns(own, places)[0]
    vector[places < 0] = 7.0
    return msgspec.structs.replace(record, catalogue=writer.catalogue, vector=vector.tobytes())


def kafka_record_of(writer: Layout, record: Record) -> Record:
    """A Kafka record of `features`, as code of another catalogue would have produced it."""
    return replace(record, value=encode_features(as_written_by(writer, decode_features(record.value or b""))))


@functools.cache
def content_before() -> BundleContent:
    """What training under the catalogue before publishes."""
    data = make_dataset()
    rows = aligned_columns(data.matrix, BEFORE.places_in(OWN))
    trained = train(Dataset(rows, data.fraud, data.event_ms, data.card), QUICK, policy_version="1")
    made = bundle_content(trained, created_at=CREATED.isoformat(), code_version="test", extra={})
    return replace(made, layout=BEFORE, reference=replace(made.reference, names=BEFORE.names))


def publish_before(home: Path, version: str = "1.0.0", **more: object) -> tuple[Path, Path]:
    """(bundle folder, folder of trusted keys) under ``home``; ``more`` replaces parts of the content."""
    trusted = ensure_keys(home / "keys")
    made = replace(content_before(), **more)  # type: ignore[arg-type]
    path = publish(made, home / "bundles", home / "keys", model="fraud", version=version, created_at=CREATED)
    return path, trusted


def bundle_before(home: Path) -> Bundle:
    return load_bundle(*publish_before(home))


def margins_before(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What XGBoost itself makes of rows (n, WIDTH) with the model before, from the columns that it was trained on."""
    import xgboost

    booster = xgboost.Booster(model_file=bytearray(content_before().model_ubj))
    columns = [NAMES.index(name) for name in BEFORE.names]
    found: npt.NDArray[np.float32] = booster.inplace_predict(
        np.ascontiguousarray(rows[:, columns]), predict_type="margin", validate_features=False
    )
    return found.reshape(-1)
