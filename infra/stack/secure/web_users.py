"""Who may ask Prometheus and Alertmanager of a secured stack: their web configuration, with bcrypt hashes of passwords."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import yaml

from infra.stack.errors import StackError
from infra.stack.private import secret
from streams.runtime.secured import SecureFiles

with warnings.catch_warnings():
    # it leaves the standard library with Python 3.13; this project runs on 3.11
    warnings.simplefilter("ignore", DeprecationWarning)
    import crypt

#: bcrypt's least: it slows down guesses of a weak password, and these have 192 random bits
ROUNDS = 16


def web_config(files: SecureFiles, principals: Iterable[str]) -> str:
    """The file for ``--web.config.file`` that lets these principals in.

    Raises:
        StackError: this system's libcrypt has no bcrypt.
    """
    return yaml.safe_dump(
        {"basic_auth_users": {name: _bcrypt(secret(files.password(name))) for name in principals}}
    )


def _bcrypt(password: str) -> str:
    if crypt.METHOD_BLOWFISH not in crypt.methods:
        raise StackError("this system's libcrypt has no bcrypt, with which Prometheus keeps passwords")
    return crypt.crypt(password, crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=ROUNDS))
