"""The mail that asks for an approval: what, where to, until when, and the two commands."""

from datetime import UTC, datetime, timedelta

from chalicelib.mail import raw
from chalicelib.reports.approval import render
from chalicelib.reports.email import header
from tests.deploying import deployment

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SAM = "sam@2pisoftware.com"
TEXT = """\
◦ APPROVAL WANTED
v1.2.0-1a2b3c4-5d6e7f80 is ready, and goes to crm-production as soon as
somebody whom ci.yml names approves it.

  Environment  crm-production (ap-southeast-2)
  Version      v1.2.0-1a2b3c4-5d6e7f80
  Repository   bitbucket.org/2pisoftware/crm_deploy
  Tag          v1.2.0
  Commit       1a2b3c4
  By           Bob
  Until        30 Nov 2026, 12:00 UTC

Approve it  tau approve 01RUN --by sam@2pisoftware.com
Refuse it   tau approve 01RUN --by sam@2pisoftware.com --refuse
The log     tau log 01RUN

Run 01RUN
You get this because deploy_eb in ci.yml names you under `approve`.
"""


def asking(**changes):
    fields = {
        "label": "v1.2.0-1a2b3c4-5d6e7f80",
        "repository": "bitbucket.org/2pisoftware/crm_deploy",
        "tag": "v1.2.0",
        "commit": "1a2b3c4" + "0" * 33,
        "by": "Bob",
        "approvers": (SAM,),
        "deadline_at": NOW + timedelta(days=7),
    }
    return deployment(**{**fields, **changes})


def test_the_mail_says_what_is_asked_and_how_to_answer():
    mail = render(asking(), to=SAM)
    assert mail.text == TEXT
    assert mail.subject == "approval wanted: v1.2.0-1a2b3c4-5d6e7f80 to crm-production"
    assert "tau approve 01RUN --by sam@2pisoftware.com --refuse" in mail.html


def test_it_is_no_repetition_of_the_mail_that_tells_of_the_runs_end():
    notices = {render(asking(), to=to).headers["X-Tau-Notice"] for to in (SAM, "bob@2pisoftware.com")}
    assert len(notices) == 2
    assert render(asking(), to=SAM) == render(asking(), to=SAM)


def test_what_a_pusher_chose_is_clean_and_one_header():
    mail = render(asking(by="\x1b[2J<b>\nBcc: x", label="=?utf-8?q?a=0ABcc:x?="), to=SAM)
    assert "\x1b" not in mail.text
    assert "<b>" not in mail.html
    assert b"\nBcc" not in raw("tau@example.com", mail)
    assert mail.subject == header(mail.subject, 250)
