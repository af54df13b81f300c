"""What git is asked, as argument tuples and an environment: pure. `workspace.py` runs them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

# Nothing that a repository or this machine configures may run or redirect anything.
_OPTIONS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "fetch.recurseSubmodules=false",
    "http.followRedirects=false",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
    "protocol.version=2",
    "safe.bareRepository=explicit",
    "transfer.bundleURI=false",
    "gc.auto=0",
)
EVERY = "refs/tau-every"
"""Where the mirror keeps all branches and tags, where a commit is wanted and nobody says of which it is."""
# What a host needs to reach the outside; everything else of our environment stays with us.
_INHERITED = (
    "PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "https_proxy",
    "HTTPS_PROXY",
    "no_proxy",
)


def environment(ours: Mapping[str, str], address: str, home: Path) -> dict[str, str]:
    """The environment of every git process: no configuration but ours, no prompt, one protocol."""
    return {
        **{name: ours[name] for name in _INHERITED if name in ours},
        "HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        # `workspace.py` tells git's errors apart by their English words.
        "LC_ALL": "C.UTF-8",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_ALLOW_PROTOCOL": urlsplit(address).scheme or "ssh",
    }


def git(mirror: Path, *arguments: str) -> tuple[str, ...]:
    return ("git", *_options(), f"--git-dir={mirror}", *arguments)


def _options() -> Iterator[str]:
    return (part for option in _OPTIONS for part in ("-c", option))


def init(mirror: Path) -> tuple[str, ...]:
    return ("git", "init", "--quiet", "--bare", "--template=", str(mirror))


def list_head(address: str) -> tuple[str, ...]:
    """Ask a host where a repository's default branch stands; nothing is fetched, and no mirror is needed."""
    return ("git", *_options(), "ls-remote", "--quiet", "--", address, "HEAD")


def fetch(mirror: Path, address: str, ref: str) -> tuple[str, ...]:
    """Fetch one full ref (or HEAD, the default branch) to its place in the mirror."""
    return git(mirror, "fetch", "--quiet", "--no-tags", "--force", "--", address, f"+{ref}:{kept(ref)}")


def fetch_every(mirror: Path, address: str) -> tuple[str, ...]:
    """Fetch every branch and tag, and forget those that are gone."""
    refs = (f"+refs/{kind}/*:{EVERY}/{kind}/*" for kind in ("heads", "tags"))
    return git(mirror, "fetch", "--quiet", "--no-tags", "--force", "--prune", "--", address, *refs)


def holding(mirror: Path, commit: str) -> tuple[str, ...]:
    """A branch or tag of those on which a commit lies, if there is one."""
    return git(mirror, "for-each-ref", "--count=1", "--format=%(refname)", f"--contains={commit}", f"{EVERY}/")


def setting_list(mirror: Path, blob: str) -> tuple[str, ...]:
    """The settings in a file of a commit, each as its key, a line's end and its value, ended by a NUL."""
    return git(mirror, "config", "--no-includes", "-z", "--list", f"--blob={blob}")


def size_of(mirror: Path, blob: str) -> tuple[str, ...]:
    return git(mirror, "cat-file", "-s", blob)


def kept(ref: str) -> str:
    """Where the mirror keeps a ref. By its own name `feature` would be in the way of a later `feature/x`."""
    return f"refs/tau/{hashlib.sha256(ref.encode()).hexdigest()[:40]}"


def commit_of(mirror: Path, name: str) -> tuple[str, ...]:
    """The commit of a fetched ref (or HEAD), or of a sha."""
    place = kept(name) if name == "HEAD" or name.startswith("refs/") else name
    return git(mirror, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{place}^{{commit}}")


def is_ancestor(mirror: Path, commit: str, ref: str) -> tuple[str, ...]:
    return git(mirror, "merge-base", "--is-ancestor", commit, ref)


def changed(mirror: Path, since: str, commit: str) -> tuple[str, ...]:
    """The files in which two commits differ, each ended by a NUL; a renamed one has both its names.

    Args:
        since: a full sha; with `...` behind it, what changed since the two lines parted.
    """
    dots = "" if since.endswith("...") else ".."
    names = ("diff", "--name-only", "--no-renames", "--no-ext-diff", "--no-textconv", "-z")
    return git(mirror, *names, f"{since}{dots}{commit}", "--")


def read_tree(mirror: Path, commit: str) -> tuple[str, ...]:
    """Into the index that GIT_INDEX_FILE names, which is empty."""
    return git(mirror, "read-tree", commit)


def tree(mirror: Path, commit: str) -> tuple[str, ...]:
    """Every file and submodule of a commit, each as `<mode> <type> <sha>`, a tab and its path, ended by a NUL."""
    return git(mirror, "ls-tree", "-r", "-z", "--full-tree", commit)


def checkout_index(mirror: Path, folder: Path, *, named: bool = False) -> tuple[str, ...]:
    """Write the index into a folder.

    Args:
        named: only the files that standard input names, each ended by a NUL.
    """
    which = ("-z", "--stdin") if named else ("--all",)
    # `-c` comes before git's own verbs; a bare mirror has no work tree unless it is told that it is none.
    argv = git(mirror, f"--work-tree={folder}", "checkout-index", *which, "--force", "--quiet")
    return ("git", "-c", "core.bare=false", *argv[1:])


def archive(mirror: Path, commit: str) -> tuple[str, ...]:
    """The commit's tree as tar: symlinks stay links, nothing outside the tree is read."""
    return git(mirror, "archive", "--format=tar", commit)


def sizes(mirror: Path, commit: str) -> tuple[str, ...]:
    """As `tree`, with the bytes of each file before the tab."""
    return git(mirror, "ls-tree", "-r", "-l", "-z", "--full-tree", commit)


def ignored(mirror: Path, rules: Path) -> tuple[str, ...]:
    """The files of the index that a file like .gitignore names, each ended by a NUL."""
    named = ("ls-files", "--cached", "--ignored", f"--exclude-from={rules}", "-z")
    # It asks for a work tree and does not look into it.
    argv = git(mirror, f"--work-tree={rules.parent}", *named)
    return ("git", "-c", "core.bare=false", *argv[1:])


def names(output: bytes) -> tuple[str, ...]:
    """The paths of an output in which a NUL ends each."""
    return tuple(output.decode("utf-8", "surrogateescape").split("\0")[:-1])
