"""Submodules by real git: at the very commits, inside of the tree, and nothing of them left for the next run."""

import contextlib
import os
import subprocess

import pytest

from chalicelib.errors import StepErrored, StepFailed
from chalicelib.model import Source
from runner.workspace import Workspace
from tests.runner.test_kept import LOCK, picture
from tests.runner.test_workspace import DEVELOP, ENVIRON, Repository

FORGE = "github.com"
SHA = "a" * 40


class Forge:
    """Repositories of one owner, and a workspace that may fetch them all."""

    def __init__(self, folder):
        self.folder = folder / "forge"
        self.workspace = Workspace(folder / "work", {}.__getitem__, ENVIRON)
        self.allowed = (Source(FORGE, "2pisoftware/*", f"file://{self.folder}/{{repository}}"),)

    def repository(self, name, **files):
        made = Repository(self.folder / "2pisoftware" / name)
        made.commit(**files)
        return made

    def source(self, repository):
        name = f"2pisoftware/{repository.path.name}"
        return Source(FORGE, name, self.allowed[0].clone.format(repository=name))

    def lay(self, repository, folder, ref=DEVELOP):
        """Check out a branch with its submodules."""
        source = self.source(repository)
        commit = self.workspace.checkout(source, ref, None, folder)
        return self.workspace.submodules(source, commit, folder, self.allowed)


def link(parent, path, commit, url="https://github.com/2pisoftware/{}", *, name=None):
    """A commit in which a submodule lies at a path."""
    file = parent.path / ".gitmodules"
    said = file.read_text() if file.exists() else ""
    address = url.format(name or path.rpartition("/")[2])
    file.write_text(f'{said}[submodule "{path}"]\n\tpath = {path}\n\turl = {address}\n')
    parent.git("update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
    commit_modules(parent)


def commit_modules(repository):
    """What .gitmodules says now; to git's eyes the folders of submodules are gone from this working copy."""
    repository.git("add", ".gitmodules")
    repository.git("commit", "--quiet", "--message=link")


@pytest.fixture
def forge(tmp_path):
    return Forge(tmp_path)


def head(repository):
    return repository.git("rev-parse", "HEAD")


def test_submodules_and_theirs_are_laid_at_the_very_commits_that_the_tree_names(forge, tmp_path):
    deep, lib, hello = (forge.repository(name, **{name: "first"}) for name in ("deep", "lib", "hello"))
    link(lib, "vendor/deep", head(deep))
    link(hello, "lib", head(lib))
    pinned = head(lib)
    lib.commit(lib="later")
    found = forge.lay(hello, tmp_path / "tree")
    assert [(one.path, one.source.repository, one.commit) for one in found.modules] == [
        ("lib", "2pisoftware/lib", pinned),
        ("lib/vendor/deep", "2pisoftware/deep", head(deep)),
    ]
    assert (tmp_path / "tree/lib/lib").read_text() == "first"
    assert (tmp_path / "tree/lib/vendor/deep/deep").read_text() == "first"
    assert not list((tmp_path / "tree").rglob(".git"))


def test_a_commit_on_another_branch_or_a_tag_will_do_and_one_that_lies_nowhere_will_not(forge, tmp_path):
    lib, hello = forge.repository("lib", a="1"), forge.repository("hello", a="1")
    lib.git("checkout", "--quiet", "-b", "side")
    side = lib.commit(a="2")
    lib.git("checkout", "--quiet", "develop")
    link(hello, "lib", side)
    assert forge.lay(hello, tmp_path / "one").modules[0].commit == side
    lib.git("branch", "--quiet", "-D", "side")
    # The host has it still, and so has our mirror.
    with pytest.raises(
        StepFailed, match=rf"lib is github.com/2pisoftware/lib at {side[:7]}, which lies on none of its"
    ):
        forge.lay(hello, tmp_path / "two")
    lib.git("tag", "--annotate", "-m", "x", "v1", side)
    assert forge.lay(hello, tmp_path / "three").modules[0].commit == side


def test_submodules_that_hold_each_other_end_somewhere(forge, tmp_path):
    one, two = forge.repository("one", a="1"), forge.repository("two", a="1")
    for _ in range(3):
        link(one, f"two{_}", head(two), name="two")
        link(two, f"one{_}", head(one), name="one")
    with pytest.raises(StepFailed, match="is one too many: 3 in one another is the most"):
        forge.lay(one, tmp_path / "tree")


def test_there_are_so_many_in_one_tree_and_no_more(forge, tmp_path, monkeypatch):
    monkeypatch.setattr("runner.workspace.MOST", 2)
    lib, hello = forge.repository("lib", a="1"), forge.repository("hello", a="1")
    for number in range(3):
        link(hello, f"lib{number}", head(lib), name="lib")
    with pytest.raises(StepFailed, match="the submodule lib2 is one too many: 2 in one tree is the most"):
        forge.lay(hello, tmp_path / "tree")


@pytest.mark.parametrize(
    ("what", "why"),
    [("link", "which git writes into no tree"), ("large", "or larger than 262 kB"), ("broken", "cannot be read")],
)
def test_a_gitmodules_that_is_no_file_of_a_person_is_refused(forge, tmp_path, what, why):
    lib, hello = forge.repository("lib", a="1"), forge.repository("hello", a="1")
    link(hello, "lib", head(lib))
    file = hello.path / ".gitmodules"
    if what == "link":
        file.unlink()
        file.symlink_to("/etc/passwd")
    else:
        file.write_text("[" if what == "broken" else "#" * 300_000)
    commit_modules(hello)
    with pytest.raises(StepFailed, match=why):
        forge.lay(hello, tmp_path / "tree")


def test_a_gitmodules_that_includes_a_file_of_this_machine_reads_nothing_of_it(forge, tmp_path):
    lib, hello = forge.repository("lib", a="1"), forge.repository("hello", a="1")
    link(hello, "lib", head(lib))
    (tmp_path / "outside").write_text('[submodule "lib"]\n\tupdate = none\n')
    with (hello.path / ".gitmodules").open("a") as file:
        file.write(f"[include]\n\tpath = {tmp_path}/outside\n")
    commit_modules(hello)
    assert [one.path for one in forge.lay(hello, tmp_path / "tree").modules] == ["lib"]


def hostile_tree(repository, *lines):
    """A commit of a tree that git itself would not make: two entries of one name."""
    raw = b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(sha) for mode, name, sha in lines)
    argv = ("git", "hash-object", "-t", "tree", "-w", "--stdin", "--literally")
    made = subprocess.run(argv, cwd=repository.path, input=raw, capture_output=True, check=True, env={**os.environ})
    commit = repository.git("commit-tree", made.stdout.decode().strip(), "-m", "x")
    repository.git("update-ref", "refs/heads/hostile", commit)


