import fcntl
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from chalicelib.errors import StepErrored, StepFailed
from chalicelib.model import Source
from runner.credentials import opened
from runner.mirror import refusal
from runner.shell import TimedOut
from runner.stopping import Stopped, Stopping
from runner.workspace import Workspace
from tests.running import stopping_soon, within

ROOT = Path(__file__).parents[2]
FORGE = "github.com"
DEVELOP = "refs/heads/develop"
ENVIRON = {"PATH": os.environ["PATH"]}


class Repository:
    """A repository at a forge: real git, in a folder."""

    def __init__(self, path):
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=develop")
        self.git("config", "uploadpack.allowAnySHA1InWant", "true")

    def git(self, *arguments, stdin=None):
        env = {
            **ENVIRON,
            "HOME": "/nonexistent",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "A",
            "GIT_AUTHOR_EMAIL": "a@2pisoftware.com",
            "GIT_COMMITTER_NAME": "A",
            "GIT_COMMITTER_EMAIL": "a@2pisoftware.com",
        }
        done = subprocess.run(
            ("git", *arguments), cwd=self.path, env=env, input=stdin, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, *arguments, **files):
        """A commit with these files (`__` stands for `/`, `_` for a dot before the last part)."""
        for name, text in files.items():
            path = self.path / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message=x", *arguments)
        return self.git("rev-parse", "HEAD")

    @property
    def source(self):
        return Source(FORGE, "2pisoftware/hello", f"file://{self.path}", None)


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path / "forge" / "hello")


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "work", {}.__getitem__, ENVIRON)


@pytest.fixture
def into(tmp_path):
    return tmp_path / "tree"


def mirrors(tmp_path):
    return sorted(path for path in (tmp_path / "work" / "mirrors").iterdir() if path.is_dir())


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# --- what is checked out --------------------------------------------------------------------------


def test_the_exact_commit_is_checked_out_and_not_the_tip(repository, workspace, into):
    first = repository.commit(page="one", src__deep="x")
    repository.commit(page="two")
    assert workspace.checkout(repository.source, DEVELOP, first, into) == first
    assert (into / "page").read_text() == "one"
    assert names(into) == ["page", "src", "src/deep"]


def test_without_a_commit_the_tip_is_checked_out_and_named(repository, workspace, into):
    repository.commit(page="one")
    tip = repository.commit(page="two")
    assert workspace.checkout(repository.source, "HEAD", None, into) == tip
    assert (into / "page").read_text() == "two"


def test_the_tip_of_a_ref_is_asked_for_without_a_tree(repository, workspace):
    first = repository.commit(page="one")
    assert workspace.tip(repository.source, DEVELOP) == first
    second = repository.commit(page="two")
    assert (workspace.tip(repository.source, DEVELOP), workspace.tip(repository.source, "HEAD")) == (second, second)
    with pytest.raises(StepFailed, match="is gone"):
        workspace.tip(repository.source, "refs/heads/nobodys")


def test_what_a_look_at_a_branch_has_just_fetched_is_laid_without_another_fetch_once(repository, workspace, into):
    commit = repository.commit(page="one")
    assert workspace.ancestry(repository.source, DEVELOP).tip == commit
    away = repository.path.rename(repository.path.with_name("away"))
    assert workspace.checkout(repository.source, DEVELOP, commit, into) == commit
    assert (into / "page").read_text() == "one"
    with pytest.raises(StepErrored, match=r"does not exist|cannot be fetched"):
        workspace.checkout(repository.source, DEVELOP, commit, into)
    away.rename(repository.path)
    assert workspace.checkout(repository.source, DEVELOP, commit, into) == commit


@pytest.mark.parametrize("broken", [False, True], ids=["whole", "gone"])
def test_what_the_look_has_not_seen_is_fetched_and_so_is_a_mirror_that_is_gone(
    repository, workspace, into, tmp_path, broken
):
    repository.commit(page="one")
    workspace.ancestry(repository.source, DEVELOP)
    second = repository.commit(page="two")
    if broken:
        for mirror in mirrors(tmp_path):
            shutil.rmtree(mirror)
    assert workspace.checkout(repository.source, DEVELOP, second, into) == second
    assert (into / "page").read_text() == "two"


def test_the_default_branch_is_the_forges_whatever_its_name(repository, workspace, into):
    repository.commit(page="develop")
    repository.git("checkout", "--quiet", "-b", "trunk")
    trunk = repository.commit(page="trunk")
    assert workspace.checkout(repository.source, "HEAD", None, into) == trunk


