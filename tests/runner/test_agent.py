"""Messages in; runs claimed, watched, taken over, left alone, handed back; and what is left in the queue."""

import logging
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace

import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib.errors import StepErrored
from chalicelib.model import Message, RunState, Step, StepResult, StepStatus, WaitingFor
from chalicelib.queue import Queue, Received, encode
from chalicelib.records.dead import LetterKind
from chalicelib.records.runs import MOST_ATTEMPTS, run_place
from chalicelib.records.table import Change
from chalicelib.store import Store
from runner.agent import Agent, _turn_s
from runner.context import Park
from tests.installation import NOW, SETTINGS, job, later
from tests.installation import run as make_run
from tests.mailing import DEV
from tests.pacing import PATIENCE_S
from tests.running import Action, built, in_queue, passed, queued, tools

OPS = "ops@2pisoftware.com"
LEASE_S = SETTINGS.lease_s
TURN_S = 5


@pytest.fixture
def agent_of(edge, tmp_path, docker, pace):
    """An agent of these actions, whose messages are answered before `take_one` returns.

    Another one of the same name is another runner beside it.
    """
    pace.at_once = ("answer",)

    def make(*actions, runner="r1", edge=edge, jobs=1):
        return Agent(
            tools(edge, tmp_path / runner, docker, pace, *actions, runner=runner), "default", jobs=jobs, wait_s=0
        )

    return make


def receive(edge, pool="default"):
    return edge.queue.receive(pool, wait_s=0, hidden_s=30)


def beside(edge, changed):
    """The installation as a runner sees it beside whose store something happens."""
    return replace(edge, store=changed(edge.store.table))


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


def test_an_empty_queue_is_no_work_and_takes_no_place(agent_of):
    agent = agent_of()
    for _ in range(3):
        agent.take_one()
    assert not agent.busy


def test_a_message_is_still_there_while_its_run_goes_on(edge, agent_of):
    seen = []
    lint = Action("lint", lambda _: seen.append((in_queue(edge), agent.busy, agent.running)) or passed("lint"))
    made = queued(edge, 1, lint)
    agent = agent_of(lint)
    agent.take_one()
    assert seen == [(1, True, (made.id,))]
    assert (in_queue(edge), agent.busy, agent.running) == (0, False, ())


def test_a_run_that_parks_is_left_waiting_and_its_message_deleted(edge, agent_of, ses):
    deploy = Action("deploy_eb", Park(WaitingFor.ENVIRONMENT, later(20), "Elastic Beanstalk works"))
    made = queued(edge, 1, deploy)
    agent = agent_of(deploy)
    agent.take_one()
    parked = edge.store.run(made.id)
    assert (parked.state, parked.waiting_for, parked.due_at) == (RunState.WAITING, WaitingFor.ENVIRONMENT, later(20))
    assert in_queue(edge) == 0
    assert agent.parked.is_set(), "the helper looks what is due next"
    assert agent.over.is_set(), "the keeper looks what is left"
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


# --- messages that this program cannot act on -----------------------------------------------------


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("no json", "not a wake-up message"),
        ('{"v": 1, "run": "01X"}', "not a wake-up message"),
        (encode(Message("01KAQ00000000000000000NONE", 1)), "there is no run 01KAQ00000000000000000NONE"),
    ],
    ids=["no JSON", "half a message", "no such run"],
)
def test_what_no_version_can_act_on_is_buried_with_its_reason(edge, agent_of, body, reason):
    edge.client("sqs").send_message(QueueUrl=edge.queue.url("default"), MessageBody=body)
    agent_of().take_one()
    assert in_queue(edge) == 0
    (letter,) = edge.store.dead_letters()
    assert (letter.kind, letter.body) == (LetterKind.MESSAGE, body)
    assert reason in letter.reason


