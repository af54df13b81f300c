import logging
import os
import signal
import threading
import time
from dataclasses import replace

import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib.errors import StepErrored, StepFailed
from chalicelib.model import Message, RunState, WaitingFor
from chalicelib.queue import Queue, encode
from chalicelib.records.runs import MOST_ATTEMPTS, run_place
from chalicelib.records.table import Change
from chalicelib.store import Store
from runner.agent import Agent
from runner.context import Park
from tests.installation import NOW, SETTINGS, installation, job, later
from tests.running import Action, Clock, Engine, built, in_queue, passed, queued, tools
from tests.test_telling import DEV, Ses

OPS = "ops@2pisoftware.com"
LEASE_S = SETTINGS.lease_s


@pytest.fixture
def ses():
    return Ses()


@pytest.fixture
def edge(monkeypatch, ses):
    with installation(monkeypatch) as made:
        real = made.client
        yield replace(made, client=lambda service, region=None: ses if service == "sesv2" else real(service, region))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def docker():
    return Engine()


@pytest.fixture
def agent_of(edge, tmp_path, docker, clock):
    """An agent of these actions; another one of the same name is another runner beside it."""

    def make(*actions, runner="r1", edge=edge):
        made = tools(edge, tmp_path / runner, docker, clock, *actions, runner=runner)
        return Agent(made, "default", wait_s=0, clock=clock.monotonic)

    return make


def receive(edge, pool="default"):
    return edge.queue.receive(pool, wait_s=0, hidden_s=30)


def answer_next(agent, edge):
    """Let the agent answer the next message; it is at once visible again if it stays."""
    received = receive(edge)
    agent.answer(received)
    if in_queue(edge):
        edge.queue.hide(received, 0)


# --- from message to acknowledgement --------------------------------------------------------------


def test_a_message_becomes_a_run_that_ended_and_is_then_deleted(edge, agent_of, ses):
    lint = Action("lint")
    made = queued(edge, 1, lint)
    agent_of(lint).take_one()
    ended = edge.store.run(made.id)
    assert (ended.state, ended.epoch, ended.runner) == (RunState.PASSED, 1, "r1")
    assert in_queue(edge) == 0
    assert ses.told == [DEV]
    assert edge.store.lock_holder(made.job.lock) is None


def test_an_empty_queue_is_no_work(agent_of):
    agent_of().take_one()


def test_a_message_is_still_there_while_its_run_goes_on(edge, agent_of):
    seen = []
    lint = Action("lint", lambda _: seen.append(in_queue(edge)) or passed("lint"))
    queued(edge, 1, lint)
    agent_of(lint).take_one()
    assert (seen, in_queue(edge)) == ([1], 0)


def test_a_run_that_parks_is_left_waiting_and_its_message_deleted(edge, agent_of, ses):
    deploy = Action("deploy_eb", Park(WaitingFor.ENVIRONMENT, later(20), "Elastic Beanstalk works"))
    made = queued(edge, 1, deploy)
    agent = agent_of(deploy)
    agent.take_one()
    parked = edge.store.run(made.id)
    assert (parked.state, parked.waiting_for, parked.due_at) == (RunState.WAITING, WaitingFor.ENVIRONMENT, later(20))
    assert in_queue(edge) == 0
    assert agent.parked.is_set(), "the helper looks what is due next"
    assert ses.told == []


def test_our_own_failure_is_parked_told_to_nobody_and_then_told_to_the_operators_too(edge, agent_of, ses, clock):
    push = Action("push", StepErrored("the registry does not answer"))
    made = queued(edge, 1, push)
    agent = agent_of(push)
    agent.take_one()
    assert edge.store.run(made.id).waiting_for is WaitingFor.RETRY
    assert ses.told == []
    clock.pass_(30)
    message = edge.store.wake(made.id, WaitingFor.RETRY, clock())
    edge.queue.send(message, pool="default", group="g")
    agent.take_one()
    assert edge.store.run(made.id).state is RunState.ERRORED
    assert sorted(ses.told) == [DEV, OPS]


def test_a_copy_of_a_message_of_a_run_at_its_end_is_deleted_without_work(edge, agent_of, ses):
    lint = Action("lint")
    made = queued(edge, 1, lint)
    agent = agent_of(lint)
    agent.take_one()
    edge.queue.send(Message(made.id, made.send), pool="default", group="g")
    agent.take_one()
    assert (lint.calls, in_queue(edge), ses.told) == (1, 0, [DEV])


