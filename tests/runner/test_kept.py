"""Trees that are kept for the next run under a lock, and what earlier runs would leave in them."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from chalicelib.errors import StepFailed
from runner import kept
from runner.workspace import Workspace
from tests.runner.test_workspace import DEVELOP, ENVIRON, ROOT, Repository, names

ODD = ("-rf", "a\nb", b"\xff".decode("utf-8", "surrogateescape"), "caf\u00e9", " ")
LOCK = "cmfive/github.com/2pisoftware/hello/refs/heads/develop"


@pytest.fixture
def repository(tmp_path):
    made = Repository(tmp_path / "forge" / "hello")
    (made.path / "link").symlink_to("src/deep")
    made.commit(page="one", run="#!/bin/sh\n", src__deep="x", src__more="y", stays="z")
    (made.path / "run").chmod(0o755)
    made.commit()
    return made


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "work", {}.__getitem__, ENVIRON)


def picture(folder):
    """Everything in a folder: type and mode, bytes or where a link leads, a file's other names, attributes."""
    seen = {}
    for path in sorted(folder.rglob("*")):
        what = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
        links = 0 if path.is_dir() else path.lstat().st_nlink
        attributes = os.listxattr(path, follow_symlinks=False)
        seen[str(path.relative_to(folder))] = (path.lstat().st_mode, what, links, attributes)
    return seen


def written_at(tree):
    """When the one file was written that nobody changes: as long as it stays, the tree was not made anew."""
    return (tree / "stays").stat().st_ctime_ns


@contextmanager
def laid(workspace, repository, claim, *, lock=LOCK, ref=DEVELOP, place="tree"):
    """A tree as a run has it."""
    with workspace.run_folder(claim, lock) as folder:
        workspace.checkout(repository.source, ref, None, folder / place)
        yield folder / place


def fresh(workspace, repository, ref=DEVELOP):
    """What the tree has to be."""
    with laid(workspace, repository, "fresh", lock=None, ref=ref) as tree:
        return picture(tree)


def shelf(tmp_path):
    return kept.kept(tmp_path / "work" / "trees")


# --- what is kept ---------------------------------------------------------------------------------


def test_the_next_run_under_a_lock_gets_the_tree_of_the_last_and_only_what_changed_is_written(repository, workspace):
    with laid(workspace, repository, "r1") as tree:
        stayed, page = written_at(tree), (tree / "page").stat().st_ctime_ns
    repository.commit(page="two")
    with laid(workspace, repository, "r2") as tree:
        assert (tree / "page").read_text() == "two"
        assert (written_at(tree), (tree / "page").stat().st_ctime_ns > page) == (stayed, True)
        assert picture(tree) == fresh(workspace, repository)


def test_another_lock_has_a_tree_of_its_own(repository, workspace, tmp_path):
    with laid(workspace, repository, "r1"), laid(workspace, repository, "r2", lock="other"):
        pass
    assert len(shelf(tmp_path)) == 2


def test_who_asks_for_no_lock_keeps_nothing(repository, workspace, tmp_path):
    with laid(workspace, repository, "r1", lock=None):
        pass
    assert shelf(tmp_path) == []


def test_two_claims_under_one_lock_never_share_a_tree(repository, workspace, tmp_path):
    with laid(workspace, repository, "r1"):
        pass
    expected = fresh(workspace, repository)
    with laid(workspace, repository, "r2") as one, laid(workspace, repository, "r2-again") as other:
        assert one.stat().st_ino != other.stat().st_ino
        (one / "page").write_text("theirs")
        assert picture(other) == expected
    assert len(shelf(tmp_path)) == 1


@pytest.mark.parametrize("into", ["app", "deep/app"])
def test_a_tree_inside_another_is_kept_too_and_neither_holds_a_file_of_the_other(repository, workspace, tmp_path, into):
    deploy = Repository(tmp_path / "forge" / "deploy")
    deploy.commit(Dockerfile="FROM x")
    inodes = []
    for number, text in enumerate(("one", "two")):
        repository.commit(page=text)
        with workspace.run_folder(f"r{number}", LOCK) as folder:
            workspace.checkout(deploy.source, DEVELOP, None, folder / "tree")
            workspace.checkout(repository.source, DEVELOP, None, folder / "tree" / into)
            inner = folder / "tree" / into
            assert picture(inner) == fresh(workspace, repository)
            outside = [name for name in names(folder / "tree") if not name.startswith(into)]
            assert outside == sorted({"Dockerfile", *([into.partition("/")[0]] if "/" in into else [])})
            inodes.append((inner.stat().st_ino, (folder / "tree").stat().st_ino))
    assert inodes[0] == inodes[1]