def test_a_message_of_a_newer_version_is_left_to_a_newer_runner(edge, agent_of):
    made = queued(edge, 1, send=False)
    edge.queue.send(Message(made.id, 1, v=2), pool="default", group="g")
    agent_of().take_one()
    assert (in_queue(edge), edge.store.dead_letters()) == (1, [])
    assert edge.store.run(made.id).state is RunState.QUEUED


def test_a_run_of_a_newer_version_is_left_to_a_newer_runner(edge, agent_of):
    made = queued(edge, 1)
    edge.store.table.write(Change(run_place(made.id), values={"v": 2, "state": "pondering"}))
    agent_of().take_one()
    assert (in_queue(edge), edge.store.dead_letters()) == (1, [])
    assert edge.store.table.get(run_place(made.id))["state"] == "pondering"


# --- another runner's run -------------------------------------------------------------------------


def held_elsewhere(edge, *actions, number=1):
    return edge.store.claim(queued(edge, number, *actions), "r2", NOW)


@contextmanager
def watching(agent, edge, clock):
    """The next message in the agent's hands; the lease for which it watches is over when the block is."""
    thread = threading.Thread(target=agent.answer, args=[receive(edge)])
    thread.start()
    clock.somebody_waits(LEASE_S)
    yield
    clock.pass_(LEASE_S)
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_a_run_whose_beat_stood_still_for_one_lease_is_taken_over(edge, agent_of, clock):
    lint = Action("lint")
    held = held_elsewhere(edge, lint)
    with watching(agent_of(lint), edge, clock):
        clock.pass_(LEASE_S - 1)
        assert (lint.calls, in_queue(edge), edge.store.run(held.id).epoch) == (0, 1, 1)
    ended = edge.store.run(held.id)
    assert (ended.state, ended.epoch, ended.attempts, ended.runner) == (RunState.PASSED, 2, 1, "r1")
    assert in_queue(edge) == 0


def test_a_run_whose_beat_moves_is_left_to_its_holder_and_its_message_in_the_queue(edge, agent_of, clock):
    lint = Action("lint")
    held = held_elsewhere(edge, lint)
    with watching(agent_of(lint), edge, clock):
        edge.store.beat(held, later(LEASE_S - 1))
    assert (lint.calls, in_queue(edge)) == (0, 1)
    assert edge.store.run(held.id).epoch == 1


def test_a_run_that_a_third_runner_has_claimed_meanwhile_is_left_to_it(edge, agent_of, clock):
    held = held_elsewhere(edge, lint := Action("lint"))
    with watching(agent_of(lint), edge, clock):
        edge.store.take_over(edge.store.run(held.id), "r3", later(1))
    assert (lint.calls, in_queue(edge), edge.store.run(held.id).epoch) == (0, 1, 2)


MEANWHILE = {
    "ended": lambda store, held: store.end(held, RunState.PASSED, reason=None, tell={}, now=NOW),
    "parked": lambda store, held: store.park(held, WaitingFor.RETRY, NOW, "x"),
    "parked and woken": lambda store, held: (
        store.park(held, WaitingFor.RETRY, NOW, "x"),
        store.wake(held.id, None, NOW),
    ),
}


@pytest.mark.parametrize("what", MEANWHILE)
def test_the_message_of_a_run_whose_claim_was_over_meanwhile_is_deleted(edge, agent_of, clock, what):
    held = held_elsewhere(edge, lint := Action("lint"))
    with watching(agent_of(lint), edge, clock):
        MEANWHILE[what](edge.store, held)
    assert (lint.calls, in_queue(edge), edge.store.run(held.id).epoch) == (0, 0, 1)


def test_a_runner_that_stops_watches_no_longer_and_gives_the_message_back(edge, agent_of, clock):
    held = held_elsewhere(edge, lint := Action("lint"))
    agent = agent_of(lint)
    thread = threading.Thread(target=agent.answer, args=[receive(edge)])
    thread.start()
    clock.somebody_waits(LEASE_S)
    agent.drain()
    thread.join(PATIENCE_S)
    assert (lint.calls, edge.store.run(held.id).epoch) == (0, 1)
    assert receive(edge) is not None, "somebody else may watch it at once"


