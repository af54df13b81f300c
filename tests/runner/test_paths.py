"""Which files a push or a pull request changes, as git says; and runs that none of them concerns."""

from dataclasses import replace

import pytest

from chalicelib.errors import StepErrored
from chalicelib.model import Pull, RunState
from runner.workspace import Workspace
from tests.installation import event, job
from tests.runner.test_workspace import DEVELOP, ENVIRON, Repository
from tests.running import Action, Branch

A, B = "a" * 40, "b" * 40


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path / "forge" / "hello")


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "work", {}.__getitem__, ENVIRON)


def test_the_files_of_a_push_are_those_in_which_the_trees_differ(repository, workspace):
    before = repository.commit(page="one", src__deep="x", old="same")
    repository.commit(page="two")
    repository.git("mv", "old", "new name")
    after = repository.commit(page="one", src__deep="y")
    files = workspace.changed(repository.source, DEVELOP, after, before)
    assert sorted(files) == ["new name", "old", "src/deep"]


def test_what_a_forced_push_has_left_behind_cannot_be_compared(repository, workspace):
    repository.commit(page="one")
    assert workspace.changed(repository.source, DEVELOP, None, B) is None


def test_of_a_pull_request_only_its_own_changes_count(repository, workspace):
    repository.commit(page="one")
    repository.git("checkout", "--quiet", "-b", "feature")
    mine = repository.commit(mine="x")
    repository.git("checkout", "--quiet", "develop")
    repository.commit(theirs="y")
    assert workspace.changed(repository.source, "refs/heads/feature", mine, DEVELOP) == ("mine",)


def test_two_lines_that_never_met_cannot_be_compared(repository, workspace):
    repository.commit(page="one")
    repository.git("checkout", "--quiet", "--orphan", "other")
    other = repository.commit(page="two")
    assert workspace.changed(repository.source, "refs/heads/other", other, DEVELOP) is None


def test_a_name_that_is_no_utf8_is_a_name_that_no_glob_matches(repository, workspace):
    before = repository.commit(page="one")
    (repository.path / b"caf\xe9".decode("utf-8", "surrogateescape")).write_text("x")
    (name,) = workspace.changed(repository.source, DEVELOP, repository.commit(), before)
    assert name.encode("utf-8", "surrogateescape") == b"caf\xe9"


# --- runs -------------------------------------------------------------------------------------------


class Changing(Branch):
    """A branch of which the test says what has changed since the commit or ref that is asked for."""

    def __init__(self, folder, changed):
        super().__init__(folder)
        self.changes, self.since = changed, []

    def changed(self, source, ref, commit, since, *, stopping=None):  # noqa: ARG002 - there is one
        self.since.append(since)
        if isinstance(self.changes, Exception):
            raise self.changes
        return self.changes


def looking(**changes):
    return job(event=event(commit=B, before=A, **changes), paths=("src/**", "*.json"))


def enacted(desk, tmp_path, changed, planned):
    lint = Action("lint")
    desk.branch = Changing(tmp_path, changed)
    assert desk.claim(1, lint, planned=planned).enact()
    return desk.run(1), lint.calls, desk.branch.since


def test_a_run_whose_paths_nothing_touched_is_skipped_and_says_why(desk, tmp_path):
    run, calls, since = enacted(desk, tmp_path, ("docs/a.md", "deep/package.json"), looking())
    assert (run.state, calls, since) == (RunState.SKIPPED, 0, [A])
    assert run.reason == "no file has changed that matches src/**, *.json"


def test_a_run_whose_paths_were_touched_is_enacted(desk, tmp_path):
    run, calls, _ = enacted(desk, tmp_path, ("docs/a.md", "src/deep/x"), looking())
    assert (run.state, calls) == (RunState.PASSED, 1)


@pytest.mark.parametrize("changed", [None, StepErrored("the forge does not answer")], ids=["unknown", "unreachable"])
def test_what_cannot_be_compared_counts_as_changed(desk, tmp_path, changed):
    run, calls, _ = enacted(desk, tmp_path, changed, looking())
    assert (run.state, calls) == (RunState.PASSED, 1)


def test_a_new_branch_is_not_compared_with_anything(desk, tmp_path):
    planned = replace(looking(), event=event(commit=B, before=None))
    run, calls, since = enacted(desk, tmp_path, (), planned)
    assert (run.state, calls, since) == (RunState.PASSED, 1, [])


def test_a_pull_request_is_compared_with_the_branch_that_it_wants_to_go_into(desk, tmp_path):
    _, calls, since = enacted(desk, tmp_path, ("docs/a.md",), looking(pull=Pull(7, B, "feature", "master")))
    assert (calls, since) == (0, ["refs/heads/master"])
