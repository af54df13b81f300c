"""Messages to and from SQS: one standard queue per pool of runners. A message only wakes somebody up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from botocore.exceptions import ClientError

from chalicelib.errors import TauError
from chalicelib.model import VERSION, Job, Message

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html (MessageGroupId)
_GROUP_LIMIT = 128
_RUN_LIMIT = 64
# So many at once at most. https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
_BATCH = 10
_BURY_WITHIN_S = 30
# SQS's two protocols name it differently.
_NO_QUEUE = frozenset({"QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"})


class BadMessage(TauError):
    """A message that is none of ours, or a broken one: no version of this program can act on it."""


class NewerMessage(TauError):
    """A message that a newer program wrote: leave it to that one."""


@dataclass(frozen=True)
class Received:
    """A message in hand: hidden from others until it is deleted or its visibility ends.

    Args:
        id: SQS's own; a message keeps it when it is moved to the dead letters.
        receives: how often it was received, this time included.
    """

    body: str
    receipt: str
    queue_url: str
    pool: str
    id: str
    receives: int


def encode(message: Message) -> str:
    return json.dumps({"v": message.v, "run": message.run, "send": message.send})


def decode(body: str) -> Message:
    """Read a message.

    Raises:
        BadMessage: it is not ours.
        NewerMessage: a newer program's.
    """
    fields = _fields(body)
    version, run, send = fields.get("v"), fields.get("run"), fields.get("send")
    if _is_number(version) and version > VERSION:
        raise NewerMessage(f"a message of version {version}, and this program knows {VERSION}: {body[:80]!r}")
    if not (_is_number(version) and version == VERSION and _is_run(run) and _is_number(send)):
        raise BadMessage(f"not a wake-up message of version {VERSION}: {body[:80]!r}")
    return Message(run=run, send=send, v=VERSION)


def run_named(body: str) -> str | None:
    """The run that a message names, whatever else it says; None where it names none."""
    try:
        run = _fields(body).get("run")
    except BadMessage:
        return None
    return run if _is_run(run) else None


def _fields(body: str) -> Mapping[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"not a wake-up message: {body[:80]!r}") from error
    if not isinstance(fields, Mapping):
        raise BadMessage(f"not a wake-up message: {body[:80]!r}")
    return fields


def _is_run(value: object) -> TypeGuard[str]:
    """Whether it can be a run's id: a stranger's text might be no key of a record at all, and be asked for for ever."""
    return isinstance(value, str) and value.isascii() and value.isalnum() and len(value) <= _RUN_LIMIT


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def no_such_queue(error: ClientError) -> bool:
    """Whether AWS says that a pool has no queue."""
    return error.response["Error"].get("Code") in _NO_QUEUE


class Queue:
    """The queues of one installation, by pool."""

    def __init__(self, client: SQSClient, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._urls: dict[str, str] = {}

    def url(self, pool: str) -> str:
        """Address of a pool's queue; asked for once."""
        if pool not in self._urls:
            self._urls[pool] = self._client.get_queue_url(QueueName=f"{self._prefix}-{pool}")["QueueUrl"]
        return self._urls[pool]

    def send(self, message: Message, *, pool: str, group: str) -> None:
        """Wake a runner of `pool`; `group` (a repository) keeps busy repositories from starving the others.

        Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues.html
        """
        self._client.send_message(
            QueueUrl=self.url(pool), MessageBody=encode(message), MessageGroupId=group[:_GROUP_LIMIT]
        )

    def call(self, message: Message, job: Job) -> None:
        """Wake a runner for a run of this job."""
        self.send(message, pool=job.pool, group=job.source.repository)

    def receive(self, pool: str, *, wait_s: int, hidden_s: int) -> Received | None:
        """The next message, waiting up to `wait_s` (0 to 20) for one; it stays hidden for `hidden_s`."""
        found = self._receive(pool, self.url(pool), most=1, wait_s=wait_s, hidden_s=hidden_s)
        return found[0] if found else None

    def receive_dead(self, pool: str) -> list[Received]:
        """Some of a pool's dead letters, without waiting; none where it has no queue for them."""
        try:
            return self._receive(pool, self.url(f"{pool}-dead"), most=_BATCH, wait_s=0, hidden_s=_BURY_WITHIN_S)
        except ClientError as error:
            if no_such_queue(error):
                return []
            raise

    def _receive(self, pool: str, url: str, *, most: int, wait_s: int, hidden_s: int) -> list[Received]:
        answer = self._client.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=most,
            WaitTimeSeconds=wait_s,
            VisibilityTimeout=hidden_s,
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        return [
            Received(
                body=message["Body"],
                receipt=message["ReceiptHandle"],
                queue_url=url,
                pool=pool,
                id=message["MessageId"],
                receives=int(message["Attributes"]["ApproximateReceiveCount"]),
            )
            for message in answer.get("Messages", [])
        ]

    def hide(self, received: Received, hidden_s: int) -> None:
        """Keep it from others for `hidden_s` more seconds; 0 gives it back at once."""
        self._client.change_message_visibility(
            QueueUrl=received.queue_url, ReceiptHandle=received.receipt, VisibilityTimeout=hidden_s
        )

    def delete(self, received: Received) -> None:
        self._client.delete_message(QueueUrl=received.queue_url, ReceiptHandle=received.receipt)
