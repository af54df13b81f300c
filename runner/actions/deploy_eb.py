"""A pushed image and a commit in; that version live in an Elastic Beanstalk environment, or the reason why not, out.

The first call makes the version and a deployment record and parks the run. Whoever is alive, a runner or the Lambda,
advances the record; the later calls only write down what became of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Literal

import pydantic
from annotated_types import MaxLen, MinLen
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import AfterValidator

from chalicelib.creating import missing
from chalicelib.environment import Notice, since
from chalicelib.errors import NeedsAttention, Outrun, Recalled, StepErrored, StepFailed
from chalicelib.fit import Sink, fit
from chalicelib.model import Deployment, DeploymentState, StepResult, StepStatus, WaitingFor
from chalicelib.reports.words import span
from chalicelib.seeing import notices_of
from runner import bundling, eb_logs, eb_templates
from runner.bundle.making import Bundle
from runner.bundle.placeholders import Image
from runner.context import Context, Park
from runner.fields import Address, Duration, Email, ImageName, Name, complaint

if TYPE_CHECKING:
    from mypy_boto3_elasticbeanstalk import ElasticBeanstalkClient

# Of the image it needs the digest that was pushed, which is in the record.
NEEDS_IMAGE = False
DOES = ("deploy {application} to {environment}", "in {region}")

# The end wakes the run; in between it only fetches the newest events into its log: more rarely the longer it takes.
_LOOK_AGAIN = timedelta(seconds=20)
_LOOK_AGAIN_AT_LAST = timedelta(minutes=5)
_LABEL_LENGTH = 100
_DESCRIPTION_LENGTH = 200
_NAME_LENGTHS = range(4, 41)
_MOST_LINES = 20
_MOST_WRITES = 10
_MOST_APPROVERS = 20
_LONGEST_APPROVAL_S = 30 * 86400
_ASK_AT_MOST = timedelta(hours=1)


def _not_for_ever(within_s: int) -> int:
    if within_s > _LONGEST_APPROVAL_S:
        raise complaint("an approval is waited for 30 days at most")
    return within_s


class Approve(pydantic.BaseModel):
    """`approve: {by: [sam@example.com], within: 7d}`.

    Args:
        by: whose word is needed, one of them.
        within: how long it waits for it.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    by: Annotated[tuple[Email, ...], MinLen(1), MaxLen(_MOST_APPROVERS)]
    within: Annotated[Duration, AfterValidator(_not_for_ever)] = 604800


class Health(pydantic.BaseModel):
    """`health: {accept: yellow, within: 10m, hold: 1m}`.

    Args:
        accept: which health does; before = not sick, and no worse than before the update.
        within: how long that may take, once the environment is Ready.
        hold: how long it has to stay so before the version counts as live.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    accept: Literal["before", "green", "yellow", "any"] = "before"
    within: Duration | None = None
    hold: Duration | None = None


class Settings(pydantic.BaseModel):
    """`deploy_eb: {application: "{client|dash}", environment: "{client|dash}-production", timeout: 30m}`.

    Args:
        timeout: how long each part may take: the version, the wait for Ready, the update itself, the way back.
        rollback: auto = what does not do is undone: the version that was well there last is deployed again, once.
        probe: an address, or a path of the environment's own, that has to answer with 2xx or 3xx before it is live.
        probe_within: how long that may take, once the environment is Ready and well.
        health: which health does, how soon and for how long.
        bundle: image = the tested image is named by its digest; source = Elastic Beanstalk builds the Dockerfile anew.
        approve: whose word is needed before anything is deployed.
        create: from which saved configuration the environment is made where there is none.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    application: Name
    environment: Name
    region: str | None = pydantic.Field(default=None, pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]$")
    timeout: Duration = 1800
    rollback: Literal["auto", "never"] = "auto"
    probe: Address | None = None
    probe_within: Duration = 60
    health: Health | None = None
    bundle: Literal["image", "source"] = "image"
    approve: Approve | None = None
    create: eb_templates.Create | None = None
    image: ImageName | None = None

    @pydantic.field_validator("health")
    @classmethod
    def _no_longer_than_the_update(cls, health: Health | None, info: pydantic.ValidationInfo) -> Health | None:
        timeout_s = info.data.get("timeout")
        for name in ("within", "hold"):
            length_s = getattr(health, name, None)
            if timeout_s and length_s and length_s > timeout_s:
                ends = f"the timeout of the update, {span(timeout_s)}, is over before that"
                raise complaint(f"{name} is {span(length_s)}, and {ends}: write a longer timeout, or less here")
        return health


