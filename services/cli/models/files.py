"""Inputs of the model commands: a history file and its mapping, the settings of a stack, a verified bundle."""

from __future__ import annotations

from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq

from models.bundle.content import MODEL
from models.bundle.registry import read_state, versions
from models.scoring.scorer import Scorer
from services.cli.terminal.exits import BadInput, CheckFailed
from services.trainer.learning import live_by_state
from streams.mapping import Report, load_history, load_mapping
from streams.runtime.bundles import verified_bundle
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


def settings_of(home: Path) -> Settings:
    """The stack's settings, or default settings where no stack was started yet."""
    try:
        return load_settings(home)
    except SettingsError:
        if (home / "settings.json").exists():
            raise
        return Settings(home=str(home))


def read_history(path: Path, mapping: str | None) -> pa.Table:
    """Read a history table, through a mapping if one is named; what the mapping made of it goes to standard error.

    Raises:
        BadInput: the file cannot be read, or columns are missing. MappingError: the mapping does not fit.
    """
    if mapping is not None:
        return load_history(path, load_mapping(mapping), watch=tell)
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise BadInput(f"{path}: {error}") from error
    absent = [name for name in HISTORY_COLUMNS if name not in table.column_names]
    if absent:
        raise BadInput(f"{path} lacks {', '.join(absent)}: name a mapping with --mapping")
    return table


def tell(report: Report) -> None:
    """What a file holds, for a person."""
    click.echo("\n".join(report.lines()), err=True)


def pick_version(settings: Settings, version: str | None) -> str:
    """``version``, by default the live one; before the first rollout, the newest approved one.

    Raises:
        BadInput: ``version`` does not exist. CheckFailed: no version is live or approved.
    """
    present = versions(settings.bundles_dir, MODEL)
    if version is not None:
        if version not in present:
            raise BadInput(
                f"no version {version} of {MODEL} in {settings.bundles_dir} (present: {', '.join(present) or 'none'})"
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


def scorer_of(settings: Settings, version: str) -> Scorer:
    """A scorer of a verified bundle."""
    return Scorer(verified_bundle(settings, version), measure=False)
