"""Repositories in, exact commits on disk out: one bare mirror for each repository, fetched under a lock."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from chalicelib.errors import Gone, StepErrored, StepFailed
from chalicelib.model import Source
from chalicelib.reports.words import size
from chalicelib.superseding import Ancestry
from runner import credentials, git
from runner.kept import FOLDER_LINK, Claimed, Shelf, cleaned
from runner.mirror import Damaged, Mirror, NoAccess, locked, refusal
from runner.stopping import Stopping
from runner.submodules import DEEPEST, FILE, MOST, Module, Submodules, submodules

_FETCH_S = 900
MOST_BYTES = 4 * 1000**3
"""So much of a repository is fetched at once, packed, and no more."""
MOST_ARCHIVED = 2 * 1000**3
"""So much of a tree is packed in memory, and no more."""
# A commit that was seen on its branch a moment ago need not be looked for there again.
_SEEN_S = 10
# No run takes as long: what is older was left by a claim that died.
_LEFT_S = 24 * 3600


class Workspace:
    """The runner's folder: `mirrors/` and `trees/` are kept, `runs/<claim>` go with their claim of a run.

    Args:
        secret: value of a named secret, for the keys of repositories.
        environ: our own environment, of which git gets very little.
        person: the environment in which git fetches for somebody who sits here, with his own settings and keys;
            None = nobody does.
        most_bytes: the largest file that a fetch may write.
    """

    def __init__(
        self,
        folder: Path,
        secret: Callable[[str], str],
        environ: Mapping[str, str],
        *,
        person: Mapping[str, str] | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._most_bytes = most_bytes
        # git limits only what is pushed to it. A laptop may have no such command.
        has_limits = shutil.which("prlimit", path=environ.get("PATH"))
        self._limit = ("prlimit", f"--fsize={most_bytes}") if has_limits else ()
        self._folder = folder
        self._secret = secret
        self._environ = environ
        self._person = person
        for part in ("mirrors", "runs", "home"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        self._shelf = Shelf(folder / "trees")
        self._claims: dict[Path, Claimed] = {}
        self._seen: dict[tuple[str, str], float] = {}
        credentials.remove_old(self._shelf.leavings(), _LEFT_S)
        credentials.remove_old((folder / "mirrors").glob("new-*"), _LEFT_S)
        credentials.remove_old((folder / "runs").iterdir(), _LEFT_S)
        credentials.sweep()

    @contextlib.contextmanager
    def run_folder(self, claim: str, lock: str | None = None) -> Iterator[Path]:
        """An empty folder, gone afterwards.

        Args:
            claim: one claim of a run, not the run: a claim that was lost must not remove the living one's folder.
            lock: the run's: what is checked out in the folder is kept for the next run under it. None = it goes too.

        Raises:
            StepErrored: it cannot be made.
        """
        folder = self._folder / "runs" / claim
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir()
        except OSError as error:
            raise StepErrored(f"{folder} cannot be made: {error.strerror}") from error
        claimed = self._claims[folder] = Claimed(self._shelf, folder, lock)
        try:
            yield folder
        finally:
            self._claims.pop(folder, None)
            claimed.give_back()
            shutil.rmtree(folder, ignore_errors=True)

    def checkout(
        self,
        source: Source,
        ref: str,
        commit: str | None,
        into: Path,
        remaining_s: float = _FETCH_S,
        *,
        stopping: Stopping | None = None,
    ) -> str:
        """Put a commit's tree into a folder.

        Args:
            ref: `refs/heads/…`, `refs/tags/…`, or HEAD for the default branch.
            commit: the full sha that must lie on `ref`; None = its tip.
            remaining_s: what is left of the run, for the wait for the mirror and the fetch.

        Returns:
            The full sha that lies there now.

        Raises:
            Gone: the ref is, or the commit from it.
            StepFailed: the ref is no commit's.
            StepErrored: the repository cannot be reached, or refuses us; its mirror is held, or broken twice.
            Stopped: somebody asks for it.
        """
        mirror, until = self._mirror(source, stopping), time.monotonic() + remaining_s
        with locked(mirror, remaining_s):
            try:
                commit = self._fetched(mirror, ref, commit, until)
                self._lay(mirror, commit, into)
            except Damaged:
                mirror.drop()
                # The commit that was found is kept: its tree may be half written, and another must not be laid over it.
                commit = self._fetched(mirror, ref, commit, until)
                self._lay(mirror, commit, into)
        return commit

    def submodules(
        self,
        source: Source,
        commit: str,
        into: Path,
        allowed: Sequence[Source],
        remaining_s: float = _FETCH_S,
        *,
        stopping: Stopping | None = None,
    ) -> Submodules:
        """Lay the submodules of a commit, and theirs, into the tree where the commit was checked out.

        Args:
            allowed: see `submodules.submodules`.

        Raises:
            StepFailed: one is not allowed, does not let us in, or does not have its commit.
            StepErrored, Stopped: as for `checkout`.
        """
        until, laid, empty = time.monotonic() + remaining_s, list[Module](), list[str]()
        waiting = [(Module("", source, commit), 0)]
        for parent, depth in waiting:
            found = self._submodules(parent, allowed, until, stopping)
            above = f"{parent.path}/" if parent.path else ""
            empty += [above + path for path in found.empty]
            for one in found.modules:
                module = replace(one, path=above + one.path)
                if depth == DEEPEST or len(laid) == MOST:
                    most = f"{MOST} in one tree" if len(laid) == MOST else f"{DEEPEST} in one another"
                    raise StepFailed(f"the submodule {module.path} is one too many: {most} is the most")
                self._lay_submodule(module, _real_folder(into, module.path), until, stopping)
                laid.append(module)
                waiting.append((module, depth + 1))
        return Submodules(tuple(laid), tuple(empty))

    def ancestry(self, source: Source, ref: str, *, stopping: Stopping | None = None) -> Ancestry:
        """A branch as it stands at the forge now.

        Raises:
            StepErrored: the repository cannot be reached, or refuses us.
            Stopped: somebody asks for it.
        """
        mirror = self._mirror(source, stopping)
        with locked(mirror, _FETCH_S):
            try:
                self._fetch(mirror, ref, _FETCH_S)
            except StepFailed:
                return Ancestry(None, lambda *_: False)
            tip = mirror.commit(ref)
        now_s = time.monotonic()
        # Another thread's may get lost between the two: it fetches then.
        recent = {place: at_s for place, at_s in list(self._seen.items()) if now_s - at_s < _SEEN_S}
        self._seen = {**recent, (source.clone, ref): now_s}
        return Ancestry(tip, mirror.on)

    def tip(self, source: Source, ref: str, *, stopping: Stopping | None = None) -> str:
        """The commit at which a ref (HEAD: the default branch) stands at the forge now.

        Raises:
            StepFailed: the ref is gone.
            StepErrored: the repository cannot be reached, or refuses us.
            Stopped: somebody asks for it.
        """
        mirror, until = self._mirror(source, stopping), time.monotonic() + _FETCH_S
        with locked(mirror, _FETCH_S):
            try:
                return self._fetched(mirror, ref, None, until)
            except Damaged:
                mirror.drop()
                return self._fetched(mirror, ref, None, until)

    def changed(
        self, source: Source, ref: str, commit: str | None, since: str, *, stopping: Stopping | None = None
    ) -> tuple[str, ...] | None:
        """The files in which a commit of a ref (None = its tip) differs from what was before; None where nobody knows.

        Args:
            since: a full sha; or the full ref that it left, of which only its own changes count.

        Raises:
            StepFailed: the ref or the commit is gone.
            StepErrored: the repository cannot be reached, or refuses us.
            Stopped: somebody asks for it.
        """
        mirror, until = self._mirror(source, stopping), time.monotonic() + _FETCH_S
        with locked(mirror, _FETCH_S):
            try:
                return self._changed(mirror, ref, commit, since, until)
            except Damaged:
                mirror.drop()
                return self._changed(mirror, ref, commit, since, until)

    def _changed(
        self, mirror: Mirror, ref: str, commit: str | None, since: str, until: float
    ) -> tuple[str, ...] | None:
        now = self._fetched(mirror, ref, commit, until)
        is_ref = since.startswith("refs/")
        if is_ref:
            self._fetch(mirror, since, until - time.monotonic())
        before = mirror.commit(since)
        # What a forced push has left behind may be nowhere any more.
        if before is None:
            return None
        output = mirror.run(git.changed(mirror.path, f"{before}..." if is_ref else before, now))
        # Two lines without a common commit.
        if not output.ok:
            return None
        return git.names(output.stdout)

    def archive(self, source: Source, commit: str, *, stopping: Stopping | None = None) -> bytes:
        """The commit's tree as tar; it must have been checked out before.

        Raises:
            StepFailed: it is larger than anybody's memory should be used for.
        """
        mirror = self._mirror(source, stopping)
        with locked(mirror, _FETCH_S):
            large = mirror.size_bytes(commit)
            if large > MOST_ARCHIVED:
                where = f"the tree of {source.name} at {commit[:7]}"
                raise StepFailed(
                    f"{where} has {size(large)}, and {size(MOST_ARCHIVED)} is the most of which a bundle is made:"
                    " take large files out of it"
                )
            return mirror.local(git.archive(mirror.path, commit)).stdout

    def ignored(self, source: Source, commit: str, rules: bytes, *, stopping: Stopping | None = None) -> frozenset[str]:
        """The files of a commit that rules as in a .gitignore name; it must have been checked out before."""
        mirror = self._mirror(source, stopping)
        with locked(mirror, _FETCH_S), _aside(mirror) as folder:
            index, written = {"GIT_INDEX_FILE": f"{folder}/index"}, Path(folder) / "rules"
            written.write_bytes(rules)
            mirror.local(git.read_tree(mirror.path, commit), index)
            found = mirror.local(git.ignored(mirror.path, written), index).stdout
        return frozenset(git.names(found))

    def _mirror(self, source: Source, stopping: Stopping | None) -> Mirror:
        path = self._folder / "mirrors" / f"{hashlib.sha256(source.clone.encode()).hexdigest()[:32]}.git"
        env = git.environment(self._environ, source.clone, self._folder / "home")
        return Mirror(source, path, env, stopping or Stopping())

    def _submodules(
        self, parent: Module, allowed: Sequence[Source], until: float, stopping: Stopping | None
    ) -> Submodules:
        mirror = self._mirror(parent.source, stopping)
        with locked(mirror, until - time.monotonic()):
            entries = mirror.entries(parent.commit)
            links = {path: sha for path, (mode, sha) in entries.items() if mode == FOLDER_LINK}
            listed = mirror.settings(*entries[FILE]) if links and FILE in entries else b""
        return submodules(listed, links, parent.source, allowed)

    def _lay_submodule(self, module: Module, into: Path, until: float, stopping: Stopping | None) -> None:
        mirror = self._mirror(module.source, stopping)
        with locked(mirror, until - time.monotonic()):
            try:
                self._fetch_pinned(mirror, module, until)
                self._lay(mirror, module.commit, into)
            except Damaged:
                mirror.drop()
                self._fetch_pinned(mirror, module, until)
                self._lay(mirror, module.commit, into)
            except NoAccess as error:
                # The parent's author has named it; but what a person may not read, somebody else may.
                kind = StepFailed if self._person is None else StepErrored
                raise kind(f"the submodule {module.path} cannot be fetched: {error}") from error

    def _fetch_pinned(self, mirror: Mirror, module: Module, until: float) -> None:
        """Fetch until the commit is there and lies on a branch or tag: one that a host only still has is nobody's."""
        with contextlib.suppress(Gone):
            self._fetch(mirror, "HEAD", until - time.monotonic())
            if (tip := mirror.commit("HEAD")) and mirror.commit(module.commit) and mirror.on(module.commit, tip):
                return
        argv = git.fetch_every(mirror.path, mirror.source.clone)
        self._fetch(mirror, "its branches and tags", until - time.monotonic(), argv)
        if not mirror.commit(module.commit) or not mirror.local(git.holding(mirror.path, module.commit)).stdout:
            raise StepFailed(
                f"the submodule {module.path} is {module.source.name} at {module.commit[:7]}, which lies on none of its"
                " branches and tags: push it there, or correct the submodule"
            )

    def _fetched(self, mirror: Mirror, ref: str, commit: str | None, until: float) -> str:
        """The commit, all of which the mirror has; what `ancestry` has just fetched is fetched no second time."""
        seen_at_s = self._seen.pop((mirror.source.clone, ref), None)
        if commit and seen_at_s is not None and time.monotonic() - seen_at_s < _SEEN_S:
            with contextlib.suppress(StepFailed):
                return mirror.resolve(ref, commit)
        self._fetch(mirror, ref, until - time.monotonic())
        return mirror.resolve(ref, commit)

    def _fetch(self, mirror: Mirror, ref: str, remaining_s: float, how: tuple[str, ...] | None = None) -> None:
        source, path = mirror.source, mirror.path
        if not path.is_dir():
            # Made aside and renamed: a mirror that was killed half-way is never taken for one.
            fresh = Path(tempfile.mkdtemp(dir=path.parent, prefix=mirror.fresh))
            mirror.local(git.init(fresh))
            fresh.rename(path)
        mirror.sweep()
        person = None if source.key or source.clone.startswith("file:") else self._person
        fetching = mirror if person is None else replace(mirror, env=person)
        with credentials.opened(source, self._secret) as opened:
            argv = (*self._limit, *(how or git.fetch(path, source.clone, ref)))
            output = fetching.run(argv, min(_FETCH_S, remaining_s), opened)
        if not output.ok and mirror.sweep() >= self._most_bytes:
            # git does not say of what its child died.
            raise StepFailed(
                f"{source.forge}/{source.repository} is too large: to fetch {ref} takes more than"
                f" {size(self._most_bytes)} at once. Take large files and what they were out of its history"
            )
        if not output.ok:
            raise refusal(source, ref, output.complaint, by_person=person is not None)

    def _lay(self, mirror: Mirror, commit: str, into: Path) -> None:
        claimed = next((one for one in list(self._claims.values()) if one.holds(into)), None)
        if claimed:
            claimed.give_back(into)
        # What lies there is another repository's: this one's files are laid over it, and no tree is like its commit.
        if claimed is None or _is_occupied(into):
            self._write(mirror, commit, into, claimed)
            return
        try:
            self._lay_kept(mirror, commit, into, claimed)
        except BaseException:
            shutil.rmtree(into, ignore_errors=True)
            raise

    def _lay_kept(self, mirror: Mirror, commit: str, into: Path, claimed: Claimed) -> None:
        note = claimed.take(mirror.source.clone, into)
        entries = note.entries if note and note.commit == commit else mirror.entries(commit)
        try:
            missing = cleaned(into, note, entries) if note else None
        except OSError:
            # Something in it will not go. What is left of it goes with the run's folder, or is found by the next sweep.
            _out_of_the_way(into)
            missing = None
        if missing is None or missing:
            self._write(mirror, commit, into, claimed, missing)
        claimed.laid(mirror.source.clone, into, commit, entries)

    @staticmethod
    def _write(
        mirror: Mirror, commit: str, into: Path, claimed: Claimed | None, names: list[str] | None = None
    ) -> None:
        """Write a commit's files, or only those of these names, over what lies there."""
        into.mkdir(parents=True, exist_ok=True)
        with _aside(mirror, claimed) as folder:
            index = {"GIT_INDEX_FILE": f"{folder}/index"}
            mirror.local(git.read_tree(mirror.path, commit), index)
            stdin = b"".join(os.fsencode(name) + b"\0" for name in names or ())
            mirror.local(git.checkout_index(mirror.path, into, named=names is not None), index, stdin)


def _aside(mirror: Mirror, claimed: Claimed | None = None) -> contextlib.AbstractContextManager[str]:
    """A folder for an index, while the mirror is held. Of one who is killed it goes with his claim's, or by a sweep."""
    if claimed:
        return tempfile.TemporaryDirectory(dir=claimed.folder, prefix="index-")
    return tempfile.TemporaryDirectory(dir=mirror.path.parent, prefix=mirror.fresh)


def _real_folder(tree: Path, path: str) -> Path:
    """A place in a tree, to which no link leads.

    Raises:
        StepFailed: one does.
    """
    place = tree
    for part in path.split("/"):
        place /= part
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            raise StepFailed(f"the submodule {path} cannot be laid: something else lies in its place")
    return place


def _is_occupied(folder: Path) -> bool:
    return folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir())))


def _out_of_the_way(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        folder.rename(tempfile.mkdtemp(dir=folder.parent, prefix="left-"))