@pytest.mark.parametrize("first", ["link", "folder"])
def test_a_link_and_a_submodule_of_one_name_write_nothing_outside(forge, tmp_path, first):
    lib, hello = forge.repository("lib", evil="1"), forge.repository("hello", b="1")
    outside = tmp_path / "outside"
    outside.mkdir()
    link(hello, "a/lib", head(lib))
    modules = hello.git("rev-parse", "HEAD:.gitmodules")
    target = hello.git("hash-object", "-w", "--stdin", stdin=str(outside))
    below = hello.git("mktree", stdin=f"160000 commit {head(lib)}\tlib\n")
    both = [("120000", "a", target), ("40000", "a", below)]
    hostile_tree(hello, ("100644", ".gitmodules", modules), *(both if first == "link" else reversed(both)))
    refused = contextlib.nullcontext()
    if first == "folder":
        # Here git writes the link.
        refused = pytest.raises(StepFailed, match="something else lies in its place")
    with refused:
        forge.lay(hello, tmp_path / "tree", "refs/heads/hostile")
    assert (tmp_path / "tree/a").is_symlink() == (first == "folder")
    assert list(outside.iterdir()) == []


# --- kept trees -----------------------------------------------------------------------------------


def laid(forge, repository, claim):
    """What a run under the lock finds; it leaves something in each tree."""
    with forge.workspace.run_folder(claim, LOCK) as folder:
        forge.lay(repository, folder / "tree")
        seen = picture(folder / "tree")
        for path in (folder / "tree").rglob("*"):
            if path.is_dir():
                (path / "left-behind").write_text("x")
        (folder / "tree/lib/lib").write_text("changed")
        return seen


def test_what_a_run_leaves_in_a_submodule_is_not_there_for_the_next_one(forge):
    lib, hello = forge.repository("lib", lib="first", stays="z"), forge.repository("hello", a="1", b__c="2")
    link(hello, "lib", head(lib))
    link(hello, "b/lib2", head(lib), name="lib")
    first = laid(forge, hello, "one")
    assert first["lib/stays"][1] == b"z"
    assert laid(forge, hello, "two") == first == laid(forge, hello, "three")
    lib.commit(lib="second")
    hello.git("update-index", "--cacheinfo", f"160000,{head(lib)},lib")
    hello.git("commit", "--quiet", "--message=move")
    fourth = laid(forge, hello, "four")
    assert {path for path in first if first[path] != fourth[path]} == {"lib/lib"}
    assert fourth.keys() == first.keys()
    hello.git("rm", "--quiet", "--cached", "lib")
    (hello.path / ".gitmodules").write_text("")
    commit_modules(hello)
    with forge.workspace.run_folder("five", LOCK) as folder:
        assert forge.lay(hello, folder / "tree").empty == ("b/lib2",)
        assert sorted(str(path.relative_to(folder / "tree")) for path in (folder / "tree").rglob("*")) == [
            *(".gitmodules", "a", "b", "b/c", "b/lib2")
        ]