def test_a_tree_over_files_of_the_outer_one_is_laid_over_them_each_time(repository, workspace, tmp_path):
    deploy = Repository(tmp_path / "forge" / "deploy")
    deploy.commit(Dockerfile="FROM x", app__page="theirs", app__own="o")
    for claim in ("r1", "r2"):
        with workspace.run_folder(claim, LOCK) as folder:
            workspace.checkout(deploy.source, DEVELOP, None, folder / "tree")
            assert names(folder / "tree") == ["Dockerfile", "app", "app/own", "app/page"]
            assert (folder / "tree" / "app" / "page").read_text() == "theirs"
            workspace.checkout(repository.source, DEVELOP, None, folder / "tree" / "app")
            assert (folder / "tree" / "app" / "page").read_text() == "one"
            assert (folder / "tree" / "app" / "own").read_text() == "o"


def test_two_steps_of_a_run_that_build_from_different_repositories_see_nothing_of_one_another(
    repository, workspace, tmp_path
):
    deploy = Repository(tmp_path / "forge" / "deploy")
    deploy.commit(Dockerfile="FROM x")
    with workspace.run_folder("r1", LOCK) as folder:
        workspace.checkout(deploy.source, DEVELOP, None, folder / "tree")
        workspace.checkout(repository.source, DEVELOP, None, folder / "tree" / "app")
        workspace.checkout(repository.source, DEVELOP, None, folder / "tree")
        assert picture(folder / "tree") == fresh(workspace, repository)


# --- what earlier runs would leave (A44) ----------------------------------------------------------


def _same_size_and_time(tree):
    page = tree / "page"
    seen = page.stat()
    page.write_text("eno")
    os.utime(page, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def _copy(tree):
    shutil.copy2(tree / "page", tree / "copy")
    (tree / "copy").rename(tree / "page")


def _own_repository(tree):
    for folder in (tree, tree / "src"):
        subprocess.run(("git", "init", "--quiet", folder), check=True, env={**ENVIRON, "HOME": "/nonexistent"})
        hook = folder / ".git" / "hooks" / "post-checkout"
        hook.write_text("#!/bin/sh\ntouch pwned\n")
        hook.chmod(0o755)
        with (folder / ".git" / "config").open("a") as config:
            config.write("[core]\n\tfsmonitor = touch pwned\n\tworktree = /\n")


def _link_for_a_folder(tree):
    outside = tree.parents[3] / "outside"
    shutil.copytree(tree / "src", outside)
    shutil.rmtree(tree / "src")
    (tree / "src").symlink_to(outside)


def _other_types(tree):
    os.mkfifo(tree / "pipe")
    (tree / "page").unlink()
    os.mkfifo(tree / "page")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tree / "s"))


def _inherited_list(tree):
    # user::rwx group::rwx other::rwx. https://man7.org/linux/man-pages/man5/acl.5.html
    entries = ((0x01, 7), (0x04, 7), (0x20, 7))
    packed = b"".join(
        tag.to_bytes(2, "little") + allowed.to_bytes(2, "little") + b"\xff" * 4 for tag, allowed in entries
    )
    try:
        os.setxattr(tree / "src", "system.posix_acl_default", (2).to_bytes(4, "little") + packed)
    except OSError:
        pytest.skip("this file system has no access lists")


def _attributes(tree):
    (tree / ".gitattributes").write_text("* text eol=crlf\n")
    (tree / "page").unlink()


