"""What the model commands read: a history from a file and its mapping, a stack that may not run, a verified bundle."""

from __future__ import annotations

from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq

from models.bundle.content import MODEL, Bundle, bundle_path, load_bundle
from models.bundle.registry import read_state, versions
from models.scoring.scorer import Scorer
from services.trainer.learning import live_by_state
from streams.mapping import MappingError, load_history, load_mapping
from streams.runtime.settings import Settings, SettingsError, load_settings

HISTORY_COLUMNS = (
    "transaction_id",
    "event_time",
    "card_id",
    "merchant_id",
    "amount_minor",
    "label",
    "label_time",
)


class BadInput(click.ClickException):
    """Something the user gave does not fit."""

    exit_code = 2


class CheckFailed(click.ClickException):
    """The command ran and its answer is no."""

    exit_code = 1


def settings_of(home: Path) -> Settings:
    """The stack's settings; for work on files alone, those of a folder where no stack was started yet."""
    try:
        return load_settings(home)
    except SettingsError:
        if (home / "settings.json").exists():
            raise
        return Settings(home=str(home))


def read_history(path: Path, mapping: str | None) -> pa.Table:
    """A history table: through a mapping, or as it is when the file is one already.

    Raises:
        BadInput: the file, the mapping or their columns do not fit.
    """
    try:
        if mapping is not None:
            return load_history(path, load_mapping(mapping))
        table = pq.read_table(path)
    except (MappingError, OSError, pa.ArrowInvalid) as error:
        raise BadInput(f"{path}: {error}") from error
    absent = [name for name in HISTORY_COLUMNS if name not in table.column_names]
    if absent:
        raise BadInput(f"{path} lacks {', '.join(absent)}: name a mapping with --mapping")
    return table


def pick_version(settings: Settings, version: str | None) -> str:
    """The version named, else the live one (or, while nothing was served, the first approved one).

    Raises:
        BadInput: there is no such version.
    """
    present = versions(settings.bundles_dir, MODEL)
    if version is not None:
        if version not in present:
            raise BadInput(
                f"there is no {MODEL} {version} in {settings.bundles_dir} (there are: {', '.join(present) or 'none'})"
            )
        return version
    live = live_by_state(settings)
    if live is not None:
        return live
    for name in reversed(present):
        state = read_state(settings.bundles_dir, MODEL, name)
        if state is not None and state.state == "approved":
            return name
    raise CheckFailed(
        f"no {MODEL} model is live in {settings.home}: `tollgate train`, then `tollgate models approve`"
    )


def verified(settings: Settings, version: str) -> Bundle:
    """The bundle, checked.

    Raises:
        BundleRefused: it does not fit.
    """
    return load_bundle(bundle_path(settings.bundles_dir, MODEL, version), settings.keys_dir / "trusted")


def scorer_of(settings: Settings, version: str) -> Scorer:
    """A scorer of a verified bundle."""
    return Scorer(verified(settings, version), measure=False)
