"""Elastic Beanstalk on loopback: its API as botocore's model describes it, and the bundles' containers really run.

`handle` takes one HTTP request, so that a front can mount it beside other services; `start` serves it alone.
What is kept is kept in memory, and for one region and one account.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from botocore import xform_name
from docker import DockerClient

from infra.local import eb_admin
from infra.local.eb_background import Background
from infra.local.eb_container import Containers, Runs
from infra.local.eb_deploy import Deployer
from infra.local.eb_environments import EnvironmentOperations
from infra.local.eb_faults import Faults
from infra.local.eb_health import HealthOperations, Watch
from infra.local.eb_hosts import Hosts
from infra.local.eb_instances import Instances
from infra.local.eb_logs import LogOperations
from infra.local.eb_platforms import PlatformOperations
from infra.local.eb_protocol import Params, Protocol, Refused, Request
from infra.local.eb_proxy import Server
from infra.local.eb_state import Records
from infra.local.eb_templates import TemplateOperations
from infra.local.eb_versions import VersionOperations, storage

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Answer = tuple[int, dict[str, str], bytes]
Operation = Callable[[Params, str], Params]

# Seconds between looks and how long a container has: a suite wants them short, a demo wants to see something.
SECONDS_PER_STEP = 0.3
ANSWER_TIMEOUT_S = 30.0
HEALTH_EVERY_S = 1.0
_ENVIRONMENTS = ("EnvironmentName", "EnvironmentId", "EnvironmentNames", "EnvironmentIds")


class ElasticBeanstalk:
    """The service. Close it, or use it as a context manager: nothing stays behind.

    Args:
        s3_client: reads bundles and the registries' credentials; its region is the service's.
        system: value of the label `tau.system` on everything in Docker; whatever bears it is removed at both ends.
        seconds_per_step: how long the service takes over each of the two or three steps of a change.
        answer_timeout_s: how long a new container has until it answers HTTP.
        health_every_s: how often every container is asked how it fares.
        containers: who brings bundles up, where that is not to be a Docker engine.
        background: the time that it lives in, where that is not to be this machine's.
    """

    def __init__(
        self,
        docker_client: DockerClient,
        s3_client: S3Client,
        system: str,
        seconds_per_step: float = SECONDS_PER_STEP,
        *,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        health_every_s: float = HEALTH_EVERY_S,
        account: str = "000000000000",
        containers: Runs | None = None,
        background: Background | None = None,
    ) -> None:
        step_s, time = seconds_per_step, background or Background()
        self._protocol = Protocol.of("elasticbeanstalk")
        self._background = time
        self._containers = containers or Containers(docker_client, system, answer_timeout_s)
        self._records = records = Records(time.now)
        self._hosts = hosts = Hosts(time.now)
        self._faults = faults = Faults()
        instances = Instances(records, hosts, self._containers, s3_client, time, faults, step_s)
        deployer = Deployer(records, hosts, instances, time, faults, step_s)
        region, bucket = s3_client.meta.region_name, partial(storage, s3_client, account)
        self._operations = (
            VersionOperations(records, deployer, instances, s3_client, time, faults, step_s, account),
            EnvironmentOperations(records, deployer, region, account),
            TemplateOperations(records),
            HealthOperations(records),
            LogOperations(records, hosts, self._containers, s3_client, time, step_s, bucket),
            PlatformOperations(region),
        )
        self._server: Server | None = None
        self._containers.clean()  # what a predecessor left behind that was killed
        time.start(Watch(records, hosts, self._containers, instances, health_every_s))

    def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer to one HTTP request: status, headers, body.

        Args:
            path: with its query string; a request by GET stands in it.
        """
        del headers  # the signature is the front's affair
        if path.startswith(eb_admin.PREFIX):
            status, said = eb_admin.answer(self._faults, method, path, body)
            return status, {"Content-Type": "application/json"}, said
        request_id = str(uuid.uuid4())
        try:
            form = body.decode("utf-8") if method == "POST" else urlsplit(path).query
            request = self._protocol.read(form)
            lost = self._faults.meet(request.operation, self._concerned(request))
            result = self._operation(request.operation)(request.params, request_id)
            if lost:
                raise lost
            status, xml = 200, self._protocol.answer(request.operation, result, request_id)
        except UnicodeDecodeError:
            status, xml = 400, self._protocol.refusal(Refused("MalformedInput", "The body is no UTF-8."), request_id)
        except Refused as refused:
            status, xml = refused.status, self._protocol.refusal(refused, request_id)
        return status, {"Content-Type": "text/xml", "x-amzn-RequestId": request_id}, xml

    def start(self, port: int = 0) -> str:
        """Serve it alone; the address, for `endpoint_url` or AWS_ENDPOINT_URL_ELASTIC_BEANSTALK."""
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, headers, answer = service.handle(self.command, self.path, dict(self.headers.items()), body)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(answer))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST  # noqa: N815 - http.server's name
            do_DELETE = do_POST  # noqa: N815 - the same

            def log_message(self, *_: object) -> None:
                """Its callers tell what they asked."""

        self._server = Server(Handler, port)
        return f"http://127.0.0.1:{self._server.port}"

    def close(self) -> None:
        """Stop serving, end what is under way, remove every container and image of this system."""
        if self._server:
            self._server.close()
            self._server = None
        self._background.close()
        self._hosts.close()
        self._containers.clean()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _concerned(self, request: Request) -> set[str]:
        """The environments that a request is about: those that it names, else all of its application."""
        params = request.params
        if request.operation == "CreateEnvironment":
            return {params.get("EnvironmentName", "")}
        named = {one for key in _ENVIRONMENTS for one in _listed(params.get(key))}
        with self._records.lock:
            return {
                one.name
                for one in self._records.living()
                if named & {one.name, one.id} or (not named and one.application == params.get("ApplicationName"))
            }

    def _operation(self, name: str) -> Operation:
        for operations in self._operations:
            operation: Operation | None = getattr(operations, xform_name(name), None)
            if operation is not None:
                return operation
        raise Refused("NotImplemented", f"{name} is not served by the local Elastic Beanstalk.", 501)


def _listed(value: str | list[str] | None) -> list[str]:
    return value if isinstance(value, list) else [value] if value else []
