"""Deployments of one region in; what Elastic Beanstalk says of each, by the same few questions for all of them, out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.environment import CLOCKS_DIFFER, Instance, Notice, Seen
from chalicelib.model import Deployment, DeploymentState
from chalicelib.verifying import asks_instances

if TYPE_CHECKING:
    from mypy_boto3_elasticbeanstalk import ElasticBeanstalkClient

_MOST_RECORDS = 1000
"""The most that one answer holds. https://docs.aws.amazon.com/elasticbeanstalk/latest/api/API_DescribeEvents.html"""

_MOST_ASKED = 20
"""The instances of so many environments are asked in one look, which would else be old when it decides."""

Described = Mapping[str, Any]
CannotLook = ClientError | BotoCoreError


def look(deployments: Sequence[Deployment], client: ElasticBeanstalkClient) -> dict[str, Seen | CannotLook]:
    """What Elastic Beanstalk says now of each deployment, by its id; of one, perhaps why its instances do not tell.

    Events are read before the environments: an update that they show has begun when its status is read. Instances
    are asked last, and only where nothing but their word is missing.
    """
    start = min(map(_wanted_from, deployments))
    events = list(_events(client, start))
    environments = {_place(one): one for one in _environments(client, deployments)}
    versions = {
        (one["ApplicationName"], one["VersionLabel"]): one.get("Status") for one in _versions(client, deployments)
    }
    found = _found(deployments, environments, versions, events)
    if any(_reason_may_be_newer(one, found[one.id]) for one in deployments):
        # Only what went wrong: an update that has just begun is not what these environments were seen after.
        latest = max((event["EventDate"] for event in events), default=start)
        newer = [event for event in _events(client, latest, Severity="WARN") if event not in events]
        found = _found(deployments, environments, versions, newer + events)
    return {**found, **_told_by_instances(deployments, found, client)}


def notices_of(deployment: Deployment, client: ElasticBeanstalkClient) -> tuple[Notice, ...]:
    """The environment's events since shortly before the deployment's turn came, oldest first."""
    of = {"ApplicationName": deployment.application, "EnvironmentName": deployment.environment}
    return _notices(_events(client, _wanted_from(deployment), **of))


def _wanted_from(deployment: Deployment) -> datetime:
    """Its mark is of Elastic Beanstalk's own clock, or allows for that already."""
    return deployment.mark_at or deployment.created_at - CLOCKS_DIFFER


def _place(described: Described) -> tuple[str | None, str | None]:
    return described.get("ApplicationName"), described.get("EnvironmentName")


def _found(
    deployments: Sequence[Deployment],
    environments: Mapping[tuple[str | None, str | None], Described],
    versions: Mapping[tuple[str, str], str | None],
    events: Sequence[Described],
) -> dict[str, Seen]:
    of_environment = defaultdict(list)
    for event in events:
        of_environment[_place(event)].append(event)
    found = {}
    for one in deployments:
        place = one.application, one.environment
        version = versions.get((one.application, one.label)) if one.state is DeploymentState.PREPARED else None
        told = of_environment[place]
        if _is_failed(version):
            # What Elastic Beanstalk makes of a version is told of the version alone.
            of_version = {"ApplicationName": one.application, "VersionLabel": one.label}
            told = [event for event in events if of_version.items() <= event.items()]
        start = _wanted_from(one)
        found[one.id] = _seen(environments.get(place), version, [new for new in told if new["EventDate"] >= start])
    return found


def _seen(environment: Described | None, version: str | None, events: Iterable[Described]) -> Seen:
    if environment is None:
        return Seen(missing=True, version_status=version, notices=_notices(events))
    address = environment.get("CNAME") or environment.get("EndpointURL")
    return Seen(
        status=environment.get("Status"),
        health=environment.get("Health"),
        health_status=environment.get("HealthStatus"),
        label=environment.get("VersionLabel"),
        version_status=version,
        notices=_notices(events),
        url=f"http://{address}" if address else None,
        enhanced=bool(environment.get("HealthStatus")),
    )


def _told_by_instances(
    deployments: Sequence[Deployment], found: Mapping[str, Seen], client: ElasticBeanstalkClient
) -> dict[str, Seen | CannotLook]:
    """The same of those whose instances are asked, as far as they are answered; the others' are, at the next look."""
    told: dict[str, Seen | CannotLook] = {}
    # Those that have a reason to wait have waited for it before: they go last.
    asked = sorted((one for one in deployments if asks_instances(one, found[one.id])), key=lambda one: bool(one.reason))
    for one in asked[:_MOST_ASKED]:
        told[one.id] = of_it = _with_instances(one, found[one.id], client)
        if isinstance(of_it, Exception):
            break
    return told


def _with_instances(deployment: Deployment, seen: Seen, client: ElasticBeanstalkClient) -> Seen | CannotLook:
    """What is seen, with what each instance runs; basic health knows nothing of that, and refuses the question."""
    asked = {"EnvironmentName": deployment.environment, "AttributeNames": ["Deployment"]}
    try:
        listed = [_instance(one) for one in _paged(client.describe_instances_health, "InstanceHealthList", **asked)]
    except ClientError as error:
        basic = error.response["Error"]["Code"] == "InvalidRequestException"
        return replace(seen, enhanced=False) if basic else error
    except BotoCoreError as error:
        return error
    return replace(seen, instances=tuple(listed))


def _instance(described: Described) -> Instance:
    given = described.get("Deployment") or {}
    return Instance(described.get("InstanceId", "?"), given.get("VersionLabel"), given.get("Status"))


def _is_failed(version: str | None) -> bool:
    return (version or "").upper() == "FAILED"


def _reason_may_be_newer(deployment: Deployment, seen: Seen) -> bool:
    """It has come to an end that events explain: they may have been written since they were read."""
    if deployment.state is DeploymentState.PREPARED:
        return _is_failed(seen.version_status)
    return seen.ready and seen.label != deployment.label


def _events(client: ElasticBeanstalkClient, start: datetime, **of: Any) -> Iterator[Described]:
    return _paged(client.describe_events, "Events", StartTime=start, MaxRecords=_MOST_RECORDS, **of)


def _environments(client: ElasticBeanstalkClient, deployments: Sequence[Deployment]) -> Iterator[Described]:
    names = sorted({one.environment for one in deployments})
    return _paged(
        client.describe_environments,
        "Environments",
        EnvironmentNames=names,
        IncludeDeleted=False,
        MaxRecords=_MOST_RECORDS,
    )


def _versions(client: ElasticBeanstalkClient, deployments: Sequence[Deployment]) -> Iterator[Described]:
    """Those that are being prepared."""
    labels = sorted({one.label for one in deployments if one.state is DeploymentState.PREPARED})
    if not labels:
        return iter(())
    return _paged(client.describe_application_versions, "ApplicationVersions", VersionLabels=labels)


def _paged(ask: Any, part: str, **asked: Any) -> Iterator[Described]:
    while True:
        page = ask(**asked)
        yield from page[part]
        if not page.get("NextToken"):
            return
        asked["NextToken"] = page["NextToken"]


def _notices(events: Iterable[Described]) -> tuple[Notice, ...]:
    """They come newest first; the stable sort of the reverse keeps the order of those of one millisecond."""
    found = [Notice(event["EventDate"], event.get("Severity", "INFO"), event.get("Message", "")) for event in events]
    found.reverse()
    return tuple(sorted(found, key=lambda notice: notice.at))
