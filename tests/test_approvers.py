"""Who may approve is what ci.yml says when the answer comes, as far as it still knows what was asked."""

import json

import pytest

from chalicelib.approving import NotAnApprover, approve
from chalicelib.config import parse
from chalicelib.model import DeploymentState
from tests.by_hand import BOB, ENVIRONMENT, SAM, Hands
from tests.hooks import compiled, pipeline

EVE = "eve@2pisoftware.com"
ELSEWHERE = "crm-staging"


@pytest.fixture
def world():
    return Hands()


@pytest.fixture
def waiting(world):
    record = world.deploy("v2", approvers=(SAM, BOB), approve_within_s=7 * 86400)
    world.pass_(5)
    assert world.record(record).state is DeploymentState.WAITING_APPROVAL
    return record


def deploy(*by, environment=ENVIRONMENT, **more):
    asked = {"approve": {"by": list(by), "within": 60}} if by else {}
    return {"action": "deploy_eb", "settings": {"application": "crm", "environment": environment, **asked, **more}}


def of_today(world, *steps, name="cmfive-dev", **changes):
    """A ci.yml comes into force."""
    form = {"triggers": {"tag": {"names": ["v*"]}}, "repository": "github.com/2pisoftware/cmfive", **changes}
    text = {**compiled(pipeline(name, steps=list(steps), **form)), "source_sha256": "d" * 64}
    world.store.put_config("d" * 64, json.dumps(text).encode())
    world.store.put_in_force("d" * 64, world.clock())
    return parse(text)


def say(world, record, by, *, yes=True):
    return approve(record.run, by, world.edge, world.clock(), yes=yes)


@pytest.mark.parametrize("yes", [True, False])
def test_whose_address_was_removed_may_answer_no_more(world, waiting, yes):
    of_today(world, deploy(BOB))
    said = f"{SAM} may not approve v2 any more: ci.yml names {BOB} now"
    with pytest.raises(NotAnApprover, match=said):
        say(world, waiting, SAM, yes=yes)
    assert world.record(waiting).state is DeploymentState.WAITING_APPROVAL
    say(world, waiting, BOB, yes=yes)
    assert world.to_the_end(waiting).state is (DeploymentState.LIVE if yes else DeploymentState.CANCELLED)


def test_who_was_named_since_may_answer(world, waiting):
    of_today(world, deploy(SAM, EVE))
    say(world, waiting, EVE.upper())
    assert world.to_the_end(waiting).approved_by == EVE


def test_nobody_else_may_and_those_who_are_named_today_are_said(world, waiting):
    of_today(world, deploy(BOB))
    with pytest.raises(NotAnApprover, match=f"{EVE} may not approve v2, {BOB} may: --by says who you are"):
        say(world, waiting, EVE)


def test_who_may_approve_another_environment_may_not_approve_this_one(world, waiting):
    of_today(world, deploy(SAM, environment=ELSEWHERE), deploy(BOB))
    with pytest.raises(NotAnApprover):
        say(world, waiting, SAM)


def test_who_may_approve_in_another_region_may_not_approve_here(world, waiting):
    of_today(world, deploy(SAM, region="us-east-1"), deploy(BOB, region=None))
    with pytest.raises(NotAnApprover):
        say(world, waiting, SAM)
    say(world, waiting, BOB)


def test_where_what_was_pushed_is_not_answered_to_any_more_those_are_left_who_are_still_named(world, waiting):
    template = {"template": "{client|dash}-production", "sink": "name"}
    of_today(world, deploy(BOB, EVE, environment=template), triggers={"tag": {"names": ["w*"]}})
    for other in (SAM, EVE):
        with pytest.raises(NotAnApprover, match=f"names {BOB} now|{BOB} may"):
            say(world, waiting, other)
    say(world, waiting, BOB)


def test_where_nobody_of_them_is_named_any_more_nobody_may(world, waiting):
    of_today(world, deploy(EVE), triggers={"tag": {"names": ["w*"]}})
    with pytest.raises(
        NotAnApprover, match=f"{SAM} may not approve v2 any more: ci.yml names nobody who was asked now"
    ):
        say(world, waiting, SAM)


UNKNOWN = {
    "the pipeline is gone": {"name": "renamed"},
    "nobody is asked any more": {"steps": [deploy()]},
    "nothing is deployed any more": {"steps": []},
    "it goes elsewhere": {"steps": [deploy(EVE, environment=ELSEWHERE)]},
}


@pytest.mark.parametrize("changes", UNKNOWN.values(), ids=UNKNOWN)
def test_where_ci_yml_names_nobody_those_who_were_asked_may_answer(world, waiting, changes):
    changes = {"steps": [deploy(EVE)], **changes}
    of_today(world, *changes.pop("steps"), **changes)
    with pytest.raises(NotAnApprover):
        say(world, waiting, EVE)
    say(world, waiting, SAM)
    assert world.to_the_end(waiting).approved_by == SAM


def test_a_ci_yml_that_cannot_be_read_names_nobody(world, waiting):
    world.store.put_in_force("e" * 64, world.clock())
    say(world, waiting, SAM)


def test_what_was_answered_before_stays_answered(world, waiting):
    say(world, waiting, SAM)
    of_today(world, deploy(BOB))
    assert world.to_the_end(waiting).state is DeploymentState.LIVE