@pytest.mark.parametrize("annotated", [False, True], ids=["lightweight", "annotated"])
def test_a_tag_is_its_commit(repository, workspace, into, annotated):
    tagged = repository.commit(page="one")
    repository.git("tag", *(("--annotate", "--message=x") if annotated else ()), "v1.2.0")
    repository.commit(page="two")
    assert workspace.checkout(repository.source, "refs/tags/v1.2.0", tagged, into) == tagged
    assert (into / "page").read_text() == "one"


def test_modes_links_and_odd_names_are_as_they_were_committed(repository, workspace, into):
    (repository.path / "run").write_text("#!/bin/sh\n")
    (repository.path / "run").chmod(0o755)
    (repository.path / "link").symlink_to("run")
    (repository.path / "out").symlink_to("/etc/passwd")
    for odd in ("-rf", "a\nb", "caf\u00e9", "a b"):
        (repository.path / odd).write_text("x")
    commit = repository.commit()
    workspace.checkout(repository.source, DEVELOP, commit, into)
    assert stat.S_IMODE((into / "run").stat().st_mode) & 0o111
    assert (into / "link").readlink() == Path("run")
    assert (into / "out").is_symlink()
    assert (into / "out").readlink() == Path("/etc/passwd")
    assert {"-rf", "a\nb", "caf\u00e9", "a b"} <= set(names(into))


def test_the_archive_of_a_commit_holds_links_as_links(repository, workspace, into):
    import io
    import tarfile

    (repository.path / "out").symlink_to("/etc/passwd")
    commit = repository.commit(page="one")
    workspace.checkout(repository.source, DEVELOP, commit, into)
    with tarfile.open(fileobj=io.BytesIO(workspace.archive(repository.source, commit))) as tar:
        assert sorted(tar.getnames()) == ["out", "page"]
        assert tar.getmember("out").issym()


def test_a_tree_that_is_too_large_for_memory_is_not_packed(repository, workspace, into, monkeypatch):
    commit = repository.commit(page="x" * 1001, other="y")
    workspace.checkout(repository.source, DEVELOP, commit, into)
    monkeypatch.setattr("runner.workspace.MOST_ARCHIVED", 1002)
    assert workspace.archive(repository.source, commit)
    monkeypatch.setattr("runner.workspace.MOST_ARCHIVED", 1001)
    with pytest.raises(StepFailed, match=rf"at {commit[:7]} has 1\.0 kB, and 1\.0 kB is the most of which a bundle is"):
        workspace.archive(repository.source, commit)


def test_which_files_of_a_commit_rules_name_is_what_git_says(repository, workspace, into):
    for name in ("docs/a.md", "docs/b/keep.md", "src/x.log", "src/caf\u00e9.log", "build/out", "top.md"):
        path = repository.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    # What git ignores itself, and what is committed all the same, is another matter.
    commit = repository.commit(**{".gitignore": "top.md"})
    workspace.checkout(repository.source, DEVELOP, commit, into)
    rules = b"# none of these\n/docs/*\n!/docs/b\n*.log\nbuild/\n"
    ignored = workspace.ignored(repository.source, commit, rules)
    assert ignored == {"docs/a.md", "src/x.log", "src/caf\u00e9.log", "build/out"}
    assert workspace.ignored(repository.source, commit, b"") == frozenset()


def test_two_repositories_may_lie_in_one_another(repository, workspace, into, tmp_path):
    other = Repository(tmp_path / "forge" / "deploy")
    ours, theirs = repository.commit(page="app"), other.commit(Dockerfile="FROM x")
    workspace.checkout(other.source, DEVELOP, theirs, into)
    workspace.checkout(repository.source, DEVELOP, ours, into / "app")
    assert names(into) == ["Dockerfile", "app", "app/page"]
    assert len(mirrors(tmp_path)) == 2


# --- what is gone ---------------------------------------------------------------------------------


def test_a_commit_that_was_rewritten_away_is_the_pushers_to_solve(repository, workspace, into):
    repository.commit(page="one")
    lost = repository.commit(page="two")
    repository.commit("--amend", page="three")
    with pytest.raises(StepFailed, match=rf"commit {lost[:7]} is gone from {DEVELOP} of {FORGE}/2pisoftware/hello"):
        workspace.checkout(repository.source, DEVELOP, lost, into)
    assert not into.exists()


def test_a_commit_that_this_mirror_still_has_is_gone_all_the_same_when_its_branch_was_rewritten(
    repository, workspace, into
):
    repository.commit(page="one")
    lost = repository.commit(page="two")
    workspace.checkout(repository.source, DEVELOP, lost, into)
    repository.commit("--amend", page="three")
    with pytest.raises(StepFailed, match="gone"):
        workspace.checkout(repository.source, DEVELOP, lost, into)