LEFTOVERS = {
    "a file": lambda tree: (tree / "left").write_text("x"),
    "files that the repository ignores": lambda tree: (
        (tree / ".gitignore").write_text("*\n"),
        (tree / "cache").mkdir(),
        (tree / "cache" / "left").write_text("x"),
    ),
    "an empty folder": lambda tree: (tree / "left").mkdir(),
    "a folder that nobody may enter": lambda tree: (tree / "left").mkdir(mode=0),
    "odd names": lambda tree: [(tree / name).write_text("x") for name in ODD],
    "another text of the same size and time": _same_size_and_time,
    "an executable page": lambda tree: (tree / "page").chmod(0o755),
    "a page that runs as its owner": lambda tree: (tree / "run").chmod(0o4755),
    "a page for nobody": lambda tree: (tree / "page").chmod(0),
    "an open folder": lambda tree: (tree / "src").chmod(0o2777),
    "a folder that hands a list of rights down": _inherited_list,
    "a file that is missing": lambda tree: (tree / "src" / "deep").unlink(),
    "a folder that is missing": lambda tree: shutil.rmtree(tree / "src"),
    "a second name of a file": lambda tree: os.link(tree / "page", tree.parents[1] / "second"),
    "a file under another's name": lambda tree: (tree / "src" / "more").rename(tree / "src" / "deep"),
    "a copy in a file's place": _copy,
    "a folder for a file": lambda tree: ((tree / "page").unlink(), (tree / "page" / "x").mkdir(parents=True)),
    "a link for a file": lambda tree: ((tree / "page").unlink(), (tree / "page").symlink_to("/etc/hostname")),
    "a link for a folder": _link_for_a_folder,
    "a link elsewhere": lambda tree: ((tree / "link").unlink(), (tree / "link").symlink_to("/etc")),
    "pipes and sockets": _other_types,
    "a repository with hooks and configuration": _own_repository,
    "attributes": _attributes,
}  # fmt: skip


@pytest.mark.parametrize("leave", LEFTOVERS.values(), ids=LEFTOVERS)
def test_nothing_that_a_run_left_in_a_tree_is_there_for_the_next(repository, workspace, leave, tmp_path):
    with laid(workspace, repository, "r1") as tree:
        expected, written = picture(tree), written_at(tree)
        leave(tree)
        assert picture(tree) != expected or leave is _copy
    outside = sorted(tmp_path.joinpath("work").rglob("outside/*"))
    with laid(workspace, repository, "r2") as tree:
        assert written_at(tree) == written, "another tree was taken: nothing was proven"
        assert picture(tree) == expected
    assert sorted(tmp_path.joinpath("work").rglob("outside/*")) == outside, "it followed a link"


def test_what_is_changed_right_after_a_tree_was_noted_is_seen_too(tmp_path):
    """Times of files go by the timer: what is written in the same tick bears the same time."""
    tree, entries, seen = tmp_path / "tree", {"page": ("100644", "a" * 40)}, []
    tree.mkdir()
    for _ in range(30):
        (tree / "page").write_text("one")
        note = kept.noted(tree, "c" * 40, entries, tmp_path / "clock")
        (tree / "page").write_text("eno")
        seen.append(kept.cleaned(tree, note, entries))
    assert seen == [["page"]] * 30


@pytest.mark.parametrize("instead", ["link", "folder", "file", "nothing"])
def test_whatever_lies_in_a_trees_place_the_next_run_gets_the_commit(repository, workspace, tmp_path, instead):
    outside = tmp_path / "outside"
    shutil.copytree(repository.path, outside)
    with laid(workspace, repository, "r1") as tree:
        expected = picture(tree)
        shutil.rmtree(tree)
        if instead == "link":
            tree.symlink_to(outside)
        if instead == "folder":
            shutil.copytree(outside, tree)
        if instead == "file":
            tree.touch()
    before = picture(outside)
    with laid(workspace, repository, "r2") as tree:
        assert not tree.is_symlink()
        assert picture(tree) == expected
    assert picture(outside) == before


