"""Deployments that are due in; one look for each region, and for each of them a write and perhaps a call."""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import asking, beanstalk, creating, wishes
from chalicelib.edge import Edge
from chalicelib.environment import Answer, Call, Seen
from chalicelib.errors import LockBusy, Outrun
from chalicelib.leaving import left_for_the_next_tick
from chalicelib.model import DEPLOYMENT_ENDS, Deployment, DeploymentState, WaitingFor
from chalicelib.probing import Ask, ask_all
from chalicelib.seeing import CannotLook, look
from chalicelib.store import Store
from chalicelib.verifying import wanted

if TYPE_CHECKING:
    from mypy_boto3_elasticbeanstalk import ElasticBeanstalkClient

log = logging.getLogger("tau.deployer")

CALL_WITHIN = timedelta(seconds=5)
"""Who was held up for longer after writing the intent leaves the call to others, who may be about to make it."""
LOOK_HOLDS = timedelta(seconds=5)
"""What was seen longer ago decides nothing: this is far less than the time after which an update was never begun."""
_MOST_WRITES = 10

Clock = Callable[[], datetime]


def to_the_millisecond(moment: datetime) -> datetime:
    """As records hold it."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def advance_deployments(ids: Sequence[str], *, edge: Edge, now: datetime, probe: Ask | None = None) -> None:
    """Advance deployments that were found due; at its end an environment is free and its run awake.

    One that fails does not keep the others waiting.

    Args:
        now: when they were found due. That may lie a while back: what is written and called has its own time.
        probe: asks at the address that a deployment names; None = as the edge does.
    """
    by_region: dict[str, deque[Deployment]] = defaultdict(deque)
    for record in edge.store.read_deployments(ids) if ids else ():
        # The index counts what falls due within its second.
        if record.due_at is None or record.due_at > now + timedelta(seconds=1):
            continue
        if record.state not in DEPLOYMENT_ENDS:
            by_region[record.region].append(record)
            continue
        with left_for_the_next_tick("deployment", record.id):
            _settle(record, edge)
    for region, waiting in by_region.items():
        with left_for_the_next_tick("region", region):
            client = edge.client("elasticbeanstalk", region)
            while waiting:
                _advance_some(waiting, client, edge, probe or edge.probe)


def conclude(deployment_id: str, edge: Edge) -> None:
    """Write what people alone decide; Elastic Beanstalk is neither asked nor called.

    It is for those who have just said something of a deployment. Their own rights may end at the records: what needs
    more is left to a runner or the ticker, so that nothing ends by what those who speak may not do.
    """
    with left_for_the_next_tick("deployment", deployment_id):
        record = edge.store.deployment(deployment_id)
        if record and wishes.is_decided(record):
            client = edge.client("elasticbeanstalk", record.region)
            record = drive(
                record, Seen(), store=edge.store, client=client, clock=lambda: to_the_millisecond(edge.now())
            )
        if record and record.state in DEPLOYMENT_ENDS and record.due_at:
            _settle(record, edge)


def _advance_some(waiting: deque[Deployment], client: ElasticBeanstalkClient, edge: Edge, probe: Ask) -> None:
    """Take from those of a region as many as one look at Elastic Beanstalk is good for: one at least."""

    def clock() -> datetime:
        return to_the_millisecond(edge.now())

    # Before the look: what takes long here must not make that one old.
    answers = ask_all(waiting, probe)
    looked_at = clock()
    seen = _seen(waiting, client)
    approved: list[Deployment] = []
    while waiting:
        record = waiting.popleft()
        with left_for_the_next_tick("deployment", record.id):
            of_it = _its_part(record, seen, answers)
            moved = drive(record, of_it, store=edge.store, client=client, clock=clock)
            if moved.state is DeploymentState.WAITING_APPROVAL:
                asking.ask(moved, edge, clock())
            elif wishes.is_decided(record) and moved.state not in DEPLOYMENT_ENDS:
                # It was approved: on it goes, by a look that it is part of.
                approved.append(moved)
            if moved.state in DEPLOYMENT_ENDS and moved.due_at:
                _settle(moved, edge)
        if clock() - looked_at > LOOK_HOLDS:
            break
    waiting.extend(approved)


def _seen(
    deployments: Collection[Deployment], client: ElasticBeanstalkClient
) -> Mapping[str, Seen | CannotLook] | CannotLook:
    try:
        # What is decided already waits for nobody's answer.
        open_ones = [one for one in deployments if not wishes.is_decided(one)]
        return look(open_ones, client) if open_ones else {}
    except (ClientError, BotoCoreError) as error:
        return error


def _its_part(
    record: Deployment, seen: Mapping[str, Seen | CannotLook] | CannotLook, answers: Mapping[str, Answer]
) -> Seen | CannotLook:
    if wishes.is_decided(record):
        return Seen()
    of_it = seen if isinstance(seen, Exception) else seen[record.id]
    return of_it if isinstance(of_it, Exception) else replace(of_it, answer=answers.get(record.id))


def drive(
    deployment: Deployment, seen: Seen | CannotLook, *, store: Store, client: ElasticBeanstalkClient, clock: Clock
) -> Deployment:
    """Decide, write; and make the call if it was us who wrote. The record as it stands then.

    Args:
        seen: what Elastic Beanstalk said a moment ago, or why it did not.
    """
    if isinstance(seen, Exception):
        moved = _unseen(deployment, seen, clock())
        return moved if store.move_deployment(deployment, moved) else _current(store, deployment)
    moved, call = beanstalk.advance(_with_what_is_live(deployment, store), seen, clock())
    if _leaves_prepared(deployment, moved):
        moved, call = _in_turn(deployment, moved, call, store, clock())
    elif _waits_or_waited_for_approval(deployment, moved):
        moved = _unless_outrun(deployment, moved, store, clock())
    live = beanstalk.live(moved, _before(moved, store), clock()) if moved.state is DeploymentState.LIVE else None
    if not store.move_deployment(deployment, moved, live=live):
        current = _current(store, deployment)
        if current.state in DEPLOYMENT_ENDS:
            # It ended while we were held up: the lock that we have just taken for it is nobody's any more.
            store.release_lock(beanstalk.lock_name(current), current.id)
        return current
    if moved.state is not deployment.state:
        log.info("deployment %s", moved.state, extra={"deployment": moved.id, "reason": moved.reason})
    if call is Call.ABORT:
        return _abort(moved, client, clock)
    return _update(moved, store, client, clock) if call else moved


def _with_what_is_live(record: Deployment, store: Store) -> Deployment:
    """What has not had its turn, and perhaps never will, knows what was live when people decided about it."""
    if not wishes.is_decided(record) or record.state not in _WITHOUT_LOCK:
        return record
    known = store.live(record.region, record.environment)
    return replace(record, good_label=known.label if known else None)


def _before(record: Deployment, store: Store) -> str | None:
    """The version that was live and well before one that is live now."""
    if record.creates:
        return None  # what was live in an earlier environment of that name was never live in this one
    if record.good_label != record.label:
        return record.good_label
    # The same version again is no newer good one: the one before stays. While the lock is ours nobody writes it.
    known = store.live(record.region, record.environment)
    return known.good_label if known else None


# --- the environment's lock ---------------------------------------------------------------------------


_WITHOUT_LOCK = frozenset(
    {
        DeploymentState.PREPARED,
        DeploymentState.WAITING_APPROVAL,
        DeploymentState.FAILED,
        DeploymentState.CANCELLED,
    }
)


def _leaves_prepared(old: Deployment, new: Deployment) -> bool:
    return old.state is DeploymentState.PREPARED and new.state not in _WITHOUT_LOCK


def _waits_or_waited_for_approval(old: Deployment, new: Deployment) -> bool:
    waits = DeploymentState.WAITING_APPROVAL
    return new.state is waits or (old.state is waits and new.state not in DEPLOYMENT_ENDS)


def _in_turn(
    deployment: Deployment, moved: Deployment, call: Call | None, store: Store, now: datetime
) -> tuple[Deployment, Call | None]:
    """What was decided, if the environment is ours now; else a pause, or the end where a newer run stands in line."""
    try:
        before = _goes_first(deployment, store)
    except Outrun as outrun:
        return beanstalk.outrun(deployment, outrun.by, now), None
    if before:
        return beanstalk.in_line(deployment, before, now), None
    # Only now: who had the environment before may have left another version live.
    known = store.live(deployment.region, deployment.environment)
    return replace(moved, good_label=known.label if known else None), call


def _unless_outrun(deployment: Deployment, moved: Deployment, store: Store, now: datetime) -> Deployment:
    """What waits for an approval, or has just got it, gives way to a newer version as soon as there is one."""
    newest = store.newest_in_line(beanstalk.lock_name(deployment))
    return beanstalk.outrun(deployment, newest, now) if newest and newest > deployment.run else moved


def _goes_first(deployment: Deployment, store: Store) -> Deployment | None:
    """Who has the environment; None = it is ours now.

    Raises:
        Outrun: a newer run stands in line.
        LockBusy: it goes from hand to hand just now.
    """
    name = beanstalk.lock_name(deployment)
    for _ in range(_MOST_WRITES):
        if store.acquire_in_order(name, deployment.id, deployment.run):
            return None
        holder = store.lock_holder(name)
        other = store.deployment(holder) if holder else None
        if other and other.state not in DEPLOYMENT_ENDS:
            return other
        if holder:
            # It came to its end while somebody was about to take the lock for it.
            store.release_lock(name, holder)
    raise LockBusy(f"{deployment.environment} changes hands just now")


def _settle(record: Deployment, edge: Edge) -> None:
    """What follows an end, each part harmless when done twice; only then is the record due no more."""
    edge.store.release_lock(beanstalk.lock_name(record), record.id)
    # It parks for an approval, and may not have looked again since that came.
    for waiting_for in (WaitingFor.ENVIRONMENT, *([WaitingFor.APPROVAL] if record.approvers else ())):
        message = edge.store.wake(record.run, waiting_for, to_the_millisecond(edge.now()))
        if message:
            edge.queue.call(message, edge.store.run(record.run).job)
            break
    _rewrite(record, edge.store, lambda current: replace(current, due_at=None))


# --- the one call -------------------------------------------------------------------------------------


def _update(record: Deployment, store: Store, client: ElasticBeanstalkClient, clock: Clock) -> Deployment:
    if record.intended_at is None or clock() - record.intended_at > CALL_WITHIN:
        return record
    try:
        if record.creates:
            client.create_environment(
                ApplicationName=record.application,
                EnvironmentName=record.environment,
                TemplateName=record.template or "",
                VersionLabel=record.label,
            )
        else:
            client.update_environment(
                ApplicationName=record.application,
                EnvironmentName=record.environment,
                VersionLabel=wanted(record),
            )
    except ClientError as error:
        return _not_updated(record, store, error, clock)
    except BotoCoreError as error:
        log.warning("no answer to the call", extra={"deployment": record.id, "error": str(error)})
        return record
    return _rewrite_intent(record, store, lambda current: beanstalk.answered(current, clock()))


def _abort(record: Deployment, client: ElasticBeanstalkClient, clock: Clock) -> Deployment:
    """Ask for the end of an update that is to end; the next look sees what came of it."""
    if record.aborted_at is None or clock() - record.aborted_at > CALL_WITHIN:
        return record
    try:
        client.abort_environment_update(EnvironmentName=record.environment)
    except (ClientError, BotoCoreError) as error:
        log.warning("update not aborted", extra={"deployment": record.id, "error": str(error)})
    return record


def _not_updated(record: Deployment, store: Store, error: ClientError, clock: Clock) -> Deployment:
    reason = _sentence(error)
    # A name that is taken may be taken by our own call, of which nobody heard.
    taken = record.creates and creating.is_taken(reason)
    if _is_unclear(error) or taken:
        # It may have begun: the next look tells, not the answer.
        log.warning("unclear answer to the call", extra={"deployment": record.id, "error": str(error)})
        return record
    if record.creates and creating.is_no_template(reason):
        reason = creating.no_template(record.template or "", record.application, record.region)
    if _is_throttled(error) or _is_not_ready(error):
        return _rewrite_intent(record, store, lambda current: beanstalk.refused(current, reason, clock()))
    denied = _is_denied(error)
    if record.creates and denied:
        reason += creating.NEEDS_RIGHTS
    return _rewrite_intent(record, store, lambda current: beanstalk.failed(current, reason, clock(), ours=denied))


def _rewrite_intent(record: Deployment, store: Store, change: Callable[[Deployment], Deployment]) -> Deployment:
    """Write what came of our call, however others have moved the record meanwhile; not over another's intent."""
    return _rewrite(
        record,
        store,
        lambda current: (
            change(current)
            if current.intended_at == record.intended_at and current.state not in DEPLOYMENT_ENDS
            else current
        ),
    )