def test_a_commit_that_lies_only_on_another_branch_is_refused(repository, workspace, into):
    repository.commit(page="one")
    repository.git("checkout", "--quiet", "-b", "mine")
    mine = repository.commit(page="mine")
    workspace.checkout(repository.source, "refs/heads/mine", mine, into)
    with pytest.raises(StepFailed, match="gone from refs/heads/develop"):
        workspace.checkout(repository.source, DEVELOP, mine, into)


def test_a_branch_that_was_deleted_is_the_pushers_to_solve_also_when_this_mirror_knew_it(repository, workspace, into):
    repository.commit(page="one")
    repository.git("checkout", "--quiet", "-b", "mine")
    mine = repository.commit(page="mine")
    workspace.checkout(repository.source, "refs/heads/mine", mine, into)
    repository.git("checkout", "--quiet", "develop")
    repository.git("branch", "--delete", "--force", "mine")
    with pytest.raises(StepFailed, match=r"refs/heads/mine .* is gone"):
        workspace.checkout(repository.source, "refs/heads/mine", mine, into)


@pytest.mark.parametrize("commit", ["0" * 40, "HEAD", "--help", "develop", "a" * 39])
def test_what_is_no_commit_of_the_branch_is_never_something_else(repository, workspace, into, commit):
    repository.commit(page="one")
    with pytest.raises(StepFailed):
        workspace.checkout(repository.source, DEVELOP, commit, into)


def test_a_tag_of_something_else_than_a_commit_is_the_pushers_to_solve(repository, workspace, into):
    repository.commit(page="one")
    repository.git("tag", "blob", repository.git("rev-parse", "HEAD:page"))
    with pytest.raises(StepFailed, match="is no commit"):
        workspace.checkout(repository.source, "refs/tags/blob", None, into)


def test_a_repository_that_is_not_there_is_ours_to_solve(repository, workspace, into):
    gone = Source(FORGE, "2pisoftware/gone", f"file://{repository.path}-gone", None)
    with pytest.raises(StepErrored, match=r"github\.com/2pisoftware/gone"):
        workspace.checkout(gone, DEVELOP, None, into)


def test_a_branch_below_the_name_of_one_that_is_gone_can_be_fetched(repository, workspace, into):
    repository.commit(page="one")
    repository.git("checkout", "--quiet", "-b", "feature")
    feature = repository.commit(page="feature")
    workspace.checkout(repository.source, "refs/heads/feature", feature, into)
    repository.git("checkout", "--quiet", "develop")
    repository.git("branch", "--delete", "--force", "feature")
    repository.git("checkout", "--quiet", "-b", "feature/x")
    below = repository.commit(page="below")
    assert workspace.checkout(repository.source, "refs/heads/feature/x", below, into) == below


# --- what a repository would like to do here ------------------------------------------------------

HOSTILE = [
    "--upload-pack=touch${IFS}pwned;git-upload-pack",
    "-u",
    "$(touch${IFS}pwned)",
    "`touch${IFS}pwned`",
    "a;touch${IFS}pwned",
    "a&&touch${IFS}pwned",
    "a|touch${IFS}pwned",
    "x'y\"z",
    "{{.}}",
    "#1",
    "caf\u00e9",
    "refs/heads/develop",
    "HEAD",
]


