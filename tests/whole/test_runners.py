"""Several runs at a time, on one runner and on several: side by side, but for those that share a lock."""

from itertools import pairwise

import pytest

from chalicelib.model import RunState
from tests.whole.world import TOOL, began, slow

pytestmark = [pytest.mark.engine, pytest.mark.cloud]


def beside(one, two):
    """Whether two runs were worked on at the same time."""
    return max(one.started_at, two.started_at) < min(one.ended_at, two.ended_at)


# --- on one runner ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("runner")
def test_two_branches_are_worked_on_at_the_same_time_and_one_branch_is_not(installation):
    left, right = (installation.push(f"each/{side}", slow(2)) for side in ("left", "right"))
    installation.wait_for_tests(left.run)
    installation.wait_for_tests(right.run)
    again = installation.push("each/left")
    one, two, three = (installation.wait_for_end(sent.run) for sent in (left, right, again))
    assert [run.state for run in (one, two, three)] == [RunState.PASSED] * 3
    assert beside(one, two)
    assert one.ended_at <= began(three)


def test_one_repository_leaves_a_place_for_the_others(installation):
    installation.runners(0)
    installation.runner("--jobs", "2", name="two")
    first, second = (installation.push(f"feature/share-{number}", slow(1.5)) for number in (1, 2))
    installation.wait_for_tests(first.run)
    other = installation.push("develop", repository=TOOL)
    ends = [installation.wait_for_end(sent.run) for sent in (first, second, other)]
    assert [run.state for run in ends] == [RunState.PASSED] * 3
    assert not beside(ends[0], ends[1])
    assert beside(ends[0], ends[2]), "it did not stand in line behind the second"


# --- on several -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def twins(installation):
    """Three runners for one run each, two of them of the same name and in the same folder, as on one host."""
    installation.runners(0)
    folder = str(installation.folder / "shared")
    yield [installation.runner("--jobs", "1", "--folder", folder, name=name) for name in ("twin", "twin", "third")]
    installation.runners(0)


def test_many_runners_share_a_queue_and_each_run_is_begun_once(installation, twins):
    sent = [installation.push(f"feature/shared-{number}", slow(1.5)) for number in range(len(twins))]
    runs = [installation.wait_for_end(one.run) for one in sent]
    assert {(run.state, run.epoch) for run in runs} == {(RunState.PASSED, 1)}
    names = [run.runner for run in runs]
    assert len(set(names)) == len(twins), "a busy one leaves them to the others"
    assert sorted(name.rpartition("-")[0] for name in names) == ["third", "twin", "twin"]
    assert all(len(installation.mails(run.id)) == 1 for run in runs)


def test_every_push_to_a_branch_is_done_where_ci_yml_wants_it_and_never_two_at_once(installation, twins):
    sent = [installation.push("each/often") for _ in twins]
    runs = sorted((installation.wait_for_end(one.run) for one in sent), key=began)
    assert {run.state for run in runs} == {RunState.PASSED}
    for before, after in pairwise(runs):
        assert before.ended_at <= began(after)


def test_the_runners_that_live_are_listed_and_one_that_was_stopped_is_not(installation, twins):
    def listed():
        rows = installation.tau("runners").stdout.splitlines()[1:]
        # Those that earlier tests killed are forgotten later.
        return sorted(name for row in rows if (name := row.split()[0].rpartition("-")[0]) in {"twin", "third"})

    assert listed() == ["third", "twin", "twin"]
    twins[0].stop()
    assert listed() == ["third", "twin"]
