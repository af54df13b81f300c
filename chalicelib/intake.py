"""A webhook request in; a delivery, its runs and their wake-ups out."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from botocore.exceptions import BotoCoreError, ClientError
from ulid import ULID

from chalicelib import providers, superseding, wire
from chalicelib.config import Config, Forge
from chalicelib.edge import Edge
from chalicelib.errors import BadDelivery, MissingSecret, UnknownForge
from chalicelib.model import Delivery, Event, EventKind, Job, Json, Message, Origin, Run, RunState
from chalicelib.plan import Plan, plan
from chalicelib.providers import internal
from chalicelib.records.deliveries import Accepted, Replay, Seen, delivery_of, replay_of
from chalicelib.records.refs import Ref
from chalicelib.records.table import Place

log = logging.getLogger("tau.intake")

MOST_BYTES = 6 * 1024 * 1024
"""Lambda takes no larger request; https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""
# A zipped body up to this size lies in its item, which DynamoDB limits to 400 KB with everything else.
_INLINE_BYTES = 300 * 1024


def ulid(now: datetime) -> str:
    """A new id; ids sort by their time."""
    return str(ULID.from_datetime(now))


@dataclass(frozen=True)
class Answer:
    """What the forge is told. `unsent`: runs whose wake-up did not reach the queue; the ticker sends them."""

    status: int
    body: Mapping[str, Json]
    unsent: tuple[str, ...] = ()


def receive(
    headers: Mapping[str, tuple[str, ...]],
    body: bytes,
    *,
    pinned: str | None,
    config: Config,
    edge: Edge,
    now: datetime,
    keep_config: Callable[[], None] = lambda: None,
    new_id: Callable[[datetime], str] = ulid,
) -> Answer:
    """Verify, read, plan, record, wake.

    Args:
        headers: names lower-cased, with every value.
        body: the exact bytes.
        pinned: the forge that the address names (`/hooks/{forge}`), or None.
        keep_config: writes down the ci.yml that planned; called before the first record, never for a refusal.
        new_id: makes the delivery's ULID.

    Raises:
        BadSignature, BadDelivery, UnknownForge: nothing was written.
        MissingSecret, BadConfig: the forge's secret is missing, or is no secret; nothing was written.
    """
    if len(body) > MOST_BYTES:
        raise BadDelivery(f"the body is larger than {MOST_BYTES} bytes")
    forge = find_forge(headers, pinned, config)
    delivery = Delivery(forge.name, forge.provider, headers, body)
    providers.verify(delivery, _secrets(forge, edge))
    accepted = accept(delivery, config, now, new_id(now))
    if accepted.events and all(event.kind is EventKind.PING for event in accepted.events):
        return Answer(200, {"runs": [], "reason": "pong"})
    keep_config()
    return _record_and_wake(accepted, edge)


def _secrets(forge: Forge, edge: Edge) -> list[bytes]:
    """The forge's webhook secrets that can be read; while one replaces the other, one is enough.

    Raises:
        MissingSecret: none can.
    """
    found, missing = [], None
    for name in forge.webhook:
        try:
            found.append(edge.secrets.get(name).encode())
        except MissingSecret as error:
            log.warning("a webhook secret is missing", extra={"forge": forge.name, "reason": str(error)})
            missing = error
    if missing and not found:
        raise missing
    return found


def find_forge(headers: Mapping[str, tuple[str, ...]], pinned: str | None, config: Config) -> Forge:
    """The forge of ci.yml that sent this.

    Raises:
        BadDelivery: the headers are no forge's.
        UnknownForge: ci.yml has no such forge, or several that speak this dialect.
    """
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


def accept(
    delivery: Delivery,
    config: Config,
    now: datetime,
    delivery_id: str | None = None,
    *,
    replay: Replay | None = None,
) -> Accepted:
    """Everything that follows from a verified delivery, or one of our own; pure but for the ULID, which may be given.

    The run ids follow from the delivery's id: planning a delivery again gives the same runs.
    """
    # What a webhook brings is never read as ours.
    read = providers.read if delivery.origin is Origin.WEBHOOK else internal.read
    events = tuple(read(delivery))
    plans = [plan(event, config) for event in events]
    accepted_id = delivery_id or ulid(now)
    return Accepted(
        id=accepted_id,
        delivery=delivery,
        received_at=now,
        config=config.hash,
        events=events,
        verdicts=tuple(planned.verdicts for planned in plans),
        runs=tuple(
            _run(job, accepted_id, index, now, replay) for index, planned in enumerate(plans) for job in planned.jobs
        ),
        replay=replay,
    )


def take(delivery: Delivery, config: Config, edge: Edge, now: datetime, delivery_id: str | None = None) -> Answer:
    """Plan, record and wake for a delivery of our own; the same body a second time is answered with the old runs.

    The ci.yml that plans must have been kept before.
    """
    return _record_and_wake(accept(delivery, config, now, delivery_id), edge)


