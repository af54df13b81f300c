"""The everyday commands of `aws elasticbeanstalk`, by the real command where it is there, and always by botocore."""

import json
import os
import shutil
import subprocess
import time
import urllib.request

import boto3
import pytest
from botocore import xform_name
from botocore.config import Config

from infra.local.elastic_beanstalk import ElasticBeanstalk
from tests.local.beanstalks import BUCKET, KEYS, EngineNobodyAsks, page_of, pulled, s3_at
from tests.local.eb_stand_ins import Pages

AWS = shutil.which("aws")


class Aws:
    """The real command."""

    def __init__(self, address):
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "AWS_ENDPOINT_URL_ELASTIC_BEANSTALK": address,
            "AWS_ACCESS_KEY_ID": KEYS["aws_access_key_id"],
            "AWS_SECRET_ACCESS_KEY": KEYS["aws_secret_access_key"],
            "AWS_DEFAULT_REGION": KEYS["region_name"],
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_MAX_ATTEMPTS": "1",
        }

    def __call__(self, command, **options):
        flags = [text for name, value in options.items() for text in self._option(name, value)]
        argv = (AWS, "elasticbeanstalk", command, *flags, "--output", "json")
        done = subprocess.run(argv, env=self._environ, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    @staticmethod
    def _option(name, value):
        flag = "--" + name.replace("_", "-")
        if isinstance(value, dict):
            return [flag, ",".join(f"{key}={text}" for key, text in value.items())]
        if isinstance(value, list):
            return [flag, *value]
        return [flag] if value is True else [flag, value]

    def close(self):
        pass


class Botocore:
    """The same operations and members, by the library that the command is made of."""

    def __init__(self, address):
        once = Config(retries={"total_max_attempts": 1})
        self._client = boto3.client("elasticbeanstalk", endpoint_url=address, config=once, **KEYS)

    def __call__(self, command, **options):
        name = command.replace("-", "_")
        operation = self._client.meta.method_to_api_mapping[name]
        shape = self._client.meta.service_model.operation_model(operation).input_shape
        members = {xform_name(member): member for member in (shape.members if shape else ())}
        answer = getattr(self._client, name)(**{members[key]: value for key, value in options.items()})
        return {key: value for key, value in answer.items() if key != "ResponseMetadata"} or None

    def close(self):
        self._client.close()


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with s3_at(tmp_path_factory.mktemp("s3")) as client:
        yield client


@pytest.fixture(params=[*([pytest.param(Aws, marks=pytest.mark.slow)] if AWS else []), Botocore])
def run(request, s3):
    """`run("create-application", application_name="crm")` -> what is printed."""
    with ElasticBeanstalk(EngineNobodyAsks(), s3, "tau-test", 0.02, containers=Pages()) as service:
        command = request.param(service.start())
        yield command
        command.close()


def ready(run, name="crm-production"):
    deadline = time.monotonic() + 30
    while True:
        (found,) = run("describe-environments", environment_names=[name])["Environments"]
        if found["Status"] in {"Ready", "Terminated"}:
            return found
        assert time.monotonic() < deadline, found


def test_from_the_first_version_to_the_end(run, s3):
    run("create-application", application_name="crm")
    for label in ("v1", "v2"):
        s3.put_object(Bucket=BUCKET, Key=f"{label}.zip", Body=pulled(f"crm:{label}"))
        run(
            "create-application-version",
            application_name="crm",
            version_label=label,
            source_bundle={"S3Bucket": BUCKET, "S3Key": f"{label}.zip"},
        )
    run("create-environment", application_name="crm", environment_name="crm-production", version_label="v1")
    first = ready(run)
    assert (first["VersionLabel"], first["Health"], page_of(first)) == ("v1", "Green", "crm:v1")

    run("update-environment", environment_name="crm-production", version_label="v2")
    second = ready(run)
    assert (second["VersionLabel"], second["CNAME"], page_of(second)) == ("v2", first["CNAME"], "crm:v2")
    events = run("describe-events", environment_name="crm-production")["Events"]
    assert events[0]["Message"] == "Environment update completed successfully."
    health = run("describe-environment-health", environment_name="crm-production", attribute_names=["All"])
    assert (health["HealthStatus"], health["Color"]) == ("Ok", "Green")

    run("request-environment-info", environment_name="crm-production", info_type="tail")
    deadline = time.monotonic() + 30
    while not (
        told := run("retrieve-environment-info", environment_name="crm-production", info_type="tail")["EnvironmentInfo"]
    ):
        assert time.monotonic() < deadline
    with urllib.request.urlopen(told[0]["Message"], timeout=10) as answer:
        assert "/var/log/eb-engine.log\n" in answer.read().decode()

    run("terminate-environment", environment_name="crm-production")
    assert ready(run)["Status"] == "Terminated"
