"""``tollgate keys``: the keys that seal the HTTP edge's decisions on their way through Kafka."""

from __future__ import annotations

from pathlib import Path

import click

from services.cli.terminal.options import FullHelpGroup, home_option, json_option, reply
from streams.log.seal import FixedKeys
from streams.runtime.edge_keys import read_keys
from streams.runtime.edge_keys import retire as retire_keys
from streams.runtime.edge_keys import rotate as rotate_keys
from streams.runtime.settings import load_settings


@click.group(cls=FullHelpGroup)
def keys() -> None:
    """The keys that seal the HTTP edge's decisions on their way through Kafka."""


@keys.command("list")
@home_option
@json_option
def list_(home: Path, as_json: bool) -> None:
    """Show which key seals and which are accepted, by their ids; never the keys."""
    path = load_settings(home).edge_keys_path
    _show(path, read_keys(path), as_json)


@keys.command()
@home_option
@json_option
def rotate(home: Path, as_json: bool) -> None:
    """Seal with a new key from now on. The one before stays accepted: `tollgate keys retire` ends that, an hour later at the earliest.

    Running processes follow by themselves.
    """
    path = load_settings(home).edge_keys_path
    _show(path, rotate_keys(path), as_json)


@keys.command()
@home_option
@json_option
def retire(home: Path, as_json: bool) -> None:
    """Accept only the key that seals. What the one before has sealed and the processor has not read yet counts as forged."""
    path = load_settings(home).edge_keys_path
    _show(path, retire_keys(path), as_json)


def _show(path: Path, found: FixedKeys, as_json: bool) -> None:
    newest, *others = [key.id.hex() for key in found.keys]
    text = f"{path}: {newest} seals" + (f", {others[0]} is accepted too" if others else "")
    reply({"file": str(path), "seals": newest, "accepted": [newest, *others]}, as_json, text)
