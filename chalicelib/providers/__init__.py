"""Headers and exact bytes in, Events out: what the forges say, in nobody's dialect.

A provider is one module in DIALECTS. It says by which headers it is known, where its signature stands, and reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from chalicelib.errors import UnknownForge
from chalicelib.model import Delivery, Event, Provider
from chalicelib.providers import bitbucket_cloud, bitbucket_server, github, signature


class Dialect(Protocol):
    """What a provider's module holds.

    PROVIDER is its name, MARKS are the headers (lower-cased) that it alone sends together, FOREIGN those that show it
    to be another's all the same, SIGNATURE_HEADER is where its HMAC-SHA256 stands.
    """

    @property
    def PROVIDER(self) -> Provider: ...  # noqa: N802 - a module's constant is spelled in capitals

    @property
    def MARKS(self) -> frozenset[str]: ...  # noqa: N802 - the same

    @property
    def FOREIGN(self) -> frozenset[str]: ...  # noqa: N802 - the same

    @property
    def SIGNATURE_HEADER(self) -> str: ...  # noqa: N802 - the same

    def read(self, delivery: Delivery) -> list[Event]: ...


DIALECTS: tuple[Dialect, ...] = (github, bitbucket_cloud, bitbucket_server)


def forge_of(headers: Iterable[str]) -> Provider | None:
    """Whose dialect these headers (their names suffice) are; None where it is nobody's, or more than one's."""
    names = {name.lower() for name in headers}
    spoken = [dialect.PROVIDER for dialect in DIALECTS if names >= dialect.MARKS and not names & dialect.FOREIGN]
    return spoken[0] if len(spoken) == 1 else None


def verify(delivery: Delivery, secrets: Sequence[bytes]) -> tuple[int, ...]:
    """Let pass what one of the forge's secrets signed; call it before anything of the body is parsed.

    Returns:
        The places in `secrets` of those that signed: what they may sign for is to be looked at once it is read.

    Raises:
        BadSignature: the header is missing, doubled, malformed or wrong.
        BadConfig: a secret is missing, too short, or contains a NUL.
        UnknownForge: nobody here speaks the delivery's dialect.
    """
    return signature.verify(delivery.body, _signatures(delivery), secrets)


def check_signature(delivery: Delivery, secret: bytes) -> None:
    """Let pass what a secret signed, however weak it is: to find out which one a forge signs with.

    Raises:
        BadSignature: like `verify`.
    """
    signature.check_signature(delivery.body, _signatures(delivery), [secret])


def read(delivery: Delivery) -> list[Event]:
    """What happened, in the payload's order; empty where the payload lists nothing.

    Args:
        delivery: already verified.

    Raises:
        BadDelivery: a field that the forge promises is missing or unreadable. Never anything else from a payload.
        UnknownForge: nobody here speaks the delivery's dialect.
    """
    return _dialect(delivery.provider).read(delivery)


def _signatures(delivery: Delivery) -> Sequence[str]:
    return delivery.headers.get(_dialect(delivery.provider).SIGNATURE_HEADER.lower(), ())


def _dialect(provider: Provider) -> Dialect:
    for dialect in DIALECTS:
        if dialect.PROVIDER is provider:
            return dialect
    raise UnknownForge(f"deliveries of {provider} cannot be read: no module of chalicelib/providers speaks its dialect")
