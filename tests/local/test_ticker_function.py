"""The real ticker in the local cloud, with the rights that its policy gives it: a schedule starts its pipeline."""

from datetime import UTC, datetime

import boto3
import pytest

from chalicelib.edge import connect
from chalicelib.model import EventKind
from chalicelib.settings import Settings
from infra.local.cloud import LocalCloud
from runner.compiler import compile_source, render
from tests.whole.seen import wait_for

pytestmark = [pytest.mark.cloud, pytest.mark.slow]

CI_YML = b"""\
version: 1
operators: [ops@2pisoftware.com]
forges:
  github.com: {provider: github, clone: "https://github.com/{repository}.git", webhook: [hook-2026]}
pipelines:
  nightly:
    repository: github.com/2pisoftware/hello
    trigger: {schedule: {cron: "* * * * *", timezone: Australia/Sydney, ref: develop}}
    steps:
      - build: {image: 2pisoftware/hello}
"""


def test_a_schedule_that_fell_due_is_recorded_once_and_waits_in_the_queue(tmp_path):
    with LocalCloud(tmp_path) as cloud:
        compiled = render(compile_source(CI_YML).form).encode()
        cloud.deploy_app(files={"chalicelib/ci.yml": CI_YML, "chalicelib/ci.json": compiled})
        store = _store(cloud)
        cloud.tick()
        first = store.last_look().at
        # Every minute is a moment: the next one is not far.
        wait_for(lambda: datetime.now(UTC).replace(second=0, microsecond=0) > first, "the next minute", timeout_s=70)
        for _ in range(2):
            cloud.tick()
        found = [run for day in {first.date(), datetime.now(UTC).date()} for run in store.runs_of_day(f"{day}", 9)]
        moments = {run.job.event.delivery_id for run in found}
        assert len(found) == len(moments) >= 1
        event = found[0].job.event
        assert (event.kind, event.ref, event.pipeline) == (EventKind.SCHEDULE, "refs/heads/develop", "nightly")
        received = cloud.client("sqs").receive_message(QueueUrl=cloud.outputs["DefaultQueueUrl"])
        assert any(run.id in message["Body"] for run in found for message in received["Messages"])


def _store(cloud):
    keys = (cloud.environment[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    session = boto3.session.Session(*keys, region_name=cloud.environment["AWS_REGION"])
    return connect(Settings.from_env(cloud.environment), session, endpoint=cloud.url).store
