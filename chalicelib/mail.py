"""A Mail in, sent by SES, its message id out. Nothing here knows what a mail says."""

from __future__ import annotations

from email.message import EmailMessage
from email.policy import SMTP, EmailPolicy
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from chalicelib.errors import MailDelayed, MailRefused
from chalicelib.reports.email import Mail

if TYPE_CHECKING:  # the stubs are not shipped
    from mypy_boto3_sesv2 import SESV2Client

# https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html#API_SendEmail_Errors
# Whatever is not among these may be over in an hour, even a missing permission: somebody repairs it.
_FOR_EVER = frozenset(
    {
        "MessageRejected",
        "MailFromDomainNotVerifiedException",
        "BadRequestException",
        "NotFoundException",
    }
)

# https://www.rfc-editor.org/rfc/rfc5322#section-2.1.1
_LONGEST_LINE = 998


def send(client: SESV2Client, sender: str, mail: Mail) -> str:
    """Hand one mail to SES; returns its message id.

    Args:
        sender: the From address, with or without a name: `Tau <ci@2pisoftware.com>`.

    Raises:
        MailRefused: it will never be taken like this.
        MailDelayed: try again later. It may have been taken, with only the answer lost: a second copy bears the
            same X-Tau-Notice.
    """
    try:
        answer = client.send_email(
            FromEmailAddress=sender,
            Destination={"ToAddresses": list(mail.to)},
            # Raw, because References and Auto-Submitted are ours to set.
            Content={"Raw": {"Data": raw(sender, mail)}},
        )
    except ClientError as error:
        raise _named(error, mail) from error
    except ParamValidationError as error:
        raise MailRefused(f"Mail to {', '.join(mail.to)} cannot be put into a request to SES: {error}") from error
    except BotoCoreError as error:
        raise MailDelayed(f"Mail to {', '.join(mail.to)} waits: SES was not reached: {error}") from error
    return answer["MessageId"]


def raw(sender: str, mail: Mail) -> bytes:
    """The message as it travels: text and HTML as alternatives, seven-bit, in lines that SMTP allows."""
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = ", ".join(mail.to)
    message["Subject"] = mail.subject
    for name, value in mail.headers.items():
        message[name] = value
    # Quoted-printable whatever the text: one long line of a log must not choose how the mail is encoded.
    message.set_content(mail.text, cte="quoted-printable")
    message.add_alternative(mail.html, subtype="html", cte="quoted-printable")
    return message.as_bytes(policy=_unfolded(mail.subject))


def _unfolded(subject: str) -> EmailPolicy[EmailMessage]:
    """A policy that leaves a plain subject in one line, which may have 998 characters.

    Python folds one that just misses 78 behind the header's name; unfolded, it begins with a blank.
    """
    width = len(f"Subject: {subject}")
    return SMTP.clone(max_line_length=max(78, width)) if subject.isascii() and width < _LONGEST_LINE else SMTP


def _named(error: ClientError, mail: Mail) -> MailRefused | MailDelayed:
    code = error.response.get("Error", {}).get("Code", "unknown")
    said = error.response.get("Error", {}).get("Message", "no reason given")
    to = ", ".join(mail.to)
    if code in _FOR_EVER:
        return MailRefused(f"SES refuses the mail to {to}: {said} ({code})")
    return MailDelayed(f"SES does not take the mail to {to} now: {said} ({code})")