def run(settings: Settings, context: Context) -> StepResult | Park:
    """Begin the deployment, or go on with the one that this step has begun."""
    record: Deployment | None = context.aws.store.deployment(deployment_id(context))
    if record is None:
        record = begin(settings, context)
        context.log.line(f"eb: {record.label} is on its way to {record.environment} ({record.region})")
        return parked(record, context)
    if record.state is DeploymentState.SUPERSEDED and record.outrun_by:
        raise Outrun(record.reason or f"{record.label} was not deployed", record.outrun_by)
    if record.state is DeploymentState.CANCELLED:
        raise Recalled(record.reason or f"{record.label} was not deployed")
    notices = follow(record, context)
    if record.state is DeploymentState.ROLLED_BACK and record.stopped_by:
        raise Recalled(f"{record.reason}: {record.environment} runs {record.back_to} again")
    if record.state is DeploymentState.FAILED and record.ours:
        raise StepErrored(record.reason or f"{record.label} could not be deployed")
    if record.state is DeploymentState.ROLLBACK_FAILED:
        error = eb_logs.error_of(record, context)
        attention = NeedsAttention(f"needs attention: {record.reason}" + (f". Its log says: {error}" if error else ""))
        attention.facts = {"not_back": {"environment": record.environment, "region": record.region}}
        raise attention
    if record.state in {DeploymentState.FAILED, DeploymentState.ROLLED_BACK}:
        error = eb_logs.error_of(record, context)
        said = [f"{notice.severity} {notice.message}" for notice in notices]
        lines = (*said[-_MOST_LINES + 1 :], f"log: {error}") if error else said[-_MOST_LINES:]
        raise StepFailed(record.reason or f"{record.label} did not go live", tuple(lines))
    if record.state is DeploymentState.LIVE:
        context.log.line(f"eb: {record.label} is live in {record.environment}: {record.url}")
        facts = {"deployment": facts_of(record)}
        return StepResult("deploy_eb", StepStatus.PASSED, record.created_at, context.now(), facts=facts)
    return parked(record, context)


def deployment_id(context: Context) -> str:
    return f"{context.run}.{context.index}"


def parked(record: Deployment, context: Context) -> Park:
    if record.state is DeploymentState.WAITING_APPROVAL:
        return Park(WaitingFor.APPROVAL, context.now() + _asks_again_in(record, context), record.reason or "")
    reason = record.reason or f"Elastic Beanstalk brings {record.label} to {record.environment}"
    pause = min(max(context.now() - record.created_at, _LOOK_AGAIN), _LOOK_AGAIN_AT_LAST)
    return Park(WaitingFor.ENVIRONMENT, context.now() + pause, reason)


def _asks_again_in(record: Deployment, context: Context) -> timedelta:
    """The end wakes the run; should that be missed, the longer it has waited, the rarer it looks."""
    waited = context.now() - (record.deadline_at - timedelta(seconds=record.approve_within_s))
    return min(max(_LOOK_AGAIN, waited / 4), _ASK_AT_MOST)


def facts_of(record: Deployment) -> dict[str, str | None]:
    return {
        "application": record.application,
        "environment": record.environment,
        "region": record.region,
        "label": record.label,
        "previous_label": record.previous_label,
        "image": record.image,
        "built_from": record.built_from,
        "url": record.url,
        "note": record.reason or _on_whose_word(record),
    }


