"""What AWS's answers say of the time, with a clock that a test sets, and what a refusal for the time looks like."""

import logging
import re
import threading
import time
from datetime import UTC, datetime
from email.utils import formatdate
from itertools import pairwise

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from chalicelib.clock import Clock, is_clock, steady
from tests.installation import NOW

AWS = NOW.timestamp()


class Machine:
    """A machine whose clock is `ahead_s` seconds ahead of AWS's; time passes when a test says so."""

    def __init__(self, ahead_s=0.0):
        self.ahead_s = ahead_s
        self.passed_s = 0.0
        self.clock = Clock(lambda: 1000 + self.passed_s, lambda: AWS + self.passed_s + self.ahead_s)

    def ask(self, *, takes_s=0.02, dated_s=0.01, date=None):
        """A call of AWS."""
        sent = 1000 + self.passed_s
        date = formatdate(int(AWS + self.passed_s + dated_s), usegmt=True) if date is None else date
        self.passed_s += takes_s
        self.clock.learn(date, sent, 1000 + self.passed_s)

    @property
    def off_s(self):
        """How far what the clock says is from AWS's time."""
        return self.clock.now().timestamp() - (AWS + self.passed_s)


def test_before_the_first_answer_it_is_the_machines_own_time():
    machine = Machine(ahead_s=3600)
    assert machine.off_s == pytest.approx(3600)
    machine.ahead_s = -60
    assert machine.off_s == pytest.approx(-60), "and follows it"


@pytest.mark.parametrize("ahead_s", [3600, -3600, 86400 * 365, 5, -5])
def test_after_the_first_answer_it_is_awss_time_to_a_second(ahead_s):
    machine = Machine(ahead_s)
    machine.passed_s = 0.7
    machine.ask()
    assert abs(machine.off_s) < 1.1


@pytest.mark.parametrize("ahead_s", [3600, -3600])
def test_more_answers_only_make_it_better(ahead_s):
    machine, offs = Machine(ahead_s), []
    for _ in range(200):
        machine.ask()
        machine.passed_s += 0.13
        offs.append(abs(machine.off_s))
    assert all(later_s <= sooner_s + 1e-6 for sooner_s, later_s in pairwise(offs))
    assert offs[-1] < 0.6


def test_a_machine_whose_clock_is_right_is_never_moved():
    machine = Machine(ahead_s=0.3)
    for number in range(200):
        machine.ask(takes_s=20 if number % 10 == 0 else 0.02)
        machine.passed_s += 0.37
        assert machine.off_s == pytest.approx(0.3)


@pytest.mark.parametrize("ahead_s", [3600, -3600])
def test_a_long_poll_says_the_time_at_its_end(ahead_s):
    machine = Machine(ahead_s)
    machine.ask(takes_s=20, dated_s=19.9)
    assert abs(machine.off_s) < 1.1


def test_a_clock_that_jumps_between_two_answers_is_not_noticed():
    machine = Machine(ahead_s=0)
    machine.ask()
    for ahead_s in (3600, -3600, 0):
        machine.ahead_s = ahead_s
        assert abs(machine.off_s) < 2.1


def test_ticks_that_stood_still_are_made_up_for_at_the_next_answer():
    machine = Machine(ahead_s=0)
    machine.ask()
    machine.clock._ticks = lambda: 1000 + machine.passed_s - 600
    machine.clock.learn(formatdate(AWS + 1, usegmt=True), 1000 - 600, 1000 - 600 + 0.01)
    assert abs(machine.off_s) < 2.1


@pytest.mark.parametrize(
    "date", ["", "yesterday", "Mon, 99 Nov 2026 12:00:00 GMT", "Mon, 23 Nov 99999999 12:00:00 GMT"]
)
def test_a_date_that_is_none_is_passed_over(date):
    machine = Machine(ahead_s=7)
    machine.ask(date=date)
    assert machine.off_s == pytest.approx(7)


def test_a_wrong_clock_is_said_once_each_time_that_it_becomes_so(caplog):
    machine = Machine(ahead_s=3600)
    for ahead_s in (3600, 3600, 20, 20, -7200, -7200):
        machine.ahead_s = ahead_s
        machine.ask()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert re.match(r"the clock of this machine is (3599|3600) s ahead of AWS's: times in records are AWS's", said[0])
    assert "s behind AWS's" in said[1]
    assert said[1].endswith("run NTP")
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_many_threads_may_ask_and_tell_at_once():
    clock, ahead_s = Clock(wall=lambda: time.time() + 3600), 3600
    done = []

    def work():
        for _ in range(300):
            at = steady()
            clock.learn(formatdate(time.time(), usegmt=True), at, steady())
            done.append(abs((clock.now() - datetime.now(UTC)).total_seconds()))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 8 * 300
    assert max(done) < 2.5 < ahead_s


# --- refusals -------------------------------------------------------------------------------------

EXPIRED = "Signature expired: 20261123T110000Z is now earlier than 20261123T115500Z (20261123T120000Z - 5 min.)"
EARLY = "Signature not yet current: 20261123T130000Z is still later than 20261123T120500Z (20261123T120000Z + 5 min.)"
WRONG_KEY = "The request signature we calculated does not match the signature you provided."


def refusal(code, message=""):
    return ClientError({"Error": {"Code": code, "Message": message}}, "GetItem")


@pytest.mark.parametrize(
    ("error", "is_so"),
    [
        (refusal("RequestTimeTooSkewed"), True),
        (refusal("RequestExpired"), True),
        (refusal("RequestInTheFuture"), True),
        (refusal("InvalidSignatureException", EXPIRED), True),
        (refusal("InvalidSignatureException", EARLY), True),
        (refusal("SignatureDoesNotMatch", EXPIRED), True),
        (refusal("SignatureDoesNotMatch", WRONG_KEY), False),
        (refusal("InvalidSignatureException", WRONG_KEY), False),
        (refusal("AccessDenied"), False),
        (ClientError({}, "GetItem"), False),
        (EndpointConnectionError(endpoint_url="https://sqs"), False),
        (ValueError(EXPIRED), False),
    ],
    ids=str,
)
def test_a_refusal_for_the_time_is_told_from_one_for_the_key(error, is_so):
    assert is_clock(error) is is_so
