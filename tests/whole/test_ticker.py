"""The ticker Lambda alone: what was lost on the way is sent again, and who was not told is told."""

import pytest

from chalicelib.model import RunState
from tests.whole.world import wait_for

pytestmark = [pytest.mark.engine, pytest.mark.cloud]


@pytest.mark.usefixtures("no_runner")
def test_a_run_whose_message_was_lost_is_sent_again_once_it_is_due(installation):
    sent = installation.push("feature/lost-message")
    installation.cloud.client("sqs").purge_queue(QueueUrl=installation.queue_url)
    assert installation.messages() == 0
    installation.cloud.tick()
    assert (installation.run(sent.run).send, installation.messages()) == (1, 0), "nobody is late yet"
    installation.make_due(sent.run)
    installation.cloud.tick()
    assert (installation.run(sent.run).send, installation.messages()) == (2, 1)
    installation.cloud.tick()
    assert installation.messages() == 1, "once is enough"
    installation.runners(1)
    assert installation.wait_for_end(sent.run).state is RunState.PASSED


@pytest.mark.usefixtures("runner")
def test_who_could_not_be_told_by_the_runner_is_told_by_the_ticker(installation):
    installation.forbid_mail()
    try:
        sent = installation.push("feature/untold")
        wait_for(lambda: told(installation, sent).get("attempts") == 1, "the runner to try")
    finally:
        installation.runners(0)
        installation.allow_mail()
    run = installation.run(sent.run)
    assert run.state is RunState.PASSED, "a mail that fails changes no verdict"
    notice = told(installation, sent)
    assert notice["state"] == "due"
    assert "ses:SendEmail" in notice["reason"]
    assert installation.mails(sent.run) == []
    installation.make_due(sent.run)
    installation.cloud.tick()
    assert told(installation, sent)["state"] == "told"
    assert len(installation.mails(sent.run)) == 1
    assert installation.run(sent.run).due_at is None
    installation.cloud.tick()
    assert len(installation.mails(sent.run)) == 1


@pytest.mark.usefixtures("runner")
def test_a_mail_that_ses_will_never_take_is_visible_in_the_record(installation):
    mail = installation.cloud.client("sesv2")
    mail.delete_email_identity(EmailIdentity="2pisoftware.com")
    try:
        sent = installation.push("feature/refused-mail")
        run = installation.wait_for_end(sent.run)
    finally:
        mail.create_email_identity(EmailIdentity="2pisoftware.com")
    assert run.state is RunState.PASSED
    notice = told(installation, sent)
    assert notice["state"] == "failed"
    assert "SES refuses the mail to sam@2pisoftware.com" in notice["reason"]


def told(installation, sent):
    return installation.run(sent.run).tell.get("email:sam@2pisoftware.com", {})