def _on_whose_word(record: Deployment) -> str | None:
    if record.creates:
        by = f", approved by {record.approved_by}" if record.approved_by else ""
        return f"the environment was created from the saved configuration {record.template}{by}"
    if record.instead_of:
        return f"instead of {record.instead_of}, as {record.by} wanted"
    return f"approved by {record.approved_by}" if record.approved_by else None


def begin(settings: Settings, context: Context) -> Deployment:
    """Bundle, version and record; each is found again where an earlier claim has made it."""
    region = settings.region or context.aws.region
    client: ElasticBeanstalkClient = context.aws.client("elasticbeanstalk", region)
    if context.job.event.fork:
        raise StepFailed("this comes from a fork, and what is deployed runs as root on the instances: nothing of it is")
    wanted = bundling.wanted(settings.image, context, built_there=settings.bundle == "source")
    with answering(settings, region):
        platform = platform_of(settings, client, region)
    made = bundling.bundled(wanted, context)
    bundling.check_platform(settings.environment, platform, made)
    bundling.write_credentials(made.hosts, context)
    label = version_label(context, made)
    key = f"bundles/{settings.application}/{label}.zip"
    context.journal.intend("version", label=label)
    context.aws.objects.put_once(key, made.body)
    with answering(settings, region):
        make_version(settings, context, client, label, key)
    context.journal.observe("version", label=label)
    now, health = context.now(), settings.health or Health()
    record = Deployment(
        id=deployment_id(context),
        run=context.run,
        region=region,
        application=settings.application,
        environment=settings.environment,
        label=label,
        state=DeploymentState.PREPARED,
        number=1,
        created_at=now,
        deadline_at=now + timedelta(seconds=settings.timeout),
        due_at=now,
        timeout_s=settings.timeout,
        rolls_back=settings.rollback == "auto",
        probe=settings.probe,
        probe_within_s=settings.probe_within,
        accept=health.accept,
        health_within_s=health.within,
        hold_s=health.hold or 0,
        repository=context.job.source.name,
        tag=context.job.event.name,
        commit=context.job.event.commit,
        image=wanted.reference if isinstance(wanted, Image) else None,
        built_from=made.built_from,
        by=who(context),
        approvers=settings.approve.by if settings.approve else (),
        approve_within_s=settings.approve.within if settings.approve else 0,
        template=settings.create.template if settings.create else None,
    )
    context.stopping.check()
    context.journal.intend(f"deploy {settings.environment}", label=label, must_finish=True)
    context.aws.store.create_deployment(record)
    return record


def who(context: Context) -> str | None:
    """Who pushed, as people call them."""
    pusher = context.job.event.pusher
    return (pusher.name or pusher.login or pusher.email) if pusher else None


def platform_of(settings: Settings, client: ElasticBeanstalkClient, region: str) -> str:
    """What the environment runs: nothing is uploaded for one that is not there.

    Raises:
        StepFailed: it is not, or cannot be.
    """
    application, environment = settings.application, settings.environment
    if len(environment) not in _NAME_LENGTHS:
        raise StepFailed(f"an environment's name has 4 to 40 characters, {environment!r} has {len(environment)}")
    found = client.describe_environments(
        ApplicationName=application, EnvironmentNames=[environment], IncludeDeleted=False
    )
    if not found["Environments"]:
        if settings.create is None:
            raise StepFailed(missing(environment, application, region))
        return eb_templates.platform_of(settings.create.template, application, client, region)
    described = found["Environments"][0]
    return described.get("SolutionStackName") or described.get("PlatformArn") or ""


def version_label(context: Context, made: Bundle) -> str:
    """`v1.2.0-1a2b3c4-5d6e7f80`: the same commit, image and settings are the same label."""
    event = context.job.event
    end = f"-{(event.commit or '')[:7]}-{made.content[:8]}"
    name, ref = event.name or context.job.pipeline, event.ref or "HEAD"
    return fit(name, Sink.VERSION_LABEL, ref, room=_LABEL_LENGTH - len(end)) + end


