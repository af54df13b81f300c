"""A working copy in, a commit of it that can be fetched out, with real git; and nothing of the copy's is changed."""

import os
import subprocess

import pytest

from chalicelib.errors import BadInput, StepErrored
from chalicelib.model import Source
from runner.laptop.stand_ins import StandIns, owner_and_name
from runner.stopping import Stopping

BRANCH = "refs/heads/develop"


def git(folder, *words):
    who = ("-c", "user.name=Sam", "-c", "user.email=sam@2pisoftware.com")
    return subprocess.run(
        ("git", *who, "-C", folder, *words), check=True, capture_output=True, text=True
    ).stdout.strip()


def files(address, commit):
    return git(address.removeprefix("file://"), "ls-tree", "-r", "--name-only", commit).split()


@pytest.fixture
def copy(tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    git(folder, "init", "--quiet", "-b", "develop")
    (folder / "page").write_text("one")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "First")
    return folder


@pytest.fixture
def stand_ins(tmp_path):
    return StandIns(tmp_path / "stand-ins", os.environ, Stopping())


def snapshot(stand_ins, folder, *refs):
    return stand_ins.snapshot(stand_ins.look(folder), refs or (BRANCH,))


def test_without_a_change_it_is_the_commit_that_is_checked_out(copy, stand_ins):
    found = snapshot(stand_ins, copy)
    assert (found.commit, found.dirty) == (git(copy, "rev-parse", "HEAD"), False)


def test_what_is_changed_new_staged_or_removed_is_in_and_what_is_ignored_is_not(copy, stand_ins):
    (copy / ".gitignore").write_text("secret\n")
    for name in ("secret", "new", "staged"):
        (copy / name).write_text(name)
    git(copy, "add", "staged")
    (copy / "page").unlink()
    found = snapshot(stand_ins, copy)
    assert found.dirty
    assert files(found.address, found.commit) == [".gitignore", "new", "staged"]


def test_neither_index_nor_objects_nor_branches_of_the_copy_are_touched(copy, stand_ins):
    (copy / "page").write_text("two")
    (copy / "new").write_text("new")
    before = {path: path.read_bytes() for path in (copy / ".git").rglob("*") if path.is_file()}
    snapshot(stand_ins, copy)
    assert {path: path.read_bytes() for path in (copy / ".git").rglob("*") if path.is_file()} == before


def test_the_same_tree_is_the_same_commit_and_another_tree_another(copy, stand_ins):
    (copy / "page").write_text("two")
    first, again = snapshot(stand_ins, copy), snapshot(stand_ins, copy)
    (copy / "page").write_text("three")
    assert first == again
    assert snapshot(stand_ins, copy).commit != first.commit


def test_it_can_be_fetched_by_each_ref_that_is_named_and_no_longer_by_an_earlier_one(copy, stand_ins, tmp_path):
    snapshot(stand_ins, copy, "refs/heads/feature")
    found = snapshot(stand_ins, copy, "refs/heads/feature/x", "refs/tags/v1", "HEAD")
    listed = dict(reversed(line.split()) for line in git(tmp_path, "ls-remote", found.address).splitlines())
    assert listed == dict.fromkeys(("HEAD", "refs/heads/feature/x", "refs/tags/v1"), found.commit)
    git(tmp_path, "clone", "--quiet", "--branch", "v1", found.address, "clone")
    assert (tmp_path / "clone" / "page").read_text() == "one"


def test_a_copy_without_any_commit_is_one_too(tmp_path, stand_ins):
    folder = tmp_path / "new"
    folder.mkdir()
    git(folder, "init", "--quiet", "-b", "develop")
    (folder / "page").write_text("one")
    found = snapshot(stand_ins, folder)
    assert files(found.address, found.commit) == ["page"]


def test_a_linked_work_tree_is_taken_as_it_is(copy, stand_ins, tmp_path):
    git(copy, "worktree", "add", "--quiet", "-b", "feature", str(tmp_path / "linked"))
    (tmp_path / "linked" / "new").write_text("new")
    found = snapshot(stand_ins, tmp_path / "linked")
    assert files(found.address, found.commit) == ["new", "page"]


