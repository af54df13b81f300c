"""An environment's logs, asked for and then fetched: written to S3 in between, as the instances do it.

Source: https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/using-features.logging.html
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from infra.local.eb_background import Background, Work
from infra.local.eb_container import Runs
from infra.local.eb_hosts import Hosts
from infra.local.eb_protocol import Params, Refused
from infra.local.eb_state import Environment, Records, Severity

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

TAIL_LINES = 100
_MOST_LINES = 10_000
_LASTS_S = 15 * 60
_RULE = "-" * 40
ENGINE, STDOUT = "var/log/eb-engine.log", "var/log/eb-docker/containers/eb-current-app/stdouterr.log"


@dataclass(frozen=True)
class _Info:
    """Logs that lie in S3."""

    instance: str
    at: datetime
    bucket: str
    key: str


class LogOperations:
    """Each public method is the operation of its name; it gets checked members and the request's id.

    Args:
        bucket: makes, or finds, and names Elastic Beanstalk's own bucket, where instances put their logs.
    """

    def __init__(
        self,
        records: Records,
        hosts: Hosts,
        containers: Runs,
        s3: S3Client,
        background: Background,
        seconds_per_step: float,
        bucket: Callable[[], str],
    ) -> None:
        self._records = records
        self._hosts = hosts
        self._containers = containers
        self._s3 = s3
        self._background = background
        self._step_s = seconds_per_step
        self._bucket = bucket
        self._infos: dict[tuple[str, str], _Info] = {}

    def request_environment_info(self, params: Params, request: str) -> Params:
        environment, kind = self._records.environment(params), params["InfoType"]
        if kind not in {"tail", "bundle"}:
            raise Refused("InvalidParameterValue", f"The info type {kind} is not served here: tail or bundle.")
        self._tell(environment, request, Severity.INFO, "requestEnvironmentInfo is starting.")
        self._infos.pop((environment.id, kind), None)
        self._background.start(lambda work: self._collect(work, environment, kind, request))
        return {}

    def retrieve_environment_info(self, params: Params, _: str) -> Params:
        environment, kind = self._records.environment(params), params["InfoType"]
        info = self._infos.get((environment.id, kind))
        if info is None:
            return {"EnvironmentInfo": []}
        place = {"Bucket": info.bucket, "Key": info.key}
        address = self._s3.generate_presigned_url("get_object", Params=place, ExpiresIn=_LASTS_S)
        told = {"InfoType": kind, "Ec2InstanceId": info.instance, "SampleTimestamp": info.at, "Message": address}
        return {"EnvironmentInfo": [told]}

    def _collect(self, work: Work, environment: Environment, kind: str, request: str) -> None:
        work.pause(self._step_s)
        at, instance = self._records.now(), environment.instance
        files = self._files(environment, TAIL_LINES if kind == "tail" else _MOST_LINES)
        body, end = (_tail(files), "out") if kind == "tail" else (_zip(files), "zip")
        name = f"{'TailLogs' if kind == 'tail' else 'BundleLogs'}-{at.timestamp():.0f}.{end}"
        key = f"resources/environments/logs/{kind}/{environment.id}/{instance}/{name}"
        try:
            bucket = self._bucket()
            self._s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="text/plain; charset=UTF-8")
        except (ClientError, BotoCoreError) as error:
            text = f"Failed to pull logs for environment instances. {error}"
            self._tell(environment, request, Severity.ERROR, text)
            return
        self._infos[environment.id, kind] = _Info(instance, at, bucket, key)
        done = "tailing" if kind == "tail" else "bundling"
        text = f"[Instance: {instance}] Successfully finished {done} {len(files)} log(s)"
        self._tell(environment, request, Severity.INFO, text)
        self._tell(environment, request, Severity.INFO, "Pulled logs for environment instances.")

    def _files(self, environment: Environment, lines: int) -> dict[str, str]:
        host = self._hosts.get(environment.id)
        if host is None:
            return {}
        running = host.running
        files = {ENGINE: host.engine.text(lines)}
        return {**files, STDOUT: self._containers.printed(running, lines)} if running else files

    def _tell(self, environment: Environment, request: str, severity: Severity, text: str) -> None:
        self._records.tell(severity, text, environment.application, environment=environment, request=request)


def _tail(files: dict[str, str]) -> bytes:
    """One text, as the console and `eb logs` show it."""
    return "\n\n".join(f"{_RULE}\n/{name}\n{_RULE}\n{text}" for name, text in files.items()).encode() + b"\n"


def _zip(files: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return out.getvalue()
