"""Records of deployments: written over what was read only, and in the order of the runs."""

from dataclasses import replace

import pytest

from chalicelib.beanstalk import lock_name
from chalicelib.errors import Outrun
from chalicelib.model import Deployment, DeploymentState
from chalicelib.records.table import Put
from tests.installation import NOW, installation, later


@pytest.fixture
def store(monkeypatch):
    with installation(monkeypatch) as made:
        yield made.store


def deployment(run, **changes):
    fields = {
        "id": f"{run}.3",
        "run": run,
        "region": "ap-southeast-2",
        "application": "client",
        "environment": "client-production",
        "label": "v1",
        "state": DeploymentState.PREPARED,
        "number": 1,
        "created_at": NOW,
        "deadline_at": later(60),
        "due_at": later(5),
    }
    return Deployment(**{**fields, **changes})


def test_a_deployment_moves_only_from_the_number_that_was_read(store):
    made = deployment("01X")
    assert store.create_deployment(made)
    assert not store.create_deployment(made)
    read = store.deployment(made.id)
    assert read == made
    assert store.move_deployment(read, replace(read, state=DeploymentState.UPDATING, previous_label="v0"))
    assert not store.move_deployment(read, replace(read, state=DeploymentState.FAILED))
    now = store.deployment(made.id)
    assert (now.state, now.number, now.previous_label) == (DeploymentState.UPDATING, 2, "v0")
    assert store.move_deployment(now, replace(now, state=DeploymentState.LIVE, due_at=None, previous_label=None))
    assert store.due(later(1000)) == []


def test_a_newer_run_may_deploy_after_an_older_one_and_not_the_other_way_round(store):
    assert store.create_deployment(deployment("01B"))
    assert store.create_deployment(deployment("01C"))
    with pytest.raises(Outrun, match="run 01C, a newer one, deploys to client-production") as outrun:
        store.create_deployment(deployment("01A"))
    assert outrun.value.by == "01C"
    assert store.deployment("01A.3") is None


def test_another_environment_has_an_order_of_its_own(store):
    store.create_deployment(deployment("01B"))
    assert store.create_deployment(deployment("01A", environment="client-test"))
    assert store.create_deployment(deployment("01A", id="01A.4", region="us-east-1"))


def test_who_was_outrun_and_had_begun_is_there_all_the_same(store):
    """A claim that died in the middle: its deployment goes on."""
    store.create_deployment(deployment("01A"))
    store.create_deployment(deployment("01B"))
    assert not store.create_deployment(deployment("01A"))


def test_the_lock_of_an_environment_goes_in_the_order_of_runs(store):
    name = lock_name(deployment("01A"))
    store.create_deployment(deployment("01A"))
    assert store.acquire_in_order(name, "01A.3", "01A")
    store.create_deployment(deployment("01B"))
    assert not store.acquire_in_order(name, "01B.3", "01B"), "it is held"
    store.release_lock(name, "01A.3")
    with pytest.raises(Outrun, match="run 01B, a newer one, goes first"):
        store.acquire_in_order(name, "01A.3", "01A")
    assert store.acquire_in_order(name, "01B.3", "01B")
    assert store.lock_holder(name) == "01B.3"


def test_all_deployments_are_listed_newest_first_and_as_they_stand(store):
    for run in ("01A", "01C", "01B"):
        store.create_deployment(deployment(run, environment=f"client-{run}", due_at=None))
    old = store.deployment("01B.3")
    store.move_deployment(old, replace(old, state=DeploymentState.LIVE))
    assert [(one.id, one.state) for one in store.deployments()] == [
        ("01C.3", DeploymentState.PREPARED),
        ("01B.3", DeploymentState.LIVE),
        ("01A.3", DeploymentState.PREPARED),
    ]


def test_what_joins_a_deployment_is_written_with_it_or_not_at_all(store):
    also = Put({"pk": "x", "sk": "x", "v": 1})
    assert store.create_deployment(deployment("01A"), also)
    assert not store.create_deployment(deployment("01B"), also)
    assert store.deployment("01B.3") is None
