"""Messages to and from SQS: one standard queue per pool of runners. A message only wakes somebody up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chalicelib.errors import TauError
from chalicelib.model import VERSION, Message

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html (MessageGroupId)
_GROUP_LIMIT = 128


class BadMessage(TauError):
    """A message that this version cannot read: not JSON, or of a newer version."""


@dataclass(frozen=True)
class Received:
    """A message in hand: hidden from others until it is deleted or its visibility ends."""

    body: str
    receipt: str
    queue_url: str


def encode(message: Message) -> str:
    return json.dumps({"v": message.v, "run": message.run, "send": message.send})


def decode(body: str) -> Message:
    """Read a message.

    Raises:
        BadMessage: it is not ours, or of a newer version.
    """
    try:
        fields: Mapping[str, Any] = json.loads(body)
        message = Message(run=fields["run"], send=fields["send"], v=fields["v"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadMessage(f"not a wake-up message: {body[:80]!r}") from error
    if not isinstance(message.run, str) or not isinstance(message.send, int) or message.v != VERSION:
        raise BadMessage(f"not a wake-up message of version {VERSION}: {body[:80]!r}")
    return message


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

    def receive(self, pool: str, *, wait_s: int, hidden_s: int) -> Received | None:
        """The next message, waiting up to `wait_s` (0 to 20) for one; it stays hidden for `hidden_s`."""
        url = self.url(pool)
        answer = self._client.receive_message(
            QueueUrl=url, MaxNumberOfMessages=1, WaitTimeSeconds=wait_s, VisibilityTimeout=hidden_s
        )
        for message in answer.get("Messages", []):
            return Received(body=message["Body"], receipt=message["ReceiptHandle"], queue_url=url)
        return None

    def hide(self, received: Received, hidden_s: int) -> None:
        """Keep it from others for `hidden_s` more seconds; 0 gives it back at once."""
        self._client.change_message_visibility(
            QueueUrl=received.queue_url, ReceiptHandle=received.receipt, VisibilityTimeout=hidden_s
        )

    def delete(self, received: Received) -> None:
        self._client.delete_message(QueueUrl=received.queue_url, ReceiptHandle=received.receipt)