@pytest.mark.parametrize("branch", HOSTILE)
def test_a_hostile_name_is_a_name_and_nothing_more(repository, workspace, into, branch, tmp_path, monkeypatch):
    """Each is legal for git. A blank is not, so no shell and no option could be given an argument anyway."""
    monkeypatch.chdir(tmp_path)
    repository.commit(page="develop")
    repository.git("update-ref", f"refs/heads/{branch}", repository.commit(page="hostile"))
    hostile = repository.git("rev-parse", "HEAD")
    repository.git("reset", "--quiet", "--hard", "HEAD~1")
    assert workspace.checkout(repository.source, f"refs/heads/{branch}", hostile, into) == hostile
    assert (into / "page").read_text() == "hostile"
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize(
    "ref", ["refs/heads/a b", "refs/heads/a:refs/heads/develop", "refs/heads/*", "--upload-pack=touch pwned", "+x", ""]
)
def test_what_is_no_ref_for_git_comes_to_nothing(repository, workspace, into, ref, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    repository.commit(page="develop")
    with pytest.raises((StepFailed, StepErrored)):
        workspace.checkout(repository.source, ref, None, into)
    assert not list(tmp_path.rglob("pwned"))
    assert not into.exists()


def test_submodules_are_empty_folders_and_nothing_is_fetched_of_them(repository, workspace, into, tmp_path):
    inner = Repository(tmp_path / "forge" / "inner")
    inner.commit(secret="x")
    repository.commit(page="one", **{".gitmodules": f'[submodule "s"]\n path = s\n url = {inner.path}\n'})
    sha = inner.git("rev-parse", "HEAD")
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{sha},s")
    repository.git("commit", "--quiet", "--message=x")
    commit = repository.git("rev-parse", "HEAD")
    workspace.checkout(repository.source, DEVELOP, commit, into)
    assert names(into) == [".gitmodules", "page", "s"]
    assert len(mirrors(tmp_path)) == 1


def test_hooks_filters_and_configuration_that_a_repository_brings_do_nothing(repository, workspace, into, tmp_path):
    touch = f"touch {tmp_path}/pwned"
    hook = f"#!/bin/sh\n{touch}\n"
    commit = repository.commit(
        page="one",
        **{
            "hooks__post-checkout": hook,
            ".gitattributes": "* filter=evil diff=evil merge=evil\n",
            ".gitconfig": f'[filter "evil"]\n smudge = {touch}\n[core]\n fsmonitor = {touch}\n',
            "bare__HEAD": "ref: refs/heads/x",
            "bare__config": f"[core]\n fsmonitor = {touch}\n",
        },
    )
    for name in ("post-checkout", "reference-transaction", "post-upload-pack"):
        path = repository.path / ".git" / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(hook)
        path.chmod(0o755)
    (tmp_path / "pwned").unlink(missing_ok=True)
    workspace.checkout(repository.source, DEVELOP, commit, into)
    assert (into / "page").read_text() == "one"
    assert not (tmp_path / "pwned").exists()


def test_hooks_that_somebody_put_into_the_mirror_do_nothing(repository, workspace, into, tmp_path):
    workspace.checkout(repository.source, DEVELOP, repository.commit(page="one"), into)
    (mirror,) = mirrors(tmp_path)
    hooks = mirror / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("reference-transaction", "post-checkout", "post-index-change"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/pwned\n")
        (hooks / name).chmod(0o755)
    workspace.checkout(repository.source, DEVELOP, repository.commit(page="two"), into)
    assert not (tmp_path / "pwned").exists()


def test_a_link_of_one_repository_leads_no_file_of_the_other_out_of_the_tree(repository, workspace, into, tmp_path):
    other, outside = Repository(tmp_path / "forge" / "deploy"), tmp_path / "outside"
    outside.mkdir()
    (other.path / "app").mkdir()
    (other.path / "app" / "src").symlink_to(outside)
    theirs, ours = other.commit(), repository.commit(src__authorized_keys="evil")
    workspace.checkout(other.source, DEVELOP, theirs, into)
    workspace.checkout(repository.source, DEVELOP, ours, into / "app")
    assert list(outside.iterdir()) == []
    assert (into / "app" / "src" / "authorized_keys").read_text() == "evil"


def test_no_credential_is_ever_an_argument_or_lies_in_the_mirror(repository, tmp_path, into):
    """A `git` that writes down how it is called stands first in the path."""
    seen = tmp_path / "seen"
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "git").write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >> {seen}\n'
        f'[ -n "$GIT_ASKPASS" ] && "$GIT_ASKPASS" Password >> {seen}.answers\nexec {shutil.which("git")} "$@"\n'
    )
    (bin_ / "git").chmod(0o755)
    environ = {"PATH": f"{bin_}:{ENVIRON['PATH']}"}
    workspace = Workspace(tmp_path / "work", lambda _: "x-token-auth:s3cret", environ)
    source = Source(FORGE, "2pisoftware/hello", f"file://{repository.path}", "github")
    workspace.checkout(source, DEVELOP, repository.commit(page="one"), into)
    assert "fetch" in seen.read_text().split()
    assert "s3cret" not in seen.read_text()
    assert (tmp_path / "seen.answers").read_text() == "s3cret", "git could not have logged in"
    lying = [path for path in (tmp_path / "work").rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]
    assert lying == []


# --- the mirror -----------------------------------------------------------------------------------


def test_a_second_fetch_uses_the_mirror_of_the_first(repository, workspace, into, tmp_path):
    workspace.checkout(repository.source, DEVELOP, repository.commit(page="one"), into)
    (mirror,) = mirrors(tmp_path)
    before = {path.name for path in (mirror / "objects").rglob("*") if path.is_file()}
    second = repository.commit(page="two")
    workspace.checkout(repository.source, DEVELOP, second, into)
    assert mirrors(tmp_path) == [mirror]
    after = {path.name for path in (mirror / "objects").rglob("*") if path.is_file()}
    assert before < after
    assert len(after - before) <= 5, "everything was fetched again"


def test_a_mirror_whose_making_was_killed_is_never_taken_for_one(repository, workspace, into, tmp_path):
    half = tmp_path / "work" / "mirrors" / "new-half"
    half.mkdir()
    (half / "HEAD").write_text("ref:")
    commit = repository.commit(page="one")
    assert workspace.checkout(repository.source, DEVELOP, commit, into) == commit


