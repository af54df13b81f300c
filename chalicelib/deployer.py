"""Deployments that are due in; one look at Elastic Beanstalk, one conditional write and at most one call out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import asking, beanstalk, wishes
from chalicelib.edge import Edge
from chalicelib.environment import Call, Notice, Seen
from chalicelib.errors import Outrun
from chalicelib.model import DEPLOYMENT_ENDS, Deployment, DeploymentState, WaitingFor
from chalicelib.store import Store

if TYPE_CHECKING:
    from mypy_boto3_elasticbeanstalk import ElasticBeanstalkClient
    from mypy_boto3_elasticbeanstalk.type_defs import DescribeEventsMessageTypeDef

log = logging.getLogger("tau.deployer")

CALL_WITHIN = timedelta(seconds=5)
"""Who was held up for longer after writing the intent leaves the call to others, who may be about to make it."""
_NOTICES_FROM = timedelta(minutes=5)
"""So far before the deployment was made: clocks differ, and what stood there before marks what is new."""
_REASONS = {"WARN", "ERROR", "FATAL"}
_MOST_WRITES = 10
_PASSING = frozenset({DeploymentState.PREPARED, DeploymentState.WAITING_READY})

Clock = Callable[[], datetime]


def to_the_millisecond(moment: datetime) -> datetime:
    """As records hold it."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def advance_deployment(deployment_id: str, *, edge: Edge, now: datetime) -> Deployment | None:
    """Advance a deployment that was found due; at its end its environment is free and its run awake.

    Args:
        now: when it was found due. That may lie a while back: what is written and called has its own time.

    Returns:
        The record as it stands; None when there is none.
    """

    def clock() -> datetime:
        return to_the_millisecond(edge.now())

    record = edge.store.deployment(deployment_id)
    # The index counts what falls due within its second.
    if record is None or record.due_at is None or record.due_at > now + timedelta(seconds=1):
        return record
    if record.state not in DEPLOYMENT_ENDS:
        client = edge.client("elasticbeanstalk", record.region)
        record = _drive_on(record, edge.store, client, clock)
    if record.state is DeploymentState.WAITING_APPROVAL:
        return asking.ask(record, edge, clock())
    if record.state in DEPLOYMENT_ENDS and record.due_at:
        return _settle(record, edge, clock())
    return record


def _drive_on(record: Deployment, store: Store, client: ElasticBeanstalkClient, clock: Clock) -> Deployment:
    """Drive through the states that need no waiting: until one stays, or a call was made."""
    for _ in DeploymentState:
        moved = drive(record, store=store, client=client, clock=clock)
        if moved.state is record.state or moved.state not in _PASSING:
            return moved
        record = moved
    return record


def drive(deployment: Deployment, *, store: Store, client: ElasticBeanstalkClient, clock: Clock) -> Deployment:
    """Gather, decide, write; and make the call if it was us who wrote. The record as it stands then."""
    try:
        seen = Seen() if wishes.is_decided(deployment) else look(deployment, client)
    except (ClientError, BotoCoreError) as error:
        moved = _unseen(deployment, error, clock())
        return moved if store.move_deployment(deployment, moved) else _current(store, deployment)
    moved, call = beanstalk.advance(deployment, seen, clock())
    if _leaves_prepared(deployment, moved):
        moved, call = _in_turn(deployment, moved, call, store, clock())
    elif moved.state is DeploymentState.WAITING_APPROVAL:
        moved = _unless_outrun(deployment, moved, store, clock())
    live = beanstalk.live(moved, clock()) if moved.state is DeploymentState.LIVE else None
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


def look(deployment: Deployment, client: ElasticBeanstalkClient) -> Seen:
    """What Elastic Beanstalk says now.

    Events are read before the environment: an update that they show has begun when its status is read.
    """
    notices = notices_of(deployment, client)
    answer = client.describe_environments(
        ApplicationName=deployment.application, EnvironmentNames=[deployment.environment], IncludeDeleted=False
    )
    environment = next(iter(answer["Environments"]), None)
    if environment is None:
        return Seen(missing=True)
    version = None
    if deployment.state is DeploymentState.PREPARED:
        version = _version_status(deployment, client)
        if (version or "").upper() == "FAILED":
            notices = _notices(client, {"VersionLabel": deployment.label}, deployment)
    elif environment.get("Status") == "Ready" and environment.get("VersionLabel") != deployment.label:
        # It may just have been rolled back: the reason may be newer than what was read.
        notices += tuple(new for new in notices_of(deployment, client)[len(notices) :] if new.severity in _REASONS)
    address = environment.get("CNAME") or environment.get("EndpointURL")
    return Seen(
        status=environment.get("Status"),
        health=environment.get("Health"),
        health_status=environment.get("HealthStatus"),
        label=environment.get("VersionLabel"),
        version_status=version,
        notices=notices,
        url=f"http://{address}" if address else None,
    )


def notices_of(deployment: Deployment, client: ElasticBeanstalkClient) -> tuple[Notice, ...]:
    """The environment's events since shortly before the deployment was made, oldest first."""
    return _notices(client, {"EnvironmentName": deployment.environment}, deployment)


