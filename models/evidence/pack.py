"""The evidence pack of a version: what a person reads before approving it, and what the approval names by its hash.

Three files lie beside the bundle's folder: ``<version>.evidence.json``, the same as one page ``<version>.evidence.html``, and
``<version>.evidence.sig``, a signature over the digests of both. The pack's hash is the SHA-256 of the JSON file.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec

from features.catalogue import CATALOGUE_HASH
from models.bundle.content import Bundle
from models.bundle.manifest import MANIFEST
from models.bundle.signing import KeyProblem, is_signed, sign
from models.evidence.files import HTML, JSON, SIGNATURE, evidence_path
from models.evidence.page import render
from models.evidence.record import EvidencePack
from models.training.gates.judge import Judgement
from models.training.threshold_choice import in_words

#: how long a pack may be approved by: labels of a week later may say otherwise
VALID = timedelta(days=7)
Why = Literal["missing", "changed", "other", "expired", "outdated", "failed"]


class EvidenceRefused(Exception):
    """A pack that nobody may approve by. ``reason``: missing, changed, other, expired, outdated, failed; the text is for people."""

    exit_code = 1

    def __init__(self, reason: Why, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def made_pack(
    bundle: Bundle, live: Bundle | None, judgement: Judgement | None, *, now: datetime, valid: timedelta = VALID,
    tested: dict[str, Any] | None = None, changes: list[str] | None = None,
) -> EvidencePack:  # fmt: skip
    """The pack of a published bundle.

    Args:
        live: what is live now.
        judgement: None where the version has the live model and only another policy.
        tested: what the policy would have changed in the past (``models.policy.comparison``).
        changes: what it leaves out of the live policy, in words.
    """
    lineage = bundle.lineage
    names = (
        "data", "parts", "parameters", "code_version", "created_at", "fit_s", "request", "proposed_by", "compared_with", "policy",
    )  # fmt: skip
    ranking = (
        "auc_roc",
        "average_precision",
        "card_precision_at_100",
        "calibration_error",
        "rows",
        "frauds",
        "calibration",
    )
    return EvidencePack(
        model=bundle.model, version=bundle.version, bundle=bundle_digest(bundle.path), created_at=now, expires_at=now + valid,
        live=live.version if live else None, live_model=model_digest(live) if live else None, catalogue=CATALOGUE_HASH,
        software=importlib.metadata.version("tollgate"), judgement=judgement,
        lineage={name: lineage[name] for name in names if name in lineage},
        policy={"version": bundle.policy.version, "review": bundle.policy.review, "decline": bundle.policy.decline,
                "rules": [rule.name for rule in bundle.policy.rules], "lists": [found.name for found in bundle.policy.lists], "chosen": in_words(bundle.evaluation)},
        evaluation={name: bundle.evaluation.get(name) for name in ranking}, tested=tested, changes=changes or [],
    )  # fmt: skip


def write_pack(bundles_dir: Path, keys_dir: Path, pack: EvidencePack) -> str:
    """Store a pack, in place of an older one; returns its hash. The signature is written last: a half-written pack is refused.

    Raises:
        KeyProblem: it cannot be signed.
    """
    raw = msgspec.json.format(msgspec.json.encode(pack), indent=1)
    digest = hashlib.sha256(raw).hexdigest()
    page = render(pack, digest).encode()
    signature = sign(_signed_text(pack.model, pack.version, raw, page), keys_dir)
    for name, content in ((JSON, raw), (HTML, page), (SIGNATURE, signature)):
        path = evidence_path(bundles_dir, pack.model, pack.version, name)
        tmp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        tmp.write_bytes(content)
        tmp.replace(path)
    return digest


def read_pack(
    bundles_dir: Path, trusted_keys_dir: Path, model: str, version: str
) -> tuple[EvidencePack, str]:
    """A version's pack and its hash, with the signature verified.

    Raises:
        EvidenceRefused: missing, or changed since it was signed.
    """
    try:
        raw, page, signature = (
            evidence_path(bundles_dir, model, version, name).read_bytes() for name in (JSON, HTML, SIGNATURE)
        )
    except OSError as error:
        raise EvidenceRefused(
            "missing",
            f"{version} has no evidence pack: `tollgate models evidence {version} --renew` makes one",
        ) from error
    try:
        if not is_signed(_signed_text(model, version, raw, page), signature, trusted_keys_dir):
            raise EvidenceRefused(
                "changed", f"the evidence of {version} is not what was signed: it was changed"
            )
        return msgspec.json.decode(raw, type=EvidencePack), hashlib.sha256(raw).hexdigest()
    except (KeyProblem, msgspec.MsgspecError) as error:
        raise EvidenceRefused("changed", f"the evidence of {version} cannot be read: {error}") from error


def check_pack(
    bundles_dir: Path, trusted_keys_dir: Path, bundle: Bundle, named: str | None, *, live: Bundle | None, now: datetime
) -> EvidencePack:  # fmt: skip
    """The pack that an approval names, if the approval may rest on it.

    Args:
        named: the hash in the approval.
        live: what is live now.

    Raises:
        EvidenceRefused: there is none, it was changed, is of another bundle, has expired, was held against another model or code, or
            says that a gate failed.
    """
    version = bundle.version
    pack, digest = read_pack(bundles_dir, trusted_keys_dir, bundle.model, version)
    renew = f"`tollgate models evidence {version} --renew`"
    if named != digest:
        told = f"evidence {named[:12]}" if named else "no evidence"
        raise EvidenceRefused(
            "other",
            f"the approval names {told}, that of {version} is {digest[:12]}: `tollgate models evidence {version}`",
        )
    if (pack.model, pack.version, pack.bundle) != (bundle.model, version, bundle_digest(bundle.path)):
        raise EvidenceRefused(
            "other", f"the evidence beside {version} is that of another bundle, {pack.version}"
        )
    if now >= pack.expires_at:
        raise EvidenceRefused(
            "expired", f"the evidence of {version} expired on {pack.expires_at:%Y-%m-%d %H:%M} UTC: {renew}"
        )
    if (pack.catalogue, pack.software) != (CATALOGUE_HASH, importlib.metadata.version("tollgate")):
        raise EvidenceRefused(
            "outdated", f"the code has changed since the evidence of {version} was made: {renew}"
        )
    if live is not None and live.version != version and model_digest(live) != pack.live_model:
        raise EvidenceRefused(
            "outdated",
            f"the evidence of {version} compares it with {pack.live or 'no model'}, but {live.version} is live: {renew}",
        )
    if pack.judgement is not None and pack.judgement.verdict != "pass":
        raise EvidenceRefused("failed", f"{version} failed its gates: {'; '.join(pack.judgement.reasons)}")
    return pack


def bundle_digest(folder: Path) -> str:
    """SHA-256 of a bundle's manifest, which has the digest of every file."""
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


def model_digest(bundle: Bundle) -> str:
    """SHA-256 of the model alone: it stays the same where only the policy changes."""
    return hashlib.sha256(bundle.model_ubj).hexdigest()


def _signed_text(model: str, version: str, raw: bytes, page: bytes) -> bytes:
    digests = hashlib.sha256(raw).hexdigest(), hashlib.sha256(page).hexdigest()
    return "\n".join(["tollgate evidence", model, version, *digests]).encode()
