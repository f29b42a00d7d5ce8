"""Publishes a policy file: the live bundle's model with a new policy, signed, as a version that awaits approval."""

from __future__ import annotations

import codecs
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from features.attributes import Attributes
from models.bundle.content import MODEL, Bundle, BundleContent, publish
from models.bundle.policy_of import with_policy
from models.bundle.registry import VersionState, next_patch, next_policy_version, write_state
from models.bundle.signing import ensure_keys
from models.policy.checking import problems, without_card_numbers
from models.policy.policy import Policy
from models.policy.policy_file import PolicyFile, read_policy_file
from models.policy.problems import PolicyError
from streams.contracts.text.card_numbers import find_card_number
from streams.runtime.bundles import verified_bundle
from streams.runtime.settings import Settings

MAX_FILE_BYTES = 64 * 2**20


class FileRefused(click.ClickException):
    """An invalid policy file; one line for each error."""

    exit_code = 2

    def __init__(self, path: Path, found: list[str]) -> None:
        count = f"{len(found)} errors" if len(found) > 1 else "1 error"
        super().__init__("\n  ".join([f"{path} has {count}", *found]))
        self.found = found


def load_policy_file(path: Path, attributes: Attributes | None = None) -> PolicyFile:
    """Read and check a policy file and the CSV files it names; these must be in the same folder.

    Args:
        attributes: those that the stack declares; None: without a stack, those in the file are not compared.

    Raises:
        FileRefused: it does not parse or is invalid.
    """

    def beside(name: str) -> str:
        other = path.parent / name
        if other.resolve().parent != path.parent.resolve():
            raise PolicyError(f"{name} must be in the folder of {path.name}")
        return _text(other)

    try:
        read = read_policy_file(_text(path), is_json=path.suffix.lower() == ".json", beside=beside)
        found = [*read.errors, *problems(read.file, find_card_number, attributes)]
    except PolicyError as error:
        found = [str(error)]
    if found:
        raise FileRefused(path, without_card_numbers(found, find_card_number))
    return read.file


def publish_policy(
    settings: Settings, base: Bundle, file: PolicyFile, *, by: str, author: str, why: str, now: datetime
) -> tuple[str, str]:
    """Publish the model of ``base`` with the file's policy; returns (bundle version, policy version).

    ``author`` is the person who proposes it and so cannot approve it; ``by`` the name to record.

    Raises:
        PolicyError: the file contradicts the base's policy.
        BundleExists: another process just published this version.
    """
    policy = file.applied_to(base.policy, next_policy_version(settings.bundles_dir, MODEL))
    return publish_with(settings, base, policy, live=base, by=by, author=author, why=why, now=now)


def publish_with(
    settings: Settings, base: Bundle, policy: Policy, *, live: Bundle, by: str, why: str, now: datetime,
    tested: dict[str, Any] | None = None, author: str | None = None,
) -> tuple[str, str]:  # fmt: skip
    """Publish the model of ``base`` with a policy made from that of ``live``, awaiting approval; returns both versions.

    Its evidence pack is made too (``services.trainer.evidence``). For another model than the live one that takes labelled rows: without
    any, standard error says so, and the pack must be made later; with them, a model that fails its gates is rejected.

    Args:
        tested: what it would have done to past payments, for the lineage.
        author: the person who proposes it and so cannot approve it; None: who proposed ``base``.

    Raises:
        PolicyError: the policy is invalid.
        BundleExists: another process just published this version.
    """
    # what trains and scores takes 200 MB: the console reads policy files and publishes none itself
    from services.trainer.evidence import NoEvidence, renew
    from services.trainer.learning import GATES

    _ = policy.evaluation
    parts = {field.name: getattr(base, field.name) for field in fields(BundleContent)}
    account = {
        "policy_version": policy.version, "model_and_evaluation_of": base.version, "policy_before": live.policy.version,
        "by": by, "why": why, "at": now.isoformat(), "tested": tested,
    }  # fmt: skip
    lineage = base.lineage | {"policy": account} | ({} if author is None else {"proposed_by": author})
    content = with_policy(BundleContent(**parts | {"lineage": lineage}), policy)
    version = next_patch(settings.bundles_dir, MODEL, base.version)
    ensure_keys(settings.keys_dir)
    publish(content, settings.bundles_dir, settings.keys_dir, model=MODEL, version=version, created_at=now)
    made = verified_bundle(settings, version)
    state = VersionState(state="awaiting approval", since=now, by=by, why=why)
    write_state(settings.bundles_dir, MODEL, version, state)
    try:
        pack, _ = renew(settings, made, live, now=now)
    except NoEvidence as error:
        click.echo(str(error), err=True)
        return version, policy.version
    if pack.judgement is not None and pack.judgement.reasons:
        why = "; ".join(pack.judgement.reasons)
        write_state(
            settings.bundles_dir, MODEL, version, VersionState(state="rejected", since=now, by=GATES, why=why)
        )
    return version, policy.version


def removed_by(file: PolicyFile, live: Policy) -> list[str]:
    """The live rules and lists that a file leaves out."""
    after = file.applied_to(live, live.version)
    kept = {rule.name for rule in after.rules} | {found.name for found in after.lists}
    gone = [f"rule {rule.name}" for rule in live.rules if rule.name not in kept]
    return gone + [f"list {found.name}" for found in live.lists if found.name not in kept]


def described(file: PolicyFile) -> dict[str, object]:
    """Counts of a file's rules, lists and entries, and its thresholds."""
    return {
        "rules": len(file.rules), "lists": len(file.lists), "entries": sum(len(found.entries) for found in file.lists),
        "thresholds": msgspec.to_builtins(file.thresholds), "expected_loss": msgspec.to_builtins(file.expected_loss),
    }  # fmt: skip


def _text(path: Path) -> str:
    """The text of a file in UTF-8, with or without byte order mark, whatever ends its lines."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise PolicyError(f"{path} is larger than {MAX_FILE_BYTES} bytes: remove expired entries")
        raw = path.read_bytes()
    except OSError as error:
        raise PolicyError(f"{path} cannot be read: {error.strerror}") from error
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise PolicyError(f"{path} is in UTF-16: save it as UTF-8 (in Excel: CSV UTF-8)")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise PolicyError(f"{path} is not UTF-8: byte {raw[error.start]:#04x} in line {line}; save it as UTF-8") from None  # fmt: skip
    return text.replace("\r\n", "\n").replace("\r", "\n")