def test_a_tree_that_has_been_left_open_to_others_is_not_kept(repository, workspace, tmp_path):
    with laid(workspace, repository, "r1") as tree:
        tree.chmod(0o777)
    assert shelf(tmp_path) == []


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"commit": 1}', None], ids=["empty", "list", "bare", "half", "none"])
def test_a_tree_whose_note_nobody_can_read_is_made_anew(repository, workspace, tmp_path, note):
    with laid(workspace, repository, "r1"):
        pass
    (one,) = shelf(tmp_path)
    (one.path / "tree" / "left").touch()
    if note is None:
        (one.path / "note.json").unlink()
    else:
        (one.path / "note.json").write_text(note)
    with laid(workspace, repository, "r2") as tree:
        assert picture(tree) == fresh(workspace, repository)
    assert len(shelf(tmp_path)) == 1


def test_a_tree_from_before_the_machine_was_started_is_made_anew(repository, workspace, tmp_path):
    with laid(workspace, repository, "r1") as tree:
        written = written_at(tree)
    (one,) = shelf(tmp_path)
    note = json.loads((one.path / "note.json").read_text())
    (one.path / "note.json").write_text(json.dumps({**note, "boot": "an earlier one"}))
    with laid(workspace, repository, "r2") as tree:
        assert written_at(tree) > written
        assert picture(tree) == fresh(workspace, repository)


# --- what the repository does ---------------------------------------------------------------------


def _forced(repository):
    repository.git("reset", "--quiet", "--hard", "HEAD~1")
    repository.commit(page="three", other="x")


def _attributes_of_the_commit(repository):
    repository.commit(**{".gitattributes": "page text eol=crlf\n*.txt ident\n"}, a__b="x")


def _file_becomes_folder(repository):
    repository.git("rm", "--quiet", "page", "link")
    repository.commit(page__x="1", link__y="2")


def _folder_becomes_file(repository):
    repository.git("rm", "--quiet", "-r", "src")
    repository.commit(src="now a file")


def _folder_becomes_link(repository):
    repository.git("rm", "--quiet", "-r", "src")
    (repository.path / "src").symlink_to("/etc")
    repository.commit()


def _mode_changes(repository):
    (repository.path / "run").chmod(0o644)
    (repository.path / "page").chmod(0o755)
    repository.commit()


def _submodule(repository):
    repository.git("rm", "--quiet", "-r", "src")
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{'a' * 40},src")
    repository.git("commit", "--quiet", "--message=x")


def _everything_goes(repository):
    repository.git("rm", "--quiet", "-r", ".")
    repository.commit()


def _odd_names(repository):
    for name in ODD:
        (repository.path / name).write_text("x")
    repository.commit()