def test_a_shallow_clone_can_be_fetched(copy, stand_ins, tmp_path):
    git(copy, "commit", "--quiet", "--allow-empty", "-m", "Second")
    git(tmp_path, "clone", "--quiet", "--depth=1", copy.as_uri(), "shallow")
    found = snapshot(stand_ins, tmp_path / "shallow")
    git(tmp_path, "clone", "--quiet", "--branch", "develop", found.address, "clone")
    assert git(tmp_path / "clone", "rev-parse", "HEAD") == git(copy, "rev-parse", "HEAD")


def test_two_that_are_made_of_one_copy_do_not_take_each_others_commit_away(copy, stand_ins, tmp_path):
    (copy / "page").write_text("two")
    first = stand_ins.snapshot(stand_ins.look(copy), (BRANCH,), "one pipeline")
    (copy / "page").write_text("three")
    second = stand_ins.snapshot(stand_ins.look(copy), (BRANCH,), "another pipeline")
    for name, found, text in (("one", first, "two"), ("other", second, "three")):
        git(tmp_path, "clone", "--quiet", "--branch", "develop", found.address, name)
        assert git(tmp_path / name, "rev-parse", "HEAD") == found.commit
        assert (tmp_path / name / "page").read_text() == text


def test_of_a_repository_inside_the_copy_what_is_not_committed_is_named(copy, stand_ins):
    for name in ("finished", "unfinished", "ignored"):
        git(copy, "init", "--quiet", name)
        git(copy / name, "commit", "--quiet", "--allow-empty", "-m", "First")
        (copy / name / "page").write_text("of its own")
    git(copy / "finished", "add", "page")
    git(copy / "finished", "commit", "--quiet", "-m", "Second")
    (copy / ".gitignore").write_text("ignored\n")
    found = snapshot(stand_ins, copy)
    assert found.unfinished == ("unfinished",)
    assert files(found.address, found.commit) == [".gitignore", "finished", "page", "unfinished"]
    git(copy, "add", "--all")
    (copy / "unfinished").rename(copy / "elsewhere")
    (copy / "unfinished").mkdir()
    assert snapshot(stand_ins, copy).unfinished == ("elsewhere",)


def test_a_folder_below_the_top_is_enough_and_branch_and_origin_are_read(copy, stand_ins):
    (copy / "below").mkdir()
    git(copy, "remote", "add", "origin", "git@bitbucket.org:2pisoftware/acme_deploy.git")
    found = stand_ins.look(copy / "below")
    assert (found.folder, found.ref, found.origin) == (copy, BRANCH, "2pisoftware/acme_deploy")


def test_a_detached_head_is_on_no_branch(copy, stand_ins):
    git(copy, "checkout", "--quiet", "--detach")
    assert stand_ins.look(copy).ref is None


def test_what_is_no_working_copy_is_said_to_be_none(tmp_path, stand_ins):
    with pytest.raises(BadInput, match="missing is no working copy of git"):
        stand_ins.look(tmp_path / "missing")


def test_where_git_calls_us_from_a_hook_its_own_place_is_not_taken_for_the_copys(copy, tmp_path):
    inside = {**os.environ, "GIT_DIR": str(tmp_path / "elsewhere"), "GIT_INDEX_FILE": str(tmp_path / "index")}
    assert StandIns(tmp_path / "stand-ins", inside, Stopping()).look(copy).folder == copy


def test_another_repository_is_fetched_as_it_is_now(copy, stand_ins):
    source = Source("github.com", "2pisoftware/hello", copy.as_uri())
    stand_ins.fetched(source, {BRANCH, "HEAD"})
    git(copy, "commit", "--quiet", "--allow-empty", "-m", "Second")
    address = stand_ins.fetched(source, {BRANCH, "HEAD"})
    now = git(copy, "rev-parse", "HEAD")
    bare = address.removeprefix("file://")
    assert [git(bare, "rev-parse", ref) for ref in ("HEAD", BRANCH)] == [now, now]


