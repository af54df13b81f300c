"""Pushes to one branch, in whatever order they are heard of: the newest wins, and nobody is forgotten."""

from datetime import timedelta

import pytest

from chalicelib.model import RunState
from infra.local.githost import Person
from tests.whole.world import began, slow

pytestmark = [pytest.mark.engine, pytest.mark.cloud, pytest.mark.usefixtures("runner")]

SOON = timedelta(seconds=10)
KIM = Person("Kim Doe", "kim@2pisoftware.com", "kim")
LEE = Person("Lee Roe", "lee@2pisoftware.com", "lee")


def test_an_older_push_that_is_heard_of_last_never_comes_over_the_newer_one(installation):
    older, newer = (installation.commit("feature/late", by=by) for by in (KIM, LEE))
    second = installation.announced(newer)
    assert installation.wait_for_end(second.run).state is RunState.PASSED
    first = installation.announced(older)
    run = installation.wait_for_end(first.run)
    assert run.state is RunState.SUPERSEDED
    assert run.reason == f"a newer push of feature/late ({second.commit[:7]}) takes its place: run {second.run}"
    assert run.results == {}, "not even built"
    (tag,) = run_tags(installation, second)
    assert installation.digest(tag) == installation.digest(f"r-{second.run.lower()}")
    assert installation.digest(f"r-{first.run.lower()}") is None
    assert [mail.to for mail in installation.mails(second.run)] == [(LEE.email,)]
    (mail,) = installation.mails(first.run)
    assert (mail.to, mail.subject[:12]) == ((KIM.email,), "superseded: ")


def test_of_three_pushes_the_middle_one_gives_way_and_its_committer_hears_from_the_newest(installation):
    first = installation.push("feature/three", slow(1.5))
    installation.wait_for_tests(first.run)
    second = installation.push("feature/three", by=KIM)
    third = installation.push("feature/three", by=LEE)
    ends = [installation.wait_for_end(sent.run) for sent in (first, second, third)]
    assert [run.state for run in ends] == [RunState.PASSED, RunState.SUPERSEDED, RunState.PASSED]
    assert ends[1].reason.endswith(f"takes its place: run {third.run}")
    assert [mail.to for mail in installation.mails(first.run)] == [("sam@2pisoftware.com",)]
    assert installation.mails(second.run) == [], "the newest run speaks for it"
    mails = installation.mails(third.run)
    assert {mail.to for mail in mails} == {(KIM.email,), (LEE.email,)}
    for mail in mails:
        assert f"{second.commit[:7]} Work on feature/three by kim (kim)" in " ".join(mail.text.split())
    (told,) = (mail for mail in mails if mail.to == (KIM.email,))
    assert "because a change in it is yours" in told.text


def test_many_pushes_that_wait_are_one_run(installation):
    first = installation.push("feature/many", slow(1.5))
    installation.wait_for_tests(first.run)
    later = [installation.push("feature/many") for _ in range(4)]
    ends = [installation.wait_for_end(sent.run) for sent in (first, *later)]
    states = [run.state for run in ends]
    assert states == [RunState.PASSED, *[RunState.SUPERSEDED] * 3, RunState.PASSED]
    assert {run.reason.rpartition(" ")[2] for run in ends[1:-1]} <= {sent.run for sent in later}


def test_where_ci_yml_wants_it_the_older_run_is_stopped_and_the_newer_one_runs_at_once(installation):
    older = installation.push("eager/one", slow(100))
    installation.wait_for_tests(older.run)
    newer = installation.push("eager/one", slow(0))
    first, second = installation.wait_for_end(older.run), installation.wait_for_end(newer.run)
    assert (first.state, second.state) == (RunState.SUPERSEDED, RunState.PASSED)
    assert first.ended_at - second.created_at < SOON
    assert first.ended_at <= began(second)
    assert installation.remains(older.run) == []
    assert installation.mails(older.run) == []
    (mail,) = installation.mails(newer.run)
    assert older.commit[:7] in mail.text


def run_tags(installation, sent):
    """The tag of the branch, whose slash is fitted."""
    pushed = installation.run(sent.run).results["2"].facts["pushed"]
    return [entry["name"].rpartition(":")[2] for entry in pushed if not entry["name"].endswith(":latest")]
