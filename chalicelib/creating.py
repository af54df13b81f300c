"""A deployment whose environment is not there in; how it is made from a saved configuration, once, out."""

from __future__ import annotations

import shlex
from dataclasses import replace
from datetime import datetime, timedelta

from chalicelib.environment import LOST_AFTER, Call, Seen, first_error, newest, since
from chalicelib.model import Deployment, DeploymentState

Next = tuple[Deployment, Call | None]

_MAY_CREATE = frozenset({DeploymentState.PREPARED, DeploymentState.WAITING_READY})


def concerns(record: Deployment, seen: Seen) -> bool:
    """Whether the environment is to be made by this deployment, or was."""
    return record.creates or (record.template is not None and seen.missing and record.state in _MAY_CREATE)


def look(record: Deployment, seen: Seen, now: datetime) -> Next | None:
    """The next state of a deployment that creation concerns; None where it goes on as every other does.

    AWS gives a name to one environment at a time: of two CreateEnvironment the second is refused. So a call without a
    trace is made again, and what is there with another version is somebody else's.
    """
    if record.state is DeploymentState.PREPARED:
        return None
    return _not_there(record, seen, now) if seen.missing else _there(record, seen, now)


def _there(record: Deployment, seen: Seen, now: datetime) -> Next | None:
    """It was made: by this deployment, unless it shows another version."""
    if seen.going:
        return _failed(record, f"{record.environment} was terminated while it was created with {record.label}"), None
    if seen.label not in {None, record.label} and record.state is DeploymentState.VERIFYING:
        return _failed(
            record, f"{record.environment} runs {seen.label}, not {record.label}: somebody else deployed it"
        ), None
    if seen.label != record.label and (seen.label or record.state is DeploymentState.WAITING_READY):
        # Made by somebody a moment before, or while our call was refused: it is updated, as one that was there.
        waits = replace(record, state=DeploymentState.WAITING_READY, creates=False, called=False, intended_at=None)
        return waits, None
    if seen.ready and seen.label is None:
        why = first_error(since(record.mark_at, seen.notices)) or "it gives no reason; its events stand in the log"
        return _failed(record, f"{record.environment} was created, and does not run {record.label}: {why}{STAYS}"), None
    if record.state is not DeploymentState.VERIFYING:
        return _verifying(record, now), None
    return None


def _not_there(record: Deployment, seen: Seen, now: datetime) -> Next:
    """The call; again, if it shows no trace; or, if it was there already, the end."""
    lost = record.intended_at is None or now - record.intended_at >= LOST_AFTER
    late = record.intended_at is not None and now >= record.deadline_at
    if record.state is DeploymentState.VERIFYING:
        gone = f"{record.environment} was terminated while it was created with {record.label}"
        return (_failed(record, gone) if lost else record), None
    if late or (record.state is DeploymentState.UPDATING and not lost):
        return record, None
    mark_at = record.mark_at if record.creates else newest(seen.notices)
    intent = replace(record, state=DeploymentState.UPDATING, intended_at=now, called=False, mark_at=mark_at)
    return replace(intent, creates=True, previous_label=None, previous_health=None), Call.CREATE


def too_late(record: Deployment) -> str | None:
    """What was waited for in vain where creation has left no trace; None where something else was."""
    if not record.creates or record.state is not DeploymentState.UPDATING:
        return None
    return f" for {record.environment} to be created with {record.label}: it shows no trace of it, or is another's"


STAYS = ". There is no version to go back to: the environment stays as it is"


def missing(environment: str, application: str, region: str) -> str:
    """What somebody reads who deploys to an environment that is not there."""
    return (
        f"there is no environment {environment} of the application {application} in {region}: "
        f"create it from one of {application}'s saved configurations "
        f"(`aws elasticbeanstalk create-environment --region {region} --application-name {shlex.quote(application)} "
        f"--environment-name {environment} --template-name TEMPLATE`), let `create: {{template: TEMPLATE}}` of "
        "deploy_eb do it, or correct deploy_eb in ci.yml"
    )


def no_template(template: str, application: str, region: str) -> str:
    """What somebody reads whose `create` names a saved configuration that is not there."""
    name = shlex.quote(application)
    return (
        f"{application} has no saved configuration {template} in {region}: save one of an environment that is as it "
        f"should be (`aws elasticbeanstalk create-configuration-template --region {region} --application-name {name} "
        f"--template-name {shlex.quote(template)} --environment-id ID`), or correct `create` in ci.yml"
    )


def is_no_template(text: str) -> bool:
    """Whether this is how AWS says that a saved configuration is not there."""
    return "no configuration template named" in text.lower()


def is_taken(text: str) -> bool:
    """Whether this is how AWS says that an environment of that name is there already."""
    return "already exists" in text.lower()


NEEDS_RIGHTS = (
    ". Who creates an environment needs AWS's AdministratorAccess-AWSElasticBeanstalk: attach it to both of their roles"
)


def _verifying(record: Deployment, now: datetime) -> Deployment:
    deadline_at = now + timedelta(seconds=record.timeout_s)
    return replace(record, state=DeploymentState.VERIFYING, deadline_at=deadline_at)


def _failed(record: Deployment, reason: str) -> Deployment:
    return replace(record, state=DeploymentState.FAILED, reason=reason)
