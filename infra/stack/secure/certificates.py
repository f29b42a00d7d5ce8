"""The certificates of a secured stack: an authority of its own, and one certificate for its servers on loopback."""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from infra.stack.private import private_folder
from streams.access.private_files import write_private
from streams.runtime.secured import SecureFiles

AUTHORITY_LASTS = timedelta(days=3650)
#: the longest that clients commonly accept
SERVER_LASTS = timedelta(days=397)
#: a start makes a new server certificate if the old one lasts less than this
RENEW_BEFORE = timedelta(days=60)
#: clocks may be apart
BACKDATED = timedelta(hours=1)
HOSTS: tuple[x509.GeneralName, ...] = (
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    x509.IPAddress(ipaddress.ip_address("::1")),
)


def ensure_certificates(files: SecureFiles, now: datetime) -> bool:
    """Make the authority if there is none, and the servers' certificate if there is none or it ends soon.

    Returns whether a servers' certificate was made. A new authority makes one too.

    Raises:
        ValueError: a file that is there does not parse.
    """
    private_folder(files.folder)
    if not (files.ca.exists() and files.ca_key.exists()):
        _make_authority(files, now)
    authority = x509.load_pem_x509_certificate(files.ca.read_bytes())
    if _serves(files, authority, now):
        return False
    _make_server(files, authority, now)
    return True


def _serves(files: SecureFiles, authority: x509.Certificate, now: datetime) -> bool:
    """Whether the servers' files are whole, of this authority, and last for a while."""
    if not all(path.exists() for path in (files.certificate, files.key, files.keystore)):
        return False
    found = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    try:
        found.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return found.not_valid_after_utc - now > RENEW_BEFORE


def _make_authority(files: SecureFiles, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tollgate stack")])
    certificate = (
        _begun(name, name, key, now, AUTHORITY_LASTS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private(files.ca_key, _pem(key))
    write_private(files.ca, certificate.public_bytes(Encoding.PEM))


def _make_server(files: SecureFiles, authority: x509.Certificate, now: datetime) -> None:
    signer = load_pem_private_key(files.ca_key.read_bytes(), None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{files.ca_key} is no key of ours: remove {files.folder}, and start again")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    certificate = (
        _begun(name, authority.subject, key, now, SERVER_LASTS)
        .add_extension(x509.SubjectAlternativeName(HOSTS), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    )
    chain = certificate.public_bytes(Encoding.PEM) + files.ca.read_bytes()
    write_private(files.key, _pem(key))
    write_private(files.certificate, chain)
    # last: a start that was interrupted makes all three again
    write_private(files.keystore, _pem(key) + chain)


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, lasts: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + lasts)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=signs_certificates, crl_sign=signs_certificates,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
