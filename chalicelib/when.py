"""Whether a step is run, by how the steps before it went. Pure."""

from __future__ import annotations

from enum import StrEnum

from chalicelib.model import Step


class When(StrEnum):
    """*success*: nothing before it failed. *failure*: something did. *always*: either way."""

    SUCCESS = "success"
    FAILURE = "failure"
    ALWAYS = "always"


def when_of(step: Step) -> When:
    """What a step's settings say; most actions have no such word, and run while all goes well."""
    return When(step.settings.get("when", When.SUCCESS))


def should_run(when: When, *, healthy: bool) -> bool:
    return when is When.ALWAYS or (when is When.SUCCESS) == healthy