def test_by_http_a_submodule_is_fetched_from_its_forge_and_one_that_is_not_there_is_for_the_committer(
    githost, tmp_path
):
    lib = githost.create("github.com", "2pisoftware/sub-lib", {"lib": "1"})
    githost.create("github.com", "2pisoftware/sub-hello", {"a": "1"})
    bare = githost.path("github.com", "2pisoftware/sub-hello")
    modules = '[submodule "lib"]\n\tpath = lib\n\turl = git@github.com:2pisoftware/sub-lib.git\n'
    blob = githost.git(bare, "hash-object", "-w", "--stdin", stdin=modules.encode())
    tree = githost.git(bare, "mktree", stdin=f"100644 blob {blob}\t.gitmodules\n160000 commit {lib}\tlib\n".encode())
    commit = githost.git(bare, *("-c", "user.name=A", "-c", "user.email=a@b.c"), "commit-tree", tree, "-m", "x")
    githost.git(bare, "update-ref", "refs/heads/develop", commit)
    template = githost.clone_template("github.com")
    source = Source(FORGE, "2pisoftware/sub-hello", template.format(repository="2pisoftware/sub-hello"))
    workspace = Workspace(tmp_path / "work", {}.__getitem__, ENVIRON)
    workspace.checkout(source, DEVELOP, commit, tmp_path / "tree")
    allowed = [Source(FORGE, "2pisoftware/sub-*", template)]
    assert [one.commit for one in workspace.submodules(source, commit, tmp_path / "tree", allowed).modules] == [lib]
    assert (tmp_path / "tree/lib/lib").read_text() == "1"
    githost.path("github.com", "2pisoftware/sub-lib").rename(tmp_path / "gone")
    with pytest.raises(
        StepFailed, match=r"the submodule lib cannot be fetched: .*/sub-lib does not exist, or does not"
    ):
        workspace.submodules(source, commit, tmp_path / "tree", allowed)


# --- for somebody who sits here ---------------------------------------------------------------------------

# ssh as git calls it: options, the host, the command. It lets in who has an agent.
SSH = """\
#!/bin/sh
[ -n "$SSH_AUTH_SOCK" ] || { echo "git@github.com: Permission denied (publickey)." >&2; exit 255; }
for last; do :; done
eval "$last"
"""


@pytest.fixture
def sitting(tmp_path, forge):
    """A commit with a submodule behind ssh; makes a workspace for somebody with this environment."""
    lib, hello = forge.repository("lib", lib="1"), forge.repository("hello", a="1")
    link(hello, "lib", head(lib))
    (tmp_path / "ssh").write_text(SSH)
    (tmp_path / "ssh").chmod(0o755)
    config = tmp_path / "gitconfig"
    config.write_text(f"[core]\n\tsshCommand = {tmp_path}/ssh\n\tautocrlf = true\n")
    person = {**ENVIRON, "GIT_CONFIG_GLOBAL": str(config), "LC_ALL": "C.UTF-8"}

    def lay(**more):
        workspace = Workspace(tmp_path / "work", {}.__getitem__, ENVIRON, person={**person, **more})
        source, tree = forge.source(hello), tmp_path / "tree"
        commit = workspace.checkout(source, DEVELOP, None, tree)
        allowed = [Source(FORGE, "2pisoftware/*", f"ssh://git@github.com{forge.folder}/{{repository}}")]
        workspace.submodules(source, commit, tree, allowed)
        return tree

    return lay


def test_a_submodule_is_fetched_with_the_settings_and_the_agent_of_whoever_sits_here(sitting):
    tree = sitting(SSH_AUTH_SOCK="/run/agent")
    assert (tree / "lib/lib").read_text() == "1"
    # What lies in the tree is as on a code server.
    assert b"\r" not in (tree / ".gitmodules").read_bytes()


def test_what_he_may_not_read_is_not_the_committers_fault_and_does_not_point_at_ci_yml(sitting):
    with pytest.raises(StepErrored, match=r"the submodule lib cannot be .* let us in with your own keys \(git@github"):
        sitting()
