"""Images that a run pushed start what answers to them, and what stands on them; once, whoever dies over it."""

import json
from dataclasses import replace

import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib.announcing import left_behind
from chalicelib.model import EventKind, RunState, Step, StepResult, StepStatus
from chalicelib.pinning import job_of
from chalicelib.records.run_items import new_run
from chalicelib.telling import tell
from chalicelib.ticker import tick
from tests.graphs import CLIENT, CMFIVE, CRM, known
from tests.hooks import compiled, pipeline
from tests.installation import NOW, installation, job, later, run

DEPLOY = "github.com/2pisoftware/crm_deploy"


def makes(name, **changes):
    """A pipeline that builds, pushes and deploys an image of that name."""
    steps = [
        {"action": "build", "settings": {"image": f"2pisoftware/{name}"}},
        {"action": "push", "settings": {"image": f"2pisoftware/{name}", "to": ["docker.io"], "tags": ["latest"]}},
        {"action": "deploy_eb", "settings": {"application": name}},
    ]
    fields = {"repository": f"github.com/2pisoftware/{name}_deploy", "triggers": {"push": {"names": ["master"]}}}
    return pipeline(name, **{**fields, "steps": steps, **changes})


ON_IMAGE = {"image": {"names": [CMFIVE]}}


@pytest.fixture
def edge(monkeypatch):
    with installation(monkeypatch) as made:
        yield made


def in_force(edge, *pipelines):
    edge.store.put_config("c" * 64, json.dumps(compiled(*pipelines)).encode())
    edge.store.put_in_force("c" * 64, NOW)


def a_push(digest="sha256:1", tags=("latest",), status=StepStatus.PASSED):
    facts = {
        "image": {"name": "2pisoftware/cmfive", "id": "sha256:9"},
        "digests": {"docker.io": digest},
        "moved": list(tags),
    }
    return StepResult("push", status, NOW, NOW, facts=facts)


def ended(edge, number=1, state=RunState.PASSED, result=None, **changes):
    """A run that pushed cmfive, and came to an end."""
    made = run(number, job=replace(job(), announces=True, lock=f"lock {number}", **changes))
    edge.store.table.write(new_run(made))
    held = edge.store.claim(edge.store.run(made.id), "r1", NOW)
    edge.store.end(held, state, reason=None, tell={}, now=NOW, results={0: result or a_push()})
    return edge.store.run(made.id)


def started(edge, pipeline_name):
    day = NOW.date().isoformat()
    return [one for one in edge.store.runs_of_day(day, 99) if one.job.pipeline == pipeline_name]


def test_a_pushed_image_starts_the_pipelines_that_answer_to_it(edge):
    in_force(edge, makes("crm", triggers=ON_IMAGE), makes("other"))
    tell(ended(edge), edge, later(1))
    (crm,) = started(edge, "crm")
    assert (crm.job.event.kind, crm.job.event.name, crm.state) == (EventKind.IMAGE, CMFIVE, RunState.QUEUED)
    assert crm.job.event.image.digest == "sha256:1"
    assert started(edge, "other") == []


def test_a_run_that_failed_after_its_push_has_pushed_all_the_same(edge):
    in_force(edge, makes("crm", triggers=ON_IMAGE))
    tell(ended(edge, state=RunState.FAILED), edge, later(1))
    assert len(started(edge, "crm")) == 1


def test_the_ticker_announces_what_a_dead_runner_did_not_and_nobody_twice(edge):
    in_force(edge, makes("crm", triggers=ON_IMAGE))
    made = ended(edge)
    tick(edge, later(120), bury=False)
    tell(made, edge, later(121))
    assert len(started(edge, "crm")) == 1
    assert edge.store.run(made.id).tell["images"]["state"] == "told"
    assert edge.store.run(made.id).due_at is None


