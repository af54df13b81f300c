"""S3, SSM and SES in memory: clients as far as the real Objects, Secrets and send use them."""

import io
import re
from collections import Counter
from functools import partial
from itertools import count
from types import SimpleNamespace
from typing import NamedTuple

from botocore.exceptions import ClientError

from tests.sim.edges.point import at_once, refused

_HEADER = re.compile(rb"^(X-Tau-Run|X-Tau-Notice|X-Tau-State): ([^\r\n]*)", re.MULTILINE)


class NoSuchKey(ClientError):
    """There is no such object."""


class MemoryS3:
    """Buckets: `objects` by (bucket, key), each (body, metadata); `writes` counts how often each was written."""

    exceptions = SimpleNamespace(NoSuchKey=NoSuchKey)

    def __init__(self, *, point=at_once):
        self._point = point
        self.objects = {}
        self.writes = Counter()

    def put_object(self, **asked):
        return self._point("s3.put_object", partial(self._put, asked))

    def get_object(self, **asked):
        return self._point("s3.get_object", partial(self._get, asked))

    def head_object(self, **asked):
        return self._point("s3.head_object", partial(self._head, asked))

    def get_paginator(self, operation):
        assert operation == "list_objects_v2"
        return SimpleNamespace(paginate=self._pages)

    def _put(self, asked):
        place = asked["Bucket"], asked["Key"]
        if asked.get("IfNoneMatch") == "*" and place in self.objects:
            raise refused("PutObject", "PreconditionFailed", "At least one of the pre-conditions did not hold", 412)
        self.objects[place] = bytes(asked["Body"]), dict(asked.get("Metadata", {}))
        self.writes[place] += 1
        return {}

    def _get(self, asked):
        place = asked["Bucket"], asked["Key"]
        if place not in self.objects:
            error = {"Error": {"Code": "NoSuchKey", "Message": "The specified key does not exist."}}
            raise NoSuchKey(error, "GetObject")
        return {"Body": io.BytesIO(self.objects[place][0])}

    def _head(self, asked):
        place = asked["Bucket"], asked["Key"]
        if place not in self.objects:
            raise refused("HeadObject", "404", "Not Found", 404)
        return {"Metadata": dict(self.objects[place][1])}

    def _pages(self, **asked):
        yield self._point("s3.list_objects", partial(self._list, asked))

    def _list(self, asked):
        keys = sorted(key for bucket, key in self.objects if bucket == asked["Bucket"])
        return {"Contents": [{"Key": key} for key in keys if key.startswith(asked.get("Prefix", ""))]}


class MemorySsm:
    """Parameters: name -> value."""

    def __init__(self, parameters=None, *, point=at_once):
        self._point = point
        self.parameters = dict(parameters or {})

    def get_parameter(self, **asked):
        return self._point("ssm.get_parameter", partial(self._get, asked))

    def _get(self, asked):
        if asked["Name"] not in self.parameters:
            raise refused("GetParameter", "ParameterNotFound")
        return {"Parameter": {"Name": asked["Name"], "Value": self.parameters[asked["Name"]]}}


class Sent(NamedTuple):
    """A mail that SES took: of which run, to whom, and by what its repetition is known."""

    to: str
    run: str
    notice: str
    state: str
    raw: bytes


class MemorySes:
    """`outbox`: what was taken, oldest first; `notices` counts by X-Tau-Notice, `told` by (address, run)."""

    def __init__(self, *, point=at_once):
        self._point = point
        self._numbers = count(1)
        self.outbox = []
        self.notices = Counter()
        self.told = Counter()

    def send_email(self, **asked):
        return self._point("ses.send_email", partial(self._send, asked))

    def _send(self, asked):
        raw = asked["Content"]["Raw"]["Data"]
        head, _, _ = raw.partition(b"\r\n\r\n")
        headers = {name.decode(): value.decode() for name, value in _HEADER.findall(head)}
        for address in asked["Destination"]["ToAddresses"]:
            sent = Sent(
                to=address,
                run=headers.get("X-Tau-Run", ""),
                notice=headers.get("X-Tau-Notice", ""),
                state=headers.get("X-Tau-State", ""),
                raw=raw,
            )
            self.outbox.append(sent)
            self.notices[sent.notice] += 1
            self.told[address, sent.run] += 1
        return {"MessageId": f"{next(self._numbers):060}"}
