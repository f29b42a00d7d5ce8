"""Ed25519 key files and signatures: of a bundle's manifest here, of requests and records in ``streams.access``.

Bundles have one signing key to publish with, and any number of trusted keys to check with.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNING_KEY = "signing.key"
TRUSTED = "trusted"


class KeyProblem(Exception):
    """A key is missing or unreadable; the text names the key and the remedy."""

    exit_code = 2


def ensure_keys(keys_dir: Path) -> Path:
    """Make a signing key (mode 0600) if there is none, and trust its public key.

    Returns:
        the folder of trusted public keys.
    """
    trusted = Path(keys_dir) / TRUSTED
    trusted.mkdir(parents=True, exist_ok=True)
    public = ensure_key_file(Path(keys_dir) / SIGNING_KEY).public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    target = trusted / "local.pub"
    if not target.exists() or target.read_bytes() != pem:
        tmp = target.with_suffix(f".{os.getpid()}.tmp")
        tmp.write_bytes(pem)
        tmp.replace(target)
    return trusted


def ensure_key_file(path: Path) -> Ed25519PrivateKey:
    """The private key in a file (PEM, mode 0600); a new one is made if the file does not exist.

    Raises:
        KeyProblem: the file does not parse.
    """
    if not path.exists():
        raw = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        tmp = path.with_suffix(f".{os.getpid()}.tmp")
        with os.fdopen(os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        try:
            # link, not rename: if two processes start together, one key wins and both use it
            os.link(tmp, path)
        except FileExistsError:
            pass
        finally:
            tmp.unlink()
    return read_key_file(path)


def read_key_file(path: Path) -> Ed25519PrivateKey:
    """The private key in a PEM file.

    Raises:
        KeyProblem: there is none, or it is no Ed25519 key.
    """
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except FileNotFoundError:
        raise KeyProblem(f"no private key at {path}") from None
    except (ValueError, TypeError) as error:
        raise KeyProblem(f"{path} is not a private key in PEM: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyProblem(f"{path} is not an Ed25519 key")
    return key


def read_public_key_file(path: Path) -> Ed25519PublicKey:
    """The public key in a PEM file.

    Raises:
        KeyProblem: it is no Ed25519 public key.
    """
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except ValueError as error:
        raise KeyProblem(f"{path} is not a public key in PEM: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeyProblem(f"{path} is not an Ed25519 key")
    return key


def sign(payload: bytes, keys_dir: Path) -> bytes:
    """A bundle's signature, 64 bytes.

    Raises:
        KeyProblem: there is no signing key, or it does not parse.
    """
    path = Path(keys_dir) / SIGNING_KEY
    if not path.exists():
        raise KeyProblem(f"no signing key at {path}: `tollgate up` or ensure_keys makes one")
    return read_key_file(path).sign(payload)


def is_signed(payload: bytes, signature: bytes, trusted_dir: Path) -> bool:
    """Whether one of the trusted keys (``*.pub``, PEM) made this signature.

    Raises:
        KeyProblem: there is no trusted key, or one does not parse.
    """
    keys = [read_public_key_file(path) for path in sorted(Path(trusted_dir).glob("*.pub"))]
    if not keys:
        raise KeyProblem(f"no trusted key (*.pub) in {trusted_dir}: copy the publisher's public key there")
    return any(verifies(key, payload, signature) for key in keys)


def verifies(key: Ed25519PublicKey, payload: bytes, signature: bytes) -> bool:
    """Whether ``signature`` was made over ``payload`` with the private half of ``key``."""
    try:
        key.verify(signature, payload)
    except InvalidSignature:
        return False
    return True