CHANGES = {
    "a forced push": _forced,
    "attributes": _attributes_of_the_commit,
    "a file becomes a folder": _file_becomes_folder,
    "a folder becomes a file": _folder_becomes_file,
    "a folder becomes a link": _folder_becomes_link,
    "modes": _mode_changes,
    "a folder becomes a submodule": _submodule,
    "everything goes": _everything_goes,
    "odd names": _odd_names,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_kept_tree_is_what_a_fresh_checkout_gives_after_any_push_there_and_back(repository, workspace, change):
    repository.git("branch", "back")
    with laid(workspace, repository, "r1") as tree:
        root = tree.stat().st_ino
    change(repository)
    for claim, ref in (("r2", DEVELOP), ("r3", "refs/heads/back")):
        with laid(workspace, repository, claim, ref=ref) as tree:
            assert tree.stat().st_ino == root
            assert picture(tree) == fresh(workspace, repository, ref)


def test_attributes_that_come_and_go_change_the_bytes_of_files_that_git_calls_the_same(repository, workspace):
    with laid(workspace, repository, "r1"):
        pass
    repository.commit(page="one\n", **{".gitattributes": "page text eol=crlf\n"})
    with laid(workspace, repository, "r2") as tree:
        assert (tree / "page").read_bytes() == b"one\r\n"
    repository.commit(**{".gitattributes": "page -text\n"})
    with laid(workspace, repository, "r3") as tree:
        assert (tree / "page").read_bytes() == b"one\n"


def test_a_ref_that_is_gone_leaves_the_kept_tree_for_the_next(repository, workspace, tmp_path):
    with laid(workspace, repository, "r1"):
        pass
    with pytest.raises(StepFailed), laid(workspace, repository, "r2", ref="refs/heads/nobodys"):
        pass
    assert len(shelf(tmp_path)) == 1


# --- kills, and the shelf's bounds ----------------------------------------------------------------

KILLED = """
import sys
from pathlib import Path
from chalicelib.model import Source
from runner.workspace import Workspace
folder, clone, path, lock = sys.argv[1:]
source = Source("github.com", "2pisoftware/hello", clone, None)
workspace = Workspace(Path(folder), {}.__getitem__, {"PATH": path})
with workspace.run_folder("killed", lock) as run:
    workspace.checkout(source, "refs/heads/develop", None, run / "tree")
"""


def test_a_tree_in_which_a_runner_was_killed_as_it_wrote_is_never_taken_again(repository, workspace, tmp_path):
    with laid(workspace, repository, "r1") as tree:
        root = tree.stat().st_ino
    repository.commit(page="two")
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "git").write_text(
        f'#!/bin/sh\ncase "$*" in *checkout-index*) echo half > {tmp_path}/work/runs/killed/tree/page;'
        f' touch {tmp_path}/writing; exec sleep 60;; esac\nexec {shutil.which("git")} "$@"\n'
    )
    (bin_ / "git").chmod(0o755)
    path = f"{bin_}:{ENVIRON['PATH']}"
    argv = (sys.executable, "-c", KILLED, str(tmp_path / "work"), repository.source.clone, path, LOCK)
    process = subprocess.Popen(argv, cwd=ROOT)
    until = time.monotonic() + 30
    while not (tmp_path / "writing").exists() and time.monotonic() < until:
        time.sleep(0.02)
    writing = _children(process.pid)
    process.kill()
    process.wait()
    for child in writing:
        os.kill(child, signal.SIGKILL)
    assert [one.name for one in (tmp_path / "work" / "runs").iterdir()] == ["killed"], "whoever reaps it reaps all"
    assert (tmp_path / "work" / "runs" / "killed" / "tree").stat().st_ino == root
    with laid(workspace, repository, "r2") as tree:
        assert tree.stat().st_ino != root
        assert picture(tree) == fresh(workspace, repository)


def _children(pid):
    listed = subprocess.run(("pgrep", "--parent", str(pid)), check=False, capture_output=True, text=True)
    return [int(child) for child in listed.stdout.split()]


def test_only_so_many_trees_are_kept_and_the_least_recently_used_go(tmp_path):
    shelved, trees = kept.Shelf(tmp_path / "trees", most=2), tmp_path / "run"
    for number, name in enumerate("abcab"):
        tree = trees / name
        tree.mkdir(parents=True)
        note = kept.noted(tree, "0" * 40, {}, shelved.clock)
        shelved.take(name, tmp_path / f"taken-{number}")
        shelved.put(name, tree, note)
        time.sleep(0.02)
    there = [shelved.take(name, tmp_path / name) is not None for name in "abc"]
    assert there == [True, True, False]


def test_a_tree_that_is_dropped_says_how_much_went_and_one_that_a_run_has_says_nothing(repository, workspace, tmp_path):
    with laid(workspace, repository, "r1"):
        pass
    (one,) = shelf(tmp_path)
    with laid(workspace, repository, "r2") as tree:
        assert kept.drop(one) == 0
        assert picture(tree)
    assert kept.drop(one) > 0
    assert shelf(tmp_path) == []


def test_many_at_once_take_and_give_back_and_each_has_the_commit(repository, workspace):
    expected, wrong = fresh(workspace, repository), []

    def runs(number):
        for again in range(4):
            with laid(workspace, repository, f"r{number}-{again}") as tree:
                if picture(tree) != expected:
                    wrong.append((number, again))
                (tree / f"left-{number}").touch()

    threads = [threading.Thread(target=runs, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


def test_what_was_being_moved_when_a_runner_was_killed_is_swept_at_a_later_start(tmp_path):
    half = tmp_path / "work" / "trees" / "new-half"
    half.mkdir(parents=True)
    Workspace(tmp_path / "work", {}.__getitem__, ENVIRON)
    assert half.is_dir(), "it may be a living run's"
    os.utime(half, (time.time() - 25 * 3600,) * 2)
    Workspace(tmp_path / "work", {}.__getitem__, ENVIRON)
    assert not half.exists()
