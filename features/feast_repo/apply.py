"""``feast apply`` in this process: write ``feature_store.yaml``, register entities, views and services, open the store."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from feast import FeatureStore

from features.attributes import NO_ATTRIBUTES, Attributes
from features.feast_repo.archived import FOLDER, schema_with
from features.feast_repo.definitions import definitions
from features.feast_repo.offline_store import TollgateOfflineStore
from features.store.feast_store import TollgateOnlineStore

PROJECT = "tollgate"
CONFIG_FILE = "feature_store.yaml"


class FeastError(Exception):
    """The feature store does not exist or cannot be set up; the text names the file and what to do."""

    exit_code = 3


def apply_repo(
    feast_dir: Path,
    redis: str,
    partitions: int,
    archive_dir: Path,
    *,
    online_store: type = TollgateOnlineStore,
    attributes: Attributes = NO_ATTRIBUTES,
) -> None:
    """Write the configuration and register entities, views and services. Idempotent.

    Args:
        feast_dir: folder of ``feature_store.yaml`` and the registry file.
        redis: address of the profiles, ``redis://host:port`` or ``unix:///path``; no connection is made here.
        partitions: number of partitions of `transactions` and `entities`; part of every key.
        archive_dir: the Parquet archive; an empty one gets a file with columns and no rows.
        online_store: class of the online store.
        attributes: those of the stack's own, which are columns of the archive.
    """
    archive = archive_dir.resolve()
    feast_dir.mkdir(parents=True, exist_ok=True)
    _ensure_columns(archive / FOLDER / "date=1970-01-01" / f"{FOLDER}-empty.parquet", schema_with(attributes))
    _write_config(feast_dir, {"type": _path_of(online_store), "redis": redis, "partitions": partitions})
    open_store(feast_dir).apply(definitions(archive, attributes).objects())


def open_store(feast_dir: Path) -> FeatureStore:
    """The project's feature store. Connects on first use.

    Raises:
        FeastError: the folder has no ``feature_store.yaml``.
    """
    if not (feast_dir / CONFIG_FILE).exists():
        raise FeastError(f"no feature store in {feast_dir}: `tollgate up` registers it")
    return FeatureStore(repo_path=str(feast_dir))


def _write_config(feast_dir: Path, online_store: dict[str, str | int]) -> None:
    config = {
        "project": PROJECT,
        "provider": "local",
        "registry": {
            "registry_type": "file",
            "path": str(feast_dir.resolve() / "registry.db"),
            "cache_ttl_seconds": 60,
        },
        "online_store": online_store,
        "offline_store": {"type": _path_of(TollgateOfflineStore)},
        "entity_key_serialization_version": 3,
    }
    path = feast_dir / CONFIG_FILE
    waiting = path.with_suffix(".tmp")
    waiting.write_text(yaml.safe_dump(config, sort_keys=False))
    waiting.replace(path)


def _path_of(store: type) -> str:
    return f"{store.__module__}.{store.__qualname__}"


def _ensure_columns(path: Path, schema: pa.Schema) -> None:
    """Write an empty file with all columns: Feast reads column types from the files, also in an empty archive."""
    # an existing file may lack columns that were added later
    with contextlib.suppress(FileNotFoundError, pa.ArrowInvalid):
        if pq.read_schema(path).equals(schema):
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting = path.with_name(f".{path.name}.apply")
    pq.write_table(schema.empty_table(), waiting)
    waiting.replace(path)
