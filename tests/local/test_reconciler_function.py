"""The real reconciler in the local cloud, with the rights that its policy gives it: a lost tag becomes a run."""

import boto3
import pytest

from chalicelib.edge import connect
from chalicelib.settings import Settings
from infra.local.cloud import LocalCloud
from runner.compiler import compile_source, render
from tests.forge_stand_ins import TOKEN, GitHubStandIn, sha

pytestmark = pytest.mark.cloud

REPOSITORY = "2pisoftware/hello"
CI_YML = """\
version: 1
operators: [ops@2pisoftware.com]
forges:
  github.com:
    provider: github
    clone: https://github.com/{{repository}}.git
    webhook: [hook-2026]
    api: {api}
    token: token-github
pipelines:
  hello:
    repository: github.com/2pisoftware/hello
    trigger: {{tag: ["*"]}}
    steps:
      - build: {{image: 2pisoftware/hello}}
"""


def test_a_tag_that_nobody_told_of_is_recorded_and_waits_in_the_queue(tmp_path):
    with GitHubStandIn() as forge, LocalCloud(tmp_path) as cloud:
        source = CI_YML.format(api=forge.api).encode()
        compiled = render(compile_source(source).form).encode()
        cloud.deploy_app(files={"chalicelib/ci.yml": source, "chalicelib/ci.json": compiled})
        cloud.put_secret("token-github", TOKEN)
        forge.repository(REPOSITORY).tags["v1"] = sha("v1"), sha("v1")
        cloud.tick("Reconciler")
        forge.repository(REPOSITORY).tags["v2"] = sha("tag object"), sha("v2")
        cloud.tick("Reconciler")
        store = _store(cloud)
        (run,) = store.runs_of_commit(sha("v2"), 9)
        assert (run.job.event.name, run.job.event.after) == ("v2", sha("tag object"))
        assert list(store.runs_of_commit(sha("v1"), 9)) == []
        received = cloud.client("sqs").receive_message(QueueUrl=cloud.outputs["DefaultQueueUrl"])
        assert [run.id in message["Body"] for message in received["Messages"]] == [True]


def _store(cloud):
    keys = (cloud.environment[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    session = boto3.session.Session(*keys, region_name=cloud.environment["AWS_REGION"])
    return connect(Settings.from_env(cloud.environment), session, endpoint=cloud.url).store