def emptied(paths):
    for path in paths:
        path.chmod(0o644)
        path.write_bytes(b"")


def stale_lock(mirror, _):
    (ref,) = (mirror / "refs" / "tau").iterdir()
    ref.with_name(f"{ref.name}.lock").touch()


def empty_ref(mirror, _):
    emptied((mirror / "refs" / "tau").iterdir())


def empty_objects(mirror, _):
    emptied(path for path in (mirror / "objects").rglob("*") if path.is_file())


def empty_object(name):
    def damage(mirror, forge):
        sha = forge.git("rev-parse", name)
        emptied([mirror / "objects" / sha[:2] / sha[2:]])

    return damage


def missing_object(name):
    def damage(mirror, forge):
        sha = forge.git("rev-parse", name)
        (mirror / "objects" / sha[:2] / sha[2:]).unlink()

    return damage


def empty_head(mirror, _):
    emptied([mirror / "HEAD"])


def truncated_pack(mirror, forge):
    forge.git(f"--git-dir={mirror}", "repack", "-a", "-d", "--quiet")
    (pack,) = (mirror / "objects" / "pack").glob("*.pack")
    pack.chmod(0o644)
    pack.write_bytes(pack.read_bytes()[:40])


DAMAGES = {
    "stale lock": stale_lock,
    "empty ref": empty_ref,
    "empty objects": empty_objects,
    "empty commit": empty_object("HEAD"),
    "empty tree": empty_object("HEAD^{tree}"),
    "empty file": empty_object("HEAD:page"),
    "missing commit": missing_object("HEAD"),
    "missing parent": missing_object("HEAD~1"),
    "missing tree": missing_object("HEAD^{tree}"),
    "missing file": missing_object("HEAD:page"),
    "empty HEAD": empty_head,
    "truncated pack": truncated_pack,
}


@pytest.mark.parametrize("again", [False, True], ids=["after a push", "same commit"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_mirror_that_a_kill_or_a_power_loss_broke_is_made_anew(repository, workspace, into, tmp_path, damage, again):
    repository.commit(old="x")
    commit = repository.commit(page="one")
    workspace.checkout(repository.source, DEVELOP, commit, tmp_path / "before")
    (mirror,) = mirrors(tmp_path)
    damage(mirror, repository)
    if not again:
        commit = repository.commit(page="two")
    assert workspace.checkout(repository.source, DEVELOP, commit, into) == commit
    assert names(into) == ["old", "page"]
    assert (into / "page").read_text() == ("one" if again else "two")
    assert mirrors(tmp_path) == [mirror]


def test_a_mirror_that_is_broken_again_at_once_is_ours_to_solve(repository, tmp_path, into):
    """A `git` that leaves a stale lock in every mirror before it fetches: a disk that is broken."""
    calls, bin_ = tmp_path / "calls", tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "git").write_text(
        f'#!/bin/sh\ncase "$*" in *" fetch "*) echo x >> {calls}\n'
        "echo \"error: cannot lock ref 'refs/tau/x': Unable to create 'x.lock': File exists.\" >&2; exit 1;; esac\n"
        f'exec {shutil.which("git")} "$@"\n'
    )
    (bin_ / "git").chmod(0o755)
    workspace = Workspace(tmp_path / "work", {}.__getitem__, {"PATH": f"{bin_}:{ENVIRON['PATH']}"})
    with pytest.raises(StepErrored, match="mirror on this machine is broken: error: cannot lock ref"):
        workspace.checkout(repository.source, DEVELOP, repository.commit(page="one"), into)
    assert calls.read_text() == "x\n" * 2


@pytest.mark.parametrize("branch", ["corrupt", "is-empty", "bad-object", "loose_object"])
def test_no_name_of_a_branch_has_a_mirror_thrown_away(repository, workspace, into, tmp_path, branch):
    workspace.checkout(repository.source, DEVELOP, repository.commit(page="one"), into)
    (mirror,) = mirrors(tmp_path)
    (mirror / "the same").touch()
    with pytest.raises(StepFailed, match="is gone"):
        workspace.checkout(repository.source, f"refs/heads/{branch}", None, into)
    assert (mirror / "the same").exists()


def held(tmp_path):
    """The lock of the only mirror, as a frozen runner holds it."""
    (mirror,) = mirrors(tmp_path)
    file = (mirror.parent / f"{mirror.name}.lock").open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def test_a_mirror_that_a_frozen_runner_holds_is_waited_for_no_longer_than_the_run_may_take(
    repository, workspace, into, tmp_path
):
    commit = repository.commit(page="one")
    workspace.checkout(repository.source, DEVELOP, commit, into)
    started = time.monotonic()
    with (
        held(tmp_path),
        pytest.raises(StepErrored, match=r"another runner has held the mirror of github\.com/2pisoftware/hello for 1s"),
    ):
        workspace.checkout(repository.source, DEVELOP, commit, into, remaining_s=1)
    assert 1 <= time.monotonic() - started < 5


def test_a_mirror_is_waited_for_while_there_is_time(repository, workspace, into, tmp_path):
    commit = repository.commit(page="one")
    workspace.checkout(repository.source, DEVELOP, commit, into)
    file = held(tmp_path)
    letting_go = threading.Timer(0.5, file.close)
    letting_go.start()
    try:
        assert workspace.checkout(repository.source, DEVELOP, commit, into, remaining_s=30) == commit
        assert file.closed
    finally:
        letting_go.join()


def test_a_fetch_takes_no_longer_than_what_is_left_of_the_run(repository, tmp_path, into):
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "git").write_text(
        f'#!/bin/sh\ncase "$*" in *" fetch "*) sleep 20;; esac\nexec {shutil.which("git")} "$@"\n'
    )
    (bin_ / "git").chmod(0o755)
    workspace = Workspace(tmp_path / "work", {}.__getitem__, {"PATH": f"{bin_}:{ENVIRON['PATH']}"})
    started = time.monotonic()
    with pytest.raises(TimedOut):
        workspace.checkout(repository.source, DEVELOP, repository.commit(page="one"), into, remaining_s=1)
    assert time.monotonic() - started < 10


