"""An environment whose deployment failed in; the tail of its instances' logs, and the line that says why, out.

Elastic Beanstalk collects them when it is asked to, and puts them where an address leads that it then tells.

Source: https://docs.aws.amazon.com/elasticbeanstalk/latest/api/API_RequestEnvironmentInfo.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.model import Deployment
from runner.context import Context
from runner.fetching import NotFetched

if TYPE_CHECKING:
    from mypy_boto3_elasticbeanstalk import ElasticBeanstalkClient
    from mypy_boto3_elasticbeanstalk.type_defs import EnvironmentInfoDescriptionTypeDef

_LOOK_EVERY_S = 3
_MOST_LOOKS = 10
_MOST_CHARS = 300
_FILE = re.compile(r"-{5,}\n(/\S+)\n-{5,}\n")
# Elastic Beanstalk's own agent says what did not work, and with which words of the application. How every such line
# begins is left out.
_ENGINE = "/eb-engine.log"
_ITS_ERROR = re.compile(r"\[ERROR\]\s*(?:An error .*? Stop running the command\. Error: )?(.*)")
_TIME = re.compile(r"(\d{4})[/-](\d\d)[/-](\d\d)[ T](\d\d):(\d\d):(\d\d)")
_ERROR = re.compile(r"\b(error|fatal|exception|traceback|panic|failed)\b", re.IGNORECASE)


def error_of(deployment: Deployment, context: Context) -> str | None:
    """The first line in the environment's logs that tells of an error; None where an update was never begun.

    The end of each instance's logs goes into the run's log. It takes seconds, half a minute at the most, and changes no
    verdict: where it cannot be had, the run's log says why.
    """
    if deployment.intended_at is None or context.aws.fetch is None:
        return None
    client: ElasticBeanstalkClient = context.aws.client("elasticbeanstalk", deployment.region)
    environment = deployment.environment
    try:
        texts = [
            (info.get("Ec2InstanceId", "?"), context.aws.fetch(info.get("Message", "")))
            for info in _collected(context, client, environment)
        ]
    except (ClientError, BotoCoreError, NotFetched) as error:
        context.log.line(f"eb: the logs of {environment} cannot be had: {error}")
        return None
    if not texts:
        context.log.line(f"eb: the logs of {environment} did not come")
    for instance, text in texts:
        context.log.line(f"eb: the end of the logs of {instance}")
        context.log.write(text if text.endswith(b"\n") else text + b"\n")
    # One that waited for its turn, or for somebody's word, saw others come and go.
    since = max(deployment.created_at, deployment.mark_at or deployment.created_at)
    return first_error([text.decode("utf-8", "replace") for _, text in texts], since)


def first_error(logs: Sequence[str], since: datetime) -> str | None:
    """The first line that tells of an error: what the agent calls one goes before everything else.

    Args:
        since: when the deployment began; what has an older time is another one's.
    """
    files = [(name, list(_fresh(text, since))) for log in logs for name, text in _files(log)]
    engine = (line for name, lines in files if name.endswith(_ENGINE) for line in lines)
    agents = [found[1] for found in map(_ITS_ERROR.search, engine) if found]
    others = [line for _, lines in files for line in lines if _ERROR.search(line)]
    return next((line.strip()[:_MOST_CHARS] for line in (*agents, *others)), None)


def _collected(
    context: Context, client: ElasticBeanstalkClient, environment: str
) -> list[EnvironmentInfoDescriptionTypeDef]:
    """What the instances have put down since we asked; those that are late are not waited for."""
    known = {info.get("Message", "").partition("?")[0] for info in _retrieved(client, environment)}
    client.request_environment_info(EnvironmentName=environment, InfoType="tail")
    rung = context.pace.flag()
    found: list[EnvironmentInfoDescriptionTypeDef] = []
    with context.stopping.telling(rung.set):
        for _ in range(_MOST_LOOKS):
            if rung.wait(_LOOK_EVERY_S):
                break
            before, told = len(found), _retrieved(client, environment)
            found = [info for info in told if info.get("Message", "").partition("?")[0] not in known]
            if found and len(found) == before:
                break
    return found


def _retrieved(client: ElasticBeanstalkClient, environment: str) -> list[EnvironmentInfoDescriptionTypeDef]:
    return client.retrieve_environment_info(EnvironmentName=environment, InfoType="tail")["EnvironmentInfo"]


def _files(log: str) -> Iterator[tuple[str, str]]:
    """Name and text of each file in a tail."""
    start, *pieces = _FILE.split(log)
    if start.strip():
        yield "", start
    yield from zip(pieces[::2], pieces[1::2], strict=True)


def _fresh(text: str, since: datetime) -> Iterator[str]:
    """The lines since then; one without a time belongs to the one before it."""
    fresh = True
    for line in text.splitlines():
        time = _TIME.match(line.lstrip("["))
        if time:
            fresh = _at(time) >= since.replace(microsecond=0)
        if fresh:
            yield line


def _at(time: re.Match[str]) -> datetime:
    try:
        return datetime(*map(int, time.groups()), tzinfo=UTC)  # type: ignore[arg-type, misc] # six numbers
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)
