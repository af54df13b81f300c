"""A job of which nobody knew the commit becomes what it would have been with it, whoever goes on or repeats it."""

from dataclasses import replace

import pytest

from chalicelib import pinning, redriving, revalidating
from chalicelib.model import EventKind, Run, RunState
from chalicelib.plan import plan
from chalicelib.records.run_items import new_run
from tests.hooks import REPOSITORY, config, pipeline
from tests.installation import NOW, event, installation, later

SHA = "d" * 40
TAGS = ["{branch}-{commit7}", "{commit}", "latest"]


def tags(*templates):
    return [{"template": one, "sink": "image_tag"} for one in templates]


CONFIG = config(
    pipeline(
        triggers={"manual": {}, "push": {"names": ["develop"]}},
        steps=[
            {"action": "build", "settings": {"image": REPOSITORY}},
            {"action": "push", "settings": {"to": ["code.2pisoftware.com:5000"], "tags": tags(*TAGS)}},
        ],
    )
)


def manual(**changes):
    fields = {"kind": EventKind.MANUAL, "repository": REPOSITORY, "pipeline": "hello", "commit": None}
    return event(**{**fields, "before": None, "after": None, **changes})


def planned(said):
    (job,) = plan(said, CONFIG).jobs
    return job


def run_of(job, *, journal=()):
    return Run("01KAQ000000000000000000001", "01KAQ", job, RunState.QUEUED, NOW, journal=journal)


def test_what_needs_the_commit_is_filled_in_once_it_is_known():
    job = planned(manual())
    assert job.event.commit is None
    whole = pinning.with_commit(job, SHA)
    assert whole.steps[1].settings["tags"] == [f"develop-{SHA[:7]}", SHA, "latest"]


@pytest.mark.parametrize(
    "said", [manual(), manual(ref="refs/heads/feature/x", name="feature/x"), manual(ref="refs/heads/x y", name="x y")]
)
def test_a_job_that_is_given_its_commit_late_is_the_job_that_would_have_been_planned_with_it(said):
    assert pinning.with_commit(planned(said), SHA) == planned(replace(said, commit=SHA))


def test_what_could_never_fit_is_said_when_it_is_planned_not_when_it_runs():
    both = config(pipeline(triggers={"manual": {}}, steps=[{"action": "x", "settings": {"a": tags("{tag}-{commit}")}}]))
    (verdict,) = plan(manual(), both).verdicts
    assert (verdict.matched, verdict.reason) == (False, "{tag} has no value here")


def test_a_run_is_of_the_commit_that_its_journal_names():
    job = planned(manual())
    line = pinning.entry(run_of(job), SHA, "2026-11-23T12:00:00.000Z")
    other = {"step": 0, "kind": "seen", "key": pinning.key(job), "epoch": 1, "commit": "e" * 40}
    assert pinning.job_of(run_of(job)) == job
    assert pinning.job_of(run_of(job, journal=(other,))) == job
    assert pinning.job_of(run_of(job, journal=(other, line))).event.commit == SHA


def test_a_run_that_is_done_again_builds_what_the_first_one_built_and_is_found_by_it(monkeypatch):
    line = pinning.entry(run_of(planned(manual())), SHA, "2026-11-23T12:00:00.000Z")
    again = redriving.again(run_of(planned(manual()), journal=(line,)), "kim@laptop", later(60))
    with installation(monkeypatch) as edge:
        edge.store.table.write(new_run(again))
        assert pinning.job_of(edge.store.run(again.id)).event.commit == SHA
        assert [run.id for run in edge.store.runs_of_commit(SHA, 9)] == [again.id]


def test_the_ci_yml_in_force_is_asked_about_the_job_as_it_was_planned():
    assert revalidating.difference(planned(manual()), CONFIG) is None
