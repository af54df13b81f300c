"""SQS in memory: a client with virtual time, for the real Queue."""

import math
from functools import partial
from itertools import count

from tests.sim.edges.point import at_once, refused

_MOST_HIDDEN_S = 43200
_DEAD = "-dead"


class Message:
    """A message in a queue; its receipt is of the last time that it was received."""

    __slots__ = ("body", "group", "id", "receipt", "received_at", "receives", "visible_at")

    def __init__(self, number, body, group, now):
        self.id, self.body, self.group = number, body, group
        self.visible_at, self.receives, self.receipt, self.received_at = now, 0, None, now


class MemorySqs:
    """Standard queues.

    Args:
        now: seconds of a clock that only goes forward.
        idle: returns at the given moment of that clock, or earlier: a long poll looks, idles and looks again.
        changed: is called when a message may be seen earlier than was known: who idles should look again.
        point: see tests/sim/edges/point.py; each look of a long poll is one "queue.receive".
        nasty: a random.Random; then SQS does all that a standard queue may do: any order, one message twice at a time,
            nothing at a short poll, a deleted message once more, an old receipt that still works.
    """

    TWICE, AGAIN, NOTHING, OLD_WORKS = 0.1, 0.05, 0.1, 0.5
    """How often, when nasty."""

    def __init__(self, now, idle, *, changed=lambda: None, point=at_once, nasty=None):
        self._now, self._idle, self._changed, self._point, self._nasty = now, idle, changed, point, nasty
        self._numbers = count(1)
        self.queues = {}
        """name -> its messages, oldest first, those in somebody's hands too."""
        self.most_receives = {}
        """name -> after so many receives a message goes to the queue `<name>-dead`."""

    def add_queue(self, name, most_receives=None):
        self.queues[name] = []
        if most_receives:
            self.queues[name + _DEAD] = []
            self.most_receives[name] = most_receives

    # --- what boto3's client has ------------------------------------------------------------------

    def get_queue_url(self, **asked):
        return self._point("queue.url", lambda: {"QueueUrl": self._known("GetQueueUrl", asked["QueueName"])})

    def send_message(self, **asked):
        return self._point("queue.send", partial(self._send, asked))

    def receive_message(self, **asked):
        until = self._now() + asked.get("WaitTimeSeconds", 0)
        while True:
            found = self._point("queue.receive", partial(self._take, asked))
            if found or self._now() >= until:
                return {"Messages": found} if found else {}
            self._idle(min(until, self._next(asked["QueueUrl"])))

    def change_message_visibility(self, **asked):
        return self._point("queue.hide", partial(self._hide, asked))

    def delete_message(self, **asked):
        return self._point("queue.delete", partial(self._delete, asked))

    def get_queue_attributes(self, **asked):
        return self._point("queue.attributes", partial(self._attributes, asked))

    # --- what they do -----------------------------------------------------------------------------

    def _send(self, asked):
        messages = self._messages("SendMessage", asked)
        message = Message(next(self._numbers), asked["MessageBody"], asked.get("MessageGroupId"), self._now())
        messages.append(message)
        self._changed()
        return {"MessageId": str(message.id)}

    def _take(self, asked):
        messages, now = self._messages("ReceiveMessage", asked), self._now()
        self._bury(asked["QueueUrl"], messages, now)
        visible = [message for message in messages if message.visible_at <= now]
        if self._nasty:
            if not asked.get("WaitTimeSeconds") and self._happens(self.NOTHING):
                return []
            self._nasty.shuffle(visible)
        most, hidden_s = asked.get("MaxNumberOfMessages", 1), asked.get("VisibilityTimeout", 30)
        return [self._handed_out(message, now, hidden_s) for message in visible[:most]]

    def _handed_out(self, message, now, hidden_s):
        message.receives += 1
        message.receipt = f"{message.id}.{message.receives}"
        message.received_at = now
        if not (self._nasty and self._happens(self.TWICE)):
            message.visible_at = now + hidden_s
        return {
            "MessageId": str(message.id),
            "Body": message.body,
            "ReceiptHandle": message.receipt,
            "Attributes": {"ApproximateReceiveCount": str(message.receives)},
        }

    def _bury(self, name, messages, now):
        """Move what was received too often, and is in nobody's hands any more, to the dead letters."""
        most = self.most_receives.get(name)
        if most is None:
            return
        for message in [one for one in messages if one.receives >= most and one.visible_at <= now]:
            messages.remove(message)
            message.receipt = None
            self.queues[name + _DEAD].append(message)

    def _hide(self, asked):
        hidden_s, now = asked["VisibilityTimeout"], self._now()
        message = self._held(asked, "ChangeMessageVisibility")
        # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html
        if message is None or message.visible_at <= now:
            raise _not_for_us(asked["ReceiptHandle"])
        if not 0 <= hidden_s <= _MOST_HIDDEN_S or now + hidden_s - message.received_at > _MOST_HIDDEN_S:
            text = f"Value {hidden_s} for parameter VisibilityTimeout is invalid. Reason: beyond 43200 seconds in total"
            raise refused("ChangeMessageVisibility", "InvalidParameterValue", text)
        sooner = now + hidden_s < message.visible_at
        message.visible_at = now + hidden_s
        if sooner:
            self._changed()
        return {}

    def _delete(self, asked):
        message = self._held(asked, "DeleteMessage")
        # Silent about an old receipt, and about a message that is gone.
        # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessage.html
        if message and not (self._nasty and self._happens(self.AGAIN)):
            self.queues[asked["QueueUrl"]].remove(message)
        return {}

    def _attributes(self, asked):
        messages, now = self._messages("GetQueueAttributes", asked), self._now()
        hidden = sum(message.visible_at > now for message in messages)
        numbers = {
            "ApproximateNumberOfMessages": str(len(messages) - hidden),
            "ApproximateNumberOfMessagesNotVisible": str(hidden),
        }
        return {"Attributes": numbers}

    def _held(self, asked, operation):
        receipt = asked["ReceiptHandle"]
        number, _, _ = receipt.partition(".")
        for message in self._messages(operation, asked):
            if message.receipt == receipt:
                return message
            if self._nasty and str(message.id) == number and message.receipt and self._happens(self.OLD_WORKS):
                return message
        return None

    def _next(self, name):
        return min((message.visible_at for message in self.queues[name]), default=math.inf)

    def _happens(self, how_often):
        return self._nasty.random() < how_often

    def _messages(self, operation, asked):
        return self.queues[self._known(operation, asked["QueueUrl"])]

    def _known(self, operation, name):
        if name not in self.queues:
            code = "AWS.SimpleQueueService.NonExistentQueue"
            raise refused(operation, code, "The specified queue does not exist.")
        return name


def _not_for_us(receipt):
    return refused(
        "ChangeMessageVisibility",
        "InvalidParameterValue",
        f"Value {receipt} for parameter ReceiptHandle is invalid. "
        "Reason: Message does not exist or is not available for visibility timeout change.",
    )