def test_an_old_message_is_deleted_without_work(edge, agent_of):
    lint = Action("lint")
    made = queued(edge, 1, lint)
    edge.store.call_again(made, later(61))
    agent_of(lint).take_one()
    assert (lint.calls, in_queue(edge)) == (0, 0)
    assert edge.store.run(made.id).state is RunState.QUEUED


def test_a_message_of_a_waiting_run_is_deleted_without_work(edge, agent_of):
    lint = Action("lint")
    made = queued(edge, 1, lint)
    edge.store.park(edge.store.claim(made, "r2", NOW), WaitingFor.APPROVAL, later(60), "x")
    agent_of(lint).take_one()
    assert (lint.calls, in_queue(edge)) == (0, 0)


@pytest.mark.parametrize(
    "body",
    ["no json", '{"v": 2, "run": "01X", "send": 1}', encode(Message("01KAQ00000000000000000NONE", 1))],
    ids=["no JSON", "a newer version", "no such run"],
)
def test_a_message_that_cannot_be_read_is_left_for_somebody_who_can(edge, agent_of, body):
    edge.client("sqs").send_message(QueueUrl=edge.queue.url("default"), MessageBody=body)
    agent_of().take_one()
    assert in_queue(edge) == 1


def test_a_run_of_a_newer_version_is_left_for_a_newer_runner(edge, agent_of):
    made = queued(edge, 1)
    edge.store.table.write(Change(run_place(made.id), values={"v": 2, "state": "pondering"}))
    agent_of().take_one()
    assert in_queue(edge) == 1
    assert edge.store.table.get(run_place(made.id))["state"] == "pondering"


# --- another runner's run -------------------------------------------------------------------------


def held_elsewhere(edge, *actions):
    return edge.store.claim(queued(edge, 1, *actions), "r2", NOW)


def test_a_run_that_another_runner_holds_is_watched_for_one_lease_and_then_taken_over(edge, agent_of, clock):
    lint = Action("lint")
    held = held_elsewhere(edge, lint)
    agent = agent_of(lint)
    for passed_s in (0, LEASE_S / 2, LEASE_S / 2 - 1):
        clock.pass_(passed_s)
        answer_next(agent, edge)
        assert (lint.calls, in_queue(edge)) == (0, 1)
        assert edge.store.run(held.id).epoch == 1
    clock.pass_(1)
    answer_next(agent, edge)
    ended = edge.store.run(held.id)
    assert (ended.state, ended.epoch, ended.attempts, ended.runner) == (RunState.PASSED, 2, 1, "r1")
    assert in_queue(edge) == 0


def test_a_run_whose_beat_moves_is_never_taken_over(edge, agent_of, clock):
    lint = Action("lint")
    held = held_elsewhere(edge, lint)
    agent = agent_of(lint)
    for _ in range(5):
        answer_next(agent, edge)
        clock.pass_(LEASE_S)
        edge.store.beat(held, clock())
    assert lint.calls == 0
    assert edge.store.run(held.id).epoch == 1


def test_one_look_is_no_watch_however_late_it_comes(edge, agent_of, clock):
    """The beat may have stood still for a second only: no clock but the watcher's own says for how long."""
    held = held_elsewhere(edge, lint := Action("lint"))
    clock.pass_(10 * LEASE_S)
    answer_next(agent_of(lint), edge)
    assert edge.store.run(held.id).epoch == 1


def test_a_run_that_was_claimed_anew_is_watched_anew(edge, agent_of, clock):
    held = held_elsewhere(edge, lint := Action("lint"))
    agent = agent_of(lint)
    answer_next(agent, edge)
    edge.store.take_over(edge.store.run(held.id), "r3", later(1))
    clock.pass_(LEASE_S)
    answer_next(agent, edge)
    assert edge.store.run(held.id).epoch == 2
    clock.pass_(LEASE_S)
    answer_next(agent, edge)
    assert edge.store.run(held.id).epoch == 3


def test_of_two_watchers_one_takes_over(edge, agent_of, clock):
    lint = Action("lint")
    held = held_elsewhere(edge, lint)
    agents = [agent_of(lint, runner=name) for name in ("r3", "r4")]
    for agent in agents:
        answer_next(agent, edge)
    clock.pass_(LEASE_S)
    received = receive(edge)
    for agent in agents:
        agent.answer(received)
    assert lint.calls == 1
    assert edge.store.run(held.id).runner == "r3"


