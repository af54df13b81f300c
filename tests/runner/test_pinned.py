"""A run that nobody knew the commit of builds the newest of its ref, and from then on that one."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.model import EventKind, Message, RunState, Step, WaitingFor
from chalicelib.records.run_items import new_run
from chalicelib.redriving import again
from runner.context import Park
from runner.listing import of
from tests.claiming import A, B, pushed
from tests.installation import NOW
from tests.installation import run as make_run
from tests.mailing import DEV
from tests.running import Action, passed

SETTINGS = {"tags": [{"open": "{branch}-{commit7}", "sink": "image_tag", "values": {"branch": "develop"}}]}


def unknown():
    """A job that a person started, at no commit."""
    job = pushed(B)
    said = replace(job.event, kind=EventKind.MANUAL, commit=None, before=None, after=None, pipeline=job.pipeline)
    return replace(job, event=said)


@pytest.fixture(autouse=True)
def branch(desk):
    desk.branch.line = [A]


def commits(action):
    return [context.job.event.commit for context in action.contexts]


def test_a_run_without_a_commit_builds_the_newest_of_its_ref(desk):
    lint = Action("lint")
    assert desk.claim(1, lint, planned=unknown()).enact()
    assert (desk.run(1).state, commits(lint)) == (RunState.PASSED, [A])


def test_what_needed_the_commit_gets_it(edge, desk):
    push = Action("push")
    job = replace(unknown(), steps=(Step("push", SETTINGS),))
    edge.store.table.write(new_run(make_run(1, job=job)))
    edge.queue.call(Message(make_run(1).id, 1), job)
    run = edge.store.run(make_run(1).id)
    assert desk.claim(1, push, run=run).enact()
    assert push.settings.tags == [f"develop-{A[:7]}"]


def test_the_record_the_list_and_the_mail_say_which_one_it_was(desk, ses):
    assert desk.claim(1, Action("lint"), planned=unknown()).enact()
    run = desk.run(1)
    assert [found.id for found in desk.edge.store.runs_of_commit(A, 9)] == [run.id]
    assert f"develop {A[:7]}" in of(run)
    (mail,) = (raw.decode() for _, raw in ses.taken)
    assert A[:7] in mail
    assert [each["state"] for each in run.tell.values()] == ["told"]


def test_it_goes_on_with_that_one_though_the_branch_has_moved(desk):
    lint = Action("lint")
    ship = Action("ship", Park(WaitingFor.ENVIRONMENT, NOW + timedelta(hours=1), "busy"), passed("ship"))
    assert desk.claim(1, lint, ship, planned=unknown()).enact()
    desk.branch.line = [A, B]
    desk.edge.queue.call(desk.edge.store.wake(desk.run(1).id, WaitingFor.ENVIRONMENT, NOW), desk.run(1).job)
    assert desk.claim(1, lint, ship, run=desk.run(1)).enact()
    assert (desk.run(1).state, commits(ship)) == (RunState.PASSED, [A, A])


def test_done_again_it_builds_that_one(desk):
    lint = Action("lint")
    assert desk.claim(1, lint, planned=unknown()).enact()
    desk.branch.line = [A, B]
    once_more = again(desk.run(1), "kim@laptop", NOW)
    desk.edge.store.table.write(new_run(once_more))
    desk.edge.queue.call(Message(once_more.id, 1), once_more.job)
    assert desk.claim(1, lint, run=desk.edge.store.run(once_more.id)).enact()
    assert commits(lint) == [A, A]


def test_a_ref_that_is_gone_fails_the_run_before_its_first_step(desk):
    lint = Action("lint")
    desk.branch.line = []
    assert desk.claim(1, lint, planned=unknown()).enact()
    run = desk.run(1)
    assert (run.state, run.reason, lint.calls) == (RunState.FAILED, "refs/heads/develop is gone", 0)
    assert list(run.tell) == [f"email:{DEV}"]


def test_a_forge_that_does_not_answer_is_tried_once_more(desk):
    desk.branch.unreachable = True
    assert desk.claim(1, Action("lint"), planned=unknown()).enact()
    assert (desk.run(1).state, desk.run(1).waiting_for) == (RunState.WAITING, WaitingFor.RETRY)
