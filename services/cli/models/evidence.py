"""``tollgate models evidence``: what a person reads before approving a version, as a page and as JSON."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from models.bundle.content import MODEL, Bundle
from models.bundle.registry import states
from models.evidence.files import evidence_path, page_path
from models.evidence.pack import EvidenceRefused, check_pack, read_pack
from models.evidence.record import EvidencePack
from models.rollout.transitions import Action
from services.cli.models.compare import gate_lines
from services.cli.models.files import settings_of
from services.cli.terminal.exits import BadInput, CheckFailed
from services.cli.terminal.options import OUTPUT_FILE, home_option, json_option, reply
from services.trainer.evidence import renew as renew_pack
from services.trainer.learning import bundle_of_any_catalogue, live_by_state
from streams.runtime.bundles import verified_bundle
from streams.runtime.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])


def evidence_option(action: Action) -> Callable[[Command], Command]:
    """Add ``--evidence`` to the command that approves; the others get None."""
    if action != "approve":
        return lambda command: command
    return click.option(
        "--evidence",
        metavar="HASH",
        help="Hash of the evidence that you read.  [default: the version's newest]",
    )


@click.command()
@home_option
@json_option
@click.argument("version", required=False)
@click.option(
    "--out",
    type=OUTPUT_FILE,
    metavar="FILE",
    help="Write the page (.html) or the JSON (.json) to this file.",
)
@click.option("--renew", is_flag=True, help="Make the pack again, with today's labels and live model.")
def evidence(home: Path, as_json: bool, version: str | None, out: Path | None, renew: bool) -> int:
    """Show the evidence of a version (default: the one that awaits approval): gates, hash, expiry. Exit code 1: nobody may approve by it.

    The page lies beside the bundle, needs nothing from elsewhere and has the plots; `tollgate models approve` names its hash.
    """
    if out is not None and out.suffix not in (".html", ".json"):
        raise BadInput(f"{out} must end in .html or .json")
    settings = settings_of(home)
    bundle = verified_bundle(settings, version or _waiting(settings))
    live = bundle_of_any_catalogue(settings, live_by_state(settings))
    now = datetime.now(UTC)
    if renew:
        renew_pack(settings, bundle, live, now=now)
    pack, digest = read_pack(settings.bundles_dir, settings.keys_dir / "trusted", MODEL, bundle.version)
    refused = _refused(settings, bundle, digest, live, now)
    page = page_path(settings.bundles_dir, MODEL, bundle.version)
    if out is not None:
        source = page if out.suffix == ".html" else evidence_path(settings.bundles_dir, MODEL, bundle.version)
        out.write_bytes(source.read_bytes())
    answer = {
        "version": bundle.version, "hash": digest, "page": str(out if out is not None and out.suffix == ".html" else page),
        "expires_at": pack.expires_at.isoformat(), "approvable": refused is None, "refused_for": refused,
        "pack": msgspec.to_builtins(pack),
    }  # fmt: skip
    reply(answer, as_json, _lines(pack, digest, refused, answer["page"]))
    return 0 if refused is None else CheckFailed.exit_code


def _lines(pack: EvidencePack, digest: str, refused: str | None, page: Any) -> list[str]:
    lines = [f"{pack.model} {pack.version}, evidence {digest}"]
    if pack.judgement is not None:
        lines += gate_lines(pack.judgement)
    else:
        lines.append("changes the policy only: its model is the live one")
    lines += [f"expires {pack.expires_at:%Y-%m-%d %H:%M} UTC", f"page: {page}"]
    if refused is not None:
        lines.append(f"nobody may approve by it: {refused}")
    return lines


def _refused(
    settings: Settings, bundle: Bundle, digest: str, live: Bundle | None, now: datetime
) -> str | None:
    try:
        check_pack(settings.bundles_dir, settings.keys_dir / "trusted", bundle, digest, live=live, now=now)
    except EvidenceRefused as error:
        return str(error)
    return None


def _waiting(settings: Settings) -> str:
    found = [v for v, state in states(settings.bundles_dir, MODEL).items() if state == "awaiting approval"]
    if len(found) != 1:
        raise BadInput(f"the evidence of which version? Awaiting approval: {', '.join(found) or 'none'}")
    return found[0]