CHECKOUT = """
import sys
from pathlib import Path
from chalicelib.model import Source
from runner.workspace import Workspace
folder, clone, commit, into, path = sys.argv[1:]
workspace = Workspace(Path(folder), {}.__getitem__, {"PATH": path})
print(workspace.checkout(Source("f", "o/n", clone, None), "refs/heads/develop", commit, Path(into)))
"""


def test_two_processes_at_once_share_one_mirror(repository, tmp_path):
    commits = [repository.commit(page=str(number)) for number in range(4)]
    processes = [
        subprocess.Popen(
            (
                *(sys.executable, "-c", CHECKOUT, str(tmp_path / "work"), repository.source.clone, commit),
                *(str(tmp_path / commit), ENVIRON["PATH"]),
            ),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for commit in commits
    ]
    for number, (process, commit) in enumerate(zip(processes, commits, strict=True)):
        out, err = process.communicate(timeout=60)
        assert out.strip() == commit, err
        assert (tmp_path / commit / "page").read_text() == str(number)
    assert len(mirrors(tmp_path)) == 1


def test_several_at_once_make_one_mirror_and_do_not_mix_their_trees(repository, workspace, tmp_path):
    commits = [repository.commit(**{f"file{number}": "x"}) for number in range(4)]
    together = threading.Barrier(len(commits))

    def check_out(commit):
        together.wait(10)
        return workspace.checkout(repository.source, DEVELOP, commit, tmp_path / commit)

    with ThreadPoolExecutor(len(commits)) as pool:
        assert list(pool.map(check_out, commits)) == commits
    for number, commit in enumerate(commits):
        assert names(tmp_path / commit) == [f"file{one}" for one in range(number + 1)]
    assert len(mirrors(tmp_path)) == 1


# --- a run's folder -------------------------------------------------------------------------------


def test_a_runs_folder_is_empty_at_its_claim_and_gone_afterwards(workspace, tmp_path):
    left = tmp_path / "work" / "runs" / "01X"
    left.mkdir()
    (left / "of a claim that died").write_text("x")
    with workspace.run_folder("01X") as folder:
        assert list(folder.iterdir()) == []
        (folder / "file").write_text("x")
    assert not folder.exists()


def test_a_runs_folder_is_gone_after_a_failure_too(workspace):
    with pytest.raises(ZeroDivisionError), workspace.run_folder("01X") as folder:
        raise ZeroDivisionError
    assert not folder.exists()


def test_a_claim_that_was_lost_leaves_the_folder_of_the_living_one(workspace):
    with workspace.run_folder("01X-2") as living:
        with workspace.run_folder("01X-1") as lost:
            assert lost != living
        assert living.is_dir()


def test_what_dead_claims_left_is_swept_at_the_start_and_what_lives_is_not(repository, workspace, into, tmp_path):
    workspace.checkout(repository.source, DEVELOP, repository.commit(page="one"), into)
    (mirror,) = mirrors(tmp_path)
    work = tmp_path / "work"
    dead = [work / "mirrors" / "new-dead", work / "runs" / "01X-1", work / "runs" / "tmpindex"]
    living = [work / "mirrors" / "new-living", work / "runs" / "01Y-1"]
    for folder in (*dead, *living):
        folder.mkdir()
        (folder / "file").write_text("x")
    for folders, hours in ((dead, 25), (living, 23), ([mirror], 999)):
        for folder in folders:
            os.utime(folder, (time.time() - hours * 3600,) * 2)
    Workspace(work, {}.__getitem__, ENVIRON)
    assert [folder for folder in dead if folder.exists()] == []
    assert all((folder / "file").exists() for folder in living)
    assert mirror.is_dir()


def test_keys_that_a_killed_runner_left_are_swept_at_the_start(tmp_path):
    source = Source(FORGE, "2pisoftware/hello", "https://github.com/2pisoftware/hello.git", "github")
    with opened(source, lambda _: "user:token") as environment:
        folder = Path(environment["GIT_ASKPASS"]).parent
        os.utime(folder, (time.time() - 3700,) * 2)
        Workspace(tmp_path / "work", {}.__getitem__, ENVIRON)
        assert not folder.exists()


# --- over HTTP ------------------------------------------------------------------------------------


def test_a_git_host_that_speaks_http_is_fetched_from(githost, workspace, into):
    sha = githost.create(FORGE, "workspace/over-http", {"page": "one"})
    later = githost.commit(FORGE, "workspace/over-http", "develop", {"page": "two"}, "Second")
    source = Source(FORGE, "workspace/over-http", githost.url(FORGE, "workspace/over-http"), None)
    assert workspace.checkout(source, DEVELOP, sha, into) == sha
    assert workspace.checkout(source, "HEAD", None, into) == later


def test_a_host_that_is_not_there_is_ours_to_solve(workspace, into, githost):
    source = Source(FORGE, "workspace/none", githost.url(FORGE, "workspace/none"), None)
    with pytest.raises(StepErrored, match="does not exist, or does not let us in with no key"):
        workspace.checkout(source, DEVELOP, None, into)
    closed = Source(FORGE, "workspace/none", "http://127.0.0.1:1/workspace/none.git", None)
    with pytest.raises(StepErrored, match="cannot be fetched"):
        workspace.checkout(closed, DEVELOP, None, into)


class Answering(BaseHTTPRequestHandler):
    """A host that answers everything with one code, and remembers what it was asked."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        self.send_response(self.server.code)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Nobody reads it."""


@contextmanager
def answering(code, **headers):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.code, server.headers, server.asked = code, headers, []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (401, "does not exist, or does not let us in"),
        (403, "does not exist, or does not let us in"),
        (404, "does not exist, or does not let us in"),
        (429, "cannot be fetched: .* 429"),
        (500, "cannot be fetched: .* 500"),
        (503, "cannot be fetched: .* 503"),
    ],
)
def test_no_access_and_a_host_in_trouble_are_told_apart(workspace, into, code, said):
    with answering(code) as (_, address):
        source = Source(FORGE, "2pisoftware/hello", f"{address}/hello.git", None)
        with pytest.raises(StepErrored, match=rf"github\.com/2pisoftware/hello {said}"):
            workspace.checkout(source, DEVELOP, None, into)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            "No ED25519 host key is known for git.example and you have requested strict checking.\r\n",
            "its host's key is not in",
        ),
        (
            "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\r\n",
            "its host's key is another than the one in",
        ),
    ],
    ids=["unknown", "changed"],
)
def test_a_key_by_which_a_host_is_not_known_is_told_with_the_file_that_it_belongs_into(said, words):
    source = Source(FORGE, "2pisoftware/hello", "ssh://git@git.example/2pisoftware/hello.git", "github")
    whole = f"{said}Host key verification failed.\r\nfatal: Could not read from remote repository."
    assert f"{words} /etc/tau/known_hosts: enter the one" in str(refusal(source, DEVELOP, whole))


