"""An installation's edge in; what a runner needs of AWS, each as a question that changes nothing.

A right to write is asked for by a call that can do nothing: who may not is told so before anything else is looked at.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parseaddr
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.config import Config
from chalicelib.edge import Edge
from chalicelib.model import Json
from chalicelib.queue import no_such_queue
from chalicelib.reports.words import counted, duration
from runner.doctor.findings import Mark, NotWell, Question, is_denied

_NOWHERE = "tau doctor asks"
_INDEXES = {"due": "due_shard", "by_ref": "ref_key", "by_commit": "commit", "by_day": "day"}
_WRITTEN = ("logs/", "artifacts/", "bundles/")
# https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html
_REFUSED_FROM_S = 300
_WRONG_FROM_S = 60


def identity(edge: Edge) -> str:
    """Who we are at AWS."""
    ours = edge.client("sts").get_caller_identity()
    return f"account {ours['Account']}, region {edge.region}, as {ours['Arn']}"


def questions(edge: Edge, config: Config | None, pool: str) -> Iterator[Question]:
    """What is asked once it is known who we are."""
    yield "clock", lambda: _clock(edge)
    yield "table", lambda: _table(edge)
    for name in sorted({pool, *(pipeline.pool for pipeline in config.pipelines if config)} if config else {pool}):
        yield f"queue {name}", _queue_of(edge, name, ours=name == pool)
    yield "bucket", lambda: _bucket(edge)
    yield "mail", lambda: _mail(edge)
    if config:
        yield from _beanstalks(edge, config)
        yield "ci.yml in force", lambda: _in_force(edge, config)


def _clock(edge: Edge) -> str:
    ahead_s = (datetime.now(UTC) - edge.now()).total_seconds()
    said = f"{duration(abs(ahead_s))} {'ahead of' if ahead_s > 0 else 'behind'} AWS's"
    if abs(ahead_s) >= _WRONG_FROM_S:
        refused = "AWS refuses what is signed here" if abs(ahead_s) >= _REFUSED_FROM_S else "it goes wrong"
        mark = Mark.BROKEN if abs(ahead_s) >= _REFUSED_FROM_S else Mark.MIND
        raise NotWell(f"{said}: {refused}; run NTP (timedatectl set-ntp true)", mark)
    return "goes as AWS's does"


def _table(edge: Edge) -> str:
    client, name = edge.client("dynamodb"), edge.settings.table
    keys = [{"pk": {"S": _NOWHERE}, "sk": {"S": str(number)}} for number in range(3)]
    client.get_item(TableName=name, Key=keys[0])
    client.batch_get_item(RequestItems={name: {"Keys": keys}})
    for index, key in _INDEXES.items():
        how = {"KeyConditionExpression": "#k = :v", "ExpressionAttributeNames": {"#k": key}, "Limit": 1}
        client.query(TableName=name, IndexName=index, ExpressionAttributeValues={":v": {"S": _NOWHERE}}, **how)
    # What is not there cannot be changed: none of the three is done.
    never = {"TableName": name, "ConditionExpression": "attribute_exists(pk)"}
    updated = {
        "UpdateExpression": "SET #n = :n",
        "ExpressionAttributeNames": {"#n": "n"},
        "ExpressionAttributeValues": {":n": {"N": "1"}},
    }
    harmless = [
        {"ConditionCheck": {"Key": keys[0], **never}},
        {"Put": {"Item": keys[1], **never}},
        {"Update": {"Key": keys[2], **updated, **never}},
    ]
    _allowed(lambda: client.transact_write_items(TransactItems=harmless))
    return f"{name} and its indexes can be read and written"


def _queue_of(edge: Edge, pool: str, *, ours: bool) -> Callable[[], str]:
    def ask() -> str:
        try:
            url = edge.queue.url(pool)
        except ClientError as error:
            if no_such_queue(error):
                stack = "infra/stack.yml" if pool == "default" else "infra/pool.yml"
                raise NotWell(f"there is no queue of the pool {pool}: deploy {stack} for it") from error
            raise
        if not ours:
            return "is there; its messages are other runners'"
        client = edge.client("sqs")
        wanted = ["ApproximateNumberOfMessages"]
        found = client.get_queue_attributes(QueueUrl=url, AttributeNames=wanted)["Attributes"]
        of_nobody = {"QueueUrl": url, "ReceiptHandle": _NOWHERE}
        _allowed(lambda: client.change_message_visibility(**of_nobody, VisibilityTimeout=0))
        _allowed(lambda: client.delete_message(**of_nobody))
        return f"{counted(int(found[wanted[0]]), 'message')} waiting"

    return ask


def _bucket(edge: Edge) -> str:
    client, name = edge.client("s3"), edge.settings.bucket
    client.list_objects_v2(Bucket=name, MaxKeys=1)
    for folder in _WRITTEN:
        key = f"{folder}{_NOWHERE}"
        _allowed(lambda key=key: client.get_object(Bucket=name, Key=key))  # type: ignore[misc]  # as the loop has it
        part = {"Bucket": name, "Key": key, "UploadId": _NOWHERE, "PartNumber": 1, "Body": b""}
        _allowed(lambda part=part: client.upload_part(**part))  # type: ignore[misc]
    return f"{name} can be read and written"


def _allowed(call: Callable[[], object]) -> None:
    """Make a call that can do nothing: whatever it is answered, but that we may not, shows that we may.

    Raises:
        ClientError: we may not.
    """
    try:
        call()
    except ClientError as error:
        if is_denied(error) or error.response["Error"].get("Code") == "403":
            raise


# --- mail -------------------------------------------------------------------------------------------


def _mail(edge: Edge) -> str:
    _, address = parseaddr(edge.settings.sender)
    client = edge.client("sesv2")
    try:
        verified, account = _identity_of(client, address), client.get_account()
    except ClientError as error:
        if is_denied(error):
            said = f"whether SES sends for {address} cannot be asked ({error}): deploy infra/stack.yml anew for that"
            raise NotWell(said, Mark.MIND) from error
        raise
    if verified is None:
        raise NotWell(f"SES knows neither {address} nor its domain: create the identity, and verify it")
    name, is_verified = verified
    if not is_verified:
        raise NotWell(f"SES has not verified {name} yet: enter its DKIM records into your DNS, or follow its mail")
    if not account.get("SendingEnabled", True):
        raise NotWell("SES does not send for this account: its console says why")
    if not account.get("ProductionAccessEnabled", True):
        said = f"{name} is verified; SES is in its sandbox: 200 mails a day, to verified addresses only"
        raise NotWell(f"{said}. Verify each reader, or ask for production access", Mark.MIND)
    return f"SES sends for {name}"


def _identity_of(client: Any, address: str) -> tuple[str, bool] | None:
    """The first that SES knows of an address, its domain and what that belongs to; whether it is verified."""
    labels = address.rpartition("@")[2].split(".")
    domains = (".".join(labels[at:]) for at in range(len(labels) - 1))
    for name in (address, *domains):
        with contextlib.suppress(client.exceptions.NotFoundException):
            return name, bool(client.get_email_identity(EmailIdentity=name)["VerifiedForSendingStatus"])
    return None


# --- what is deployed -------------------------------------------------------------------------------


def _beanstalks(edge: Edge, config: Config) -> Iterator[Question]:
    """For each region to which a pipeline deploys: whether its environments are there, as far as ci.yml names them."""
    steps = [step.settings for one in config.pipelines for step in one.steps if step.action == "deploy_eb"]
    for region in sorted({_region(settings, edge) for settings in steps}):
        named = {_named(settings) for settings in steps if _region(settings, edge) == region}
        yield f"Elastic Beanstalk {region}", _environments_of(edge, region, {pair for pair in named if pair})


def _region(settings: Mapping[str, Json], edge: Edge) -> str:
    return str(settings.get("region") or edge.region)


def _named(settings: Mapping[str, Json]) -> tuple[str, str] | None:
    """Application and environment; None where a placeholder is in one."""
    pair = (settings["application"], settings["environment"])
    return (str(pair[0]), str(pair[1])) if all(isinstance(one, str) for one in pair) else None


def _environments_of(edge: Edge, region: str, named: set[tuple[str, str]]) -> Callable[[], str]:
    def ask() -> str:
        answer = edge.client("elasticbeanstalk", region).describe_environments(IncludeDeleted=False)
        there = {(one["ApplicationName"], one["EnvironmentName"]) for one in answer["Environments"]}
        missing = ", ".join(sorted(f"{environment} of {application}" for application, environment in named - there))
        if missing:
            raise NotWell(f"there is no environment {missing}: make it, or correct ci.yml")
        return f"{counted(len(there), 'environment')}"

    return ask


def _in_force(edge: Edge, config: Config) -> str:
    known = edge.store.in_force()
    if known is None:
        raise NotWell("no function has started with a ci.yml yet: deploy them, and wait a minute", Mark.MIND)
    if known.hash != config.hash:
        said = f"the functions have {known.hash[:7]}, and here is {config.hash[:7]}"
        raise NotWell(f"{said}: deploy this one, or update this checkout; what follows is about this one", Mark.MIND)
    return f"{known.hash[:7]}, as here"
