"""Two runs at a time: on one branch one after the other, on two branches side by side."""

from itertools import pairwise

import pytest

from chalicelib.model import RunState, WaitingFor
from tests.whole.world import slow, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.cloud]


@pytest.fixture(autouse=True)
def two_runners(installation):
    return installation.runners(2)


def test_the_second_push_to_a_branch_waits_until_the_first_is_at_its_end(installation):
    first = installation.push("feature/twice", slow(2))
    installation.wait_for_state(first.run, RunState.RUNNING)
    second = installation.push("feature/twice")
    wait_for(lambda: installation.run(second.run).waiting_for is WaitingFor.LOCK, "the second to wait for the lock")
    assert installation.run(first.run).state is RunState.RUNNING
    one, two = installation.wait_for_end(first.run), installation.wait_for_end(second.run)
    assert (one.state, two.state) == (RunState.PASSED, RunState.PASSED)
    assert one.ended_at <= two.started_at
    assert installation.digest("feature-twice") is None  # a branch's slash is fitted to the tag, with a hash
    tags = [tag for tag in installation.registry.tags("2pisoftware/hello") if tag.startswith("feature-twice-")]
    assert {installation.digest(tag) for tag in tags} == {installation.digest(f"r-{second.run.lower()}")}


def test_many_pushes_to_one_branch_all_end_and_never_two_at_once(installation):
    sent = [installation.push("feature/often") for _ in range(4)]
    ends = [installation.wait_for_end(one.run) for one in sent]
    assert {run.state for run in ends} == {RunState.PASSED}
    by_start = sorted(ends, key=lambda run: run.started_at)
    for before, after in pairwise(by_start):
        assert before.ended_at <= after.started_at


def test_pushes_to_two_branches_do_not_wait_for_each_other(installation):
    first = installation.push("feature/left", slow(2))
    installation.wait_for_state(first.run, RunState.RUNNING)
    second = installation.push("feature/right")
    one, two = installation.wait_for_end(first.run), installation.wait_for_end(second.run)
    assert (one.state, two.state) == (RunState.PASSED, RunState.PASSED)
    assert two.ended_at < one.ended_at
