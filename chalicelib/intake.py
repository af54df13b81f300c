"""A webhook request in; a delivery, its runs and their wake-ups out."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from botocore.exceptions import BotoCoreError, ClientError
from ulid import ULID

from chalicelib import providers, superseding, wire
from chalicelib.answering import Answer, addressed, answer, check_signed_for, events_of, is_ping
from chalicelib.config import Config, Forge
from chalicelib.edge import Edge
from chalicelib.errors import MissingSecret
from chalicelib.model import Delivery, Job, Json, Message, Run, RunState
from chalicelib.plan import plan
from chalicelib.records.deliveries import Accepted, Replay, Seen, delivery_of, replay_of
from chalicelib.records.refs import Ref
from chalicelib.records.table import Place

log = logging.getLogger("tau.intake")

# A zipped body up to this size lies in its item, which DynamoDB limits to 400 KB with everything else.
_INLINE_BYTES = 300 * 1024


def ulid(now: datetime) -> str:
    """A new id; ids sort by their time."""
    return str(ULID.from_datetime(now))


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
    delivery = addressed(headers, body, pinned, config)
    forge = config.forges[delivery.forge]
    secrets = _secrets(forge, edge)
    signers = providers.verify(delivery, tuple(secrets.values()))
    accepted = accept(delivery, config, now, new_id(now))
    check_signed_for(accepted.events, [list(secrets)[place] for place in signers], forge)
    if is_ping(accepted.events):
        return answer(accepted.events, accepted.verdicts, starts=False)
    keep_config()
    return _record_and_wake(accepted, edge)


def _secrets(forge: Forge, edge: Edge) -> dict[str, bytes]:
    """By name, the forge's webhook secrets that can be read; while one replaces the other, one is enough.

    Raises:
        MissingSecret: none can.
    """
    found: dict[str, bytes] = {}
    missing = None
    for name in forge.secrets:
        try:
            found[name] = edge.secrets.get(name).encode()
        except MissingSecret as error:
            log.warning("a webhook secret is missing", extra={"forge": forge.name, "reason": str(error)})
            missing = error
    if missing and not found:
        raise missing
    return found


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
    events = events_of(delivery)
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
    said = answer(written.events, written.verdicts, starts=bool(written.runs))
    return replace(said, body={"delivery": written.id, **said.body, "runs": runs}, unsent=unsent)


def wake(run: Run, edge: Edge) -> bool:
    """Send a run's message; False where that failed: the record is there, so the ticker will send it."""
    try:
        edge.queue.call(Message(run.id, run.send), run.job)
    except (ClientError, BotoCoreError) as error:
        log.warning("not sent", extra={"run": run.id, "pool": run.job.pool, "reason": str(error)})
        return False
    return True


def _body_aside(accepted: Accepted, edge: Edge) -> Accepted:
    body = accepted.delivery.body
    if len(body) <= _INLINE_BYTES or len(zipped := wire.zipped(body)) <= _INLINE_BYTES:
        return accepted
    key = f"deliveries/{accepted.id}"
    edge.objects.put_once(key, zipped)
    return replace(accepted, body_key=key)
