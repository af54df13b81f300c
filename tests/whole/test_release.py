"""A tag on its whole way: built, tested, pushed, and live at Elastic Beanstalk; or not, and then the old version is."""

import json
from dataclasses import dataclass
from subprocess import CompletedProcess

import pytest

from chalicelib.model import Run, RunState, WaitingFor
from infra.local import samples
from tests.whole.world import Sent, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.cloud]

STARTING = "Environment update is starting."


@dataclass(frozen=True)
class Live:
    """v1.0.0 of a client, live.

    Args:
        said: what `tau cancel` said while Elastic Beanstalk worked.
        between: the run of a push that came after that.
    """

    sent: Sent
    run: Run
    said: CompletedProcess
    between: Run


@pytest.fixture(scope="module")
def live(installation):
    installation.runners(1)
    installation.create_environment("acme")
    sent = installation.release("acme", "v1.0.0")
    assert sent.answered.status == 202
    wait_for(lambda: installation.run(sent.run).waiting_for is WaitingFor.ENVIRONMENT, "the run to be parked")
    said = installation.tau("cancel", sent.run)
    between = installation.wait_for_end(installation.push("feature/meanwhile").run)
    return Live(sent, installation.wait_for_end(sent.run), said, between)


def test_a_tag_goes_live(installation, live):
    sent, run = live.sent, live.run
    assert (run.state, run.reason) == (RunState.PASSED, None)
    assert "This is version v1.0.0." in installation.page("acme")
    deployment = run.results["3"].facts["deployment"]
    assert installation.environment_of("acme")["VersionLabel"] == deployment["label"]
    digest = installation.digest("v1.0.0", "2pisoftware/acme")
    assert digest == installation.digest(f"r-{sent.run.lower()}", "2pisoftware/acme")
    assert deployment["image"] == f"{installation.registry.host}/2pisoftware/acme@{digest}"


def test_the_runner_does_other_work_while_elastic_beanstalk_does_its_own(live):
    assert live.between.state is RunState.PASSED
    assert live.run.started_at < live.between.started_at < live.run.ended_at


def test_a_deployment_that_is_under_way_is_not_cancelled_and_whoever_wants_it_is_told(live):
    assert (live.said.returncode, live.said.stdout) == (
        1,
        f"run {live.run.id} goes on: its deployment has begun; `tau abort ENVIRONMENT` stops that\n",
    )
    assert live.run.stop is None


def test_the_mail_says_what_is_live_and_where(installation, live):
    (mail,) = installation.mails(live.sent.run)
    assert mail.to == ("sam@2pisoftware.com",)
    assert mail.subject.startswith("passed: 2pisoftware/acme_deploy v1.0.0")
    assert "is live on acme-production" in " ".join(mail.text.split())


def test_the_log_holds_what_elastic_beanstalk_said(installation, live):
    log = installation.tau("log", live.sent.run).stdout
    assert f"eb: INFO {STARTING}" in log
    assert log.count(STARTING) == 1


def test_the_same_tag_delivered_again_deploys_nothing(installation, live):
    again = installation.deliver(live.sent.webhook)
    assert again.status == 200
    assert json.loads(again.body)["runs"] == [live.sent.run]
    assert installation.messages() == 0
    assert installation.events("acme").count(STARTING) == 1


@pytest.mark.usefixtures("live", "runner")
def test_a_version_that_does_not_start_is_rolled_back_and_the_old_one_stays(installation):
    label = installation.environment_of("acme")["VersionLabel"]
    dockerfile = samples.client("")["Dockerfile"].replace('CMD ["httpd"', 'CMD ["no-such-server"')
    sent = installation.release("acme", "v2.0.0", {"Dockerfile": dockerfile})
    run = installation.wait_for_end(sent.run)
    assert run.state is RunState.FAILED
    assert run.reason.startswith(f"Elastic Beanstalk rolled back to {label}: ")
    assert installation.environment_of("acme")["VersionLabel"] == label
    assert "This is version v1.0.0." in installation.page("acme")
    assert installation.events("acme").count(STARTING) == 2
    (mail,) = installation.mails(sent.run)
    assert "rolled back" in " ".join(mail.text.split())
    log = installation.tau("log", sent.run).stdout
    assert "/var/log/eb-engine.log" in log
    assert "log: Failed to run Docker container: " in mail.text


@pytest.mark.usefixtures("live", "runner")
def test_a_tag_that_fails_its_smoke_test_never_reaches_elastic_beanstalk(installation):
    sent = installation.release("acme", "v3.0.0", {"smoke": "#!/bin/sh\necho smoke everywhere\nexit 1\n"})
    run = installation.wait_for_end(sent.run)
    assert (run.state, run.reason) == (RunState.FAILED, "the test command exited with 1")
    assert "This is version v1.0.0." in installation.page("acme")
    assert not any("v3.0.0" in str(label) for label in installation.versions("acme"))
