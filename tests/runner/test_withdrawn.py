"""Runs whose commit was taken back between the push and the fetch."""

import pytest

from chalicelib.model import RunState
from runner.workspace import Workspace
from tests.installation import event, job
from tests.runner.test_workspace import DEVELOP, ENVIRON, Repository
from tests.running import Action, passed


@pytest.fixture
def repository(tmp_path):
    made = Repository(tmp_path / "forge" / "hello")
    made.commit(page="one")
    return made


def of(repository, commit, ref=DEVELOP):
    source = repository.source
    return job(event=event(commit=commit, after=commit, ref=ref), source=source, sources={source.name: source})


def building(repository, ref=None):
    """A build that needs the tree; of another ref than its event's, where one is named."""

    def build(context):
        own = context.job.event
        commit = None if ref else own.commit
        context.checkout(repository.source.name, ref or own.ref, commit, context.folder / "tree")
        return passed("build")

    return Action("build", build)


def enacted(desk, tmp_path, planned, *actions):
    desk.branch = Workspace(tmp_path / "work", {}.__getitem__, ENVIRON)
    assert desk.claim(1, *actions, planned=planned).enact()
    return desk.run(1)


def test_a_commit_that_was_forced_away_before_the_fetch_cancels_its_run_with_the_reason(desk, tmp_path, repository):
    lost = repository.commit(page="two")
    repository.commit("--amend", page="three")
    test = Action("test")
    run = enacted(desk, tmp_path, of(repository, lost), building(repository), test)
    assert (run.state, test.calls) == (RunState.CANCELLED, 0)
    assert run.reason.startswith(f"commit {lost[:7]} is gone from {DEVELOP} of github.com/2pisoftware/hello")


def test_a_branch_that_was_deleted_before_the_fetch_cancels_its_run_with_the_reason(desk, tmp_path, repository):
    planned = of(repository, repository.git("rev-parse", "HEAD"), "refs/heads/mine")
    run = enacted(desk, tmp_path, planned, building(repository))
    assert run.state is RunState.CANCELLED
    assert run.reason == "refs/heads/mine of github.com/2pisoftware/hello is gone: it was deleted after the push"


def test_a_run_that_has_done_something_fails_so_that_its_later_steps_hear_of_it(desk, tmp_path, repository):
    lost = repository.commit(page="two")
    repository.commit("--amend", page="three")
    run = enacted(desk, tmp_path, of(repository, lost), Action("script"), building(repository))
    assert run.state is RunState.FAILED


def test_another_ref_that_ci_yml_names_and_nobody_has_is_a_failure(desk, tmp_path, repository):
    planned = of(repository, repository.git("rev-parse", "HEAD"))
    run = enacted(desk, tmp_path, planned, building(repository, "refs/heads/nobodys"))
    assert run.state is RunState.FAILED
