"""What tests of the local Elastic Beanstalk share: a bucket at the emulator, clients, and bundles."""

import io
import json
import stat
import urllib.request
import zipfile
from contextlib import contextmanager

import boto3
from botocore.config import Config

from infra.local.emulator import REGION, Emulator

BUCKET = "bundles"
KEYS = {"region_name": REGION, "aws_access_key_id": "test", "aws_secret_access_key": "test"}


class EngineNobodyAsks:
    """Stands in for a Docker client where no container is run: it is asked for leftovers, and has none."""

    class containers:  # noqa: N801 - the SDK's attribute
        list = staticmethod(lambda **_: [])

    class images:  # noqa: N801 - the SDK's attribute
        list = staticmethod(lambda **_: [])


@contextmanager
def s3_at(folder):
    """A client of an emulator's S3, with one bucket."""
    emulator = Emulator(folder, "http://127.0.0.1:1")
    try:
        emulator.wait()
        path_style = Config(s3={"addressing_style": "path"})
        client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{emulator.port}", config=path_style, **KEYS)
        client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        yield client
        client.close()
    finally:
        emulator.stop()


@contextmanager
def client_at(address):
    """A client that asks once, as production's does."""
    once = Config(retries={"total_max_attempts": 1})
    client = boto3.client("elasticbeanstalk", endpoint_url=address, config=once, **KEYS)
    try:
        yield client
    finally:
        client.close()


def bundle(files, *, executable=()):
    """A zip file as `git archive` makes it, with modes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (stat.S_IFREG | (0o755 if name in executable else 0o644)) << 16
            archive.writestr(entry, content)
    return out.getvalue()


def pulled(image, **more):
    """A bundle with nothing but Dockerrun.aws.json, which names an image."""
    said = {"AWSEBDockerrunVersion": "1", "Image": {"Name": image}, "Ports": [{"ContainerPort": "8080"}], **more}
    return bundle({"Dockerrun.aws.json": json.dumps(said)})


def page_of(environment, path="/"):
    with urllib.request.urlopen(f"http://{environment['CNAME']}{path}", timeout=10) as answer:
        return answer.read().decode()


def order(address, environment, **fault):
    """Order a fault, as anybody can."""
    return ask(address, "POST", environment, fault)


def ask(address, method, environment, body=None):
    """What the admin route answers."""
    request = urllib.request.Request(
        f"{address}/_elasticbeanstalk/environments/{environment}/faults",
        data=None if body is None else json.dumps(body).encode(),
        method=method,
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)
