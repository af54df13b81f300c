"""A deployment waits for the word of one of those whom ci.yml names; nobody's word is none, after a while."""

from datetime import timedelta

import pytest

from chalicelib.aborting import abort
from chalicelib.approving import NotAnApprover, NotAsked, approve
from chalicelib.errors import MailDelayed, MailRefused, NotThere
from chalicelib.model import DeploymentState, RunState, WaitingFor
from tests.by_hand import BOB, ENVIRONMENT, REGION, SAM, Hands

WEEK = 7 * 86400


@pytest.fixture
def world():
    return Hands()


@pytest.fixture
def waiting(world):
    world.live("v1")
    return wait(world, "v2")


def wait(world, label):
    record = world.deploy(label, approvers=(SAM, BOB), approve_within_s=WEEK)
    world.pass_(5)
    assert world.record(record).state is DeploymentState.WAITING_APPROVAL
    return record


def say(world, record, by=SAM, *, yes=True):
    return approve(record.run, by, world.edge, world.clock(), yes=yes)


def test_who_may_approve_is_asked_once_and_nothing_is_deployed_meanwhile(world, waiting):
    world.pass_(600)
    record = world.record(waiting)
    assert world.asked == [SAM, BOB]
    assert record.reason == f"v2 waits for the approval of {SAM} or {BOB}"
    assert world.beanstalk.updates == ["v1"]
    assert world.store.lock_holder(f"eb/{REGION}/{ENVIRONMENT}") is None, "others may deploy there"


def test_approved_it_goes_live_and_the_record_says_by_whom(world, waiting):
    run = world.store.run(waiting.run)
    held = world.store.claim(queued(world, run), "r1", world.clock())
    world.store.park(held, WaitingFor.APPROVAL, world.clock() + timedelta(hours=1), "waits")
    assert say(world, waiting, SAM.upper()) == f"v2 is approved by {SAM}, and on its way to crm-production"
    assert world.store.run(waiting.run).state is RunState.QUEUED, "its log goes on"
    record = world.to_the_end(waiting)
    assert (record.state, record.approved_by) == (DeploymentState.LIVE, SAM)
    assert world.beanstalk.updates == ["v1", "v2"]


def test_an_answer_asks_and_calls_nothing_at_elastic_beanstalk(world, waiting):
    before = list(world.beanstalk.calls)
    say(world, waiting)
    assert world.beanstalk.calls == before


def queued(world, run):
    world.store.wake(run.id, None, world.clock())
    return world.store.run(run.id)


def test_its_deadline_counts_from_the_approval_on(world, waiting):
    world.pass_(3600)
    say(world, waiting)
    assert world.to_the_end(waiting).state is DeploymentState.LIVE


def test_refused_it_is_cancelled_at_once_and_its_run_is_woken(world, waiting):
    reason = f"refused by {BOB}: v2 was not deployed to crm-production"
    assert say(world, waiting, BOB, yes=False) == f"v2 is cancelled: {reason}"
    record = world.record(waiting)
    assert (record.state, record.reason, record.due_at) == (DeploymentState.CANCELLED, reason, None)
    assert world.store.run(waiting.run).state is RunState.QUEUED
    assert world.beanstalk.updates == ["v1"]


def test_nobody_else_may_say_so(world, waiting):
    for by in ("sam@laptop", "eve@example.com", ""):
        with pytest.raises(NotAnApprover, match=f"may not approve v2, {SAM} or {BOB} may"):
            say(world, waiting, by)
    assert world.record(waiting).state is DeploymentState.WAITING_APPROVAL


def test_a_second_answer_changes_nothing(world, waiting):
    say(world, waiting)
    assert say(world, waiting, BOB) == f"v2 was approved before, by {SAM}: it is prepared"
    world.pass_(5)
    with pytest.raises(NotAsked, match=f"v2 was approved by {SAM}, and is verifying: `tau abort crm-production`"):
        say(world, waiting, BOB, yes=False)
    assert world.to_the_end(waiting).state is DeploymentState.LIVE


