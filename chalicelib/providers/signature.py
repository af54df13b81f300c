"""Bytes, the values of one header and the forge's secrets in; which of these signed out, or BadSignature.

Sources: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
and https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/ (section "Secure webhooks").
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence

from chalicelib.errors import BadConfig, BadSignature

LEAST_SECRET_BYTES = 16

# Both forges promise exactly this spelling: the prefix, then 64 hex digits in lower case. Nothing else is let through,
# so a delivery has one valid signature and not several that differ in case or blanks.
SIGNED = re.compile(r"sha256=[0-9a-f]{64}")

# One text for everything that can be wrong: it must not tell an attacker how far he came.
NOT_OURS = "the body is not signed with a secret of this forge"


def verify(body: bytes, values: Sequence[str], secrets: Sequence[bytes]) -> tuple[int, ...]:
    """Let pass what any of the secrets signed; the time taken does not say which, nor how much of it was right.

    Args:
        body: the exact bytes that were sent, before any decoding.
        values: every value of the signature header; more than one is refused.
        secrets: several while one is being replaced by the next, or where repositories have their own.

    Returns:
        The places in `secrets` of those that signed; two names may hold the same value.

    Raises:
        BadConfig: a secret that would make every signature worthless.
        BadSignature: everything else.
    """
    check_secrets(secrets)
    return check_signature(body, values, secrets)


def check_signature(body: bytes, values: Sequence[str], secrets: Sequence[bytes]) -> tuple[int, ...]:
    """The same, whatever the secrets are worth."""
    if len(values) != 1 or not SIGNED.fullmatch(values[0]):
        raise BadSignature(NOT_OURS)
    signers = signed_by(body, values[0].encode("ascii"), secrets)
    if not signers:
        raise BadSignature(NOT_OURS)
    return signers


def check_secrets(secrets: Sequence[bytes]) -> None:
    """Refuse a missing, short or ambiguous secret."""
    if not secrets:
        raise BadConfig("the forge has no webhook secret: name one in ci.yml under forges, webhook: […]")
    for secret in secrets:
        if len(secret) < LEAST_SECRET_BYTES:
            raise BadConfig(
                f"a webhook secret has {len(secret)} bytes, at least {LEAST_SECRET_BYTES} are needed: "
                "make one with `openssl rand -hex 32` and enter it at the forge and in the store"
            )
        # HMAC pads a key with NULs: `k` and `k` + NUL sign alike. https://www.rfc-editor.org/rfc/rfc2104#section-2
        if b"\0" in secret:
            raise BadConfig("a webhook secret contains a NUL byte: make one with `openssl rand -hex 32`")


def signed_by(body: bytes, value: bytes, secrets: Sequence[bytes]) -> tuple[int, ...]:
    """The places of the secrets that made `value`; every secret is tried, whatever came of those before."""
    # Compared as bytes: compare_digest raises on text that is not ASCII.
    made = [hmac.compare_digest(signature(body, secret), value) for secret in secrets]
    return tuple(place for place, right in enumerate(made) if right)


def signature(body: bytes, secret: bytes) -> bytes:
    """The value that the forge sends for this body."""
    return b"sha256=" + hmac.digest(secret, body, hashlib.sha256).hex().encode("ascii")
