"""A working copy, or a repository that its user may read, in; a bare repository that stands in for it at a run, out.

A run then checks out, checks and archives as it does on a code server: all that differs is the address.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from chalicelib.errors import BadInput, StepErrored
from chalicelib.model import Source
from runner import shell
from runner.laptop import git_words as git
from runner.stopping import Stopping

# A repository inside another; a tree holds its commit and no file of it.
_REPOSITORY = b"160000 "
_LOCAL_S = 300
_FETCH_S = 900


@dataclass(frozen=True)
class Copy:
    """A working copy as it is now.

    Args:
        folder: its top.
        ref: the branch that is checked out, in full; None = none is.
        origin: `owner/name` of where it was cloned from, as far as the address tells.
    """

    folder: Path
    ref: str | None
    origin: str | None


@dataclass(frozen=True)
class Snapshot:
    """The exact state of a working copy.

    Args:
        dirty: it is not what was committed.
        address: where it can be fetched from.
        unfinished: the repositories inside of it that have something uncommitted, which is not in it.
    """

    commit: str
    dirty: bool
    address: str = ""
    unfinished: tuple[str, ...] = ()


class StandIns:
    """The folder of all of them.

    Args:
        environ: whose git it is: with his own settings, keys and helpers.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str], stopping: Stopping) -> None:
        self._folder = folder
        self._env = git.quiet(environ)
        self._stopping = stopping
        folder.mkdir(parents=True, exist_ok=True)

    def look(self, path: Path) -> Copy:
        """The working copy to which a folder belongs.

        Raises:
            BadInput: it belongs to none.
        """
        found = self._run(git.in_copy(path, "rev-parse", "--show-toplevel")) if path.is_dir() else None
        if found is None or not found.ok:
            said = f" ({found.complaint})" if found else ""
            raise BadInput(f"{path} is no working copy of git{said}: name one, or `git init` there")
        folder = Path(_line(found))
        ref, address = (
            self._run(git.in_copy(folder, *words))
            for words in (("symbolic-ref", "--quiet", "HEAD"), ("remote", "get-url", "origin"))
        )
        return Copy(folder, _line(ref) if ref.ok else None, owner_and_name(_line(address)) if address.ok else None)

    def snapshot(self, copy: Copy, refs: Iterable[str], whose: str = "") -> Snapshot:
        """Everything in a working copy that git does not ignore, as a commit that HEAD and these refs stand at.

        Where that is what was committed it is that very commit. Index and objects of the working copy stay as they are.

        Args:
            whose: what tells this stand-in from others of the same copy, which may stand for it as it was before.
        """
        shared = self._bare(str(copy.folder))
        _borrow(shared, Path(_line(self._must(git.place_of(copy.folder, "objects")))))
        bare = self._bare(f"{whose} {copy.folder}")
        _borrow(bare, shared / "objects")
        shallow = Path(_line(self._must(git.place_of(copy.folder, "shallow"))))
        (bare / "shallow").unlink(missing_ok=True)
        if shallow.is_file():
            shutil.copy(shallow, bare / "shallow")
        made = self._commit(copy, shared)
        self._point(bare, dict.fromkeys(("HEAD", *refs), made.commit))
        return replace(made, address=_address(bare), unfinished=self._unfinished(copy, bare, made.commit))

    def fetched(self, source: Source, refs: Iterable[str]) -> str:
        """Fetch what stands on these refs (or HEAD) at the forge now; where it can be fetched from.

        Raises:
            StepErrored: git cannot fetch them.
        """
        bare = self._bare(source.clone)
        for ref in sorted(set(refs)):
            output = self._fetch(bare, source, f"+{ref}:{_kept(ref)}")
            if not output.ok:
                raise StepErrored(
                    f"git cannot fetch {ref} of {source.name} from {source.clone}: {output.complaint}\n"
                    "It was asked with your own keys. A working copy can stand in for it: --from DIR"
                )
            if ref == "HEAD":
                self._must(git.in_bare(bare, "update-ref", "--no-deref", "HEAD", _kept(ref)))
        return _address(bare)

    def fetched_at(
        self, source: Source, refs: Iterable[str], commits: Mapping[tuple[str, str], str], whose: str
    ) -> str:
        """Fetch what stood on these refs (or HEAD) once; where it can be fetched from.

        Args:
            commits: by repository and ref, what stood there; what it does not name is taken as it stands now.
            whose: what tells this stand-in from others of the same repository, which may stand for other commits.

        Raises:
            StepErrored: git cannot fetch it.
        """
        shared, at = self._bare(source.clone), dict[str, str]()
        for ref in refs:
            commit = commits.get((source.name, ref))
            if commit is None:
                self.fetched(source, {ref})
                commit = _line(self._must(git.in_bare(shared, "rev-parse", _kept(ref))))
            else:
                self._fetch_commit(shared, source, ref, commit)
            at[ref] = commit
        bare = self._bare(f"{whose} {source.clone}")
        _borrow(bare, shared / "objects")
        self._point(bare, at)
        return _address(bare)

    def _fetch_commit(self, bare: Path, source: Source, ref: str, commit: str) -> None:
        """Have a commit, and keep it: the branch that it was on may be elsewhere by now, or gone."""
        own = f"refs/tau/{commit}"
        if self._run(git.in_bare(bare, "rev-parse", "--verify", "--quiet", own)).ok:
            return
        # By itself it is had wherever anything still holds it. A forge that gives only what stands on a ref is asked
        # for that one.
        by_itself = self._fetch(bare, source, f"+{commit}:{own}")
        if by_itself.ok:
            return
        self._fetch(bare, source, f"+{ref}:{_kept(ref)}")
        if not self._run(git.in_bare(bare, "update-ref", own, commit)).ok:
            raise StepErrored(
                f"git cannot fetch commit {commit[:7]} of {source.name} from {source.clone}: {by_itself.complaint}\n"
                "It was asked with your own keys; a commit that no branch has any more may be gone for good"
            )

    def _fetch(self, bare: Path, source: Source, what: str) -> shell.Output:
        argv = git.in_bare(bare, "fetch", "--quiet", "--no-tags", "--force", "--", source.clone, what)
        return self._run(argv, timeout_s=_FETCH_S)

    def _commit(self, copy: Copy, bare: Path) -> Snapshot:
        index = Path(_line(self._must(git.place_of(copy.folder, "index"))))
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            own = Path(folder) / "index"
            if index.is_file():
                # With the times in it, git reads only the files that have changed.
                shutil.copy2(index, own)
            env = git.aside(self._env, own, bare)
            self._must(git.in_copy(copy.folder, "add", "--all"), env)
            tree = _line(self._must(git.in_copy(copy.folder, "write-tree"), env))
            head = self._run(git.in_copy(copy.folder, "show", "--no-patch", "--format=%H %T %ct", "HEAD"))
            if not head.ok:
                return Snapshot(_line(self._must(self._make(copy, tree, ()), git.dated(env, "0"))), dirty=True)
            commit, committed, seconds = _line(head).split()
            if committed == tree:
                return Snapshot(commit, dirty=False)
            made = self._must(self._make(copy, tree, ("-p", commit)), git.dated(env, seconds))
            return Snapshot(_line(made), dirty=True)

    def _unfinished(self, copy: Copy, bare: Path, commit: str) -> tuple[str, ...]:
        listed = self._must(git.entries(bare, commit)).stdout.split(b"\0")
        inside = (os.fsdecode(line.partition(b"\t")[2]) for line in listed if line.startswith(_REPOSITORY))
        return tuple(
            path
            for path in inside
            # Without one of its own, git would answer of the copy.
            if (copy.folder / path / ".git").exists() and self._run(git.uncommitted(copy.folder / path)).stdout
        )

    def _make(self, copy: Copy, tree: str, parents: tuple[str, ...]) -> tuple[str, ...]:
        return git.in_copy(copy.folder, "commit-tree", tree, *parents, "-m", "The working copy, for tau run")

    def _point(self, bare: Path, at: Mapping[str, str]) -> None:
        # An earlier run's branch `feature` would be in the way of `feature/x`.
        shutil.rmtree(bare / "refs", ignore_errors=True)
        (bare / "refs" / "heads").mkdir(parents=True)
        for ref, commit in sorted(at.items()):
            self._must(git.in_bare(bare, "update-ref", "--no-deref", ref, commit))

    def _bare(self, of: str) -> Path:
        bare = self._folder / f"{hashlib.sha256(of.encode()).hexdigest()[:32]}.git"
        if not (bare / "HEAD").is_file():
            self._must(("git", "init", "--quiet", "--bare", "--template=", str(bare)))
            (bare / "objects" / "info").mkdir(parents=True, exist_ok=True)
        return bare

    def _run(
        self, argv: tuple[str, ...], env: Mapping[str, str] | None = None, timeout_s: float = _LOCAL_S
    ) -> shell.Output:
        return shell.run(argv, env=env or self._env, timeout_s=timeout_s, stopping=self._stopping)

    def _must(self, argv: tuple[str, ...], env: Mapping[str, str] | None = None) -> shell.Output:
        output = self._run(argv, env)
        if not output.ok:
            raise StepErrored(f"`{' '.join(argv)}` failed: {output.complaint}")
        return output


def owner_and_name(address: str) -> str | None:
    """`owner/name` of an address to clone from: the last two parts of its path."""
    parts = address.removesuffix("/").removesuffix(".git").replace(":", "/").split("/")
    return "/".join(parts[-2:]) if len(parts) > 1 and all(parts[-2:]) else None


def _borrow(bare: Path, objects: Path) -> None:
    """A repository has the objects that lie there, as if they were its own."""
    file, line = bare / "objects" / "info" / "alternates", f"{objects.absolute()}\n"
    # Another process may read it just now, and never finds it empty.
    if not file.is_file() or file.read_text() != line:
        file.write_text(line)


def _kept(ref: str) -> str:
    """Under which name a ref of a forge is kept."""
    return "refs/heads/head-of-the-forge" if ref == "HEAD" else ref


def _address(bare: Path) -> str:
    return bare.absolute().as_uri()


def _line(output: shell.Output) -> str:
    return output.stdout.decode("utf-8", "surrogateescape").strip()
