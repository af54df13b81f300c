"""A commit's .gitmodules and what ci.yml allows in; which repository lies where, at which commit, out. Pure.

What a repository says is compared with ci.yml and never used: address, key and protocol are those of a forge of ci.yml,
the place is one where the commit itself has a submodule, and git's own `submodule` is not run. `workspace.py` fetches
and lays each like any other repository.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from chalicelib.errors import StepFailed
from chalicelib.globs import capture, has_control
from chalicelib.model import Source
from chalicelib.reports.words import clean

MOST = 50
"""So many in one tree, those of submodules counted."""
DEEPEST = 3
MOST_BYTES = 256 * 1024
"""A .gitmodules of more is none that a person wrote."""
FILE = ".gitmodules"

_MOST_PATH = 200
_KEY = re.compile(r"submodule\.(.+)\.(path|url|update)", re.DOTALL)
_WITH_SCHEME = re.compile(r"(https|ssh)://(?:[A-Za-z0-9._-]+@)?([A-Za-z0-9][A-Za-z0-9.-]*)(?::([0-9]{1,5}))?/(.+)")
# git's own short form of ssh: git@github.com:owner/name.git
_SHORT = re.compile(r"(?:[A-Za-z0-9._-]+@)?([A-Za-z0-9][A-Za-z0-9.-]*):(?!/)(.+)")
# A name that begins with a hyphen would be an option somewhere.
_FULL_NAME = re.compile(
    r"~?(?!\.{1,2}/)[A-Za-z0-9._][A-Za-z0-9._-]*/(?!\.{1,2}\Z)[A-Za-z0-9._][A-Za-z0-9._-]*", re.ASCII
)


@dataclass(frozen=True)
class Module:
    """A submodule: where it lies in the tree, and which commit of which repository."""

    path: str
    source: Source
    commit: str


@dataclass(frozen=True)
class Submodules:
    """Those of a tree.

    Args:
        empty: the folders of those that .gitmodules does not name, or wants left alone.
    """

    modules: tuple[Module, ...] = ()
    empty: tuple[str, ...] = ()


def submodules(listed: bytes, links: Mapping[str, str], parent: Source, allowed: Sequence[Source]) -> Submodules:
    """The submodules of a commit.

    Args:
        listed: its .gitmodules, as `git config -z --list` has it.
        links: the commit's own word: path -> commit of the other repository.
        parent: whose commit it is; addresses may be relative to it.
        allowed: what ci.yml allows: `repository` is a pattern of names, `clone` has `{repository}` in it.

    Raises:
        StepFailed: one cannot be what is meant, or is not allowed.
    """
    by_path = _by_path(_sections(listed))
    modules, empty = [], []
    for path, commit in sorted(links.items()):
        said = by_path.get(path, {})
        if "url" not in said or said.get("update") == "none":
            empty.append(path)
            continue
        _check(path, said)
        modules.append(Module(path, _source(path, said["url"], parent, allowed), commit))
    return Submodules(tuple(modules), tuple(empty))


def _sections(listed: bytes) -> dict[str, dict[str, str]]:
    sections: dict[str, dict[str, str]] = {}
    for line in listed.decode("utf-8", "surrogateescape").split("\0"):
        key, _, value = line.partition("\n")
        if found := _KEY.fullmatch(key):
            section = sections.setdefault(found[1], {})
            if found[2] in section:
                raise StepFailed(f"{FILE} says {found[2]} of the submodule {clean(found[1])} twice: leave one out")
            section[found[2]] = value
    return sections


def _by_path(sections: Mapping[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for said in sections.values():
        path = said.get("path", "")
        if path in found:
            raise StepFailed(f"{FILE} names two submodules at {clean(path)}: leave one out")
        if path:
            found[path] = said
    return found


def _check(path: str, said: Mapping[str, str]) -> None:
    if has_control(path) or len(path) > _MOST_PATH:
        raise StepFailed(f"the submodule {clean(path)} cannot be laid: give it a shorter path that can be written")
    if has_control(said["url"]):
        raise StepFailed(f"the address of the submodule {path} holds a character that none does: correct {FILE}")
    if said.get("update", "").startswith("!"):
        raise StepFailed(f"{FILE} wants a command to be run for the submodule {path}: take its `update` out")


def _source(path: str, url: str, parent: Source, allowed: Sequence[Source]) -> Source:
    """The repository that an address means, as ci.yml has it fetched."""
    forges = {one.forge: one for one in allowed}
    named = _relative(url, parent) if url.startswith(("./", "../")) else _absolute(url, forges.values())
    if named is None:
        shown = re.sub("//[^/@]*@", "//", clean(url))
        raise StepFailed(
            f"the submodule {path} lies at {shown}: write the https or ssh address of a repository at one of"
            f" {', '.join(sorted(forges))}, the forges that `submodules` of ci.yml names"
        )
    forge, name = named
    if not any(one.forge == forge and capture(one.repository, name) is not None for one in allowed):
        raise StepFailed(f"the submodule {path} is {forge}/{name}, which `submodules` of ci.yml does not allow")
    template = forges[forge]
    return replace(template, repository=name, clone=template.clone.replace("{repository}", name))


def _relative(url: str, parent: Source) -> tuple[str, str] | None:
    """What `../other.git` means, seen from the parent's own place."""
    base = parent.repository.split("/")
    while url.startswith(("./", "../")):
        up, _, url = url.partition("/")
        if up == "..":
            if not base:
                return None
            base.pop()
    name = _full_name("/".join((*base, url)))
    return (parent.forge, name) if name else None


def _absolute(url: str, forges: Iterable[Source]) -> tuple[str, str] | None:
    host, port, path = _parts(url)
    for forge in forges:
        ours = urlsplit(forge.clone)
        if host not in {forge.forge.lower(), (ours.hostname or "").lower()} or port not in {None, ours.port}:
            continue
        # A host may have them below a folder, which is no part of their names.
        folder = ours.path.partition("{repository}")[0].strip("/")
        if folder and path.startswith(f"{folder}/"):
            path = path[len(folder) + 1 :]
        if name := _full_name(path):
            return forge.forge, name
    return None


def _parts(url: str) -> tuple[str, int | None, str]:
    """Host, port and path; all empty where it is no address of ours."""
    if found := _WITH_SCHEME.fullmatch(url):
        return found[2].lower(), int(found[3]) if found[3] else None, found[4].lstrip("/")
    if "://" not in url and "::" not in url and (found := _SHORT.fullmatch(url)):
        return found[1].lower(), None, found[2]
    return "", None, ""


def _full_name(path: str) -> str | None:
    name = path.rstrip("/").removesuffix(".git")
    return name if _FULL_NAME.fullmatch(name) else None


def lines(of: str, found: Submodules) -> Iterator[str]:
    """For the log: what was laid where, and what was not."""
    for one in found.modules:
        yield f"submodule {one.path} of {of}: {one.source.name} at {one.commit[:7]}"
    for path in found.empty:
        yield f"submodule {clean(path)} of {of} is not fetched, its folder is empty: {FILE} says no address for it"
