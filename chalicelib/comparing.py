"""What is known of a repository's refs and what stands at its forge in; what happened meanwhile, as events, out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chalicelib import wire
from chalicelib.config import Forge
from chalicelib.forges.listing import Standing
from chalicelib.model import Event, EventKind
from chalicelib.providers.reading import PULLS, kind_of, name_of
from chalicelib.records.refs import Ref

SETTLING = timedelta(seconds=60)
"""A forge answers from copies that lag behind what its webhooks have said already."""


@dataclass(frozen=True)
class Difference:
    """A ref that does not stand where it is known to stand.

    Args:
        known: None = nobody has spoken of it.
        standing: None = it is gone.
    """

    ref: str
    known: Ref | None
    standing: Standing | None

    @property
    def is_pull(self) -> bool:
        return self.ref.startswith(PULLS)


def differences(known: Mapping[str, Ref], standing: Mapping[str, Standing]) -> list[Difference]:
    """What moved or appeared, then what is gone, each in the order of names, `v1.9` before `v1.10`."""
    moved = [
        Difference(ref, known.get(ref), standing[ref])
        for ref in sorted(standing, key=_natural)
        if ref not in known or known[ref].at != standing[ref].at
    ]
    gone = [Difference(ref, known[ref], None) for ref in sorted(known) if known[ref].at and ref not in standing]
    return moved + gone


def _natural(ref: str) -> list[tuple[int, int | str]]:
    """A key that sorts numbers in a name by their value."""
    return [(0, int(part)) if part.isascii() and part.isdigit() else (1, part) for part in re.split(r"([0-9]+)", ref)]


def is_unsettled(difference: Difference, now: datetime) -> bool:
    """Whether the forge may just not know yet what its webhook said a moment ago: it shows where the ref was before."""
    known, at = difference.known, difference.standing.at if difference.standing else ""
    if known is None or now - known.told_at >= SETTLING:
        return False
    return bool(known.loose) or any(stand.at == at for stand in known.trail[:-1])


def is_told(difference: Difference) -> bool:
    """Whether a webhook has said so, and it was only not known when; or there is no event for it."""
    known, at = difference.known, difference.standing.at if difference.standing else ""
    closed = difference.is_pull and not at
    return known is not None and (closed or known.may_be_at(at))


def event_of(difference: Difference, forge: Forge, repository: str, delivery_id: str) -> Event:
    """What happened, as a webhook would have said it; who did it is not known."""
    before = (difference.known.at if difference.known else "") or None
    standing = difference.standing or Standing(difference.ref, "")
    after = standing.at or None
    base = Event(forge.name, forge.provider, delivery_id, EventKind.PULL_REQUEST, repository, fork=standing.fork)
    if difference.is_pull:
        return replace(base, pull=standing.pull)
    return replace(
        base,
        kind=kind_of(difference.ref, before, after),
        ref=difference.ref,
        name=name_of(difference.ref),
        before=before,
        after=after,
        commit=standing.commit,
        # Which commits came in between is not asked for.
        truncated=before is not None and after is not None,
        head_commit_author_email=standing.author_email,
        head_commit_message=standing.message,
    )


def fingerprint(at: Mapping[str, str]) -> str:
    """The same for the same refs at the same places, and for nothing else."""
    return hashlib.sha256("".join(wire.key(ref, at[ref]) for ref in sorted(at)).encode()).hexdigest()
