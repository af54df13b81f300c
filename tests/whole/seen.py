"""What can be seen of an installation, by whoever looks on: its records, queue, mails, images, containers and pages."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from boto3.dynamodb.types import TypeDeserializer

from chalicelib.model import Run, RunState
from infra.local.installation import Installation, NotSo
from infra.local.mailbox import SentMail

IMAGE = "2pisoftware/hello"


class Seen(Installation):
    """An installation that is looked at."""

    def run(self, run_id: str) -> Run:
        return self.edge.store.run(run_id)

    def wait_for_state(self, run_id: str, *states: RunState, timeout_s: float = 30) -> Run:
        wait_for(lambda: self.run(run_id).state in states, f"run {run_id} to be {' or '.join(states)}", timeout_s)
        return self.run(run_id)

    def mails(self, run_id: str) -> list[SentMail]:
        """The mails about a run, oldest first."""
        return [mail for mail in self.cloud.mails() if f"tau log {run_id}" in mail.text]

    def items(self) -> dict[tuple[str, str], Mapping[str, Any]]:
        """Everything that is remembered, but for the runners' signs of life, by its key."""
        pages = self.cloud.client("dynamodb").get_paginator("scan").paginate(TableName=self.edge.settings.table)
        plain = [_plain(item) for page in pages for item in page["Items"]]
        return {(item["pk"], item["sk"]): item for item in plain if item["pk"] != "runner"}

    def messages(self) -> int:
        """How many messages lie in the queue, those in somebody's hands too."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.cloud.client("sqs").get_queue_attributes(QueueUrl=self.queue_url, AttributeNames=names)
        return sum(int(found["Attributes"][name]) for name in names)

    @property
    def queue_url(self) -> str:
        return self.edge.queue.url("default")

    def digest(self, tag: str, image: str = IMAGE) -> str | None:
        return self.registry.manifest_digest(image, tag)

    def environment_of(self, client: str) -> Mapping[str, str]:
        found = self.cloud.client("elasticbeanstalk").describe_environments(
            ApplicationName=client, EnvironmentNames=[f"{client}-production"]
        )
        return found["Environments"][0]

    def page(self, client: str) -> str:
        """What the client's environment serves."""
        address = urlsplit(f"//{self.environment_of(client)['EndpointURL'].removeprefix('http://')}")
        with closing(http.client.HTTPConnection(address.hostname, address.port, timeout=10)) as connection:
            connection.request("GET", "/")
            return connection.getresponse().read().decode()

    def events(self, client: str) -> list[str]:
        """What Elastic Beanstalk says of a client's environment, oldest first."""
        found = self.cloud.client("elasticbeanstalk").describe_events(EnvironmentName=f"{client}-production")
        return [event["Message"] for event in reversed(found["Events"])]

    def versions(self, client: str) -> list[str]:
        """The labels of a client's application versions."""
        found = self.cloud.client("elasticbeanstalk").describe_application_versions(ApplicationName=client)
        return [version["VersionLabel"] for version in found["ApplicationVersions"]]

    def wait_for_tests(self, run_id: str, epoch: int = 1) -> None:
        """Return when the run's tests run, in the container of that claim."""
        mine = {"label": [f"tau.run={run_id}", f"tau.epoch={epoch}", "tau.kind=step"]}
        wait_for(lambda: bool(self.docker.api.containers(filters=mine)), f"the tests of run {run_id} to run")

    def remains(self, run_id: str) -> list[str]:
        """The containers and networks of a run that still exist."""
        mine = {"label": f"tau.run={run_id}"}
        found = [*self.docker.api.containers(all=True, filters=mine), *self.docker.api.networks(filters=mine)]
        # Whatever runs the image has the image's labels too: Elastic Beanstalk's containers.
        return [thing["Id"] for thing in found if thing["Labels"]["tau.kind"] in {"step", "service", "network"}]


def wait_for(there: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    """Return as soon as it is there.

    Raises:
        NotSo: it did not come.
    """
    until = time.monotonic() + timeout_s
    while not there():
        if time.monotonic() > until:
            raise NotSo(f"waited {timeout_s:.0f} s in vain for {what}")
        time.sleep(0.05)


def _plain(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: TypeDeserializer().deserialize(value) for name, value in item.items()}
