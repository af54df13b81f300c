"""What an environment's logs say of a deployment: which line is the one, and what is done where they do not come."""

from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace

import pytest

from infra.local.eb_proxy import Server
from runner.context import Aws
from runner.eb_logs import error_of, first_error
from runner.fetching import MOST_BYTES, NotFetched, fetch
from runner.stopping import Stopping, Why
from tests.running import Log

SINCE = datetime(2026, 11, 23, 12, 0, 30, 500_000, tzinfo=UTC)
RULE = "-" * 40


def tail(**files):
    return "\n\n".join(f"{RULE}\n/var/log/{name.replace('_', '-')}.log\n{RULE}\n{text}" for name, text in files.items())


ERRORS = {
    "the agent's error goes before the application's": (
        tail(
            app="2026/11/23 12:00:31 [error] upstream is gone",
            eb_engine="2026/11/23 12:00:32.1 [INFO] failed over\n2026/11/23 12:00:33.1 [ERROR] no such image",
        ),
        "no such image",
    ),
    "an earlier deployment's error is not ours": (
        tail(eb_engine="2026/11/23 11:59:59.9 [ERROR] of yesterday\n2026/11/23 12:00:30.1 [ERROR] of today"),
        "of today",
    ),
    "what every error of the agent begins with is left out": (
        tail(
            eb_engine="2026/11/23 12:00:33.1 [ERROR] An error occurred during execution of command [app-deploy] - [Run "
            "Docker Container]. Stop running the command. Error: failed to run docker container: exit status 1"
        ),
        "failed to run docker container: exit status 1",
    ),
    "nor are the lines under it": (
        tail(eb_engine="2026/11/23 11:59:59.9 [ERROR] of yesterday\n  Error: its second line", app="all is well"),
        None,
    ),
    "a line without a time is of now": (
        tail(app="booting\nPHP Fatal error:  Uncaught Error"),
        "PHP Fatal error:  Uncaught Error",
    ),
    "no more than a part of a long line": (tail(app="Error: " + "x" * 999), "Error: " + "x" * 293),
    "text without any file is one": ("Traceback (most recent call last):", "Traceback (most recent call last):"),
    "a word is no part of a word": (tail(app="terrors, errorless and unfailed"), None),
    "a time that is none": (tail(app="2026/99/99 12:00:31 error"), "2026/99/99 12:00:31 error"),
    "nothing": ("", None),
}


@pytest.mark.parametrize(("log", "line"), ERRORS.values(), ids=ERRORS)
def test_of_all_lines_the_first_that_tells_of_an_error_of_this_deployment(log, line):
    assert first_error([log], SINCE) == line


class Beanstalk:
    """Instances that put down their logs one after the other, so many looks after they were asked."""

    def __init__(self, *after, stale=()):
        self.after, self.looks, self.asked = after, 0, False
        self.stale = [self.info(f"http://logs/{name}") for name in stale]

    @staticmethod
    def info(address):
        return {"Ec2InstanceId": f"i-{address[-1]}", "Message": f"{address}?signature=new"}

    def request_environment_info(self, **asked):
        assert asked == {"EnvironmentName": "crm-production", "InfoType": "tail"}
        self.asked = True

    def retrieve_environment_info(self, **asked):
        assert asked == {"EnvironmentName": "crm-production", "InfoType": "tail"}
        self.looks += self.asked
        new = [self.info(f"http://logs/{number}") for number, looks in enumerate(self.after) if self.looks >= looks]
        return {"EnvironmentInfo": [*self.stale, *(new if self.asked else [])]}


class Flag:
    def __init__(self):
        self.rung, self.waited_s = False, 0

    def set(self):
        self.rung = True

    def wait(self, seconds):
        self.waited_s += 0 if self.rung else seconds
        return self.rung


class World:
    def __init__(self, beanstalk, text=b"Error: no database"):
        self.log, self.flag, self.stopping, self.fetched = Log(), Flag(), Stopping(), []

        def get(address):
            self.fetched.append(address)
            return text

        self.context = SimpleNamespace(
            log=self.log,
            stopping=self.stopping,
            pace=SimpleNamespace(flag=lambda: self.flag),
            aws=Aws(client=lambda *_: beanstalk, store=None, objects=None, region="ap-southeast-2", fetch=get),
        )

    def error(self, intended_at=SINCE, mark_at=None):
        record = SimpleNamespace(
            intended_at=intended_at,
            region="ap-southeast-2",
            environment="crm-production",
            created_at=SINCE,
            mark_at=mark_at,
        )
        return error_of(record, self.context)


def test_the_logs_of_every_instance_that_answers_soon_stand_in_the_runs_log():
    world = World(Beanstalk(1, 2))
    assert world.error() == "Error: no database"
    assert world.log.ours == ["eb: the end of the logs of i-0", "eb: the end of the logs of i-1"]
    assert world.log.text == "Error: no database\n" * 2
    assert world.flag.waited_s == 9


def test_what_another_deployment_has_logged_while_this_one_waited_is_not_this_ones():
    earlier, later_on = SINCE + timedelta(minutes=1), SINCE + timedelta(minutes=15)
    text = f"{earlier:%Y-%m-%d %H:%M:%S} error: no module\n{later_on:%Y-%m-%d %H:%M:%S} error: no database"
    assert World(Beanstalk(1), text.encode()).error(mark_at=SINCE + timedelta(minutes=5)).endswith("no database")


def test_logs_that_somebody_asked_for_before_are_not_taken_for_ours():
    world = World(Beanstalk(2, stale="9"))
    world.error()
    assert world.fetched == ["http://logs/0?signature=new"]


def test_logs_that_do_not_come_are_not_waited_for_long():
    world = World(Beanstalk(99))
    assert world.error() is None
    assert (world.flag.waited_s, world.log.ours) == (30, ["eb: the logs of crm-production did not come"])


def test_a_runner_that_should_stop_waits_for_no_logs():
    world = World(Beanstalk(99))
    world.stopping.ask(Why.HANDED_BACK)
    assert world.error() is None
    assert world.flag.waited_s == 0


def test_nothing_is_asked_where_no_update_was_begun():
    beanstalk = Beanstalk(1)
    assert World(beanstalk).error(intended_at=None) is None
    assert not beanstalk.asked


# --- what lies at an address -----------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        assert "Authorization" not in self.headers
        self.send_response({"/gone": 404, "/moved": 302}.get(self.path.partition("?")[0], 200))
        self.send_header("Location", "/large")
        self.end_headers()
        self.wfile.write(b"x" * (MOST_BYTES + 1))

    def log_message(self, *_):
        pass


@pytest.fixture
def address():
    server = Server(Handler)
    yield f"http://127.0.0.1:{server.port}"
    server.close()


def test_of_what_is_too_much_the_beginning_is_taken(address):
    assert len(fetch(f"{address}/large?X-Amz-Signature=s3cret")) == MOST_BYTES


@pytest.mark.parametrize(
    ("path", "said"), [("/gone", "the answer was 404"), ("/moved", "the answer was 302")], ids=["gone", "moved"]
)
def test_an_answer_that_is_none_is_told_without_the_address(address, path, said):
    with pytest.raises(NotFetched) as caught:
        fetch(f"{address}{path}?X-Amz-Signature=s3cret")
    assert str(caught.value) == said


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/?s3cret", "nothing"])
def test_no_answer_is_told_without_the_address_too(address):
    with pytest.raises(NotFetched, match=r"^there was no answer \(\w+\)$"):
        fetch(address)
