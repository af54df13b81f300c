"""What the emulator's SES accepted, read back, and written as files that a person can open."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Any

_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")


@dataclass(frozen=True)
class SentMail:
    """One mail as its parts. The emulator keeps no headers of our own."""

    id: str
    sender: str
    to: tuple[str, ...]
    subject: str
    text: str
    html: str
    sent_at: datetime

    def message(self) -> EmailMessage:
        """The mail as a mail program reads it."""
        message = EmailMessage()
        message["From"] = _CONTROL.sub(" ", self.sender)
        message["To"] = _CONTROL.sub(" ", ", ".join(self.to))
        message["Subject"] = _CONTROL.sub(" ", self.subject)
        message["Date"] = format_datetime(self.sent_at)
        message["Message-ID"] = f"<{self.id}>"
        message.set_content(self.text)
        if self.html:
            message.add_alternative(self.html, subtype="html")
        return message


def read(url: str) -> list[SentMail]:
    """Every mail that the cloud at `url` accepted, oldest first."""
    with urllib.request.urlopen(f"{url}/_ministack/ses/messages", timeout=10) as answer:
        accounts: Mapping[str, Sequence[Mapping[str, Any]]] = json.load(answer)["messages"]
    found = [_mail(record) for records in accounts.values() for record in records]
    return sorted(found, key=lambda mail: mail.sent_at)


def save(mails: Sequence[SentMail], folder: Path) -> list[Path]:
    """Write each mail as `NN-subject.eml`, and its page as `NN-subject.html`.

    Returns:
        The .eml files, in the order of the mails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, mail in enumerate(mails, start=1):
        slug = re.sub(r"[^a-z0-9]+", "-", mail.subject.lower()).strip("-")[:60].strip("-")
        path = folder / f"{number:02}-{slug or 'mail'}.eml"
        path.write_bytes(bytes(mail.message()))
        if mail.html:
            path.with_name(f"{path.stem}.html").write_text(mail.html, encoding="utf-8")
        written.append(path)
    return written


def _mail(record: Mapping[str, Any]) -> SentMail:
    return SentMail(
        id=record["MessageId"],
        sender=record["Source"],
        to=(*record["To"], *record["CC"], *record["BCC"]),
        subject=record["Subject"],
        text=record["BodyText"] or "",
        html=record["BodyHtml"] or "",
        sent_at=datetime.fromtimestamp(record["Timestamp"], UTC),
    )