def _rewrite(record: Deployment, store: Store, change: Callable[[Deployment], Deployment]) -> Deployment:
    for _ in range(_MOST_WRITES):
        moved = change(record)
        if moved == record:
            return record
        if store.move_deployment(record, moved):
            return replace(moved, number=record.number + 1)
        record = _current(store, record)
    return record


def _current(store: Store, deployment: Deployment) -> Deployment:
    return store.deployment(deployment.id) or deployment


# --- what an error says -------------------------------------------------------------------------------

_DENIED = {"AccessDenied", "AccessDeniedException", "InsufficientPrivilegesException", "UnauthorizedOperation"}
_THROTTLED = {"Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException", "SlowDown"}
_SERVER_ERROR = 500


def _unseen(deployment: Deployment, error: CannotLook, now: datetime) -> Deployment:
    reason = _sentence(error)
    # An update that is under way goes on without our eyes: its environment stays locked until the deadline.
    if _is_denied(error) and deployment.intended_at is None:
        return beanstalk.failed(deployment, reason, now, ours=True)
    return beanstalk.unseen(deployment, reason, now)


def _is_denied(error: CannotLook) -> bool:
    return isinstance(error, ClientError) and error.response["Error"]["Code"] in _DENIED


def _sentence(error: CannotLook) -> str:
    if not isinstance(error, ClientError):
        return f"Elastic Beanstalk cannot be reached: {error}"
    said = error.response["Error"]
    code, text = said.get("Code", "?"), said.get("Message", "")
    if code in _DENIED:
        return (
            f"AWS does not let Tau call elasticbeanstalk:{error.operation_name}: "
            f"allow it in the policies of the runner and of the ticker ({text or code})"
        )
    return f"{error.operation_name} was refused: {text or code}"


def _is_throttled(error: ClientError) -> bool:
    return error.response["Error"]["Code"] in _THROTTLED


def _is_not_ready(error: ClientError) -> bool:
    # https://github.com/gxela/awsebcli/issues/22: InvalidParameterValue, told apart only by its text.
    said = error.response["Error"]
    return "must be ready" in said.get("Message", "").lower() or said["Code"] == "OperationInProgressFailure"


def _is_unclear(error: ClientError) -> bool:
    """A server's failure; or a refusal of what botocore sent again, perhaps because a good answer was lost."""
    about = error.response.get("ResponseMetadata", {})
    return about.get("HTTPStatusCode", 0) >= _SERVER_ERROR or about.get("RetryAttempts", 0) > 0
