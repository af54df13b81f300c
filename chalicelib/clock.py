"""The `Date` of AWS's answers in, the time of day as AWS has it out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import ClientError

log = logging.getLogger("tau.clock")

_WHOLE_S = 1.0  # what the header leaves out
_OLD_S = 1.0  # a server may write the same header into all its answers of a second
_WRONG_S = 60.0
_SENT = "tau_sent"
# What AWS calls it: S3, then the errors that all services share.
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
# https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html
_OF_TIME = frozenset({"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"})
_OF_SIGNATURE = frozenset({"InvalidSignatureException", "SignatureDoesNotMatch"})
_BY_TIME = ("Signature expired", "Signature not yet current")


def steady() -> float:
    """Seconds of a clock that nobody sets, and that goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def is_clock(error: BaseException) -> bool:
    """Whether AWS refused a request for the time at which it was signed: this machine's clock is wrong."""
    if not isinstance(error, ClientError):
        return False
    said = error.response.get("Error", {})
    code = said.get("Code", "")
    return code in _OF_TIME or (code in _OF_SIGNATURE and said.get("Message", "").startswith(_BY_TIME))


class Clock:
    """The time of day as AWS has it: the machine's own until the first answer, and from then on what answers allow.

    Within what a `Date` leaves open, a second or two, the machine's own stands. Any thread may ask and tell.

    Args:
        ticks: seconds that go on evenly. With `steady` a machine whose clock is set in between is not noticed. A
            function at AWS has only `time.time`: while it is frozen its other clocks may stand still.
        wall: the machine's time of day, seconds since 1970.
    """

    def __init__(self, ticks: Callable[[], float] = steady, wall: Callable[[], float] = time.time) -> None:
        self._ticks = ticks
        self._wall = wall
        self._lock = threading.Lock()
        self._base: float | None = None
        self._wrong = False

    def now(self) -> datetime:
        """The time of day, UTC."""
        base = self._base
        return datetime.fromtimestamp(self._wall() if base is None else base + self._ticks(), UTC)

    def listen(self, client: Any) -> None:
        """Learn from every answer that a client of boto3 gets, refusals too."""
        client.meta.events.register("request-created", self._sent)
        client.meta.events.register("response-received", self._received)

    def learn(self, date: str, sent: float, received: float) -> None:
        """Take an answer's `Date` into account.

        Args:
            sent: what `ticks` said before the request went out.
            received: the same when the answer was there.
        """
        told = _seconds(date)
        if told is None:
            return
        with self._lock:
            base = self._wall() - self._ticks() if self._base is None else self._base
            self._base = _moved(base, told - received, told + _WHOLE_S - sent)
            self._compare()

    def _sent(self, request: Any, **_: object) -> None:
        request.context[_SENT] = self._ticks()

    def _received(self, response_dict: Mapping[str, Any] | None, context: Mapping[str, Any], **_: object) -> None:
        date = response_dict["headers"].get("date") if response_dict else None
        if date and _SENT in context:
            self.learn(date, context[_SENT], self._ticks())

    def _compare(self) -> None:
        """Say that the machine's clock is wrong, once each time that it becomes so."""
        ahead_s = self._wall() - self.now().timestamp()
        wrong = abs(ahead_s) > _WRONG_S
        if wrong and not self._wrong:
            where = f"{abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'}"
            log.warning(
                "the clock of this machine is %s AWS's: times in records are AWS's, but from 5 minutes on AWS refuses"
                " what is signed here; run NTP",
                where,
                extra={"ahead_s": round(ahead_s)},
            )
        self._wrong = wrong


def _moved(base: float, least: float, most: float) -> float:
    """What is right stays; what is not gets better with every answer."""
    if base > most + _OLD_S:
        # Most answers are dated right before they arrive: after a long poll `most` is far off.
        return least + _WHOLE_S / 2
    return max(base, least)


def _seconds(date: str) -> float | None:
    """A header's date as seconds since 1970; None when it is none."""
    try:
        return parsedate_to_datetime(date).replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return None