def test_what_a_dead_claim_left_in_the_engine_is_removed_before_the_next_one_begins(edge, agent_of, docker, clock):
    seen = []
    lint = Action("lint", lambda _: seen.extend(docker.removed) or passed("lint"))
    held = held_elsewhere(edge, lint)
    docker.add_container("left", tau_system="tau-test", tau_kind="step", tau_run=held.id, tau_epoch="1")
    agent = agent_of(lint)
    answer_next(agent, edge)
    clock.pass_(LEASE_S)
    answer_next(agent, edge)
    assert seen == ["left"]


def test_an_engine_that_is_gone_at_a_take_over_parks_the_run_and_kills_no_runner(edge, agent_of, docker, clock):
    build, test = Action("build", built(docker)), Action("test", needs_image=True)
    held = held_elsewhere(edge, build, test)
    edge.store.finish_step(held, 0, built(docker)(_Labels(held.id)))
    agent = agent_of(build, test)
    answer_next(agent, edge)
    clock.pass_(LEASE_S)
    docker.gone = True
    answer_next(agent, edge)
    parked = edge.store.run(held.id)
    assert (parked.state, parked.waiting_for) == (RunState.WAITING, WaitingFor.RETRY)
    assert "the Docker engine does not answer" in parked.reason


class _Labels:
    def __init__(self, run):
        self.run = run
        self.labels = {}


def test_a_run_that_killed_five_runners_is_ended_and_enacted_no_more(edge, agent_of, ses, clock):
    lint = Action("lint")
    held = held_elsewhere(edge, lint)
    for number in range(1, MOST_ATTEMPTS):
        held = edge.store.take_over(edge.store.run(held.id), f"r{number}", NOW)
    assert held.attempts == MOST_ATTEMPTS - 1
    agent = agent_of(lint)
    answer_next(agent, edge)
    clock.pass_(LEASE_S)
    answer_next(agent, edge)
    ended = edge.store.run(held.id)
    assert (ended.state, lint.calls) == (RunState.ERRORED, 0)
    assert "its runner died 5 times" in ended.reason
    assert OPS in ses.told
    assert in_queue(edge) == 0


def test_a_fourth_dead_claim_is_tried_again(edge, agent_of, clock):
    lint = Action("lint")
    held = held_elsewhere(edge, lint)
    for number in range(1, MOST_ATTEMPTS - 1):
        held = edge.store.take_over(edge.store.run(held.id), f"r{number}", NOW)
    agent = agent_of(lint)
    answer_next(agent, edge)
    clock.pass_(LEASE_S)
    answer_next(agent, edge)
    assert edge.store.run(held.id).state is RunState.PASSED


def test_a_runner_that_loses_its_claim_writes_nothing_more_and_leaves_the_message(edge, agent_of, ses):
    def work(_):
        edge.store.take_over(edge.store.run(made.id), "r2", later(60))
        return passed("lint")

    lint, never = Action("lint", work), Action("never")
    made = queued(edge, 1, lint, never)
    agent = agent_of(lint, never)
    agent.take_one()
    after = edge.store.run(made.id)
    assert (after.state, after.epoch, after.runner, after.results) == (RunState.RUNNING, 2, "r2", {})
    assert never.calls == 0
    assert in_queue(edge) == 1
    assert ses.told == []
    assert not agent.parked.is_set()


def test_a_claim_that_is_lost_at_the_very_end_ends_nothing(edge, agent_of, ses):
    lint = Action("lint")

    class Late(Store):
        """A store beside which another runner takes over before the end is written."""

        def end(self, run, state, **more):
            self.take_over(self.run(run.id), "r2", later(60))
            super().end(run, state, **more)

    made = queued(edge, 1, lint)
    agent_of(lint, edge=replace(edge, store=Late(edge.client("dynamodb"), "tau-test"))).take_one()
    assert (edge.store.run(made.id).state, in_queue(edge), ses.told) == (RunState.RUNNING, 1, [])


# --- locks ----------------------------------------------------------------------------------------