def test_of_two_watchers_one_takes_over_and_the_other_leaves_the_message(edge, agent_of, clock):
    class Quicker(Store):
        """A store beside which another watcher takes over first."""

        def take_over(self, run, runner, now):
            super().take_over(run, "r3", now)
            return super().take_over(run, runner, now)

    lint = Action("lint")
    held = held_elsewhere(edge, lint)
    with watching(agent_of(lint, edge=beside(edge, Quicker)), edge, clock):
        pass
    after = edge.store.run(held.id)
    assert (lint.calls, after.runner, after.epoch, after.attempts, in_queue(edge)) == (0, "r3", 2, 1, 1)


def test_who_watches_takes_nobodys_place(edge, agent_of, clock, pace):
    lint = Action("lint")
    held_elsewhere(edge, lint)
    agent = agent_of(lint, jobs=1)
    pace.at_once = ()
    agent.take_one()
    clock.somebody_waits(LEASE_S)
    other = queued(edge, 2, lint, job=replace(job(Step("lint", {})), lock="another"))
    agent.take_one()
    pace.threads[1].join(PATIENCE_S)
    assert edge.store.run(other.id).state is RunState.PASSED
    assert agent.busy
    clock.pass_(LEASE_S)


def test_only_so_many_runs_are_watched_at_once_and_the_others_later(edge, agent_of):
    held = held_elsewhere(edge, Action("lint"))
    agent = agent_of()
    agent._watched = 10
    agent.take_one()
    assert (in_queue(edge), edge.store.run(held.id).epoch) == (1, 1)
    assert receive(edge) is None, "it stays hidden for a while"


def test_what_a_dead_claim_left_in_the_engine_is_removed_before_the_next_one_begins(edge, agent_of, docker, clock):
    seen = []
    lint = Action("lint", lambda _: seen.extend(docker.removed) or passed("lint"))
    held = held_elsewhere(edge, lint)
    docker.add_container("left", tau_system="tau-test", tau_kind="step", tau_run=held.id, tau_epoch="1")
    with watching(agent_of(lint), edge, clock):
        pass
    assert seen == ["left"]


def test_an_engine_that_is_gone_at_a_take_over_parks_the_run_and_kills_no_runner(edge, agent_of, docker, clock):
    build, test = Action("build", built(docker)), Action("test", needs_image=True)
    held = held_elsewhere(edge, build, test)
    facts = {"image": {"name": "x", "id": "sha256:1"}}
    edge.store.finish_step(held, 0, StepResult("build", StepStatus.PASSED, NOW, NOW, facts=facts))
    with watching(agent_of(build, test), edge, clock):
        docker.gone = True
    parked = edge.store.run(held.id)
    assert (parked.state, parked.waiting_for) == (RunState.WAITING, WaitingFor.RETRY)
    assert "the Docker engine does not answer" in parked.reason


def after_dead_claims(edge, number, *actions):
    held = held_elsewhere(edge, *actions)
    for name in range(number):
        held = edge.store.take_over(edge.store.run(held.id), f"dead{name}", NOW)
    return held


def test_a_run_that_killed_five_runners_is_ended_buried_and_enacted_no_more(edge, agent_of, ses, clock):
    lint = Action("lint")
    held = after_dead_claims(edge, MOST_ATTEMPTS - 1, lint)
    with watching(agent_of(lint), edge, clock):
        pass
    ended = edge.store.run(held.id)
    assert (ended.state, lint.calls, in_queue(edge)) == (RunState.ERRORED, 0, 0)
    assert "its runner died 5 times" in ended.reason
    assert OPS in ses.told
    (letter,) = edge.store.dead_letters()
    assert (letter.kind, letter.run, letter.attempts) == (LetterKind.RUN, held.id, MOST_ATTEMPTS)
    assert edge.store.parked_until(held.job.source.name, clock()) is not None


