"""Evidence packs made again: after they expired, after the live model changed, or for a version that was published by hand."""

from __future__ import annotations

from datetime import datetime

from features.vector_layouts import OWN
from models.bundle.content import Bundle
from models.evidence.pack import made_pack, model_digest, write_pack
from models.evidence.record import EvidencePack
from models.policy.outliving import lost_parts
from models.scoring.scorer import Scorer
from models.training.dataset import DatasetError
from models.training.gates.judge import judge
from services.trainer.learning import contender, gather
from streams.runtime.settings import Settings


class NoEvidence(Exception):
    """There are no labelled rows to hold a model against the live one; the text says what to wait for."""

    exit_code = 1


def renew(
    settings: Settings, bundle: Bundle, live: Bundle | None, *, now: datetime
) -> tuple[EvidencePack, str]:
    """Make a version's evidence pack from today's labels against today's live model; returns it with its hash.

    A version with the live model changes only the policy: its pack has the policy's test on the past in place of gates.

    Raises:
        NoEvidence: no row has a known label.
    """
    if live is not None and live.version != bundle.version and model_digest(live) == model_digest(bundle):
        account = bundle.lineage.get("policy")
        tested = account.get("tested") if isinstance(account, dict) else None
        changes = lost_parts(live.policy, bundle.policy)
        pack = made_pack(bundle, live, None, now=now, tested=tested, changes=changes)
    else:
        # a live model of another catalogue cannot score these rows
        comparable = live is not None and live.version != bundle.version and not live.layout.misfit(OWN)
        against = live if comparable else None
        try:
            rows = gather(settings).data
        except DatasetError as error:
            raise NoEvidence(
                f"{bundle.version} awaits approval, but there is nothing yet to hold it against the live model: {error}. Then: "
                f"`tollgate models evidence {bundle.version} --renew`"
            ) from error
        other = contender(Scorer(against, measure=False)) if against else None
        judgement = judge(
            contender(Scorer(bundle, measure=False)),
            other,
            rows,
            now=now,
            protected=settings.declared.protected,
        )
        pack = made_pack(bundle, live, judgement, now=now)
    return pack, write_pack(settings.bundles_dir, settings.keys_dir, pack)
