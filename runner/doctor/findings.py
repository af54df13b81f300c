"""A question about this machine or its installation in; a finding out: a mark, what, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.clock import is_clock
from chalicelib.errors import TauError
from chalicelib.reports.words import clean

_MOST = 1000
_WIDTH = 24
# What AWS's services call it where somebody has no right to ask.
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "AuthorizationErrorException", "UnauthorizedOperation"})


class Mark(StrEnum):
    """How it stands with a thing. With MIND work can begin: something is missing that a person may want."""

    OK = "ok"
    MIND = "mind"
    BROKEN = "broken"


_SIGNS = {Mark.OK: "✓", Mark.MIND: "!", Mark.BROKEN: "✗"}


@dataclass(frozen=True)
class Finding:
    """What was found of one thing; where it is not well, `said` tells what to do."""

    what: str
    mark: Mark
    said: str

    @property
    def line(self) -> str:
        """`✓ ok      engine                   Docker 27.1.1, …`: the sign never stands without its word."""
        return f"{_SIGNS[self.mark]} {self.mark:<7} {clean(self.what):<{_WIDTH}} {clean(self.said, _MOST)}"


class NotWell(Exception):
    """An answer that is no failure of the question: a finding that is not OK."""

    def __init__(self, said: str, mark: Mark = Mark.BROKEN) -> None:
        super().__init__(said)
        self.mark = mark


Question: TypeAlias = tuple[str, Callable[[], str]]
"""What is asked about; and the question, which answers where all is well, and raises what is not."""


def found(question: Question) -> Finding:
    """Ask, and make a finding of the answer or of whatever was raised that has a name."""
    what, ask = question
    try:
        return Finding(what, Mark.OK, ask())
    except NotWell as error:
        return Finding(what, error.mark, str(error))
    except (TauError, OSError) as error:
        return Finding(what, Mark.BROKEN, str(error))
    except (ClientError, BotoCoreError) as error:
        return Finding(what, Mark.BROKEN, of_aws(error))


def is_denied(error: Exception) -> bool:
    """Whether AWS says that we have no right to ask."""
    return isinstance(error, ClientError) and error.response.get("Error", {}).get("Code") in _DENIED


def of_aws(error: ClientError | BotoCoreError) -> str:
    """What AWS said, and what to do about it."""
    if is_clock(error):
        return f"the clock of this machine is wrong, and AWS refuses what is signed by it: set it by NTP ({error})"
    if is_denied(error):
        return f"{error}: attach the policies that infra/stack.yml makes to who works here, or deploy the stack anew"
    return str(error)