def test_a_fourth_dead_claim_is_tried_again(edge, agent_of, clock):
    lint = Action("lint")
    held = after_dead_claims(edge, MOST_ATTEMPTS - 2, lint)
    with watching(agent_of(lint), edge, clock):
        pass
    assert edge.store.run(held.id).state is RunState.PASSED


def test_a_runner_that_loses_its_claim_writes_nothing_more_and_leaves_the_message(edge, agent_of, ses):
    def work(_):
        edge.store.take_over(edge.store.run(made.id), "r2", later(60))
        return passed("lint")

    lint, never = Action("lint", work), Action("never")
    made = queued(edge, 1, lint, never)
    agent_of(lint, never).take_one()
    after = edge.store.run(made.id)
    assert (after.state, after.epoch, after.runner, after.results) == (RunState.RUNNING, 2, "r2", {})
    assert (never.calls, in_queue(edge), ses.told) == (0, 1, [])


# --- locks ----------------------------------------------------------------------------------------


def test_a_run_whose_lock_is_held_waits_in_line_and_is_woken_by_the_holders_end(edge, agent_of):
    def work(_):
        agent_of(lint, runner="r2").take_one()
        seen.append((edge.store.run(second.id).waiting_for, in_queue(edge)))
        return passed("lint")

    seen = []
    lint = Action("lint", work, passed("lint"))
    queued(edge, 1, lint)
    agent = agent_of(lint)
    second = queued(edge, 2, lint, send=False)
    first_message = receive(edge)
    edge.queue.send(Message(second.id, 1), pool="default", group="g")
    agent.answer(first_message)
    assert seen == [(WaitingFor.LOCK, 1)], "only the holder's message is left"
    assert (edge.store.run(second.id).state, lint.calls) == (RunState.QUEUED, 1)
    agent.take_one()
    assert edge.store.run(second.id).state is RunState.PASSED


def waiting_for_lock(edge, number, *actions, **changes):
    made = queued(edge, number, *actions, send=False, **changes)
    assert edge.store.park_for_lock(made, NOW)
    return made


def test_of_those_who_wait_for_a_lock_the_oldest_goes_first_and_the_others_stay(edge, agent_of):
    lint = Action("lint", lambda _: [waiting_for_lock(edge, number, lint) for number in (3, 2)] and passed("lint"))
    queued(edge, 1, lint)
    agent_of(lint).take_one()
    states = [edge.store.run(f"01KAQ{number:021}").state for number in (2, 3)]
    assert states == [RunState.QUEUED, RunState.WAITING]
    assert in_queue(edge) == 1


def test_who_waited_is_woken_in_its_own_pool(edge, agent_of):
    edge.client("sqs").create_queue(QueueName="tau-test-large")
    lint = Action("lint", lambda _: waiting_for_lock(edge, 2, job=replace(job(), pool="large")) and passed("lint"))
    queued(edge, 1, lint)
    agent_of(lint).take_one()
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

    agent_of(lint, edge=beside(edge, Freed)).take_one()
    assert edge.store.run(second.id).state is RunState.QUEUED
    agent_of(lint).take_one()
    assert edge.store.run(second.id).state is RunState.PASSED


# --- several runs at once -------------------------------------------------------------------------


class Gate:
    """Steps that stay until they are let go; how many were inside, and how many at once."""

    def __init__(self):
        self.changed, self.open = threading.Condition(), threading.Event()
        self.inside, self.most, self.seen = 0, 0, []

    def __call__(self, context):
        with self.changed:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.seen.append(context.run)
            self.changed.notify_all()
        assert self.open.wait(PATIENCE_S)
        with self.changed:
            self.inside -= 1
        return passed("lint")

    def until(self, inside):
        with self.changed:
            assert self.changed.wait_for(lambda: self.inside == inside, PATIENCE_S), self.inside