def test_an_announcement_that_fails_stays_due_and_is_made_later(edge):
    in_force(edge, makes("crm", triggers=ON_IMAGE))
    made = ended(edge)
    store = edge.store
    tell(made, replace(edge, store=_WithoutRecord(store)), later(1))
    again = store.run(made.id)
    assert (again.tell["images"]["state"], again.tell["images"]["attempts"]) == ("due", 1)
    assert again.due_at is not None
    tick(edge, again.due_at, bury=False)
    assert len(started(edge, "crm")) == 1


class _WithoutRecord:
    """The store, while DynamoDB takes no delivery."""

    def __init__(self, store):
        self._store = store

    def __getattr__(self, name):
        if name == "record":
            raise EndpointConnectionError(endpoint_url="dynamodb")
        return getattr(self._store, name)


# --- rebuild: dependents -----------------------------------------------------------------------------------


def know(edge, *images):
    for one in images:
        edge.store.put_known_image(one)


def test_what_stands_on_a_pushed_image_is_built_again_by_its_own_pipeline_and_does_not_go_live(edge):
    in_force(edge, makes("cmfive", rebuild="dependents"), makes("crm"), makes("client-a"))
    know(edge, known(CRM, CMFIVE), known(CLIENT, CRM))
    tell(ended(edge, rebuild=True), edge, later(1))
    (crm,) = started(edge, "crm")
    assert [step.action for step in crm.job.steps] == ["build", "push"]
    assert crm.job.lock == f"crm/{DEPLOY}/refs/heads/master"
    assert (crm.job.source.name, crm.job.event.commit) == (DEPLOY, None)
    # The next level follows when crm was pushed.
    assert started(edge, "client-a") == []
    assert crm.job.announces


def test_what_answers_to_the_image_by_itself_is_not_built_twice(edge):
    in_force(edge, makes("cmfive", rebuild="dependents"), makes("crm", triggers=ON_IMAGE))
    know(edge, known(CRM, CMFIVE))
    tell(ended(edge, rebuild=True), edge, later(1))
    assert len(started(edge, "crm")) == 1


def test_who_stands_on_an_image_whose_pipeline_does_not_ask_for_it_is_left_alone(edge):
    in_force(edge, makes("cmfive"), makes("crm"))
    know(edge, known(CRM, CMFIVE))
    tell(ended(edge), edge, later(1))
    assert started(edge, "crm") == []


def test_an_announcement_made_twice_over_other_records_starts_each_line_once(edge):
    in_force(edge, makes("cmfive", rebuild="dependents"), makes("crm"))
    know(edge, known(CRM, CMFIVE, run="05"))
    made = ended(edge, rebuild=True)
    tell(made, edge, later(1))
    know(edge, known(CRM, CMFIVE, run="09", pushed_at=later(1)))
    tell(made, edge, later(2))
    assert len(started(edge, "crm")) == 1


def test_a_level_that_fails_says_what_was_not_built_again(edge):
    know(edge, known(CRM, CMFIVE), known(CLIENT, CRM))
    push = Step("push", {"image": "2pisoftware/cmfive", "to": ["docker.io"], "tags": ["latest"]})
    failing = run(1, job=replace(job(push), rebuild=True))
    said = left_behind(failing, RunState.FAILED, {}, edge)
    assert said == f"2 images that stand on it were not built again: {CLIENT}, {CRM}"
    assert left_behind(failing, RunState.FAILED, {"0": a_push()}, edge) == ""
    assert left_behind(replace(failing, job=job(push)), RunState.FAILED, {}, edge) == ""
    assert job_of(failing).rebuild


# --- the records --------------------------------------------------------------------------------------------


def test_of_two_pushes_of_a_tag_the_later_one_is_known_in_whatever_order_they_are_written(edge):
    newer = known(CRM, CMFIVE, digest="sha256:2", pushed_at=later(5))
    assert edge.store.put_known_image(newer)
    assert not edge.store.put_known_image(known(CRM, digest="sha256:1"))
    assert edge.store.known_images() == [newer]
    assert edge.store.known_image("2pisoftware/crm", "latest") == newer
    assert edge.store.known_image("2pisoftware/crm", "never") is None
