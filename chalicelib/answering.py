"""A request, and what reading and planning made of it, in; what the forge is told out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chalicelib import providers
from chalicelib.config import Config, Forge
from chalicelib.errors import BadDelivery, BadSignature, UnknownForge
from chalicelib.model import Delivery, Event, EventKind, Json, Origin, Verdict
from chalicelib.plan import is_elsewhere
from chalicelib.providers import internal

MOST_BYTES = 6 * 1024 * 1024
"""Lambda takes no larger request; https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""

Refusal = (BadSignature, BadDelivery, UnknownForge)
"""What a sender did wrong: nothing is written, and `refusal` says what he is told."""

_STATUS = {BadSignature: 401, BadDelivery: 400, UnknownForge: 404}


@dataclass(frozen=True)
class Answer:
    """What the forge is told. `unsent`: runs whose wake-up did not reach the queue; the ticker sends them."""

    status: int
    body: Mapping[str, Json]
    unsent: tuple[str, ...] = ()


def addressed(headers: Mapping[str, tuple[str, ...]], body: bytes, pinned: str | None, config: Config) -> Delivery:
    """The request as a delivery of the forge that sent it; not verified yet, and nothing of its body parsed.

    Raises:
        BadDelivery: the body is too large, or the headers are no forge's.
        UnknownForge: ci.yml has no such forge, or several that speak this dialect.
    """
    if len(body) > MOST_BYTES:
        raise BadDelivery(f"the body is larger than {MOST_BYTES} bytes")
    forge = _forge(headers, pinned, config)
    return Delivery(forge.name, forge.provider, headers, body)


def _forge(headers: Mapping[str, tuple[str, ...]], pinned: str | None, config: Config) -> Forge:
    """The forge of ci.yml that sent this."""
    provider = providers.forge_of(headers)
    if provider is None:
        raise BadDelivery("no webhook of a forge that we know: neither X-GitHub-Event nor X-Event-Key is there once")
    speaking = [forge for forge in config.forges.values() if forge.provider is provider]
    if pinned is not None:
        named = config.forges.get(pinned)
        if named not in speaking:
            raise UnknownForge(f"ci.yml has no forge {pinned} that sends webhooks of {provider}")
        return named
    if len(speaking) != 1:
        which = ", ".join(f"/hooks/{forge.name}" for forge in speaking) or "none in ci.yml"
        raise UnknownForge(f"not one forge sends webhooks of {provider}; call its own address: {which}")
    return speaking[0]


def events_of(delivery: Delivery) -> tuple[Event, ...]:
    """What happened, whoever brought it.

    Raises:
        BadDelivery: a forge's own is not readable.
        BadRecord: one of our own is not.
    """
    # What a webhook brings is never read as ours.
    return tuple((providers.read if delivery.origin is Origin.WEBHOOK else internal.read)(delivery))


def check_signed_for(events: Sequence[Event], signers: Sequence[str], forge: Forge) -> None:
    """Whoever holds one repository's secret speaks for that repository, and for no other.

    Args:
        signers: names of the secrets that the delivery is signed with.

    Raises:
        BadSignature: it tells of a repository for which none of them may sign.
    """
    for event in events:
        # A ping of a whole organisation names none, and starts nothing.
        if event.repository is not None and not set(signers) & set(forge.signs_for(event.repository)):
            raise BadSignature(f"it is signed with a secret that is not one of {forge.name}/{event.repository}")


def refusal(error: BadSignature | BadDelivery | UnknownForge) -> Answer:
    """What a sender is told whose request is refused."""
    return Answer(_STATUS[type(error)], {"reason": str(error)})


def answer(events: Sequence[Event], verdicts: Sequence[Sequence[Verdict]], *, starts: bool) -> Answer:
    """What the forge is told of a delivery that was taken.

    Args:
        verdicts: those of each event.
        starts: whether anything was started.
    """
    if is_ping(events):
        return Answer(200, {"runs": [], "reason": "pong"})
    if starts:
        return Answer(202, {})
    return Answer(200, {"reason": _why_nothing(events, verdicts)})


def is_ping(events: Sequence[Event]) -> bool:
    """Whether the forge only asks if anybody is there: that is not written down."""
    return bool(events) and all(event.kind is EventKind.PING for event in events)


def _why_nothing(events: Sequence[Event], verdicts: Sequence[Sequence[Verdict]]) -> str:
    """One sentence for the forge's delivery log; `tau explain` tells every rule's."""
    if not events:
        return "the payload names no change"
    reasons = [_why(event, of_event) for event, of_event in zip(events, verdicts, strict=True)]
    return "; ".join(dict.fromkeys(reasons))[:500]


def _why(event: Event, verdicts: Sequence[Verdict]) -> str:
    if event.reason:
        return event.reason
    if event.pipeline:
        return "; ".join(verdict.reason for verdict in verdicts if verdict.pipeline == event.pipeline)
    about = list(dict.fromkeys(verdict.reason for verdict in verdicts if not is_elsewhere(verdict)))
    if not about:
        return f"repository {event.forge}/{event.repository} is in no pipeline of ci.yml"
    return "; ".join(about)
