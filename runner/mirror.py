"""One repository's mirror: what git is asked of it under a lock, and what is made of git's refusals."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from chalicelib.errors import Gone, StepErrored, StepFailed
from chalicelib.model import Source
from chalicelib.reports.words import duration, size
from runner import git, shell
from runner.credentials import KNOWN_HOSTS
from runner.kept import Entries
from runner.stopping import Stopping
from runner.submodules import FILE
from runner.submodules import MOST_BYTES as MOST_LISTED

_LOCAL_S = 300
_LOCK_POLL_S = 0.1
# What git says when a repository answers and says no; everything else is the network's fault, or ours.
_NO_SUCH_REF = ("couldn't find remote ref", "not our ref")
_NO_ACCESS = (
    "not found",
    "permission denied",
    "could not read username",
    "authentication failed",
    "access denied",
    "returned error: 403",
)
# What ssh ends with in either case, behind a frame of signs or a word on its options.
_HOST_KEY, _CHANGED = "host key verification failed", "identification has changed"
# What git says when the mirror itself is broken, by a kill or a power loss in the middle of a fetch. Each holds what no
# branch's name may hold (a blank), so no pusher can have a mirror thrown away by what he calls his branch.
_DAMAGE = (
    "cannot lock ref",
    "unable to create '",
    "unable to create temporary",
    "bad object",
    "loose object",
    "not a valid object",
    "not a git repository",
    "unable to read",
    "failed to unpack tree",
    "did not send all necessary objects",
    "error: packfile ",
    "is empty",
    "is corrupt",
)
# `.git`, `..` and their like, which a hostile tree object can hold.
_LINK = "120000"
_INVALID = re.compile(r"invalid path ('.*')")


class NoAccess(StepErrored):
    """The host answers, and says no."""


class Damaged(StepErrored):
    """The mirror is broken. A fresh one loses nothing but the time of a fetch."""


@dataclass(frozen=True)
class Mirror:
    """One repository's mirror, for one claim.

    Args:
        env: what git gets of our environment.
        stopping: who waits for git no longer.
    """

    source: Source
    path: Path
    env: Mapping[str, str]
    stopping: Stopping

    def run(
        self,
        argv: tuple[str, ...],
        timeout_s: float = _LOCAL_S,
        more: Mapping[str, str] | None = None,
        stdin: bytes = b"",
    ) -> shell.Output:
        """Run git; what it says of a refusal is the caller's to judge.

        Raises:
            Damaged: it complains of the mirror itself.
            Stopped: somebody asks for it.
        """
        env = {**self.env, **(more or {})}
        output = shell.run(argv, env=env, timeout_s=timeout_s, stopping=self.stopping, stdin=stdin)
        if not output.ok and (line := _damage(output.complaint)):
            raise Damaged(f"git's mirror on this machine is broken: {line}")
        return output

    def local(self, argv: tuple[str, ...], more: Mapping[str, str] | None = None, stdin: bytes = b"") -> shell.Output:
        output = self.run(argv, more=more, stdin=stdin)
        if not output.ok and (path := _INVALID.search(output.complaint)):
            raise StepFailed(
                f"the commit holds {path[1]}, which git writes into no tree: take it out of the repository"
            )
        if not output.ok:
            raise StepErrored(f"git failed on this machine: {output.complaint}")
        return output

    def resolve(self, ref: str, commit: str | None) -> str:
        """The full sha of a commit that must lie on a ref; of the ref's tip where none is named."""
        where = f"{self.source.forge}/{self.source.repository}"
        tip = self.commit(ref)
        if tip is None:
            raise StepFailed(f"{ref} of {where} is no commit")
        if commit is None or commit == tip:
            return tip
        there = self.commit(commit)
        if there is None or not self.on(there, tip):
            raise Gone(
                f"commit {commit[:7]} is gone from {ref} of {where}:"
                " it was rewritten or deleted after the push; push again"
            )
        return there

    @property
    def fresh(self) -> str:
        """How the name begins of what is made beside it, and then takes its place; or of what had it."""
        return f"new-{self.path.stem}-"

    def sweep(self) -> int:
        """Remove the halves that a fetch has left, as who holds the mirror may; the size of the largest."""
        for half in self.path.parent.glob(f"{self.fresh}*"):
            shutil.rmtree(half, ignore_errors=True)
        largest = 0
        for half in (*self.path.glob("objects/pack/tmp_*"), *self.path.glob("objects/??/tmp_*")):
            largest = max(largest, half.stat().st_size)
            half.unlink(missing_ok=True)
        return largest

    def commit(self, name: str) -> str | None:
        output = self.run(git.commit_of(self.path, name))
        return output.stdout.decode().strip() if output.ok else None

    def entries(self, commit: str) -> Entries:
        found = {}
        for line in os.fsdecode(self.local(git.tree(self.path, commit)).stdout).split("\0")[:-1]:
            what, _, path = line.partition("\t")
            mode, _, sha = what.split(" ")
            found[path] = (mode, sha)
        return found

    def size_bytes(self, commit: str) -> int:
        """Of all files of a commit; a submodule has none."""
        lines = self.local(git.sizes(self.path, commit)).stdout.split(b"\0")[:-1]
        found = (line.partition(b"\t")[0].split()[-1] for line in lines)
        return sum(int(one) for one in found if one.isdigit())

    def settings(self, mode: str, blob: str) -> bytes:
        """What a .gitmodules says, as `git config -z --list` has it."""
        if mode == _LINK or int(self.local(git.size_of(self.path, blob)).stdout) > MOST_LISTED:
            raise StepFailed(
                f"{FILE} of {self.source.name} is a link, or larger than {size(MOST_LISTED)}: write a file"
            )
        output = self.run(git.setting_list(self.path, blob))
        if not output.ok:
            raise StepFailed(f"{FILE} of {self.source.name} cannot be read: {output.complaint}")
        return output.stdout

    def on(self, commit: str, tip: str) -> bool:
        return self.run(git.is_ancestor(self.path, commit, tip)).ok

    def drop(self) -> None:
        # Moved aside first: one that is killed here leaves no half of a mirror. What cannot go complains once more.
        with contextlib.suppress(OSError):
            aside = self.path.rename(tempfile.mkdtemp(dir=self.path.parent, prefix=self.fresh))
            shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def locked(mirror: Mirror, limit_s: float) -> Iterator[None]:
    """Hold the mirror, which nobody else reads or writes meanwhile: it may be thrown away.

    Raises:
        StepErrored: another runner (a frozen one keeps its lock) did not let go of it.
    """
    path, until = mirror.path, time.monotonic() + limit_s
    with (path.parent / f"{path.name}.lock").open("w") as file:
        while not _got(file):
            mirror.stopping.check()
            if time.monotonic() >= until:
                where, held = f"{mirror.source.forge}/{mirror.source.repository}", duration(limit_s)
                raise StepErrored(f"another runner has held the mirror of {where} for {held}: is it frozen?")
            time.sleep(_LOCK_POLL_S)
        yield


