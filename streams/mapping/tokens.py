"""Tokens for card numbers: a keyed HMAC written in letters, so that a token never looks like a card number."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from streams.contracts.text.card_numbers import card_digits, find_card_number, is_card_number

KEY_FILE = "card-hmac.key"
KEY_BYTES = 32
#: hexadecimal digits as letters: 24 hexadecimal digits may include 12 decimal ones in a row
_LETTERS = str.maketrans("0123456789abcdef", "ghijkmnpqrabcdef")


def card_token(number: str, key: bytes) -> str:
    """``tok-`` and 24 letters (96 bits of HMAC-SHA256) for a card number; all spellings of one number have one token."""
    digits = card_digits(number)
    if not is_card_number(digits) or find_card_number(number) is None:
        # something else in the column: only what is printed between digits is ignored
        digits = number.replace(" ", "").replace("-", "")
    digest = hmac.new(key, digits.encode(), hashlib.sha256).hexdigest()[:24]
    return "tok-" + digest.translate(_LETTERS)


def load_or_create_key(keys_dir: Path) -> bytes:
    """The stack's key for card numbers; the first call creates it, readable only by its owner.

    Raises:
        ValueError: the file is too short to be a key.
    """
    path = keys_dir / KEY_FILE
    keys_dir.mkdir(parents=True, exist_ok=True)
    part = keys_dir / f".{KEY_FILE}.{os.getpid()}"
    if not path.exists():
        part.touch(mode=0o600)
        part.write_bytes(secrets.token_bytes(KEY_BYTES))
        try:
            os.link(part, path)  # fails if another process was first; that process's key is used
        except FileExistsError:
            pass
        finally:
            part.unlink()
    key = path.read_bytes()
    if len(key) < KEY_BYTES:
        raise ValueError(
            f"{path} holds {len(key)} bytes, but a key has {KEY_BYTES}: remove the file to have a new key made"
        )
    return key
