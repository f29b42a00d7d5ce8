"""What a secured stack needs before its servers start: certificates, and a password for each principal."""

from __future__ import annotations

from datetime import datetime

from infra.stack.private import secret
from infra.stack.secure.certificates import ensure_certificates
from streams.log.rights import RIGHTS
from streams.runtime.secured import BROKER, PROMETHEUS, SecureFiles


def ensure_files(files: SecureFiles, now: datetime) -> None:
    """Make what is missing. To rotate a password, remove its file and restart the stack."""
    ensure_certificates(files, now)
    for principal in (*RIGHTS, BROKER, PROMETHEUS):
        secret(files.password(principal))
