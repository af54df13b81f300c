"""What Elastic Beanstalk says of an environment at one moment, how it is to be read, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from chalicelib.reports.words import short

_MOST_OF_AN_EVENT = 150

CLOCKS_DIFFER = timedelta(minutes=5)
"""Its events bear the times of its own clock, which may differ so far from ours."""
LOOK_EVERY = timedelta(seconds=5)
"""How soon somebody looks again while a deployment is under way."""
LONGEST_PAUSE = timedelta(seconds=60)
"""Where Elastic Beanstalk does not answer, or not so often, somebody asks again after so long at the latest."""
LOST_AFTER = timedelta(seconds=30)
"""An update that shows no trace after so long was never begun: longer than one call may take."""
HEALTH_GRACE = timedelta(seconds=60)
"""Health may lag behind Ready: a load balancer needs a few checks before an instance counts again."""

# https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/health-enhanced-status.html; Grey, NoData, Unknown, Pending
# and Suspended say nothing about the application.
_RANK = {"Green": 0, "Ok": 0, "Info": 0, "Yellow": 1, "Warning": 1, "Red": 2, "Degraded": 2, "Severe": 3}
BAD = 2
"""The rank from which on an environment is sick."""


class Call(StrEnum):
    """What is asked of an environment: by whoever won the conditional write, and nobody else."""

    UPDATE = "update_environment"
    CREATE = "create_environment"
    ROLL_BACK = "roll_back"
    ABORT = "abort_environment_update"


@dataclass(frozen=True)
class Notice:
    """One event of Elastic Beanstalk: `severity` is TRACE, DEBUG, INFO, WARN, ERROR or FATAL."""

    at: datetime
    severity: str
    message: str


@dataclass(frozen=True)
class Answer:
    """What came of asking the address that a deployment names; `said` is for people, and holds nothing of a body."""

    good: bool
    said: str


@dataclass(frozen=True)
class Instance:
    """One instance, as enhanced health tells of it.

    Args:
        label: the version that it was given last; None = it does not say, as when it is just being made.
        status: what came of that: In Progress, Deployed or Failed.
    """

    id: str
    label: str | None = None
    status: str | None = None

    @property
    def deployed(self) -> bool:
        return self.status == "Deployed"


@dataclass(frozen=True)
class Seen:
    """What Elastic Beanstalk says at one moment.

    Args:
        health: the colour: Green, Yellow, Red or Grey.
        health_status: the word of enhanced health (Ok, Warning, Severe, NoData), None without it.
        label: the version that runs; None where none was ever deployed.
        version_status: of our version, asked for only while it is being prepared; None = not known there.
        notices: the environment's, oldest first, from a little before its turn came.
        missing: there is no such environment.
        answer: of the deployment's probe; None = it was not asked.
        enhanced: its instances tell which version they run.
        instances: those that there are; None = they were not asked.
    """

    status: str | None = None
    health: str | None = None
    health_status: str | None = None
    label: str | None = None
    version_status: str | None = None
    notices: tuple[Notice, ...] = ()
    url: str | None = None
    missing: bool = False
    answer: Answer | None = None
    enhanced: bool = False
    instances: tuple[Instance, ...] | None = None

    @property
    def ready(self) -> bool:
        return self.status == "Ready"

    @property
    def going(self) -> bool:
        """Whether it is being terminated, or was."""
        return self.status in {"Terminating", "Terminated"}

    @property
    def condition(self) -> str | None:
        """The health in one word, the more exact one where both are known."""
        return next((word for word in (self.health_status, self.health) if word in _RANK), self.health)


def rank(condition: str | None) -> int | None:
    """How bad a health is: 0 is well, 2 is sick; None where it says nothing about the application."""
    return _RANK.get(condition or "")


def since(mark_at: datetime | None, notices: Sequence[Notice]) -> list[Notice]:
    """The notices newer than all that stood there before, by the same clock."""
    return [notice for notice in notices if mark_at is None or notice.at > mark_at]


def first_error(notices: Sequence[Notice]) -> str | None:
    """The text of the first error, else of the first warning: its beginning, since a reason says more than that."""
    for severities in (("ERROR", "FATAL"), ("WARN",)):
        for notice in notices:
            if notice.severity in severities:
                return short(notice.message, _MOST_OF_AN_EVENT)
    return None


def newest(notices: Sequence[Notice]) -> datetime | None:
    """When the last of them was written."""
    return max((notice.at for notice in notices), default=None)