def test_a_run_whose_lock_is_held_waits_in_line_and_is_woken_by_the_holders_end(edge, agent_of):
    lint = Action("lint")
    first = edge.store.claim(queued(edge, 1, lint, send=False), "r2", NOW)
    second = queued(edge, 2, lint)
    agent = agent_of(lint)
    agent.take_one()
    waiting = edge.store.run(second.id)
    assert (waiting.state, waiting.waiting_for) == (RunState.WAITING, WaitingFor.LOCK)
    assert (lint.calls, in_queue(edge)) == (0, 0)
    other = agent_of(lint, runner="r2")
    other._hold(first, edge_receipt(edge))
    assert edge.store.run(second.id).state is RunState.QUEUED
    agent.take_one()
    assert edge.store.run(second.id).state is RunState.PASSED


def edge_receipt(edge):
    """A message in hand, of which nobody knows any more."""
    edge.queue.send(Message("01X", 1), pool="default", group="g")
    received = receive(edge)
    edge.queue.delete(received)
    return received


def test_of_those_who_wait_for_a_lock_the_oldest_goes_first_and_the_others_stay(edge, agent_of):
    lint = Action("lint")
    first = edge.store.claim(queued(edge, 1, lint, send=False), "r2", NOW)
    for number in (3, 2):
        edge.store.park_for_lock(queued(edge, number, lint, send=False), NOW)
    agent_of(lint, runner="r2")._hold(first, edge_receipt(edge))
    states = [edge.store.run(f"01KAQ{number:021}").state for number in (2, 3)]
    assert states == [RunState.QUEUED, RunState.WAITING]
    assert in_queue(edge) == 1


def test_who_waited_is_woken_in_its_own_pool(edge, agent_of):
    edge.client("sqs").create_queue(QueueName="tau-test-large")
    lint = Action("lint")
    first = edge.store.claim(queued(edge, 1, lint, send=False), "r2", NOW)
    other = queued(edge, 2, lint, send=False, job=replace(job(), pool="large"))
    edge.store.park_for_lock(other, NOW)
    agent_of(lint, runner="r2")._hold(first, edge_receipt(edge))
    assert (in_queue(edge), in_queue(edge, "large")) == (0, 1)


def test_a_lock_that_came_free_between_two_looks_parks_nobody_and_the_message_comes_back_at_once(edge, agent_of):
    lint = Action("lint")
    first = edge.store.claim(queued(edge, 1, lint, send=False), "r2", NOW)
    second = queued(edge, 2, lint)

    class Freed(Store):
        """A store beside which the holder ends between the failed claim and the parking."""

        def park_for_lock(self, run, now):
            self.end(first, RunState.PASSED, reason=None, tell={}, now=NOW)
            return super().park_for_lock(run, now)

    agent_of(lint, edge=replace(edge, store=Freed(edge.client("dynamodb"), "tau-test"))).take_one()
    assert edge.store.run(second.id).state is RunState.QUEUED
    agent_of(lint).take_one()
    assert edge.store.run(second.id).state is RunState.PASSED


# --- whom to tell ---------------------------------------------------------------------------------


def ended_before(edge, number, state, **changes):
    held = edge.store.claim(queued(edge, number, send=False, **changes), "r", NOW)
    edge.store.end(held, state, reason=None, tell={}, now=NOW)


@pytest.mark.parametrize(
    ("before", "outcome", "told"),
    [
        ([RunState.PASSED], passed("lint"), []),
        ([RunState.FAILED], passed("lint"), [DEV]),
        ([], passed("lint"), [DEV]),
        ([RunState.PASSED], StepFailed("no"), [DEV]),
        ([RunState.FAILED], StepFailed("no"), []),
        ([RunState.FAILED, RunState.SUPERSEDED], StepFailed("no"), []),
    ],
    ids=["still passed", "repaired", "the first", "broken", "still broken", "an end without a verdict between"],
)
def test_on_change_the_pusher_hears_only_of_a_change(edge, agent_of, ses, before, outcome, told):
    lint = Action("lint", outcome)
    on_change = replace(job(), notify=replace(job().notify, on="change"))
    for number, state in enumerate(before, 1):
        ended_before(edge, number, state, job=on_change)
    queued(edge, 9, lint, job=replace(on_change, steps=(_step("lint"),)))
    agent_of(lint).take_one()
    assert ses.told == told


def test_another_pipelines_verdict_on_the_same_branch_is_no_change(edge, agent_of, ses):
    lint = Action("lint")
    on_change = replace(job(_step("lint")), notify=replace(job().notify, on="change"))
    ended_before(edge, 1, RunState.PASSED, job=on_change)
    ended_before(edge, 2, RunState.FAILED, job=replace(on_change, pipeline="another", lock="another"))
    queued(edge, 9, lint, job=on_change)
    agent_of(lint).take_one()
    assert ses.told == []


