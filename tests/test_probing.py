"""Probes: what counts as an answer, whom nobody asks, and what becomes of a version that does not answer."""

import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from chalicelib import beanstalk, probing
from chalicelib.deployer import advance_deployments
from chalicelib.environment import Answer, Seen
from chalicelib.model import DeploymentState
from chalicelib.probing import ask, ask_all, is_public
from tests.deploying import START, World, deployment

VERIFYING = DeploymentState.VERIFYING
SECRET = b"nobody's business"


@contextmanager
def answering(status, **headers):
    """A server on loopback; what it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers["Host"]))
            if status is None:
                time.sleep(2)
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(SECRET)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def ready(probe, url=None):
    return deployment(state=VERIFYING, probe=probe, url=url, ready_at=START)


@pytest.mark.parametrize(("status", "good"), [(200, True), (204, True), (302, True), (404, False), (503, False)])
def test_two_and_three_hundreds_are_answers_and_nothing_of_a_body_is_told(status, good):
    with answering(status) as (at, asked):
        answer = ask(ready("/health?deep=1", f"http://{at}"))
    assert answer == Answer(good, f"http://{at}/health?deep=1 answers {status}")
    assert asked == [("/health?deep=1", at)]


def test_a_redirection_is_not_followed():
    with answering(200) as (elsewhere, not_asked), answering(302, Location=f"http://{elsewhere}/") as (at, _):
        assert ask(ready("/", f"http://{at}")).good
    assert not_asked == []


def test_nobody_there_is_no_answer():
    with answering(200) as (at, _):
        pass
    answer = ask(ready("/", f"http://{at}"))
    assert (answer.good, answer.said.startswith(f"http://{at}/ does not answer (")) == (False, True)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "0.0.0.0"),
        *("::1", "fe80::1%eth0", "fd00:ec2::254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:7f00:1::"),
        *("224.0.0.1", "ff02::1", "255.255.255.255", "2001:0:1::"),
    ],
)
def test_private_addresses_and_those_in_which_one_may_hide_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_of_the_internet_are_public(address):
    assert is_public(address)


def test_a_path_of_an_environment_without_an_address_is_asked_nowhere():
    assert ask(ready("/health")) == Answer(False, "/health is not asked: crm-production has no address")


def test_a_name_of_ci_yml_that_leads_inside_is_not_asked():
    with answering(200) as (at, asked):
        port = at.partition(":")[2]
        answer = ask(ready(f"https://localhost:{port}/health"))
    assert not answer.good
    assert answer.said.startswith(f"https://localhost:{port}/health is not asked: localhost is ")
    assert asked == []


def test_a_certificate_of_somebody_else_is_no_answer(monkeypatch):
    # The address counts as public, so that the connection is tried: it is no TLS at all that answers there.
    monkeypatch.setattr(probing, "is_public", lambda _: True)
    with answering(200) as (at, asked):
        answer = ask(ready(f"https://localhost:{at.partition(':')[2]}/"))
    assert (answer.good, "(SSLError)" in answer.said, asked) == (False, True, [])


def test_who_never_answers_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(probing, "ANSWERS_WITHIN_S", 0.3)
    with answering(None) as (slow, _), answering(200) as (at, _):
        began = time.monotonic()
        one, other = ready("/", f"http://{slow}"), replace(ready("/", f"http://{at}"), id="01OTHER.3")
        answers = ask_all([one, other], ask)
        assert time.monotonic() - began < 1.5
    assert (answers[one.id].good, answers[other.id].good) == (False, True)


# --- what becomes of it ----------------------------------------------------------------------------


class Probed(World):
    def __init__(self, answers, **fields):
        super().__init__()
        self.answers, self.asked = answers, []
        self.store.deployments.clear()
        self.add(deployment(probe="/health", **fields))

    def ask(self, record):
        self.asked.append(record.url + record.probe)
        return self.answers(self.clock())

    def tick(self, deployment_id="01RUN.3"):
        advance_deployments([deployment_id], edge=self.edge(), now=self.clock(), probe=self.ask)
        return self.store.deployment(deployment_id)


def test_a_version_is_live_once_it_answers_too():
    answers_at = START + timedelta(seconds=100)
    world = Probed(lambda now: Answer(now >= answers_at, "http://x answers 503"))
    record = world.to_the_end()
    assert (record.state, record.reason, world.beanstalk.updates) == (DeploymentState.LIVE, None, ["v2"])
    assert timedelta(seconds=100) <= world.clock() - START < timedelta(seconds=112)
    assert set(world.asked) == {"http://crm-production.example/health"}


def test_what_runs_is_asked_once_before_it_is_replaced_and_the_new_version_not_before_it_is_ready():
    world = Probed(lambda _: Answer(True, ""))
    world.tick()
    assert (world.asked, world.beanstalk.updates) == ([], []), "its address is known by a look"
    for _ in range(13):
        world.clock.pass_(5)
        world.tick()
    record = world.store.deployment("01RUN.3")
    assert (world.asked, world.beanstalk.updates) == (["http://crm-production.example/health"], ["v2"])
    assert (record.answered_label, record.answered) == ("v1", True)
    world.to_the_end()
    assert len(world.asked) == 2


@pytest.mark.parametrize("runs", [None, "v2"], ids=["nothing", "the very version"])
def test_where_there_is_nothing_to_go_back_to_nobody_is_asked_first(runs):
    world = Probed(lambda _: Answer(True, ""))
    world.beanstalk.environments["crm-production"].label = runs
    assert world.tick().state is VERIFYING
    assert world.asked == []
    assert world.to_the_end().answered_label is None


@pytest.mark.parametrize(("within_s", "seconds"), [(60, 125), (300, 365)])
def test_a_version_that_does_not_answer_in_time_is_rolled_back(within_s, seconds):
    world = Probed(lambda _: Answer(False, "http://x/health answers 503"), probe_within_s=within_s)
    while (record := world.tick()).state is not DeploymentState.ROLLING_BACK:
        world.clock.pass_(5)
    assert seconds <= (world.clock() - START).total_seconds() < seconds + 7
    record = world.to_the_end()
    assert (record.state, world.beanstalk.updates) == (DeploymentState.ROLLED_BACK, ["v2", "v1"])
    assert record.reason == (
        "crm-production runs v2, and its health is Green, but http://x/health answers 503. Tau rolled back to v1"
    )


def test_the_deadline_counts_for_the_probe_too():
    world = Probed(lambda _: Answer(False, "http://x answers 404"), probe_within_s=10**6)
    record = world.to_the_end()
    assert record.state is DeploymentState.ROLLED_BACK
    assert record.reason.startswith("waited 30m; crm-production runs v2, and its health is Green, but http://x answers")


def test_what_runs_already_has_to_answer_too():
    world = Probed(lambda _: Answer(True, ""), label="v1")
    world.tick()
    assert world.store.deployment("01RUN.3").state is VERIFYING
    assert world.to_the_end().state is DeploymentState.LIVE
    assert (world.beanstalk.updates, len(world.asked)) == ([], 1)


# --- the way back ----------------------------------------------------------------------------------


class Back(Probed):
    """v1 answers as `old` says, v2 never; both are well otherwise."""

    def __init__(self, *old, **fields):
        self.old = list(old)
        super().__init__(None, **fields)

    def ask(self, _):
        runs = self.beanstalk.environments["crm-production"].label
        self.asked.append(runs)
        good = runs == "v1" and (self.old.pop(0) if len(self.old) > 1 else self.old[0])
        return Answer(good, f"/health of {runs} answers {200 if good else 503}")


def test_a_version_that_answered_before_has_to_answer_on_the_way_back_too():
    world = Back(True, False, False, True)
    record = world.to_the_end()
    assert (record.state, world.beanstalk.updates) == (DeploymentState.ROLLED_BACK, ["v2", "v1"])
    assert world.asked[0] == "v1"
    assert world.asked[-3:] == ["v1"] * 3


def test_where_it_answers_no_more_both_facts_are_told_and_the_way_back_has_failed():
    world = Back(True, False)
    record = world.to_the_end()
    assert (record.state, world.beanstalk.updates) == (DeploymentState.ROLLBACK_FAILED, ["v2", "v1"])
    assert record.reason == (
        "crm-production runs v2, and its health is Green, but /health of v2 answers 503. "
        "The way back to v1 failed too: it runs again, and its health is Green, but /health of v1 answers 503"
    )
    assert 11 <= world.asked[1:].count("v1") <= 14, "a minute's looks"


def test_a_probe_that_only_the_new_version_could_answer_does_not_count_on_the_way_back():
    world = Back(False)
    record = world.to_the_end()
    assert record.state is DeploymentState.ROLLED_BACK
    assert world.asked.count("v1") == 1, "before the update"


def test_an_answer_of_one_version_is_none_of_another_to_which_it_goes_back():
    world = Back(True)
    record = world.store.deployment("01RUN.3")
    world.beanstalk.add_version("v0")
    world.store.lives["ap-southeast-2", "crm-production"] = beanstalk.live(replace(record, label="v0"), None, START)
    record = world.to_the_end()
    assert (record.state, record.back_to, record.answered_label) == (DeploymentState.ROLLED_BACK, "v0", "v1")
    assert "v0" not in world.asked


def test_what_answered_at_the_new_version_says_nothing_of_the_old_one():
    red = Seen(status="Ready", health="Green", label="v1", answer=Answer(True, ""), url="http://x")
    record = replace(ready("/health"), previous_label="v1", previous_health="Green", called=True, intended_at=START)
    record = replace(record, answered_label="v1", answered=True)
    moved, _ = beanstalk.advance(record, red, START + timedelta(seconds=60))
    assert (moved.state, moved.back_to) == (DeploymentState.ROLLING_BACK, "v1"), "Elastic Beanstalk went back itself"
    answered, _ = beanstalk.advance(moved, red, START + timedelta(seconds=65))
    assert answered.state is DeploymentState.ROLLED_BACK


def test_who_has_answered_is_not_asked_again_when_the_update_is_refused_for_now():
    world = Back(True)
    world.beanstalk.refusals["UpdateEnvironment"] = ["Throttling"] * 3
    while not world.beanstalk.updates:
        world.tick()
        world.clock.pass_(5)
    assert world.asked == ["v1"]


def test_who_was_asked_is_asked_again_where_another_version_runs_since():
    world = Back(True)
    world.tick()
    world.clock.pass_(5)
    world.beanstalk.environments["crm-production"].label = "v9"
    record = world.tick()
    assert (record.answered_label, record.answered, world.beanstalk.updates) == ("v9", None, [])
    world.clock.pass_(5)
    assert world.tick().answered is False
    assert world.beanstalk.updates == ["v2"]
