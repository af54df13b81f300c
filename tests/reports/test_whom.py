"""Who is told of which end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.model import Handed, Notify, Pusher, RunState
from chalicelib.reports import whom
from chalicelib.reports.whom import because, recipients

PASSED, FAILED, ERRORED = RunState.PASSED, RunState.FAILED, RunState.ERRORED
ALICE, OPS = "alice@2pisoftware.com", "ops@2pisoftware.com"


@pytest.fixture
def ended(samples):
    """An end of the sample job, with another `notify` or another event where wanted."""

    def build(state, *, on="change", to=("pusher",), operators=(OPS,), **event):
        job = replace(samples.JOB, notify=Notify(to, on), operators=operators)
        return samples.result(state, 9, job=replace(job, event=replace(job.event, **event)))

    return build


@pytest.mark.parametrize(
    ("on", "before", "now", "told"),
    [
        ("always", PASSED, PASSED, True),
        ("always", FAILED, FAILED, True),
        ("always", PASSED, RunState.SUPERSEDED, True),
        ("always", None, RunState.WAITING, False),
        ("change", None, PASSED, True),
        ("change", None, FAILED, True),
        ("change", PASSED, PASSED, False),
        ("change", FAILED, FAILED, False),
        ("change", PASSED, FAILED, True),
        ("change", FAILED, PASSED, True),
        ("change", ERRORED, FAILED, True),
        ("change", ERRORED, PASSED, True),
        ("change", ERRORED, ERRORED, True),
        ("change", RunState.SUPERSEDED, PASSED, True),
        ("change", PASSED, RunState.SUPERSEDED, True),
        ("change", PASSED, RunState.SKIPPED, False),
        ("change", None, RunState.CANCELLED, True),
        ("failure", FAILED, PASSED, False),
        ("failure", FAILED, FAILED, True),
        ("failure", PASSED, ERRORED, True),
        ("failure", PASSED, RunState.SUPERSEDED, False),
        ("failure", PASSED, RunState.CANCELLED, False),
        ("never", PASSED, RunState.CANCELLED, False),
        ("always", PASSED, RunState.CANCELLED, True),
        ("never", PASSED, FAILED, False),
        ("never", PASSED, ERRORED, False),
    ],
)
def test_the_pusher_is_told_as_notify_says(ended, on, before, now, told):
    assert (ALICE in recipients(ended(now, on=on), before)) is told


@pytest.mark.parametrize("on", ["always", "change", "failure", "never"])
def test_the_operators_hear_of_everything_that_broke(ended, on):
    assert OPS in recipients(ended(ERRORED, on=on), ERRORED)
    assert OPS not in recipients(ended(FAILED, on=on), None)


def test_the_pushers_own_address_comes_before_the_authors(ended):
    pusher = Pusher("c", "Carol", "carol@2pisoftware.com")
    assert recipients(ended(FAILED, pusher=pusher), None) == ("carol@2pisoftware.com",)


def test_where_the_forge_hides_the_pushers_address_the_head_commits_author_is_told(ended):
    pusher = Pusher("achen", "Alice Chen", "12345+achen@users.noreply.github.com")
    assert recipients(ended(FAILED, pusher=pusher), None) == (ALICE,)


def test_without_a_head_commit_the_newest_author_is_told(ended):
    result = ended(FAILED, pusher=Pusher(), head_commit_author_email=None)
    assert recipients(result, None) == (ALICE,)


def test_where_nobody_can_be_reached_the_operators_are_told_and_told_why(ended):
    result = ended(
        FAILED,
        pusher=Pusher(email="a@b.example, evil@x.example"),
        head_commit_author_email="root@localhost",
        commit_author_emails=("noreply@github.com",),
    )
    assert recipients(result, None) == (OPS,)
    assert "nobody who should be told has an address" in because(result, OPS)


def test_where_nobody_at_all_can_be_reached_nobody_is_named(ended):
    assert recipients(ended(ERRORED, to=("not an address",), operators=()), None) == ()


def test_addresses_and_words_of_notify_are_told_in_their_order_and_each_once(ended):
    to = ("team@2pisoftware.com", "pusher", "operators", "Alice@2pisoftware.com", "ops@2PiSoftware.com")
    result = ended(ERRORED, to=to)
    assert recipients(result, None) == ("team@2pisoftware.com", ALICE, OPS)
    assert because(result, "team@2pisoftware.com") == (
        "You get this because ci.yml names you at the pipeline cmfive-dev."
    )
    assert because(result, ALICE) == "You get this because the change is yours."
    assert because(result, OPS) == "You get this because ci.yml names you as an operator."


def test_an_operator_who_pushes_is_still_an_operator(ended):
    result = ended(ERRORED, pusher=Pusher(email="Ops@2pisoftware.com"))
    assert recipients(result, None) == ("Ops@2pisoftware.com",)
    assert whom.is_operator(result, "Ops@2pisoftware.com")


# --- superseded pushes ----------------------------------------------------------------------------

BOB = "bob@2pisoftware.com"


@pytest.fixture
def standing_for(ended):
    """An end that stands for these people's superseded pushes too."""

    def build(*people, state=PASSED, **changes):
        handed = {f"01X{number}": Handed("a" * 40, to) for number, to in enumerate(people)}
        return replace(ended(state, **changes), handed=handed)

    return build


def test_those_whose_pushes_it_stands_for_are_told_after_the_pusher_and_each_once(standing_for):
    result = standing_for(BOB, None, "Alice@2pisoftware.com", BOB)
    assert recipients(result, None) == (ALICE, BOB)
    assert because(result, BOB) == "You get this because a change in it is yours."
    assert because(result, ALICE) == "You get this because the change is yours."


def test_they_are_told_of_what_the_pusher_is_told_of(standing_for):
    assert recipients(standing_for(BOB), PASSED) == ()
    assert recipients(standing_for(BOB, on="failure"), None) == ()
    assert recipients(standing_for(BOB, state=FAILED, on="failure"), None) == (ALICE, BOB)


def test_where_ci_yml_names_no_pusher_they_are_not_told_either(standing_for):
    result = standing_for(BOB, to=("team@2pisoftware.com",))
    assert recipients(result, None) == ("team@2pisoftware.com",)


def test_where_only_one_of_them_can_be_reached_the_operators_are_left_in_peace(standing_for):
    nobody = {"pusher": Pusher(), "head_commit_author_email": None, "commit_author_emails": ()}
    assert recipients(standing_for(BOB, **nobody), None) == (BOB,)


def test_of_what_broke_they_hear_that_it_was_not_their_code(standing_for):
    result = standing_for(BOB, state=ERRORED)
    assert recipients(result, None) == (ALICE, BOB, OPS)
    assert not whom.is_operator(result, BOB)
