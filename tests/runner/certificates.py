"""A host and a span of days in; an authority of our own, and its certificate for that host, out."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Certified:
    """What a server shows, and the file by which it is believed."""

    server: ssl.SSLContext
    authority: Path


def certified(folder: Path, *, address: str, days: tuple[int, int] = (-1, 1)) -> Certified:
    """A certificate for an address, good from the first of these days to the second, as seen from today."""
    key, ours = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _signed("An authority", ours, "An authority", ours, (-9, 9), x509.BasicConstraints(True, None))
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
    leaf = _signed("A registry", key, "An authority", ours, days, names)
    files = {"ca.crt": _pem(authority), "server.crt": _pem(leaf), "server.key": _key(key)}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    return Certified(context, folder / "ca.crt")


def _signed(name, key, issuer, issuers_key, days, extension):
    now = datetime.now(UTC)
    first, last = (now + timedelta(days=day) for day in days)
    return (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(_named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(last)
        .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        .sign(issuers_key, hashes.SHA256())
    )


def _named(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