def _got(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _damage(complaint: str) -> str | None:
    """The line that tells of a broken mirror; what the other side says of itself is none."""
    # Nor that nobody answers for a password.
    ours = (line for line in complaint.splitlines() if not line.startswith("remote:") and "askpass" not in line)
    return next((line for line in ours if any(words in line.lower() for words in _DAMAGE)), None)


def refusal(source: Source, ref: str, complaint: str, *, by_person: bool = False) -> Exception:
    """What is raised where a fetch did not do.

    Args:
        by_person: it was asked with the keys of whoever sits here.
    """
    where = f"{source.forge}/{source.repository}"
    said = complaint.lower()
    if any(words in said for words in _NO_SUCH_REF):
        return Gone(f"{ref} of {where} is gone: it was deleted after the push")
    if _HOST_KEY in said:
        changed = "is another than the one" if _CHANGED in said else "is not"
        what = f"{where} cannot be fetched: its host's key {changed} in {KNOWN_HOSTS}"
        return StepErrored(f"{what}: enter the one that the host publishes (`ssh-keyscan` shows what it has)")
    # What it says first is the reason; the rest is advice.
    first = complaint.splitlines()[0] if complaint else "git said nothing"
    if any(words in said for words in _NO_ACCESS):
        without = "your own keys" if by_person else "no key: set `key` for its forge in ci.yml"
        what = f"its key {source.key}" if source.key else without
        return NoAccess(f"{where} does not exist, or does not let us in with {what} ({first})")
    return StepErrored(f"{where} cannot be fetched: {first}")
