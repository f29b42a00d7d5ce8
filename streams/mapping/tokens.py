"""Card numbers as tokens: a keyed HMAC in letters, so that no token can be taken for a card number."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

KEY_FILE = "card-hmac.key"
KEY_BYTES = 32
#: nibbles as letters: 24 hexadecimal digits may hold 12 decimal ones in a row
_LETTERS = str.maketrans("0123456789abcdef", "ghijkmnpqrabcdef")


def card_token(number: str, key: bytes) -> str:
    """``tok-`` and 24 letters (96 bits of HMAC-SHA256) for a card number; spaces and dashes in it do not matter."""
    digits = number.replace(" ", "").replace("-", "")
    digest = hmac.new(key, digits.encode(), hashlib.sha256).hexdigest()[:24]
    return "tok-" + digest.translate(_LETTERS)


def load_or_create_key(keys_dir: Path) -> bytes:
    """The stack's key for card numbers; the first caller makes it, readable by its owner only.

    Raises:
        ValueError: the file is there and too short to be a key.
    """
    path = keys_dir / KEY_FILE
    keys_dir.mkdir(parents=True, exist_ok=True)
    part = keys_dir / f".{KEY_FILE}.{os.getpid()}"
    if not path.exists():
        part.touch(mode=0o600)
        part.write_bytes(secrets.token_bytes(KEY_BYTES))
        try:
            os.link(part, path)  # fails where another process was first; its key then counts
        except FileExistsError:
            pass
        finally:
            part.unlink()
    key = path.read_bytes()
    if len(key) < KEY_BYTES:
        raise ValueError(
            f"{path} holds {len(key)} bytes and a key has {KEY_BYTES}: remove it to have a new one made"
        )
    return key
