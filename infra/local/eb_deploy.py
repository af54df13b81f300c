"""Environments on their way: launched, updated, terminated, with the events that Elastic Beanstalk emits meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError
from docker.errors import DockerException
from requests.exceptions import RequestException

from infra.local import eb_bundle
from infra.local.eb_background import Background, Stopping, Work
from infra.local.eb_bundle import BadBundle, Bundle
from infra.local.eb_container import Containers, DeployFailed, Running
from infra.local.eb_proxy import Address
from infra.local.eb_state import Deployed, Environment, Health, Records, Severity, Status, Version, now

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

VARIABLES = "aws:elasticbeanstalk:application:environment"
Options = Mapping[tuple[str, str], str]

# What may go wrong with a version; a daemon that goes away is a RequestException.
FAILURES = (BadBundle, DeployFailed, DockerException, RequestException)


@dataclass
class Host:
    """What an environment consists of outside the records."""

    address: Address
    running: Running | None = None
    work: Work | None = None


@dataclass(frozen=True)
class Change:
    """One operation under way; `environment` is as it was when it began."""

    work: Work
    environment: Environment
    options: Options
    request: str

    @property
    def label(self) -> str | None:
        return self.environment.target


class Deployer:
    """Does in the background what an operation began. The operation has already written status and target."""

    def __init__(
        self, records: Records, containers: Containers, s3: S3Client, background: Background, seconds_per_step: float
    ) -> None:
        self._records = records
        self._containers = containers
        self._s3 = s3
        self._background = background
        self._step_s = seconds_per_step
        self._hosts: dict[str, Host] = {}

    def open_address(self, environment_id: str) -> int:
        """The port of an environment's address, open until it is terminated."""
        self._hosts[environment_id] = Host(Address())
        return self._hosts[environment_id].address.port

    def launch(self, environment: Environment, options: Options, request: str) -> None:
        self._begin(self._launch, environment, options, request)

    def update(self, environment: Environment, options: Options, request: str) -> None:
        self._begin(self._update, environment, options, request)

    def terminate(self, environment: Environment, request: str) -> None:
        self._begin(self._terminate, environment, environment.options, request)

    def abort(self, environment: Environment) -> None:
        """Let an update end at its next step; the old version stays."""
        if work := self._hosts[environment.id].work:
            work.abort()

    def read(self, version: Version) -> Bundle:
        """The bundle of a version, fresh from S3.

        Raises:
            BadBundle: it is gone, or nothing that the platform runs.
        """
        return eb_bundle.read(self._object(version.bucket, version.key))

    def close(self) -> None:
        """Close every address. The containers are cleaned by whoever made them."""
        for host in self._hosts.values():
            host.address.close()
        self._hosts.clear()

    def _begin(self, do: Callable[[Change], None], environment: Environment, options: Options, request: str) -> None:
        def work_on(work: Work) -> None:
            do(Change(work, environment, options, request))

        self._hosts[environment.id].work = self._background.start(work_on)

    def _launch(self, change: Change) -> None:
        self._tell(change, Severity.INFO, "createEnvironment is starting.")
        change.work.pause(self._step_s)
        self._tell(change, Severity.INFO, "Waiting for EC2 instances to launch. This may take a few minutes.")
        if self._deployed(change):
            name = change.environment.name
            self._end(change, Severity.INFO, f"Successfully launched environment: {name}")
        else:
            self._end(
                change,
                Severity.ERROR,
                "Create environment operation is complete, but with errors. "
                "For more information, see troubleshooting documentation.",
            )

    def _update(self, change: Change) -> None:
        self._tell(change, Severity.INFO, "Environment update is starting.")
        try:
            change.work.pause(self._step_s)
            deployed = self._deployed(change)
        except Stopping:
            if not change.work.aborted:
                raise
            self._end(change, Severity.INFO, "The environment update was aborted; the previous version was kept.")
            return
        if deployed:
            self._end(change, Severity.INFO, "Environment update completed successfully.")
        else:
            self._end(change, Severity.ERROR, "Failed to deploy application.")

    def _terminate(self, change: Change) -> None:
        self._tell(change, Severity.INFO, "terminateEnvironment is starting.")
        change.work.pause(self._step_s)
        host = self._hosts.pop(change.environment.id)
        host.address.switch(None)
        host.address.close()
        if host.running:
            self._containers.remove(host.running.container)
        with self._records.lock:
            self._tell(change, Severity.INFO, "terminateEnvironment completed successfully.")
            self._records.change(change.environment.id, status=Status.TERMINATED)

    def _deployed(self, change: Change) -> bool:
        """Bring the change's version up; False, with the events that say why, when it does not run."""
        if change.label is None:
            self._records.change(change.environment.id, options=change.options)
            return True
        try:
            self._replace_container(change, change.label)
        except FAILURES as error:
            self._tell_failure(change, str(error))
            return False
        change.work.pause(self._step_s)
        return True

    def _replace_container(self, change: Change, label: str) -> None:
        """Start the version's container, and switch the address over once it answers."""
        before = change.environment
        self._tell(change, Severity.INFO, "Deploying new version to instance(s).")
        change.work.pause(self._step_s)
        bundle = self.read(self._records.versions[before.application, label])
        if bundle.ignored_image:
            ignored = f"the image {bundle.ignored_image} in {eb_bundle.DOCKERRUN} is ignored"
            self._tell(change, Severity.WARN, f"The bundle has a Dockerfile, which is built: {ignored}.")
        image = self._containers.image(bundle, lambda name: self._login(bundle, name))
        variables = {name: value for (space, name), value in change.options.items() if space == VARIABLES}
        with ExitStack() as undo:
            running = self._containers.start(image, bundle, variables, {"tau.environment": before.name})
            undo.callback(self._containers.remove, running.container)
            self._containers.wait_for_answer(running, change.work.go_on)
            undo.pop_all()
        host = self._hosts[before.id]
        host.address.switch(running.port)
        old, host.running = host.running, running
        if old:
            self._containers.remove(old.container)
        self._tell(change, Severity.INFO, "Instance deployment completed successfully.")
        if before.live:
            self._tell(change, Severity.INFO, "New application version was deployed to running EC2 instances.")
        live = Deployed(label, before.deployments, now())
        self._records.change(before.id, live=live, health=Health.OK, options=change.options)

    def _tell_failure(self, change: Change, reason: str) -> None:
        instance = change.environment.instance
        for severity, message in (
            (Severity.ERROR, "Instance deployment failed. For details, see 'eb-engine.log'."),
            (Severity.ERROR, f"[Instance: {instance}] Command failed on instance. Return code: 1 Output: {reason}"),
            (Severity.INFO, "Command execution completed on all instances. Summary: [Successful: 0, Failed: 1]."),
            (
                Severity.ERROR,
                f"Unsuccessful command execution on instance id(s) '{instance}'. Aborting the operation.",
            ),
        ):
            self._tell(change, severity, message)

    def _end(self, change: Change, severity: Severity, message: str) -> None:
        """The last event, then Ready: whoever sees Ready finds every event."""
        with self._records.lock:
            self._tell(change, severity, message)
            self._records.change(change.environment.id, status=Status.READY, target=None)

    def _tell(self, change: Change, severity: Severity, message: str) -> None:
        environment = change.environment
        self._records.tell(
            severity,
            message,
            environment.application,
            environment=environment,
            label=change.label,
            request=change.request,
        )

    def _login(self, bundle: Bundle, image: str) -> dict[str, str]:
        return eb_bundle.credentials(self._object(*bundle.authentication), image) if bundle.authentication else {}

    def _object(self, bucket: str, key: str) -> bytes:
        try:
            return self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except (ClientError, BotoCoreError) as error:
            where = f"(Bucket: {bucket}  Key: {key})"
            raise BadBundle(f"Unable to download from S3 location {where}. Reason: {error}") from error
