"""A tag on its whole way: built, tested, pushed, and live at Elastic Beanstalk; or not, and then the old version is."""

import json

import pytest

from chalicelib.model import RunState, WaitingFor
from infra.local import samples
from tests.whole.world import wait_for

pytestmark = [pytest.mark.engine, pytest.mark.cloud]

STARTING = "Environment update is starting."


@pytest.fixture(scope="module")
def live(installation):
    """v1.0.0 of a client, live; and the run of a push that was handled while Elastic Beanstalk worked."""
    installation.runners(1)
    installation.create_environment("acme")
    sent = installation.release("acme", "v1.0.0")
    assert sent.answered.status == 202
    wait_for(lambda: installation.run(sent.run).waiting_for is WaitingFor.ENVIRONMENT, "the run to be parked")
    between = installation.wait_for_end(installation.push("feature/meanwhile").run)
    state_then = installation.run(sent.run).state
    return sent, installation.wait_for_end(sent.run), between, state_then


def test_a_tag_goes_live(installation, live):
    sent, run, _, _ = live
    assert (run.state, run.reason) == (RunState.PASSED, None)
    assert "This is version v1.0.0." in installation.page("acme")
    deployment = run.results["3"].facts["deployment"]
    assert installation.environment_of("acme")["VersionLabel"] == deployment["label"]
    digest = installation.digest("v1.0.0", "2pisoftware/acme")
    assert digest == installation.digest(f"r-{sent.run.lower()}", "2pisoftware/acme")
    assert deployment["image"] == f"{installation.registry.host}/2pisoftware/acme@{digest}"


def test_the_runner_does_other_work_while_elastic_beanstalk_does_its_own(live):
    _, run, between, state_then = live
    assert between.state is RunState.PASSED
    assert state_then is RunState.WAITING
    assert run.started_at < between.started_at < between.ended_at < run.ended_at


def test_the_mail_says_what_is_live_and_where(installation, live):
    sent, _, _, _ = live
    (mail,) = installation.mails(sent.run)
    assert mail.to == ("sam@2pisoftware.com",)
    assert mail.subject.startswith("passed: 2pisoftware/acme_deploy v1.0.0")
    assert "is live on acme-production" in " ".join(mail.text.split())


def test_the_log_holds_what_elastic_beanstalk_said(installation, live):
    sent, _, _, _ = live
    log = installation.tau("log", sent.run).stdout
    assert f"eb: INFO {STARTING}" in log
    assert log.count(STARTING) == 1


def test_the_same_tag_delivered_again_deploys_nothing(installation, live):
    sent, _, _, _ = live
    again = installation.deliver(sent.webhook)
    assert again.status == 200
    assert json.loads(again.body)["runs"] == [sent.run]
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


@pytest.mark.usefixtures("live", "runner")
def test_a_tag_that_fails_its_smoke_test_never_reaches_elastic_beanstalk(installation):
    sent = installation.release("acme", "v3.0.0", {"smoke": "#!/bin/sh\necho smoke everywhere\nexit 1\n"})
    run = installation.wait_for_end(sent.run)
    assert (run.state, run.reason) == (RunState.FAILED, "the test command exited with 1")
    assert "This is version v1.0.0." in installation.page("acme")
    assert not any("v3.0.0" in str(label) for label in installation.versions("acme"))
