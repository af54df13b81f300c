"""A pool that nobody made a queue for: its runs wait for one a while, and no longer."""

from dataclasses import replace

import pytest

from chalicelib.model import RunState
from chalicelib.queue import Queue
from chalicelib.records.due import due_values
from chalicelib.records.run_items import new_run, run_place
from chalicelib.records.table import Change
from chalicelib.ticker import QUEUE_WITHIN, tick
from tests.installation import NOW, run
from tests.mailing import DEV
from tests.test_ticker import AFTER, Refusing, messages


@pytest.fixture
def edge(mailing_edge):
    return mailing_edge


def of_pool(edge, pool):
    made = run(1, job=replace(run().job, pool=pool))
    edge.store.table.write(new_run(made))
    return made


def ticked(edge, until):
    """Tick once a minute, as the schedule does."""
    now = NOW
    while now < until:
        now += AFTER
        tick(edge, now)


def test_a_run_for_whose_pool_there_is_no_queue_ends_with_what_to_do_and_its_operators_hear(edge, ses):
    made = of_pool(edge, "arm")
    ticked(edge, NOW + QUEUE_WITHIN)
    assert edge.store.run(made.id).state is RunState.QUEUED
    ticked(edge, NOW + 2 * QUEUE_WITHIN)
    ended = edge.store.run(made.id)
    assert (ended.state, ended.due_at) == (RunState.ERRORED, None)
    assert ended.reason == (
        "there is no queue for the pool arm: create it (infra/pool.yml), or correct runs_on in ci.yml"
    )
    assert sorted(ses.told) == [DEV, "ops@2pisoftware.com"]


def test_a_queue_that_is_made_meanwhile_gets_the_run(edge):
    made = of_pool(edge, "arm")
    ticked(edge, NOW + QUEUE_WITHIN / 2)
    edge.client("sqs").create_queue(QueueName="tau-test-arm")
    ticked(edge, NOW + 2 * QUEUE_WITHIN)
    assert edge.store.run(made.id).state is RunState.QUEUED
    assert [found for found, _ in messages(edge, "arm")][:1] == [made.id]


def test_a_queue_that_does_not_answer_ends_no_run_however_old(edge):
    made = of_pool(edge, "default")
    ticked(replace(edge, queue=Queue(Refusing(), "tau-test")), NOW + 3 * QUEUE_WITHIN)
    assert edge.store.run(made.id).state is RunState.QUEUED


def test_a_run_that_somebody_claimed_after_all_is_not_ended_for_want_of_a_queue(edge):
    made = of_pool(edge, "arm")
    edge.store.table.write(Change(run_place(made.id), values=dict(due_values(NOW))))

    class Meanwhile:
        """No queue, and a runner that had an older message in hand."""

        def __getattr__(self, name):
            return getattr(edge.queue, name)

        def call(self, message, job):
            edge.store.claim(edge.store.run(message.run), "r1", NOW)
            edge.queue.call(message, job)

    tick(replace(edge, queue=Meanwhile()), NOW + 2 * QUEUE_WITHIN)
    assert edge.store.run(made.id).state is RunState.RUNNING