@pytest.fixture
def gate(pace):
    made = Gate()
    assert not pace.threads  # those that stay in it are let go before they are waited for
    yield made
    made.open.set()


@pytest.fixture
def crowd(edge, agent_of, gate, pace):
    """An agent whose runs stay in the gate, and runs of repositories and locks for it."""
    lint = Action("lint", gate)

    class Crowd:
        def __init__(self):
            self.agent, self.actions = None, lint

        def of(self, jobs):
            self.agent = agent_of(lint, jobs=jobs)
            pace.at_once = ()
            return self.agent

        def queued(self, number, repository="2pisoftware/cmfive", lock=None):
            planned = job(Step("lint", {}), lock=lock or f"lock {number}")
            source = replace(planned.source, repository=repository)
            return queued(edge, number, lint, job=replace(planned, source=source))

        def answered(self, *which):
            """These messages (none: all that were taken) are through, and so are their runs."""
            taken = [thread for thread in pace.threads if thread.name == "answer"]
            for number in which or range(1, len(taken) + 1):
                taken[number - 1].join(PATIENCE_S)
                assert not taken[number - 1].is_alive()

    return Crowd()


def test_a_runner_takes_as_many_runs_as_it_has_places_and_no_more(edge, crowd, gate, clock):
    agent = crowd.of(jobs=2)
    for number, repository in enumerate(("a/a", "b/b", "c/c"), 1):
        crowd.queued(number, repository)
    for inside in (1, 2):
        agent.take_one()
        gate.until(inside)
    third = threading.Thread(target=agent.take_one)
    third.start()
    clock.somebody_waits(None)
    assert (gate.inside, in_queue(edge), len(agent.running)) == (2, 3, 2)
    gate.open.set()
    third.join(PATIENCE_S)
    crowd.answered()
    assert (gate.most, in_queue(edge), agent.running) == (2, 0, ())


def test_of_one_repository_a_runner_leaves_one_place_to_the_others(edge, crowd, gate, clock):
    agent = crowd.of(jobs=3)
    for number in (1, 2):
        crowd.queued(number)
        agent.take_one()
        gate.until(number)
    waits = crowd.queued(3)
    agent.take_one()
    clock.somebody_waits(TURN_S)
    other = crowd.queued(4, "2pisoftware/other")
    agent.take_one()
    gate.until(3)
    assert gate.seen[-1] == other.id
    assert (edge.store.run(waits.id).state, in_queue(edge)) == (RunState.QUEUED, 4)
    gate.open.set()


def test_a_run_that_waits_for_its_turn_gets_it_when_another_of_its_repository_ends(edge, crowd, gate, clock):
    agent = crowd.of(jobs=2)
    crowd.queued(1)
    agent.take_one()
    gate.until(1)
    waits = crowd.queued(2)
    agent.take_one()
    clock.somebody_waits(TURN_S)
    gate.open.set()
    crowd.answered()
    assert (edge.store.run(waits.id).state, gate.most, in_queue(edge)) == (RunState.PASSED, 1, 0)


def test_a_run_that_waited_in_vain_is_given_back_and_the_runner_pauses(edge, crowd, gate, clock):
    agent = crowd.of(jobs=2)
    crowd.queued(1)
    agent.take_one()
    gate.until(1)
    waits = crowd.queued(2)
    agent.take_one()
    clock.somebody_waits(TURN_S)
    clock.pass_(TURN_S)
    crowd.answered(2)
    assert (edge.store.run(waits.id).state, in_queue(edge), agent.busy) == (RunState.QUEUED, 2, True)
    pausing = threading.Thread(target=agent.take_one)
    pausing.start()
    clock.somebody_waits(TURN_S)
    gate.open.set()
    pausing.join(PATIENCE_S)
    assert not pausing.is_alive(), "a place that came free ends the pause"


