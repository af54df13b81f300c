"""The local cloud: the emulator behind the front, infra/stack.yml applied, the packaged app deployed into it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import boto3

from infra.local import mailbox, stacks
from infra.local.emulator import REGION, Emulator
from infra.local.front import Front, Handler
from infra.local.package import package

ROOT = Path(__file__).resolve().parents[2]
STACK = ROOT / "infra" / "stack.yml"
STAGE = "local"
SENDER = "tau@2pisoftware.com"
# The emulator's own name for somebody who may do everything.
_ROOT_KEY = "test"
# What EventBridge hands to a scheduled function.
# https://docs.aws.amazon.com/eventbridge/latest/ref/events-ref-eventbridge-scheduler.html
_SCHEDULED = {
    "version": "0",
    "id": "00000000-0000-0000-0000-000000000000",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": "000000000000",
    "time": "2026-01-01T00:00:00Z",
    "region": REGION,
    "resources": [],
    "detail": {},
}
# What Lambda itself writes around each invocation.
_FRAME = ("START RequestId:", "END RequestId:", "REPORT RequestId:")


class CloudError(RuntimeError):
    """The local cloud cannot do what was asked; the message says why."""


class LocalCloud:
    """One cloud on loopback, alive while it is entered.

    Args:
        folder: gets the emulator's log; is made if it is not there.
        port: of the one address; 0 = any free one.
        elastic_beanstalk: answers requests signed for Elastic Beanstalk; `cloud.front.elastic_beanstalk` sets it later.
    """

    def __init__(self, folder: Path, *, port: int = 0, elastic_beanstalk: Handler | None = None) -> None:
        self._folder = folder
        self._port = port
        self._handler = elastic_beanstalk
        self._front: Front | None = None
        self._emulator: Emulator | None = None
        self._keys: Mapping[str, str] = {}
        # One for all clients: making it takes many times as long as making a client.
        self._session = boto3.Session(_ROOT_KEY, _ROOT_KEY, region_name=REGION)
        self.outputs: Mapping[str, str] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Bring it up with every resource of infra/stack.yml, and with the sender's domain verified at SES.

        Raises:
            StackError: a resource was refused; says which, and why.
            EmulatorError: the emulator did not start.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._front = Front(self._port, self._handler)
            self._emulator = Emulator(self._folder, self.url)
            self._emulator.wait()
            self._front.emulator_port = self._emulator.port
            self.outputs = self._apply(f"tau-{STAGE}", STACK.read_text(), {"Stage": STAGE, "PlainHttp": "yes"})
            self._keys = self._code_server()
            self.client("sesv2").create_email_identity(EmailIdentity=SENDER.partition("@")[2])
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it: no process, thread or temporary file stays; the log does."""
        if self._emulator is not None:
            self._emulator.stop()
        if self._front is not None:
            self._front.stop()
        self._emulator = self._front = None

    @property
    def front(self) -> Front:
        """What listens at the cloud's address."""
        if self._front is None:
            raise CloudError("the local cloud is not running: enter it first")
        return self._front

    @property
    def url(self) -> str:
        """The one address of every service: AWS_ENDPOINT_URL."""
        return self.front.url

    @property
    def environment(self) -> dict[str, str]:
        """What a child process needs to use this cloud as a code server uses AWS: with its rights and no others."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            **self._keys,
            **self._settings(),
        }

    def client(self, service: str) -> Any:
        """A boto3 client that may do everything in this cloud, whatever the environment says."""
        return self._session.client(service, endpoint_url=self.url)  # type: ignore[call-overload]  # wants a literal name

    def put_secret(self, name: str, value: str) -> None:
        """Set what ci.yml calls the secret `name`."""
        self.client("ssm").put_parameter(
            Name=f"{self.outputs['SecretsPrefix']}{name}", Value=value, Type="SecureString", Overwrite=True
        )

    def deploy_app(
        self,
        environment: Mapping[str, str] | None = None,
        *,
        app: Path = ROOT,
        files: Mapping[str, bytes] | None = None,
    ) -> str:
        """Package the Chalice app in the folder `app` and deploy it; once more replaces it.

        Args:
            environment: variables of its functions, over those of .chalice/config.json.
            files: path in the package -> what lies there instead (an installation's own ci.yml).

        Returns:
            The API's address, with no slash at its end.
        """
        made = package(app, STAGE, REGION)
        body = made.with_files(files or {})
        bucket, key = self.outputs["Bucket"], f"packages/{hashlib.sha256(body).hexdigest()}.zip"
        self.client("s3").put_object(Bucket=bucket, Key=key, Body=body)
        template = json.loads(made.template.read_text())
        for resource in template["Resources"].values():
            if resource["Type"] == "AWS::Serverless::Function":
                properties = resource["Properties"]
                properties["CodeUri"] = f"s3://{bucket}/{key}"
                variables = properties.setdefault("Environment", {}).setdefault("Variables", {})
                variables |= {**self._settings(), **(environment or {})}
        outputs = self._apply(f"tau-{STAGE}-app", json.dumps(template), {})
        return f"{self.url}/_aws/execute-api/{outputs['RestAPIId']}/api"

    def tick(self, function: str = "Ticker") -> None:
        """Run a scheduled function of the app now, as its schedule does every minute.

        Raises:
            CloudError: it failed; carries its traceback.
        """
        name = stacks.resource(self.client("cloudformation"), f"tau-{STAGE}-app", function)
        answer = self.client("lambda").invoke(FunctionName=name, Payload=json.dumps(_SCHEDULED))
        if answer.get("FunctionError"):
            raise CloudError(f"the function {function} failed: {answer['Payload'].read().decode()}")

    def logs(self) -> list[str]:
        """What the app's functions wrote, oldest first: where to look when one of them answers 500."""
        client = self.client("logs")
        groups = client.describe_log_groups(logGroupNamePrefix=f"/aws/lambda/tau-{STAGE}-app-")["logGroups"]
        events = [
            event
            for group in groups
            for event in client.filter_log_events(logGroupName=group["logGroupName"])["events"]
            if not event["message"].startswith(_FRAME)
        ]
        return [event["message"] for event in sorted(events, key=lambda event: event["timestamp"])]

    def mails(self) -> list[mailbox.SentMail]:
        """What SES accepted, oldest first."""
        return mailbox.read(self.url)

    def save_mails(self, folder: Path) -> list[Path]:
        """Write each mail as .eml, and its page as .html; returns the .eml files, oldest first."""
        return mailbox.save(self.mails(), folder)

    def _code_server(self) -> dict[str, str]:
        """Keys with the rights of a code server. On EC2 the instance profile does this; here nobody hands out roles."""
        iam, name = self.client("iam"), "code-server"
        iam.create_user(UserName=name)
        for policy in ("RunnerPolicy", "DeployPolicy"):
            iam.attach_user_policy(UserName=name, PolicyArn=self.outputs[policy])
        made = iam.create_access_key(UserName=name)["AccessKey"]
        return {"AWS_ACCESS_KEY_ID": made["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"]}

    def _settings(self) -> dict[str, str]:
        return {
            "TAU_STAGE": STAGE,
            "TAU_TABLE": self.outputs["Table"],
            "TAU_BUCKET": self.outputs["Bucket"],
            "TAU_QUEUE_PREFIX": self.outputs["QueuePrefix"],
            "TAU_SENDER": SENDER,
        }

    def _apply(self, stack: str, template: str, parameters: Mapping[str, str]) -> dict[str, str]:
        return stacks.apply(self.client("cloudformation"), stack, template, parameters)
