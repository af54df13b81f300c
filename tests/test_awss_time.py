"""AWS's time over HTTP: from every answer, and on a machine whose own clock is wrong."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from chalicelib.clock import is_clock
from chalicelib.edge import connect
from chalicelib.settings import Settings
from tests.installation import SETTINGS, installation
from tests.wrong_clock import wrong_clock

ROOT = Path(__file__).parents[1]
EXPIRED = "Signature expired: 20261123T110000Z is now earlier than 20261123T115500Z (20261123T120000Z - 5 min.)"


class Answer(BaseHTTPRequestHandler):
    """DynamoDB as far as it takes everything and has nothing, with the server's own idea of the time."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        status, body = self.server.answer
        self.send_response_only(status)
        if self.server.ahead_s is not None:
            self.send_header("Date", formatdate(time.time() + self.server.ahead_s, usegmt=True))
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Far:
    """An AWS whose clock is `ahead_s` seconds ahead of ours; None = its answers bear no date."""

    def __init__(self, server):
        self.server = server
        self.server.ahead_s, self.server.answer, self.server.asked = 0, (200, b'{"Attributes": {}}'), []
        self.url = f"http://127.0.0.1:{server.server_port}"

    def edge(self, **how):
        session = boto3.Session("nobody", "nobody", region_name="ap-southeast-2")
        return connect(SETTINGS, session, self.url, **how)


@pytest.fixture
def far():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield Far(server)
    server.shutdown()
    server.server_close()
    thread.join()


def seconds_off(edge):
    return (edge.now() - datetime.now(UTC)).total_seconds()


@pytest.mark.parametrize("patient", [True, False], ids=["runner", "function"])
@pytest.mark.parametrize("ahead_s", [3600, -3600])
def test_the_edges_time_is_that_of_the_answers(far, ahead_s, patient):
    edge = far.edge(patient=patient)
    far.server.ahead_s = ahead_s
    assert seconds_off(edge) == pytest.approx(0, abs=0.1)
    edge.store.table.get(("a", "b"))
    assert seconds_off(edge) == pytest.approx(ahead_s, abs=2.2)
    far.server.ahead_s = 0
    edge.store.table.get(("a", "b"))
    assert seconds_off(edge) == pytest.approx(0, abs=2.2)


def test_answers_without_a_date_change_nothing(far):
    edge = far.edge()
    far.server.ahead_s = None
    edge.store.table.get(("a", "b"))
    assert seconds_off(edge) == pytest.approx(0, abs=0.1)


def test_a_refusal_for_the_time_says_what_time_it_is_and_how_far_off_we_are(far, caplog):
    edge = far.edge()
    far.server.ahead_s = 7200
    body = {"__type": "com.amazon.coral.service#InvalidSignatureException", "message": EXPIRED}
    far.server.answer = (400, json.dumps(body).encode())
    with pytest.raises(ClientError) as refused:
        edge.store.table.get(("a", "b"))
    assert is_clock(refused.value)
    assert seconds_off(edge) == pytest.approx(7200, abs=2.2)
    (warning,) = [record.getMessage() for record in caplog.records if record.name == "tau.clock"]
    assert warning.startswith("the clock of this machine is 7")
    assert "s behind AWS's" in warning


def test_nobody_answering_changes_nothing(far):
    edge = far.edge(patient=False)
    far.server.shutdown()
    far.server.server_close()
    with pytest.raises(EndpointConnectionError):
        edge.store.table.get(("a", "b"))
    assert seconds_off(edge) == pytest.approx(0, abs=0.1)


def test_it_learns_from_every_service(monkeypatch):
    with installation(monkeypatch):
        for learn in (
            lambda edge: edge.store.table.get(("a", "b")),
            lambda edge: edge.queue.url("default"),
            lambda edge: edge.client("s3").list_buckets(),
            lambda edge: edge.client("sesv2").list_email_identities(),
            lambda edge: edge.client("elasticbeanstalk").describe_environments(),
        ):
            edge = connect(SETTINGS)
            clock = edge.now.__self__
            assert clock._base is None
            learn(edge)
            assert clock._base is not None


# --- a machine whose clock is wrong ---------------------------------------------------------------

WRITER = """
import os, sys, time
from chalicelib import wire
from chalicelib.edge import connect
from chalicelib.records.table import Put
from chalicelib.settings import Settings

edge = connect(Settings.from_env(os.environ))
edge.store.table.get(("a", "b"))
for line in sys.stdin:
    edge.store.table.write(Put({"pk": "clock#" + line.strip(), "sk": "clock", "at": wire.time_text(edge.now())}))
    print(time.time(), flush=True)
"""
NOBODY = {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nobody",
    "AWS_DEFAULT_REGION": "ap-southeast-2",
    "TAU_STAGE": "test",
    "TAU_BUCKET": "tau-test",
    "TAU_SENDER": "tau@2pisoftware.com",
}


@pytest.fixture
def wrong(tmp_path):
    return wrong_clock(tmp_path / "time")


@contextmanager
def writer(environment):
    pipe, argv = subprocess.PIPE, (sys.executable, "-c", WRITER)
    with subprocess.Popen(
        argv, stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env={**os.environ, **environment}
    ) as child:
        yield child
        child.stdin.close()


def wrote(child, name):
    """Have it write a record; what its own clock said then, against ours."""
    child.stdin.write(f"{name}\n")
    child.stdin.flush()
    return float(child.stdout.readline()) - time.time()


def is_now(text):
    return abs(datetime.fromisoformat(text) - datetime.now(UTC)) < timedelta(seconds=5)


@pytest.mark.parametrize(("first_s", "then_s"), [(3600, -3600), (-3600, 3600), (0, 7200), (0, -7200)])
def test_records_bear_awss_time_whatever_the_clock_of_the_machine_does(far, wrong, first_s, then_s):
    wrong.set(first_s)
    with writer({**NOBODY, **wrong.environment, "AWS_ENDPOINT_URL": far.url}) as child:
        for ahead_s in (first_s, then_s, 60 + first_s):
            wrong.set(ahead_s)
            assert wrote(child, ahead_s) == pytest.approx(ahead_s, abs=5), "its clock is wrong"
            assert is_now(far.server.asked[-1]["Item"]["at"]["S"])


def test_within_what_aws_puts_up_with_everything_goes_on(cloud, wrong):
    wrong.set(240)
    table = connect(Settings.from_env(cloud.environment), session(cloud), cloud.url).store.table
    with writer({**cloud.environment, **wrong.environment}) as child:
        for ahead_s in (240, -240, 0):
            wrong.set(ahead_s)
            assert wrote(child, ahead_s) == pytest.approx(ahead_s, abs=5)
            assert is_now(table.get((f"clock#{ahead_s}", "clock"))["at"])


@pytest.mark.parametrize(("ahead_s", "where"), [(3600, "ahead of"), (-3600, "behind")])
def test_beyond_that_the_command_says_that_it_is_the_clock(cloud, wrong, ahead_s, where):
    wrong.set(ahead_s)
    environment = {**os.environ, **cloud.environment, **wrong.environment}
    argv = (sys.executable, "-m", "runner", "runs")
    said = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert said.returncode == 1
    warning, what, hint = said.stderr.splitlines()
    assert re.match(rf"the clock of this machine is (3599|3600|3601) s {where} AWS's", warning)
    assert what.startswith("tau: the clock of this machine is wrong, and AWS refuses what is signed by it: ")
    assert "NTP" in hint


def session(cloud):
    environment = cloud.environment
    return boto3.Session(
        environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"], region_name=environment["AWS_REGION"]
    )
