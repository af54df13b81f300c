"""A version on its way to an environment in; its container behind the environment's address, or why not, out."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError
from docker.errors import DockerException
from requests.exceptions import RequestException

from infra.local import eb_bundle, eb_compose
from infra.local.eb_background import Background, Work
from infra.local.eb_bundle import BadBundle
from infra.local.eb_compose import Service
from infra.local.eb_container import Running, Runs
from infra.local.eb_faults import HEALTHS, Fault, Faults
from infra.local.eb_hosts import Host, Hosts
from infra.local.eb_images import DeployFailed
from infra.local.eb_state import Deployed, Environment, Health, Records, Severity, Version

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

VARIABLES = "aws:elasticbeanstalk:application:environment"
Options = Mapping[tuple[str, str], str]

# What may go wrong with a version; a daemon that goes away is a RequestException.
FAILURES = (BadBundle, DeployFailed, DockerException, RequestException)


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


class Instances:
    """The one instance of each environment, and what is done to it."""

    def __init__(
        self,
        records: Records,
        hosts: Hosts,
        containers: Runs,
        s3: S3Client,
        background: Background,
        faults: Faults,
        seconds_per_step: float,
    ) -> None:
        self._records = records
        self._hosts = hosts
        self._containers = containers
        self._s3 = s3
        self._background = background
        self._faults = faults
        self._step_s = seconds_per_step

    def read(self, version: Version) -> tuple[Service, ...]:
        """What a version brings up, fresh from S3.

        Raises:
            BadBundle: it is gone, or nothing that the platform runs.
        """
        return eb_compose.read(self._object(version.bucket, version.key))

    def deployed(self, change: Change) -> bool:
        """Bring the change's version up; False, with the events that say why, when it does not run."""
        if change.label is None:
            self._records.change(change.environment.id, options=change.options)
            return True
        engine = self._hosts[change.environment.id].engine
        engine.write("INFO", f"Starting the deployment of {change.label}: Executing instruction: app-deploy")
        try:
            self._replace_container(change, change.label)
        except FAILURES as error:
            engine.write(
                "ERROR",
                "An error occurred during execution of command [app-deploy] - [Docker Specific Build Application]. "
                f"Stop running the command. Error: {error}",
            )
            self._tell_failure(change, str(error))
            return False
        engine.write("INFO", f"Executed instruction app-deploy of {change.label}; it answers")
        change.work.pause(self._step_s)
        return True

    def remove(self, host: Host) -> None:
        """Nothing runs there any more."""
        host.address.switch(None)
        old, host.running = host.running, None
        if old:
            self._containers.remove(old)

    def tell(self, change: Change, severity: Severity, message: str) -> None:
        environment = change.environment
        self._records.tell(
            severity,
            message,
            environment.application,
            environment=environment,
            label=change.label,
            request=change.request,
        )

    def _replace_container(self, change: Change, label: str) -> None:
        """Start the version's container, and switch the address over once it answers."""
        before = change.environment
        self.tell(change, Severity.INFO, "Deploying new version to instance(s).")
        change.work.pause(self._step_s)
        services = self.read(self._records.versions[before.application, label])
        for image in (service.bundle.ignored_image for service in services):
            if image:
                ignored = f"the image {image} in {eb_bundle.DOCKERRUN} is ignored"
                self.tell(change, Severity.WARN, f"The bundle has a Dockerfile, which is built: {ignored}.")
        variables = {name: value for (space, name), value in change.options.items() if space == VARIABLES}
        place = services[0].bundle.authentication
        with ExitStack() as undo:
            running = self._containers.up(
                services, lambda image: self._login(place, image), variables, {"tau.environment": before.name}
            )
            undo.callback(self._containers.remove, running)
            self._containers.wait_for_answer(running, change.work.go_on)
            undo.pop_all()
        host = self._hosts[before.id]
        host.address.switch(running.port)
        old, host.running = host.running, running
        if old:
            self._containers.remove(old)
        self.tell(change, Severity.INFO, "Instance deployment completed successfully.")
        if before.live and before.abortable:
            self.tell(change, Severity.INFO, "New application version was deployed to running EC2 instances.")
        live = Deployed(label, before.deployments, self._records.now())
        health = self._health(host, running, change)
        behind = before.live if self._faults.take([before.name], {Fault.MIXED}) else None
        self._records.change(before.id, live=live, behind=behind, health=health, options=change.options)

    def _health(self, host: Host, running: Running, change: Change) -> Health:
        """How a version fares that has just answered: well, unless something else was ordered."""
        order = self._faults.take([change.environment.name], HEALTHS)
        host.ill = order is not None
        if order is None:
            return Health.OK
        then = HEALTHS[order.fault]
        if order.after_s == 0:
            return then
        after_s = order.after_s

        def fall_ill(work: Work) -> None:
            work.pause(after_s)
            with self._records.lock:
                if host.running is running:
                    self.transition(change.environment.id, then)

        self._background.start(fall_ill)
        return Health.OK

    def transition(self, environment_id: str, health: Health) -> None:
        """Write another health, with the event that tells of it."""
        with self._records.lock:
            before = self._records.environments[environment_id]
            after = self._records.change(environment_id, health=health)
            severity = Severity.INFO if health is Health.OK else Severity.WARN
            text = f"Environment health has transitioned from {before.health} to {health}."
            label = after.live.label if after.live else None
            self._records.tell(severity, text, after.application, environment=after, label=label)

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
            self.tell(change, severity, message)

    def _login(self, place: tuple[str, str] | None, image: str) -> dict[str, str]:
        return eb_bundle.credentials(self._object(*place), image) if place else {}

    def _object(self, bucket: str, key: str) -> bytes:
        try:
            return self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except (ClientError, BotoCoreError) as error:
            where = f"(Bucket: {bucket}  Key: {key})"
            raise BadBundle(f"Unable to download from S3 location {where}. Reason: {error}") from error