def test_nobody_pauses_any_more_once_a_run_was_let_in(crowd, gate, clock):
    agent = crowd.of(jobs=2)
    crowd.queued(1)
    agent.take_one()
    gate.until(1)
    crowd.queued(2)
    agent.take_one()
    clock.somebody_waits(TURN_S)
    clock.pass_(TURN_S)
    crowd.answered(2)
    for number, repository in ((3, "a/a"), (4, "b/b")):
        crowd.queued(number, repository)
        taking = threading.Thread(target=agent.take_one)
        taking.start()
        if number == 3:
            clock.somebody_waits(TURN_S)
            gate.open.set()
        taking.join(PATIENCE_S)
        assert not taking.is_alive(), f"the runner pauses before run {number}"
        crowd.answered()


def test_messages_that_step_aside_do_not_come_back_all_at_once():
    received = Received("", "", "", "default", "", 1)
    runs = [_turn_s(make_run(number), received) for number in range(100)]
    turns = [_turn_s(make_run(1), replace(received, receives=number)) for number in range(100)]
    for spread in (runs, turns):
        assert set(spread) == set(range(1, TURN_S + 1))
        assert max(Counter(spread).values()) < 40


def test_of_one_repositorys_runs_one_waits_for_its_turn_and_the_others_are_given_back_at_once(crowd, gate, clock):
    agent = crowd.of(jobs=2)
    for number in (1, 2, 3):
        crowd.queued(number)
        agent.take_one()
        (gate.until if number == 1 else lambda _: clock.somebody_waits(TURN_S))(1)
    crowd.answered(3)
    gate.open.set()


def test_who_waits_for_its_turn_while_the_runner_stops_begins_no_more(edge, crowd, gate, clock):
    agent = crowd.of(jobs=2)
    crowd.queued(1)
    agent.take_one()
    gate.until(1)
    waits = crowd.queued(2)
    agent.take_one()
    clock.somebody_waits(TURN_S)
    agent.drain()
    gate.open.set()
    crowd.answered()
    assert (edge.store.run(waits.id).state, in_queue(edge)) == (RunState.QUEUED, 1)
    assert receive(edge).body == encode(Message(waits.id, 1))


def test_a_run_that_is_taken_over_counts_for_its_repository_too(edge, crowd, gate, clock):
    agent = crowd.of(jobs=2)
    crowd.queued(1)
    agent.take_one()
    gate.until(1)
    held = edge.store.claim(crowd.queued(2), "r2", NOW)
    agent.take_one()
    for seconds in (LEASE_S, TURN_S):
        clock.somebody_waits(seconds)
        clock.pass_(seconds)
    crowd.answered(2)
    assert (gate.inside, edge.store.run(held.id).epoch, in_queue(edge)) == (1, 1, 2)


def test_a_message_that_waited_too_often_for_its_turn_is_replaced_before_the_queue_gives_it_up(
    edge, crowd, gate, clock
):
    agent = crowd.of(jobs=2)
    crowd.queued(1)
    agent.take_one()
    gate.until(1)
    waits = crowd.queued(2)
    received = receive(edge)
    for receives, send in ((29, 1), (30, 2)):
        answering = threading.Thread(target=agent.answer, args=[replace(received, receives=receives)])
        answering.start()
        clock.somebody_waits(TURN_S)
        clock.pass_(TURN_S)
        answering.join(PATIENCE_S)
        assert (edge.store.run(waits.id).send, in_queue(edge)) == (send, 2)
    assert receive(edge).body == encode(Message(waits.id, 2))


def test_two_runs_with_one_lock_never_go_on_at_once(edge, crowd, gate):
    agent = crowd.of(jobs=3)
    runs = [crowd.queued(number, f"a/{number}", lock="one and the same") for number in (1, 2, 3)]
    agent.take_one()
    gate.until(1)
    for number in (2, 3):
        agent.take_one()
        crowd.answered(number)
    assert [edge.store.run(run.id).state for run in runs] == [RunState.RUNNING, RunState.WAITING, RunState.WAITING]
    gate.open.set()
    for _ in range(3):
        crowd.answered()
        agent.take_one()
    crowd.answered()
    assert [edge.store.run(run.id).state for run in runs] == [RunState.PASSED] * 3
    assert (gate.most, in_queue(edge)) == (1, 0)