def test_one_that_cannot_be_fetched_is_named_with_what_to_do(stand_ins, tmp_path):
    source = Source("github.com", "2pisoftware/hello", (tmp_path / "nothing").as_uri())
    with pytest.raises(StepErrored, match=r"(?s)git cannot fetch HEAD of github.com/2pisoftware/hello.*--from DIR"):
        stand_ins.fetched(source, {"HEAD"})


# --- as it was once -----------------------------------------------------------------------------------------


def fetched_at(stand_ins, source, commits, *refs, whose="a run"):
    return stand_ins.fetched_at(source, refs, {(source.name, ref): commit for ref, commit in commits.items()}, whose)


def stands(address, ref):
    return git(address.removeprefix("file://"), "rev-parse", ref)


@pytest.fixture
def source(copy):
    return Source("github.com", "2pisoftware/hello", copy.as_uri())


def test_a_commit_is_had_where_its_branch_has_gone_on_or_was_forced_elsewhere(copy, stand_ins, source, tmp_path):
    then = git(copy, "rev-parse", "HEAD")
    git(copy, "commit", "--quiet", "--amend", "--allow-empty", "-m", "Another")
    address = fetched_at(stand_ins, source, {BRANCH: then}, BRANCH)
    assert stands(address, BRANCH) == then
    git(tmp_path, "clone", "--quiet", "--branch", "develop", address, "clone")
    assert (tmp_path / "clone" / "page").read_text() == "one"


def test_a_commit_that_was_had_once_is_had_again_without_its_forge(copy, stand_ins, source):
    then = git(copy, "rev-parse", "HEAD")
    fetched_at(stand_ins, source, {BRANCH: then}, BRANCH)
    copy.rename(copy.parent / "gone")
    assert stands(fetched_at(stand_ins, source, {BRANCH: then}, BRANCH, whose="another"), BRANCH) == then


def test_of_a_forge_that_gives_no_commit_by_itself_it_is_had_from_its_branch(copy, source, tmp_path):
    then = git(copy, "rev-parse", "HEAD")
    git(copy, "commit", "--quiet", "--allow-empty", "-m", "Second")
    # Only the older protocol lets it refuse. https://git-scm.com/docs/protocol-v2
    old = StandIns(tmp_path / "old", {**os.environ, "GIT_CONFIG_GLOBAL": str(tmp_path / "config")}, Stopping())
    (tmp_path / "config").write_text("[protocol]\n\tversion = 0\n")
    assert stands(fetched_at(old, source, {BRANCH: then}, BRANCH), BRANCH) == then


def test_each_ref_stands_where_it_stood_and_what_nobody_knows_where_it_stands_now(copy, stand_ins, source):
    then = git(copy, "rev-parse", "HEAD")
    git(copy, "commit", "--quiet", "--allow-empty", "-m", "Second")
    now = git(copy, "rev-parse", "HEAD")
    address = fetched_at(stand_ins, source, {BRANCH: then}, "HEAD", BRANCH)
    assert (stands(address, BRANCH), stands(address, "HEAD")) == (then, now)


def test_two_runs_of_one_repository_are_in_nobodys_way(copy, stand_ins, source):
    first = git(copy, "rev-parse", "HEAD")
    one = fetched_at(stand_ins, source, {BRANCH: first}, BRANCH, whose="one")
    git(copy, "commit", "--quiet", "--allow-empty", "-m", "Second")
    second = git(copy, "rev-parse", "HEAD")
    other = fetched_at(stand_ins, source, {BRANCH: second}, BRANCH, whose="other")
    assert (stands(one, BRANCH), stands(other, BRANCH)) == (first, second)


def test_a_commit_that_is_nowhere_any_more_is_named(stand_ins, source):
    with pytest.raises(StepErrored, match=r"(?s)git cannot fetch commit 1111111 of .*hello from .*gone for good"):
        fetched_at(stand_ins, source, {BRANCH: "1" * 40}, BRANCH)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://github.com/2pisoftware/hello.git", "2pisoftware/hello"),
        ("git@github.com:2pisoftware/hello", "2pisoftware/hello"),
        ("ssh://git@github.com/2pisoftware/hello/", "2pisoftware/hello"),
        ("hello", None),
    ],
)
def test_an_address_tells_owner_and_name(address, name):
    assert owner_and_name(address) == name
