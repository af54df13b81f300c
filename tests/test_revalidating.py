"""A run that was planned a while ago meets the ci.yml of today."""

import json
from dataclasses import replace

import pytest
from ulid import ULID

from chalicelib.config import parse
from chalicelib.plan import plan
from chalicelib.records.run_items import new_run
from chalicelib.revalidating import difference, objection
from tests.hooks import REPOSITORY, compiled, pipeline
from tests.installation import NOW, event, installation, later, run

PUSH = event(repository=REPOSITORY)


def planned(form=None):
    """The job that a ci.yml made of the push; by default the small one of all these tests."""
    (job,) = plan(PUSH, parse(form or compiled())).jobs
    return job


def today(*pipelines, **changes):
    return parse({**compiled(*pipelines), **changes})


def with_registries(**hosts):
    return {**compiled(), "registries": hosts}


SAME = {
    "the same": today(),
    "told to others": today(pipeline(notify={"to": ["operators"], "on": "never"})),
    "another timeout": today(pipeline(timeout_s=60)),
    "another pool": today(pipeline(pool="large")),
    "another pipeline beside": today(pipeline(), pipeline("another")),
    "other operators": today(operators=["other@2pisoftware.com"]),
    "superseded in another way": today(pipeline(supersede="never")),
    "a registry more": parse(with_registries(**{"new.example": "secret"})),
}


@pytest.mark.parametrize("now", SAME.values(), ids=SAME)
def test_what_comes_to_the_same_is_no_objection(now):
    assert difference(planned(), now) is None


STEPS = [{"action": "build", "settings": {"image": "2pisoftware/other"}}]
OTHERS = {
    "other steps": (today(pipeline(steps=STEPS)), "hello has other steps now: push again"),
    "another lock": (today(pipeline(lock="one for all")), "hello has other lock now: push again"),
    "other steps and lock": (
        today(pipeline(steps=STEPS, lock="one for all")),
        "hello has other steps and lock now: push again",
    ),
    "another repository": (
        today(pipeline(repository="github.com/2pisoftware/other")),
        "hello does not answer to it any more: repository github.com/2pisoftware/hello is not",
    ),
    "other submodules": (today(pipeline(submodules=["github.com/2pisoftware/*"])), "hello has other submodules now"),
    "another branch": (
        today(pipeline(triggers={"push": {"names": ["master"]}})),
        'hello does not answer to it any more: branch "develop" matches none of: master',
    ),
    "no such pipeline": (today(pipeline("renamed")), "hello does not answer to it any more: it is gone"),
}


@pytest.mark.parametrize(("now", "said"), OTHERS.values(), ids=OTHERS)
def test_what_is_planned_differently_today_is_refused_with_what_to_do(now, said):
    found = difference(planned(), now)
    assert found.startswith("ci.yml has changed since this was pushed, and ")
    assert said in found


def test_another_address_of_the_forge_is_another_source():
    forges = compiled()["forges"]
    moved = {**forges, "github.com": {**forges["github.com"], "clone": "https://elsewhere.invalid/{repository}"}}
    assert "other sources" in difference(planned(), today(forges=moved))


@pytest.mark.parametrize("now", [{}, {"old.example": "another secret"}], ids=["gone", "another secret"])
def test_a_registry_that_is_gone_or_opened_by_another_secret_is_an_objection(now):
    job = planned(with_registries(**{"old.example": "secret"}))
    assert "other registries" in difference(job, parse(with_registries(**now)))


# --- when it is asked -----------------------------------------------------------------------------


@pytest.fixture
def edge(monkeypatch):
    with installation(monkeypatch) as made:
        yield made


def in_force(edge, form, since=60, name="d" * 64):
    edge.store.put_config(name, json.dumps(form).encode())
    edge.store.put_in_force(name, later(since))


OTHER = compiled(pipeline(lock="one for all"))


def test_a_ci_yml_that_came_after_the_run_is_asked(edge):
    in_force(edge, OTHER)
    assert "other lock" in objection(run(1, job=planned()), edge)


def test_the_ci_yml_that_planned_the_run_is_not_asked(edge):
    in_force(edge, OTHER, name=planned().config)
    assert objection(run(1, job=planned()), edge) is None


@pytest.mark.parametrize("since", [-60, 0])
def test_a_ci_yml_that_was_there_before_the_run_says_nothing_about_it(edge, since):
    in_force(edge, OTHER, since)
    assert objection(run(1, job=planned(), id=str(ULID.from_datetime(NOW))), edge) is None


def test_where_nobody_has_said_what_is_in_force_there_is_no_objection(edge):
    assert objection(run(1, job=planned()), edge) is None


def test_a_ci_yml_that_was_never_kept_is_no_objection(edge):
    edge.store.put_in_force("d" * 64, later(60))
    assert objection(run(1, job=planned()), edge) is None


def test_a_ci_yml_of_another_compiler_is_no_objection(edge):
    in_force(edge, {**OTHER, "version": 99})
    assert objection(run(1, job=planned()), edge) is None


def test_a_job_that_has_been_in_the_table_is_still_the_same(edge):
    edge.store.table.write(new_run(run(1, job=replace(planned(), config="c" * 64), created_at=NOW)))
    in_force(edge, {**compiled(), "source_sha256": "d" * 64})
    assert objection(edge.store.run(run(1).id), edge) is None