# --- a repository that is left alone --------------------------------------------------------------


def test_a_run_of_a_parked_repository_waits_until_it_is_let_go(edge, agent_of, clock):
    from chalicelib.records.breakers import opened

    lint = Action("lint")
    made = queued(edge, 1, lint)
    edge.store.table.write(opened(made.job.source.name, "01X", "its runner died 5 times", NOW))
    agent = agent_of(lint)
    agent.take_one()
    parked = edge.store.run(made.id)
    assert (parked.state, parked.waiting_for, parked.due_at) == (RunState.WAITING, WaitingFor.RUNNER, later(600))
    assert parked.reason == (
        "run 01X of github.com/2pisoftware/cmfive killed its runners again and again: `tau dead` shows it"
    )
    assert (lint.calls, in_queue(edge)) == (0, 0)
    clock.pass_(600)
    edge.queue.send(edge.store.wake(made.id, WaitingFor.RUNNER, clock()), pool="default", group="g")
    agent.take_one()
    assert edge.store.run(made.id).state is RunState.WAITING, "it has looked, and waits on"
    clock.pass_(3000)
    edge.queue.send(edge.store.wake(made.id, WaitingFor.RUNNER, clock()), pool="default", group="g")
    agent.take_one()
    assert edge.store.run(made.id).state is RunState.PASSED
    assert edge.store.breaker(made.job.source.name) is None, "all is well again"


# --- what breaks ----------------------------------------------------------------------------------


class Unreachable:
    """SQS that cannot be reached."""

    def get_queue_url(self, **_):
        raise EndpointConnectionError(endpoint_url="https://sqs.invalid")


def test_a_cloud_that_does_not_answer_is_asked_again_later_by_the_same_place(edge, agent_of, caplog, clock):
    caplog.set_level(logging.WARNING)
    agent = agent_of(edge=replace(edge, queue=Queue(Unreachable(), "tau-test")))
    for _ in range(2):
        asking = threading.Thread(target=agent.take_one)
        asking.start()
        clock.somebody_waits(5)
        clock.pass_(5)
        asking.join(PATIENCE_S)
    assert "sqs.invalid" in str([vars(record) for record in caplog.records])


def test_a_table_that_is_gone_in_the_middle_leaves_the_message_and_gives_the_place_back(edge, agent_of):
    lint = Action("lint", lambda _: edge.client("dynamodb").delete_table(TableName="tau-test") and passed("lint"))
    queued(edge, 1, lint)
    agent = agent_of(lint)
    agent.take_one()
    assert (in_queue(edge), agent.busy, agent.running) == (1, False, ())
    agent.take_one()


# --- stopping -------------------------------------------------------------------------------------


@contextmanager
def serving(agent):
    """The agent at work; it must have returned at the end of the block."""
    thread = threading.Thread(target=agent.serve)
    thread.start()
    yield
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_a_runner_that_starts_removes_what_dead_claims_left(agent_of, docker):
    docker.add_container("left", tau_system="tau-test", tau_kind="step", tau_run="01GONE", tau_epoch="1")
    agent = agent_of()
    agent.drain()
    agent.serve()
    assert docker.removed == ["left"]


def test_a_runner_that_drains_brings_what_is_in_hand_to_its_end_and_takes_no_other(edge, crowd, gate):
    agent = crowd.of(jobs=2)
    made = crowd.queued(1)
    with serving(agent):
        gate.until(1)
        agent.drain()
        other = crowd.queued(2)
        assert agent.busy
        gate.open.set()
    assert edge.store.run(made.id).state is RunState.PASSED
    assert (edge.store.run(other.id).state, in_queue(edge)) == (RunState.QUEUED, 1)