def _step(name):
    from chalicelib.model import Step

    return Step(name, {})


def test_a_mail_that_is_not_sent_costs_no_verdict_and_the_message_is_deleted(edge, agent_of, ses):
    ses.says[DEV] = EndpointConnectionError(endpoint_url="https://email.invalid")
    lint = Action("lint")
    made = queued(edge, 1, lint)
    agent_of(lint).take_one()
    ended = edge.store.run(made.id)
    assert (ended.state, ended.tell[f"email:{DEV}"]["state"]) == (RunState.PASSED, "due")
    assert in_queue(edge) == 0


def test_older_images_of_the_branch_go_when_a_newer_one_is_there(edge, agent_of, docker):
    labels = {"tau_system": "tau-test", "tau_lock": job().lock}
    docker.add_image("sha256:old", "2pisoftware/cmfive-dev:r-old", tau_run="01OLD", **labels)
    docker.add_image("sha256:other", "x", tau_run="01OLD", tau_system="tau-test", tau_lock="another branch")
    build = Action("build", built(docker, "sha256:new"))
    queued(edge, 1, build)
    agent_of(build).take_one()
    assert sorted(docker.image_list) == ["sha256:new", "sha256:other"]


def test_an_engine_that_forgets_nothing_costs_no_verdict(edge, agent_of, docker):
    def work(_):
        docker.gone = True
        return passed("lint")

    lint = Action("lint", work)
    made = queued(edge, 1, lint)
    agent_of(lint).take_one()
    assert edge.store.run(made.id).state is RunState.PASSED
    assert in_queue(edge) == 0


# --- what breaks, and stopping --------------------------------------------------------------------


class Unreachable:
    """SQS that cannot be reached."""

    def get_queue_url(self, **_):
        raise EndpointConnectionError(endpoint_url="https://sqs.invalid")


def test_a_cloud_that_does_not_answer_is_asked_again_later(edge, agent_of, caplog):
    caplog.set_level(logging.WARNING)
    agent = agent_of(edge=replace(edge, queue=Queue(Unreachable(), "tau-test")))
    threading.Timer(0.2, agent.stopping.set).start()
    began = time.monotonic()
    agent.take_one()
    assert 0.1 < time.monotonic() - began < 4, "a pause, which ends when the runner is stopped"
    assert "sqs.invalid" in str([vars(record) for record in caplog.records])


def test_a_table_that_is_gone_in_the_middle_leaves_the_message(edge, agent_of):
    lint = Action("lint", lambda _: edge.client("dynamodb").delete_table(TableName="tau-test") and passed("lint"))
    queued(edge, 1, lint)
    agent = agent_of(lint)
    threading.Timer(0.5, agent.stopping.set).start()
    agent.take_one()
    assert in_queue(edge) == 1


@pytest.fixture
def handlers():
    """The process's own signal handlers, back afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_runner_in_the_middle_of_its_long_poll(edge, tmp_path, docker, clock, number):
    agent = Agent(tools(edge, tmp_path, docker, clock), "default", wait_s=20)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), number))
    timer.start()
    began = time.monotonic()
    agent.serve()
    assert 0.3 < time.monotonic() - began < 5
    timer.join()


@pytest.mark.usefixtures("handlers")
def test_a_signal_lets_the_run_in_hand_come_to_its_end_and_takes_no_other(edge, agent_of):
    def work(_):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
        return passed("lint")

    lint, last = Action("lint", work), Action("last")
    made = queued(edge, 1, lint, last)
    agent_of(lint, last).serve()
    assert edge.store.run(made.id).state is RunState.PASSED
    other = queued(edge, 2, lint, last)
    stopped = agent_of(lint, last)
    stopped.stopping.set()
    stopped.serve()
    assert edge.store.run(other.id).state is RunState.QUEUED
    assert in_queue(edge) == 1


@pytest.mark.usefixtures("handlers")
def test_a_runner_that_starts_removes_what_dead_claims_left(agent_of, docker):
    docker.add_container("left", tau_system="tau-test", tau_kind="step", tau_run="01GONE", tau_epoch="1")
    agent = agent_of()
    agent.stopping.set()
    agent.serve()
    assert docker.removed == ["left"]
