"""A Result and a reader's address in, a Mail out: plain text and HTML that say the same, the verdict first."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from chalicelib.model import Result
from chalicelib.reports import columns, whom
from chalicelib.reports.letter import Console, Letter, letter
from chalicelib.reports.whom import recipients
from chalicelib.reports.words import clean

__all__ = ["Console", "Mail", "recipients", "render"]


@dataclass(frozen=True)
class Mail:
    """What is sent: every text is ready for its place, so nobody behind it cleans or escapes again."""

    to: tuple[str, ...]
    subject: str
    text: str
    html: str
    headers: Mapping[str, str] = field(default_factory=dict)


def render(result: Result, *, to: str, console: Console) -> Mail:
    """The mail that tells `to` how a run ended. The same arguments give the same mail, to the byte.

    Args:
        to: one of `recipients(result, …)`; an operator hears of an *errored* run what broke, anybody else that
            it was not their code.
    """
    said = letter(result, console, operator=whom.is_operator(result, to), because=whom.because(result, to))
    event = result.job.event
    thread = (event.forge, event.repository or "", event.ref or "", result.job.pipeline)
    return assembled(said, to=to, run=result.run, thread=thread)


def assembled(said: Letter, *, to: str, run: str, thread: Sequence[str], notice: Sequence[str] = ()) -> Mail:
    """What is told, as the mail that tells it.

    Args:
        run: which run it is about.
        thread: what is about the same is one conversation.
        notice: what tells it from the run's end, told to the same reader.
    """
    return Mail(
        to=(to,),
        subject=header(said.subject, 250),
        text=_templates().get_template("mail.txt.j2").render(asdict(said)),
        html=_templates().get_template("mail.html.j2").render(asdict(said)),
        headers=_headers(header(run, 100), said.state, _hash(to, *notice), _hash(*thread)),
    )


def header(text: str, limit: int) -> str:
    """`text` as it may stand in a header: one clean line that a mail client does not decode into another."""
    # "=?utf-8?q?a=0ABcc:x?=" would be decoded, and the line end in it believed.
    return clean(text, limit).replace("=?", "= ?")


def _headers(run: str, state: str, notice: str, thread: str) -> Mapping[str, str]:
    conversation = f"<{thread[:32]}@tau.invalid>"
    return {
        "X-Tau-Run": run,
        # Told at least once can be told twice: whoever collects mail can tell a repetition by this.
        "X-Tau-Notice": f"{run}-{notice[:16]}",
        "X-Tau-State": state,
        # No message bears this id; clients still show all that refer to it as one conversation.
        "References": conversation,
        "In-Reply-To": conversation,
        # https://www.rfc-editor.org/rfc/rfc3834#section-5 and Exchange's own word for the same.
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
    }


def _hash(*parts: str) -> str:
    framed = "".join(f"{len(part)}:{part}" for part in parts)
    # Not every text from outside can be encoded: a lone surrogate is one that cannot.
    return hashlib.sha256(framed.encode("utf-8", "surrogatepass")).hexdigest()


# --- the templates --------------------------------------------------------------------------------


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(disabled_extensions=("txt.j2",), default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(wrap=columns.wrap, rows=columns.rows, steps=columns.steps, quoted=columns.quoted)
    return environment