def test_a_host_that_nobody_knows_is_ours_to_solve(workspace, into):
    source = Source(FORGE, "2pisoftware/hello", "http://no-such-host.invalid/hello.git", None)
    with within(20), pytest.raises(StepErrored, match=r"cannot be fetched: .*resolve"):
        workspace.checkout(source, DEVELOP, None, into)


def test_a_redirect_to_another_host_is_not_followed_and_no_token_goes_there(tmp_path, into):
    workspace = Workspace(tmp_path / "work", {"token": "user:s3cret"}.__getitem__, ENVIRON)
    with answering(200) as (other, elsewhere), answering(302, Location=f"{elsewhere}/hello.git") as (first, address):
        source = Source(FORGE, "2pisoftware/hello", f"{address}/hello.git", "token")
        with pytest.raises(StepErrored, match="cannot be fetched"):
            workspace.checkout(source, DEVELOP, None, into)
    assert (len(first.asked) > 0, other.asked) == (True, [])


def test_a_repository_that_is_too_large_says_so_and_leaves_nothing_of_its_pack(repository, tmp_path, into):
    small = repository.commit(page="one")
    repository.git("checkout", "--quiet", "-b", "large")
    for number in range(120):
        (repository.path / f"blob{number}").write_bytes(os.urandom(20_000))
    large = repository.commit()
    workspace = Workspace(tmp_path / "work", {}.__getitem__, ENVIRON, most_bytes=1_000_000)
    with pytest.raises(StepFailed, match=r"hello is too large: to fetch refs/heads/large takes more than 1\.0 MB"):
        workspace.checkout(repository.source, "refs/heads/large", large, into)
    (mirror,) = mirrors(tmp_path)
    assert list(mirror.rglob("tmp_*")) == []
    assert workspace.checkout(repository.source, DEVELOP, small, into) == small


