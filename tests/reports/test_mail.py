"""What travels to SES, and what each of its refusals means for whoever sends again."""

from __future__ import annotations

from email import message_from_bytes
from email.policy import default

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, NoCredentialsError
from moto import mock_aws
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ses.models import ses_backends

from chalicelib.errors import MailDelayed, MailRefused
from chalicelib.mail import raw, send
from chalicelib.reports.email import Console, Mail, render

SENDER = "Tau <ci@2pisoftware.com>"
ALICE = "alice@2pisoftware.com"
REGION = "ap-southeast-2"

TRICKS = [
    "x\r\nBcc: victims@example.org",
    "x\nSubject: y",
    "a\x0bb",
    "a\x0cb",
    "a\x85b",
    "a\u2028b\u2029c",
    "=?utf-8?q?a=0ABcc:x@example.org?=",
    "=?utf-8?b?Cg==?= =?utf-8?q?=0D=0A?=",
    "a\x00b",
    "x" * 5000,
    "é" * 5000,
    "\u202etxt.exe",
    "lone \ud800",
    "\x1b[31mred\x1b[0m",
    "名前" * 40,
]


@pytest.fixture
def ses(monkeypatch):
    """SES with our sender verified; the region is where its state lies."""
    for name, value in {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_SESSION_TOKEN": "x"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("sesv2", region_name=REGION)
        client.create_email_identity(EmailIdentity="ci@2pisoftware.com")
        yield client


class Refusing:
    """An SES that answers every send with the same trouble."""

    def __init__(self, error):
        self.error = error

    def send_email(self, **_):
        raise self.error


def refusal(code):
    return ClientError({"Error": {"Code": code, "Message": "because"}}, "SendEmail")


def read(message):
    return message_from_bytes(message, policy=default)


def said(message, kind):
    return message.get_body((kind,)).get_content().replace("\r\n", "\n")


def sent():
    (message,) = ses_backends[DEFAULT_ACCOUNT_ID][REGION].sent_messages
    return message


def test_a_mail_reaches_ses_with_its_headers_and_both_of_its_parts(ses, samples):
    mail = render(samples.FAILED, to=ALICE, console=Console())
    identifier = send(ses, SENDER, mail)
    message = sent()
    arrived = read(message.raw_data.encode())
    assert message.id == identifier
    assert set(message.destinations) == {ALICE}
    assert arrived["From"] == SENDER
    assert arrived["To"] == ALICE
    assert arrived["Subject"] == mail.subject
    assert {name: arrived[name] for name in mail.headers} == dict(mail.headers)
    assert arrived.get_content_type() == "multipart/alternative"
    assert said(arrived, "plain") == mail.text
    assert said(arrived, "html") == mail.html


def test_a_sender_that_ses_does_not_know_is_refused_for_good(ses, samples):
    with pytest.raises(MailRefused, match=ALICE):
        send(ses, "stranger@example.org", render(samples.PASSED, to=ALICE, console=Console()))


@pytest.mark.parametrize("trick", TRICKS, ids=lambda trick: ascii(trick[:24]))
def test_whatever_a_stranger_is_called_the_mail_is_sent_to_one_reader_only(ses, samples, trick):
    mail = render(samples.hostile(trick), to=ALICE, console=Console())
    send(ses, SENDER, mail)
    message = sent()
    arrived = read(message.raw_data.encode())
    assert set(message.destinations) == {ALICE}
    assert arrived["To"] == ALICE
    assert arrived["Bcc"] is None
    assert arrived.get_all("Subject") == [mail.subject]
    assert set(arrived.keys()) == {"From", "To", "Subject", "MIME-Version", "Content-Type", *mail.headers}
    assert not arrived.defects
    assert not set(arrived["Subject"]) & set("\r\n\x00\x0b\x0c\x85\u2028\u2029\u202e")
    assert said(arrived, "plain") == mail.text


@pytest.mark.parametrize("trick", TRICKS, ids=lambda trick: ascii(trick[:24]))
def test_no_line_is_longer_than_smtp_allows_and_every_byte_is_seven_bit(samples, trick):
    message = raw(SENDER, render(samples.hostile(trick), to=ALICE, console=Console()))
    assert max(map(len, message.split(b"\r\n"))) <= 998
    assert b"\n" not in message.replace(b"\r\n", b"")
    assert message.isascii()


def test_a_line_of_a_megabyte_is_folded():
    message = raw(SENDER, Mail((ALICE,), "s", "x" * 1_000_000, "<p>" + "é" * 100_000 + "</p>"))
    assert max(map(len, message.split(b"\r\n"))) <= 998


@pytest.mark.parametrize(
    "code", ["MessageRejected", "MailFromDomainNotVerifiedException", "BadRequestException", "NotFoundException"]
)
def test_what_ses_will_never_take_is_refused(code):
    with pytest.raises(MailRefused, match=rf"alice@2pisoftware\.com: because \({code}\)"):
        send(Refusing(refusal(code)), SENDER, Mail((ALICE,), "s", "t", "h"))


@pytest.mark.parametrize(
    "error",
    [
        *map(
            refusal,
            [
                "TooManyRequestsException",
                "LimitExceededException",
                "ThrottlingException",
                "SendingPausedException",
                "AccountSuspendedException",
                "InternalServiceErrorException",
                "AccessDeniedException",
                "503",
            ],
        ),
        EndpointConnectionError(endpoint_url="https://email.example"),
        ConnectTimeoutError(endpoint_url="https://email.example"),
        NoCredentialsError(),
    ],
    ids=str,
)
def test_what_may_be_over_in_an_hour_is_delayed(error):
    with pytest.raises(MailDelayed, match="alice@2pisoftware") as caught:
        send(Refusing(error), SENDER, Mail((ALICE,), "s", "t", "h"))
    assert caught.value.__cause__ is error


def test_an_ses_that_cannot_be_reached_delays(samples):
    once = Config(retries={"total_max_attempts": 1}, connect_timeout=1)
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
    # Port 9 of loopback: nobody listens there.
    away = boto3.client("sesv2", region_name=REGION, endpoint_url="http://127.0.0.1:9", config=once, **keys)
    with pytest.raises(MailDelayed, match="not reached"):
        send(away, SENDER, render(samples.PASSED, to=ALICE, console=Console()))