def _notices(
    client: ElasticBeanstalkClient, of: DescribeEventsMessageTypeDef, deployment: Deployment
) -> tuple[Notice, ...]:
    asked: DescribeEventsMessageTypeDef = {
        **of,
        "ApplicationName": deployment.application,
        "StartTime": deployment.created_at - _NOTICES_FROM,
    }
    found: list[Notice] = []
    while True:
        page = client.describe_events(**asked)
        found += [
            Notice(event["EventDate"], event.get("Severity", "INFO"), event.get("Message", ""))
            for event in page["Events"]
        ]
        if not page.get("NextToken"):
            # They come newest first; the stable sort of the reverse keeps the order of those of one millisecond.
            found.reverse()
            return tuple(sorted(found, key=lambda notice: notice.at))
        asked["NextToken"] = page["NextToken"]


def _version_status(deployment: Deployment, client: ElasticBeanstalkClient) -> str | None:
    versions = client.describe_application_versions(
        ApplicationName=deployment.application, VersionLabels=[deployment.label]
    )["ApplicationVersions"]
    return versions[0].get("Status") if versions else None


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


def _in_turn(
    deployment: Deployment, moved: Deployment, call: Call | None, store: Store, now: datetime
) -> tuple[Deployment, Call | None]:
    """What was decided, if the environment is ours now; else a pause, or the end where a newer run stands in line."""
    try:
        if _take_lock(deployment, store):
            # Only now: who had the environment before may have left another version live.
            known = store.live(deployment.region, deployment.environment)
            return replace(moved, good_label=known.label if known else None), call
    except Outrun as outrun:
        return beanstalk.outrun(deployment, outrun.by, now), None
    busy = f"another deployment to {deployment.environment} is under way"
    return beanstalk.delayed(deployment, busy, now), None


def _unless_outrun(deployment: Deployment, moved: Deployment, store: Store, now: datetime) -> Deployment:
    """What waits for an approval gives way to a newer version as soon as there is one."""
    newest = store.newest_in_line(beanstalk.lock_name(deployment))
    return beanstalk.outrun(deployment, newest, now) if newest and newest > deployment.run else moved


def _take_lock(deployment: Deployment, store: Store) -> bool:
    name = beanstalk.lock_name(deployment)
    if store.acquire_in_order(name, deployment.id, deployment.run):
        return True
    holder = store.lock_holder(name)
    other = store.deployment(holder) if holder else None
    if holder and (other is None or other.state in DEPLOYMENT_ENDS):
        # It came to its end while somebody was about to take the lock for it.
        store.release_lock(name, holder)
    return store.acquire_in_order(name, deployment.id, deployment.run)


def _settle(record: Deployment, edge: Edge, now: datetime) -> Deployment:
    """What follows an end, each part harmless when done twice; only then is the record due no more."""
    edge.store.release_lock(beanstalk.lock_name(record), record.id)
    # It parks for an approval, and may not have looked again since that came.
    for waiting_for in (WaitingFor.ENVIRONMENT, *([WaitingFor.APPROVAL] if record.approvers else ())):
        message = edge.store.wake(record.run, waiting_for, now)
        if message:
            edge.queue.call(message, edge.store.run(record.run).job)
            break
    return _rewrite(record, edge.store, lambda current: replace(current, due_at=None))


# --- the one call -------------------------------------------------------------------------------------


def _update(record: Deployment, store: Store, client: ElasticBeanstalkClient, clock: Clock) -> Deployment:
    if record.intended_at is None or clock() - record.intended_at > CALL_WITHIN:
        return record
    try:
        client.update_environment(
            ApplicationName=record.application,
            EnvironmentName=record.environment,
            VersionLabel=beanstalk.wanted(record),
        )
    except ClientError as error:
        return _not_updated(record, store, error, clock)
    except BotoCoreError as error:
        log.warning("no answer to UpdateEnvironment", extra={"deployment": record.id, "error": str(error)})
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
    if _is_unclear(error):
        # It may have begun: the next look tells, not the answer.
        log.warning("unclear answer to UpdateEnvironment", extra={"deployment": record.id, "error": str(error)})
        return record
    reason = _sentence(error)
    if _is_throttled(error) or _is_not_ready(error):
        return _rewrite_intent(record, store, lambda current: beanstalk.refused(current, reason, clock()))
    denied = _is_denied(error)
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


def _unseen(deployment: Deployment, error: ClientError | BotoCoreError, now: datetime) -> Deployment:
    reason = _sentence(error)
    # An update that is under way goes on without our eyes: its environment stays locked until the deadline.
    if _is_denied(error) and deployment.intended_at is None:
        return beanstalk.failed(deployment, reason, now, ours=True)
    return beanstalk.delayed(deployment, reason, now, ours=True)


def _is_denied(error: ClientError | BotoCoreError) -> bool:
    return isinstance(error, ClientError) and error.response["Error"]["Code"] in _DENIED


def _sentence(error: ClientError | BotoCoreError) -> str:
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