def test_what_was_refused_is_not_approved_any_more(world, waiting):
    say(world, waiting, yes=False)
    assert say(world, waiting, BOB, yes=False) == f"v2 was refused before, by {SAM}"
    with pytest.raises(NotAsked, match=f"v2 is cancelled: refused by {SAM}"):
        say(world, waiting, BOB)


def test_nobodys_word_in_time_cancels_it(world, waiting):
    world.clock.now += timedelta(days=7)
    world.pass_(5)
    record = world.record(waiting)
    assert record.state is DeploymentState.CANCELLED
    assert record.reason.startswith(f"nobody approved it within 7d 0h ({SAM} or {BOB} could have): v2 was not")
    with pytest.raises(NotAsked, match="v2 is cancelled: nobody approved it"):
        say(world, waiting)


def test_a_newer_version_takes_the_place_of_one_that_waits(world, waiting):
    newer = wait(world, "v3")
    world.pass_(120)
    old = world.record(waiting)
    assert (old.state, old.outrun_by) == (DeploymentState.SUPERSEDED, newer.run)
    with pytest.raises(NotAsked, match="v2 is superseded"):
        say(world, waiting)
    say(world, newer)
    assert world.to_the_end(newer).state is DeploymentState.LIVE
    assert world.beanstalk.updates == ["v1", "v3"]


def test_an_approval_that_comes_after_a_newer_version_is_none(world, waiting):
    newer = world.deploy("v3")
    assert say(world, waiting).startswith("v2 is superseded: run ")
    assert world.to_the_end(newer).state is DeploymentState.LIVE


def test_it_waits_for_its_turn_after_its_approval(world, waiting):
    world.beanstalk.takes_s = 300
    say(world, waiting)
    world.pass_(20)
    next_one = wait(world, "v3")
    say(world, next_one)
    assert world.record(next_one).state is DeploymentState.PREPARED
    assert world.to_the_end(next_one).state is DeploymentState.LIVE
    assert world.beanstalk.updates == ["v1", "v2", "v3"]


def test_it_can_be_aborted_while_it_waits(world, waiting):
    (said,) = abort(ENVIRONMENT, REGION, "sam@laptop", world.edge, world.clock())
    assert said.startswith("v2 is cancelled: cancelled by sam@laptop")
    assert world.record(waiting).due_at is None


def test_a_mail_that_is_delayed_comes_later_and_one_that_is_refused_is_said(world):
    world.trouble = {SAM: MailDelayed("SES sleeps"), BOB: MailRefused("no such address")}
    record = wait(world, "v1")
    world.pass_(10)
    assert world.asked == []
    world.trouble.pop(SAM)
    world.pass_(130)
    assert world.asked == [SAM]
    assert world.record(record).reason.endswith(f"; the mail to {BOB} was not taken: no such address")


def test_a_run_that_asks_nobody_takes_no_answer(world):
    record = world.deploy("v1")
    with pytest.raises(NotAsked, match="waits for no approval"):
        say(world, record)
    with pytest.raises(NotThere):
        approve("01NOBODY", SAM, world.edge, world.clock(), yes=True)


def test_an_answer_before_the_version_is_processed_comes_too_early(world):
    world.beanstalk.processed = "PROCESSING"
    record = world.deploy("v1", approvers=(SAM,), approve_within_s=WEEK)
    world.pass_(5)
    with pytest.raises(NotAsked, match="v1 is being prepared"):
        say(world, record)


def test_who_may_not_ask_elastic_beanstalk_approves_all_the_same(world, waiting):
    with world.no_rights_at_elastic_beanstalk():
        assert say(world, waiting) == f"v2 is approved by {SAM}, and on its way to crm-production"
    record = world.to_the_end(waiting)
    assert (record.state, record.reason, record.approved_by) == (DeploymentState.LIVE, None, SAM)
    assert world.beanstalk.updates == ["v1", "v2"]
