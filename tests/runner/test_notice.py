"""The notice that a spot instance ends, over HTTP from a metadata service that a test makes say so."""

import contextlib
import logging
import socket
import threading

import pytest

from runner.notice import EVERY_S, SpotNotice
from runner.pace import Real
from tests.metadata_stand_in import END, NOTHING, NOTICE, metadata_service


@pytest.fixture
def metadata():
    with metadata_service() as made:
        yield made


class Stopping:
    """A flag that is set after it was waited for `times` times; time passes with each wait."""

    def __init__(self, times):
        self.left = times
        self.waits = []
        self.at = 100.0

    def wait(self, timeout):
        self.left -= 1
        self.waits.append(timeout)
        self.at += timeout
        return self.left < 0

    def monotonic(self):
        return self.at


def watch(notice, times=1):
    """What it handed over while it was let ask so often, and how long it waited in between."""
    stopping, handed = Stopping(times), []
    notice.watch(stopping, stopping, handed.append)
    return handed, stopping.waits


def test_without_a_notice_it_asks_every_five_seconds_until_it_is_to_stop(metadata):
    handed, waits = watch(SpotNotice(metadata.url), times=4)
    assert handed == []
    assert metadata.asked == 4
    assert waits == [0, EVERY_S, EVERY_S, EVERY_S, EVERY_S]


def test_a_notice_is_handed_over_once_with_the_time_of_the_end(metadata):
    metadata.say(NOTHING, NOTHING, NOTICE)
    handed, waits = watch(SpotNotice(metadata.url), times=9)
    assert handed == [END]
    assert len(waits) == 3, "and nobody asks any more"


@pytest.mark.parametrize("action", ["stop", "hibernate", "terminate"])
def test_whatever_becomes_of_the_instance_is_an_end(metadata, action):
    metadata.say({**NOTICE, "action": action})
    assert SpotNotice(metadata.url).look() == END


def test_one_token_does_for_all_questions_and_a_spoilt_one_is_replaced(metadata):
    notice = SpotNotice(metadata.url)
    watch(notice, times=3)
    assert len(metadata.tokens) == 1
    metadata.spoil_tokens()
    metadata.say(NOTICE)
    assert watch(notice, times=2)[0] == [END]
    assert len(metadata.tokens) == 2


@pytest.mark.parametrize(
    "answer",
    [
        (500, b"oops"),
        (200, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"\xff\xfe"),
        (200, b'{"action": "terminate"}'),
        (200, b'{"action": "terminate", "time": 5}'),
        (200, b'{"action": "terminate", "time": "soon"}'),
        (302, b""),
    ],
    ids=str,
)
def test_an_answer_that_is_none_is_passed_over_quietly(metadata, answer, caplog):
    caplog.set_level(logging.INFO)
    metadata.say(answer, NOTICE)
    assert watch(SpotNotice(metadata.url), times=2)[0] == [END]
    assert [record.message for record in caplog.records] == ["this instance is about to be taken away"]


def test_where_tokens_are_refused_nothing_is_handed_over_and_nothing_breaks(metadata, caplog):
    caplog.set_level(logging.INFO)
    metadata.no_tokens = True
    assert watch(SpotNotice(metadata.url), times=3)[0] == []
    assert metadata.asked == 0
    assert caplog.records == []


def test_where_nobody_answers_it_goes_on_asking_quietly(caplog):
    caplog.set_level(logging.INFO)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    assert watch(SpotNotice(f"http://127.0.0.1:{port}"), times=3)[0] == []
    assert caplog.records == []


def test_a_service_that_hangs_up_is_passed_over(caplog):
    caplog.set_level(logging.INFO)
    listener = socket.create_server(("127.0.0.1", 0))

    def hang_up():
        with contextlib.suppress(OSError):
            while True:
                listener.accept()[0].close()

    thread = threading.Thread(target=hang_up, daemon=True)
    thread.start()
    assert SpotNotice(f"http://127.0.0.1:{listener.getsockname()[1]}").look() is None
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()
    assert caplog.records == []


def test_the_environment_says_where_it_is_as_for_botocore(metadata, monkeypatch):
    metadata.say(NOTICE)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert SpotNotice.from_env({"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{metadata.url}/"}).look() == END
    metadata.under = "/behind"
    assert SpotNotice.from_env({"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{metadata.url}/behind/"}).look() == END


@pytest.mark.parametrize("environ", [{}, {"AWS_EC2_METADATA_SERVICE_ENDPOINT": ""}])
def test_else_it_is_where_ec2_has_it(environ):
    assert SpotNotice.from_env(environ)._address.hostname == "169.254.169.254"


def test_beside_everything_else_it_takes_a_moment_and_ends_when_it_is_told(metadata):
    pace, handed = Real(), []
    stopping = pace.flag()
    notice = SpotNotice(metadata.url)
    work = pace.start(lambda: notice.watch(pace, stopping, handed.append), "spot notice")
    while not metadata.asked:
        pace.sleep(0.01)
    stopping.set()
    work.join(2)
    assert not work.is_alive()
    assert handed == []
