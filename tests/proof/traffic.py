"""A number in, so many webhooks out: pushes to many branches, tags that go live, copies, and forgeries."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random

from infra.local import samples
from infra.local.githost import Person
from infra.local.samples import Webhook
from tests.whole.world import BITBUCKET, GITHUB, World

APPS = tuple(f"2pisoftware/{name}" for name in ("hello", "tool", "shop", "blog", "wiki"))
CLIENTS = ("acme", "bolt", "crux")
_PEOPLE = tuple(Person(name, f"{name.lower()}@2pisoftware.com", name.lower()) for name in ("Ana", "Bo", "Cy", "Di"))
_COPIES = _FORGED = 0.05
_TAGS = 0.06
_LATE = 8
# So many pushes fall upon one branch, on average.
_TO_A_BRANCH = 2


def every_branch_of_every_application(ci_yml):
    """The sample's ci.yml, where what was for one application and a few of its branches is for all."""
    for one, all_of_them in {
        "repository: github.com/2pisoftware/hello": "repository: github.com/2pisoftware/{app}",
        "image: 2pisoftware/hello": 'image: "2pisoftware/{app}"',
        'push: [develop, "feature/**"]': 'push: ["**"]',
    }.items():
        assert one in ci_yml, "the sample has changed"
        ci_yml = ci_yml.replace(one, all_of_them)
    return ci_yml


class Kind(StrEnum):
    """What is wrong with a letter, if anything."""

    GENUINE = "genuine"
    COPY = "copy"
    FORGED = "forged"


@dataclass(frozen=True)
class Letter:
    """One webhook on its way.

    Args:
        image: what its run pushes; `tag` is its own public tag there: the branch's, or the version.
        by: who hears of it.
        number: of two letters of one branch the higher one holds the newer commit.
    """

    webhook: Webhook
    kind: Kind
    image: str
    tag: str
    by: Person
    number: int

    @property
    def is_release(self) -> bool:
        return self.tag.startswith("v")


def letters(world: World, number: int, random: Random) -> list[Letter]:
    """So many letters, in the order in which they are sent: nearly that of their commits, as forges do it.

    The commits are made, and the tags.
    """
    copies, forged = round(number * _COPIES), round(number * _FORGED)
    genuine = list(_genuine(world, number - copies, random))
    for index in random.sample(range(len(genuine)), forged):
        genuine[index] = _forged(genuine[index], random)
    originals = [letter for letter in genuine if letter.kind is Kind.GENUINE]
    again = [replace(letter, kind=Kind.COPY) for letter in random.sample(originals, copies)]
    # A forge sends a webhook a little later than the next one, now and then.
    return sorted([*genuine, *again], key=lambda letter: letter.number + random.random() * _LATE)


def _genuine(world: World, number: int, random: Random) -> Iterator[Letter]:
    releases = max(2, round(number * _TAGS))
    pushes = number - releases
    branches = [(APPS[index % len(APPS)], f"b{index}") for index in range(max(1, round(pushes / _TO_A_BRANCH)))]
    wanted = [random.choice(branches) for _ in range(pushes)]
    wanted += [(random.choice(CLIENTS), f"v1.{index}.0") for index in range(releases)]
    random.shuffle(wanted)
    by = {one: random.choice(_PEOPLE) for one in range(number)}

    def of(repository: str) -> dict[int, Letter]:
        mine = [(index, name) for index, (where, name) in enumerate(wanted) if where == repository]
        make = _release if repository in CLIENTS else _push
        return {index: make(world, repository, name, by[index], index) for index, name in mine}

    # One thread for each repository: a commit needs several processes of git.
    with ThreadPoolExecutor(4) as pool:
        made = {index: letter for part in pool.map(of, (*APPS, *CLIENTS)) for index, letter in part.items()}
    yield from (made[index] for index in range(number))


def _push(world: World, repository: str, branch: str, by: Person, number: int) -> Letter:
    webhook = world.commit(branch, {"note": f"{number}"}, repository=repository, by=by)
    return Letter(webhook, Kind.GENUINE, repository, branch, by, number)


def _release(world: World, client: str, version: str, by: Person, number: int) -> Letter:
    repository, host = f"2pisoftware/{client}_deploy", world.githost
    host.commit(BITBUCKET, repository, "develop", _files(world, version), f"Release {version}", by)
    tag = host.tag(BITBUCKET, repository, version)
    commit = host.describe(BITBUCKET, repository, tag.commit)
    webhook = samples.bitbucket_tag(repository, tag, commit, world.hook_secret, actor=by)
    return Letter(webhook, Kind.GENUINE, f"2pisoftware/{client}", version, by, number)


def create(world: World) -> None:
    """The repositories and environments that there are not yet."""
    for repository in APPS:
        if not world.githost.path(GITHUB, repository).exists():
            world.create(GITHUB, repository, samples.hello())
    for client in CLIENTS:
        world.create(BITBUCKET, f"2pisoftware/{client}_deploy", samples.client("v0"))
    with ThreadPoolExecutor(len(CLIENTS)) as pool:
        list(pool.map(world.create_environment, CLIENTS))


def _files(world: World, version: str) -> dict[str, str]:
    return {path: text.replace(samples.BASE_IMAGE, world.base) for path, text in samples.client(version).items()}


def _forged(letter: Letter, random: Random) -> Letter:
    headers, body = dict(letter.webhook.headers), letter.webhook.body
    name = "X-Hub-Signature-256" if "X-Hub-Signature-256" in headers else "X-Hub-Signature"
    match random.choice(("no signature", "another's", "another body")):
        case "no signature":
            del headers[name]
        case "another's":
            headers[name] = samples.signature("a guess", body)
        case _:
            body = json.dumps({**json.loads(body), "forged": True}).encode()
    return replace(letter, kind=Kind.FORGED, webhook=Webhook(headers, body))