def test_whoever_waits_for_the_last_run_in_hand_hears_of_its_end_though_the_long_poll_goes_on(crowd, gate):
    agent, heard = crowd.of(jobs=2), []
    agent._on_drained = lambda: heard.append(agent.busy)
    crowd.queued(1)
    agent.take_one()
    gate.until(1)
    agent.drain()
    assert heard == []
    gate.open.set()
    crowd.answered()
    assert heard == [False]


def test_a_runner_whose_places_are_all_taken_hears_that_it_should_drain(crowd, gate, clock):
    agent = crowd.of(jobs=1)
    crowd.queued(1)
    with serving(agent):
        gate.until(1)
        clock.somebody_waits(None)
        agent.drain()
        gate.open.set()


@pytest.mark.parametrize("held", [False, True], ids=["queued", "held by another runner"])
def test_a_message_that_comes_while_the_runner_stops_is_given_back_at_once(edge, agent_of, held):
    class Late(Queue):
        """A long poll that is answered when the runner was just told to stop."""

        def receive(self, pool, **how):
            agent.drain()
            return super().receive(pool, **how)

    lint = Action("lint")
    made = held_elsewhere(edge, lint) if held else queued(edge, 1, lint)
    agent = agent_of(lint, edge=replace(edge, queue=Late(edge.client("sqs"), "tau-test")))
    agent.take_one()
    assert (edge.store.run(made.id).epoch, lint.calls, agent.busy) == (int(held), 0, False)
    assert receive(edge) is not None


def until_stopped(context):
    """A step that goes on until somebody stops it."""
    stopped = threading.Event()
    with context.stopping.telling(stopped.set):
        assert stopped.wait(PATIENCE_S)
    context.stopping.check()


def test_what_is_handed_back_is_gone_on_with_by_another_runner_that_keeps_what_passed(edge, agent_of, docker, ses):
    build = Action("build", built(docker))
    push = Action("push", lambda context: agent.hand_back() or until_stopped(context), passed("push"), needs_image=True)
    made = queued(edge, 1, build, push)
    agent = agent_of(build, push)
    agent.take_one()
    back = edge.store.run(made.id)
    assert (back.state, back.send, back.attempts, in_queue(edge)) == (RunState.QUEUED, 2, 0, 1)
    assert back.journal[-1]["kind"] == "handed_back"
    assert edge.store.lock_holder(made.job.lock) == made.id, "nobody goes first"
    agent_of(build, push, runner="r2").take_one()
    ended = edge.store.run(made.id)
    assert (ended.state, ended.runner, ended.epoch) == (RunState.PASSED, "r2", 2)
    assert (build.calls, push.calls, in_queue(edge), ses.told) == (1, 2, 0, [DEV])


def test_a_run_that_was_claimed_while_the_others_were_handed_back_is_handed_back_too(edge, agent_of):
    class Sudden(Store):
        """A store in whose answer to a claim the runner is told to hand back."""

        def claim(self, *wanted):
            claimed = super().claim(*wanted)
            agent.hand_back()
            return claimed

    lint = Action("lint")
    made = queued(edge, 1, lint)
    agent = agent_of(lint, edge=beside(edge, Sudden))
    agent.take_one()
    assert (lint.calls, edge.store.run(made.id).state, in_queue(edge)) == (0, RunState.QUEUED, 1)


def test_every_run_in_hand_is_handed_back(edge, crowd, pace):
    agent = crowd.of(jobs=3)
    crowd.actions.outcomes = [until_stopped]
    runs = [crowd.queued(number, f"a/{number}") for number in (1, 2)]
    for _ in runs:
        agent.take_one()
    agent.hand_back()
    pace.everything_ends()
    assert [edge.store.run(run.id).state for run in runs] == [RunState.QUEUED] * 2
    assert in_queue(edge) == 2