def test_what_a_killed_fetch_left_of_its_pack_goes_with_the_next(repository, workspace, into, tmp_path):
    commit = repository.commit(page="one")
    workspace.checkout(repository.source, DEVELOP, commit, into)
    (mirror,) = mirrors(tmp_path)
    half = mirror / "objects" / "pack" / "tmp_pack_x1"
    half.write_bytes(b"PACK")
    workspace.checkout(repository.source, DEVELOP, commit, into)
    assert not half.exists()


@pytest.mark.parametrize("hostile", [".git", ".GIT", "..", ".", "git~1"])
def test_a_path_that_git_would_not_write_is_the_committers_to_take_out(repository, workspace, into, tmp_path, hostile):
    """`git add` makes none of these; whoever writes objects himself can."""
    blob = repository.git("hash-object", "-w", "--stdin", stdin="[core]\n fsmonitor = touch pwned\n")
    inner = repository.git("mktree", stdin=f"100644 blob {blob}\tconfig\n")
    tree = repository.git("mktree", stdin=f"040000 tree {inner}\t{hostile}\n")
    commit = repository.git("commit-tree", "-m", "x", tree)
    repository.git("update-ref", "refs/heads/develop", commit)
    with pytest.raises(StepFailed, match="which git writes into no tree"):
        workspace.checkout(repository.source, DEVELOP, commit, into)
    assert not list(tmp_path.joinpath("work").rglob("config.lock"))
    assert not (into / hostile.strip(".")).is_file()


# --- a claim that should stop ---------------------------------------------------------------------


def test_a_git_host_that_never_answers_keeps_nobody_who_asks_to_stop(repository, workspace, into, tmp_path):
    commit, stopping = repository.commit(page="one"), Stopping()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        source = Source(FORGE, "2pisoftware/hello", f"http://127.0.0.1:{silent.getsockname()[1]}/hello.git", None)
        with within(10), stopping_soon(stopping), pytest.raises(Stopped):
            workspace.checkout(source, DEVELOP, commit, into, stopping=stopping)
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        assert subprocess.run(("pgrep", "--full", host), check=False, capture_output=True).returncode == 1
    (mirror,) = mirrors(tmp_path)
    assert list(mirror.rglob("*.lock")) == []
    assert not into.exists()


def test_a_mirror_is_free_for_the_next_claim_when_a_fetch_was_stopped(repository, tmp_path, into):
    bin_, commit, stopping = tmp_path / "bin", repository.commit(page="one"), Stopping()
    bin_.mkdir()
    (bin_ / "git").write_text(
        f'#!/bin/sh\ncase "$*" in *" fetch "*) [ -e {bin_}/go ] || sleep 620;; esac\nexec {shutil.which("git")} "$@"\n'
    )
    (bin_ / "git").chmod(0o755)
    workspace = Workspace(tmp_path / "work", {}.__getitem__, {"PATH": f"{bin_}:{ENVIRON['PATH']}"})
    with within(10), stopping_soon(stopping), pytest.raises(Stopped):
        workspace.checkout(repository.source, DEVELOP, commit, into, stopping=stopping)
    (bin_ / "go").touch()
    assert workspace.checkout(repository.source, DEVELOP, commit, into, remaining_s=30) == commit


@pytest.mark.parametrize("wait", ["checkout", "archive", "ignored", "ancestry", "tip"])
def test_nobody_who_asks_to_stop_waits_for_a_mirror_that_somebody_else_holds(
    repository, workspace, into, tmp_path, wait
):
    commit, stopping = repository.commit(page="one"), Stopping()
    workspace.checkout(repository.source, DEVELOP, commit, into)
    arguments = {
        "checkout": (DEVELOP, commit, into),
        "archive": (commit,),
        "ignored": (commit, b"*"),
        "ancestry": (DEVELOP,),
        "tip": (DEVELOP,),
    }[wait]
    with held(tmp_path), within(10), stopping_soon(stopping), pytest.raises(Stopped):
        getattr(workspace, wait)(repository.source, *arguments, stopping=stopping)
