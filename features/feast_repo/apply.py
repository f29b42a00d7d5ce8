"""``feast apply`` in process: write ``feature_store.yaml``, register everything, open the store."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from feast import FeatureStore

from features.feast_repo.archived import FOLDER, SCHEMA, STATE_FOLDER, state_schema
from features.feast_repo.definitions import definitions
from features.store.keys import JOIN_KEYS, PROJECT, VIEWS

CONFIG_FILE = "feature_store.yaml"


class FeastError(Exception):
    """The feature store is not there or cannot be set up; the text says which file and what to do."""

    exit_code = 3


def apply_repo(feast_dir: Path, redis_connection: str, archive_dir: Path, project: str = PROJECT) -> None:
    """Write the configuration and register entities, views and services. Repeating it changes nothing.

    Args:
        feast_dir: where ``feature_store.yaml`` and the registry file live.
        redis_connection: ``host:port`` and Feast's options, or ``redis://host:port``.
        archive_dir: the Parquet archive; what it lacks gets a file with columns and no rows.

    Raises:
        FeastError: the project is another than the online layout's: its keys would not be found.
    """
    if project != PROJECT:
        raise FeastError(
            f"the online store's keys end in {PROJECT!r}; another project ({project!r}) would find none of them"
        )
    archive = archive_dir.resolve()
    feast_dir.mkdir(parents=True, exist_ok=True)
    _ensure_columns(archive)
    _write_config(feast_dir, redis_connection.removeprefix("redis://").rstrip("/"), project)
    open_store(feast_dir).apply(definitions(archive).objects())


def open_store(feast_dir: Path) -> FeatureStore:
    """The project's feature store. Connects on first use.

    Raises:
        FeastError: nothing was ever applied there.
    """
    if not (feast_dir / CONFIG_FILE).exists():
        raise FeastError(f"no feature store in {feast_dir}: `tollgate up` registers it")
    return FeatureStore(repo_path=str(feast_dir))


def _write_config(feast_dir: Path, redis: str, project: str) -> None:
    config = {
        "project": project,
        "provider": "local",
        "registry": {
            "registry_type": "file",
            "path": str(feast_dir.resolve() / "registry.db"),
            "cache_ttl_seconds": 60,
        },
        # a view that is taken away must not make Feast scan, and delete from, the hot path's store
        "online_store": {"type": "redis", "connection_string": redis, "full_scan_for_deletion": False},
        "offline_store": {"type": "dask"},
        "entity_key_serialization_version": 3,
    }
    path = feast_dir / CONFIG_FILE
    waiting = path.with_suffix(".tmp")
    waiting.write_text(yaml.safe_dump(config, sort_keys=False))
    waiting.replace(path)


def _ensure_columns(archive: Path) -> None:
    _empty_file(archive / FOLDER / "date=1970-01-01" / f"{FOLDER}-empty.parquet", SCHEMA)
    for view in VIEWS:
        schema = state_schema(JOIN_KEYS[view.entity], view.fields)
        _empty_file(archive / STATE_FOLDER / view.name / "empty.parquet", schema)


def _empty_file(path: Path, schema: pa.Schema) -> None:
    # one of before lacks the columns that have come since
    with contextlib.suppress(FileNotFoundError, pa.ArrowInvalid):
        if pq.read_schema(path).equals(schema):
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting = path.with_name(f".{path.name}.apply")
    pq.write_table(schema.empty_table(), waiting)
    waiting.replace(path)