def make_version(settings: Settings, context: Context, client: ElasticBeanstalkClient, label: str, key: str) -> None:
    """The application version; one of the same label and bundle is used again.

    Raises:
        StepFailed: the label belongs to another bundle.
    """
    bucket, event = context.aws.objects.bucket, context.job.event
    description = f"{event.forge}/{event.repository} {event.name} {(event.commit or '')[:7]}, run {context.run}"
    if _version_is_there(client, settings.application, label, (bucket, key)):
        return
    try:
        client.create_application_version(
            ApplicationName=settings.application,
            VersionLabel=label,
            Description=description.encode("ascii", "replace").decode()[:_DESCRIPTION_LENGTH],
            SourceBundle={"S3Bucket": bucket, "S3Key": key},
            AutoCreateApplication=False,
            Process=True,
        )
    except ClientError as error:
        # Another run made it in this very moment, or botocore asked twice.
        if "already exists" not in error.response["Error"].get("Message", ""):
            raise
        _version_is_there(client, settings.application, label, (bucket, key))
    context.log.line(f"eb: made the version {label}")


def _version_is_there(client: ElasticBeanstalkClient, application: str, label: str, place: tuple[str, str]) -> bool:
    found = client.describe_application_versions(ApplicationName=application, VersionLabels=[label])
    for version in found["ApplicationVersions"]:
        source = version.get("SourceBundle", {})
        if (source.get("S3Bucket"), source.get("S3Key")) != place:
            raise StepFailed(
                f"the version {label} of {application} was made from another bundle "
                f"(s3://{source.get('S3Bucket')}/{source.get('S3Key')}): delete that version, or push a new tag"
            )
        return True
    return False


@contextlib.contextmanager
def answering(settings: Settings, region: str) -> Iterator[None]:
    """AWS's refusals as sentences.

    Raises:
        StepFailed: what ci.yml names is not there.
        StepErrored: everything else.
    """
    try:
        yield
    except ClientError as error:
        said = error.response["Error"]
        code, text = said.get("Code", "?"), said.get("Message", "")
        if "No Application named" in text:
            raise StepFailed(
                f"there is no application {settings.application} in {region}: "
                "create it there, or correct deploy_eb in ci.yml"
            ) from error
        if code.startswith("S3LocationNotInServiceRegion"):
            raise StepFailed(
                f"bundles lie in another region than {region}: Elastic Beanstalk takes them from its own only; "
                "correct deploy_eb's region in ci.yml, or install Tau there"
            ) from error
        if code.startswith("TooManyApplicationVersions"):
            raise StepErrored(
                f"the quota of application versions in {region} is used up (all applications count): delete old ones, "
                'or ask AWS for more ("Application versions" of Elastic Beanstalk in Service Quotas)'
            ) from error
        raise StepErrored(f"elasticbeanstalk:{error.operation_name} was refused ({code}): {text}") from error
    except BotoCoreError as error:
        raise StepErrored(f"Elastic Beanstalk in {region} cannot be reached: {error}") from error


def follow(record: Deployment, context: Context) -> list[Notice]:
    """Write the events that are new into the log; all since the update began, oldest first."""
    if record.intended_at is None:
        return []
    client: ElasticBeanstalkClient = context.aws.client("elasticbeanstalk", record.region)
    try:
        notices = since(record.mark_at, notices_of(record, client))
    except (ClientError, BotoCoreError) as error:
        # The verdict stands in the record; its events may come with the next look.
        context.log.line(f"eb: events cannot be read now: {error}")
        return []
    fresh = [notice for notice in notices if record.events_after is None or notice.at > record.events_after]
    for notice in fresh:
        context.log.line(f"eb: {notice.severity} {notice.message}")
    if fresh:
        _remember(record, fresh[-1], context)
    return notices


def _remember(record: Deployment, last: Notice, context: Context) -> None:
    store = context.aws.store
    current: Deployment | None = record
    for _ in range(_MOST_WRITES):
        if current is None or store.move_deployment(current, replace(current, events_after=last.at)):
            return
        current = store.deployment(record.id)