def take_again(accepted: Accepted, edge: Edge) -> Answer:
    """Record and wake for a delivery that repeats another."""
    edge.store.record_again(accepted)
    return _wake(accepted, edge)


def body_of(record: Mapping[str, Json], edge: Edge) -> bytes:
    """The exact bytes of a recorded delivery, wherever they lie."""
    body: bytes | None = record["body"]
    return wire.unzipped(edge.objects.get(record["body_key"])) if body is None else body


def accept_again(record: Mapping[str, Json], body: bytes, config: Config) -> Accepted:
    """What a delivery was accepted as, from its record: to finish what was begun.

    Args:
        record: as `Store.delivery` reads it.
        config: the ci.yml that the record names.
    """
    delivery_id = record["pk"].removeprefix("delivery#")
    received_at = wire.time_of(record["received_at"])
    accepted = accept(delivery_of(record, body), config, received_at, delivery_id, replay=replay_of(record))
    # Some of its events may have been no news.
    news = set(record["runs"])
    return replace(accepted, runs=tuple(run for run in accepted.runs if run.id in news))


def _run(job: Job, delivery_id: str, event_index: int, now: datetime, replay: Replay | None) -> Run:
    seed = wire.key(delivery_id, str(event_index), job.pipeline).encode()
    time_part = ULID.from_str(delivery_id).bytes[:6]
    # The runs of one delivery are ordered as its events are: of several tags the last one wins an environment.
    again = str(replay) if replay else None
    run_id = str(ULID(time_part + event_index.to_bytes(2) + hashlib.sha256(seed).digest()[:8]))
    return Run(id=run_id, delivery=delivery_id, job=job, state=RunState.QUEUED, created_at=now, reason=again)


def take_found(accepted: Accepted, read: Mapping[Place, Ref], edge: Edge) -> None:
    """Record and wake what a look at a forge found.

    Args:
        read: the refs as they were when the forge was asked.

    Raises:
        RefMoved: some are spoken of by a delivery that came meanwhile; nothing was written.
    """
    edge.store.record_found(accepted, read)
    for run in accepted.runs:
        wake(run, edge)
    superseding.ask_older(accepted.runs, edge, accepted.received_at)


def _record_and_wake(accepted: Accepted, edge: Edge) -> Answer:
    accepted = _body_aside(accepted, edge)
    written = edge.store.record(accepted)
    if isinstance(written, Seen):
        reason = "this body was seen before"
        return Answer(200, {"delivery": written.delivery, "runs": list(written.runs), "reason": reason})
    return _wake(written, edge)


def _wake(written: Accepted, edge: Edge) -> Answer:
    unsent = tuple(run.id for run in written.runs if not wake(run, edge))
    superseding.ask_older(written.runs, edge, written.received_at)
    runs = [*(run.id for run in written.runs), *written.known]
    if not written.runs:
        return Answer(200, {"delivery": written.id, "runs": runs, "reason": why_nothing(written)})
    return Answer(202, {"delivery": written.id, "runs": runs}, unsent)


def wake(run: Run, edge: Edge) -> bool:
    """Send a run's message; False where that failed: the record is there, so the ticker will send it."""
    try:
        edge.queue.call(Message(run.id, run.send), run.job)
    except (ClientError, BotoCoreError) as error:
        log.warning("not sent", extra={"run": run.id, "pool": run.job.pool, "reason": str(error)})
        return False
    return True


def why_nothing(accepted: Accepted) -> str:
    """One sentence for the forge's delivery log; `tau explain` tells every rule's."""
    if not accepted.events:
        return "the payload names no change"
    reasons = [
        _why(event, Plan((), verdicts)) for event, verdicts in zip(accepted.events, accepted.verdicts, strict=True)
    ]
    return "; ".join(dict.fromkeys(reasons))[:500]


def _why(event: Event, planned: Plan) -> str:
    if event.reason:
        return event.reason
    # Of what is for one pipeline the others have nothing to say.
    asked = [one for one in planned.verdicts if event.pipeline in {None, one.pipeline}]
    reasons = list(dict.fromkeys(verdict.reason for verdict in asked))
    about = [reason for reason in reasons if not reason.startswith("repository ")]
    if not about:
        return f"repository {event.forge}/{event.repository} is in no pipeline of ci.yml"
    return "; ".join(about)


def _body_aside(accepted: Accepted, edge: Edge) -> Accepted:
    body = accepted.delivery.body
    if len(body) <= _INLINE_BYTES or len(zipped := wire.zipped(body)) <= _INLINE_BYTES:
        return accepted
    key = f"deliveries/{accepted.id}"
    edge.objects.put_once(key, zipped)
    return replace(accepted, body_key=key)
