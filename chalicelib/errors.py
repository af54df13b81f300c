"""Every failure that Tau names, and who acts on it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any


class TauError(Exception):
    """The root: a failure that has a name. Its text is one sentence a person can act on."""


# --- the sender of a webhook acts -----------------------------------------------------------------


class BadSignature(TauError):
    """The body was not signed with our secret. Answer 401; write nothing."""


class BadDelivery(TauError):
    """Signed, but a field that the forge promises is missing or unreadable. Answer 400; write nothing."""


class UnknownForge(TauError):
    """No forge of ci.yml speaks this dialect, or bears this name. Answer 404; write nothing."""


# --- whoever edits ci.yml acts --------------------------------------------------------------------


class BadConfig(TauError):
    """ci.yml says something it cannot mean. Carries every complaint, each with file, line and column."""


class StaleConfig(TauError):
    """ci.json was not compiled from the ci.yml beside it. Run `tau compile`."""


class CannotFit(TauError):
    """A value cannot stand where a template puts it (an empty name, a capture with a slash)."""


# --- whoever types a command acts ------------------------------------------------------------------


class BadInput(TauError):
    """A command was given what it cannot use: a file, or options that do not go together."""


# --- the committer acts ---------------------------------------------------------------------------


class StepFailed(TauError):
    """The code said no: a Dockerfile that fails, a test that fails, a commit that is gone.

    Args:
        lines: the lines of output that show why.
        facts: what is known all the same (test counts), for those who are told.
    """

    def __init__(self, reason: str, lines: tuple[str, ...] = (), facts: Mapping[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.lines = lines
        self.facts = facts or {}


class Gone(StepFailed):
    """A ref, or a commit of it, is not at its forge any more: deleted, or rewritten by force."""


class NothingToDo(TauError):
    """What was pushed holds nothing for this pipeline: nobody is to blame, and the run ends skipped."""


# --- the operators act ----------------------------------------------------------------------------


class StepErrored(TauError):
    """We broke, or something we lean on did: a registry that is down, a missing secret. Tried once more.

    Args:
        facts: what is known all the same (a test's artifacts), for those who are told.
    """

    facts: Mapping[str, Any] = MappingProxyType({})


class DiskFull(StepErrored):
    """A disk of the code server is full. Room is made before it is tried once more."""


class NotNow(StepErrored):
    """The other side is busy, restarting or out of reach: ask again in a moment, then it is an error like another.

    Args:
        after_s: for how long it wants to be left alone.
    """

    def __init__(self, reason: str, after_s: float = 0) -> None:
        super().__init__(reason)
        self.after_s = after_s


class NeedsAttention(StepErrored):
    """What was begun may be half done, and doing it again could do harm: a person looks first. Not tried once more."""


class MissingSecret(StepErrored):
    """A secret that ci.yml names is not in the store, or may not be read."""


# --- the protocol acts ----------------------------------------------------------------------------


class LostClaim(TauError):
    """Another epoch holds the run: stop before the next effect, write nothing more."""


class LockBusy(TauError):
    """Another run holds the lock: park."""


class Outrun(TauError):
    """A newer run has taken this one's place where it was about to act. End superseded.

    Args:
        by: the newer run's id.
    """

    def __init__(self, reason: str, by: str) -> None:
        super().__init__(reason)
        self.by = by


class Withdrawn(TauError):
    """What this run is of was taken back before it had done anything: nobody's code said no. End cancelled."""


class Recalled(Withdrawn):
    """People took a deployment back before it was live: one that waited, or one that was under way and is undone."""


class NotThere(TauError):
    """A record that was named does not exist."""


class BadRecord(TauError):
    """A record that this version cannot read: a newer program wrote it. Leave it to that one."""


# --- whoever tells people acts --------------------------------------------------------------------


class MailRefused(StepErrored):
    """This mail will never be taken as it is: record the reason, do not send it again."""


class MailDelayed(StepErrored):
    """This mail was not taken now: SES throttles, pauses or cannot be reached. Send it again later."""
