"""What `tau explain` says of recorded deliveries and of runs in every state, word for word: tests/stories/told.txt.

After a change of the words: `python -m tests.test_stories` writes the file anew, and its difference is to be read.
"""

import json
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path

import pytest

from chalicelib import providers
from chalicelib.config import parse
from chalicelib.model import (
    Delivery,
    Event,
    EventKind,
    Origin,
    Provider,
    PushedImage,
    Run,
    RunState,
    WaitingFor,
)
from chalicelib.plan import plan
from chalicelib.reports.story import Story, Told, lines
from runner.compiler import compile_text
from tests.installation import NOW

FOLDER = Path(__file__).parent / "stories"
TOLD = FOLDER / "told.txt"
RECORDED = Path(__file__).parent / "providers" / "recorded"
CONFIG = parse(compile_text((FOLDER / "ci.yml").read_text()))
FORGES = {"github": "github.com", "bitbucket_cloud": "bitbucket.org"}
DELIVERY = "01KAW3ZB80ABCDEFGHJKMNPQRS"


def told(events, forge, origin=Origin.WEBHOOK, called=None):
    """A delivery of these events, planned, its runs queued."""
    plans = [plan(event, CONFIG) for event in events]
    runs = [
        Run(f"01KAW3ZB8{number}RNRNRNRNRNRNRNRN", DELIVERY, job, RunState.QUEUED, NOW)
        for number, job in enumerate(job for one in plans for job in one.jobs)
    ]
    verdicts = zip(events, (one.verdicts for one in plans), strict=True)
    return Told(DELIVERY, NOW, forge, origin, called, tuple(verdicts), tuple(runs))


def recorded():
    for index in sorted(RECORDED.glob("*/case.json")):
        if index.parent.name not in FORGES:
            continue
        for case in json.loads(index.read_text()):
            forge = FORGES[index.parent.name]
            headers = {name.lower(): (value,) for name, value in case["headers"].items()}
            body = (index.parent / case["body"]).read_bytes()
            events = providers.read(Delivery(forge, Provider(index.parent.name), headers, body))
            called = next((event.delivery_id for event in events), None)
            yield f"{index.parent.name}: {case['id']}", told(events, forge, called=called)


def of_kind(kind, **changes):
    """An event of our own."""
    fields = {"repository": "2pisoftware/cmfive", "ref": "refs/heads/master", "name": "master", **changes}
    return Event("github.com", Provider.GITHUB, "", kind, **fields)


def ours():
    pushed = PushedImage("code.2pisoftware.com:5000", "2pisoftware/cmfive", "latest", "sha256:" + "1" * 64, "01RUN")
    image = Event("tau", Provider.TAU, "", EventKind.IMAGE, None, name="2pisoftware/cmfive:latest", image=pushed)
    yield "ours: an image was pushed", told([image], "tau", Origin.IMAGE)
    for kind, origin in ((EventKind.MANUAL, Origin.MANUAL), (EventKind.SCHEDULE, Origin.SCHEDULE)):
        found = told([of_kind(kind, pipeline="cmfive")], "github.com", origin)
        yield f"ours: {origin}", found
    found = of_kind(EventKind.PUSH, commit="2" * 40)
    yield "ours: found by a look at the forge", told([found], "github.com", Origin.RECONCILED)
    stranger = of_kind(EventKind.PUSH, repository="stranger/thing", commit="2" * 40)
    yield "ours: of a repository that no pipeline is about", told([stranger], "github.com")
    excepted = of_kind(EventKind.TAG_CREATED, repository="2pisoftware/cmfive_deploy", commit="2" * 40)
    excepted = replace(excepted, forge="bitbucket.org", ref="refs/tags/v1", name="v1")
    yield "ours: of a repository that is excepted", told([excepted], "bitbucket.org")
    wip = of_kind(EventKind.PUSH, ref="refs/heads/wip/x", name="wip/x", commit="2" * 40)
    yield "ours: of a branch that is excepted", told([wip], "github.com")


STATES = {
    "passed, and the pusher was told": {
        "state": RunState.PASSED,
        "tell": {"email:dev@2pisoftware.com": {"state": "told"}},
    },
    "failed, and one of two could not be told": {
        "state": RunState.FAILED,
        "reason": "2 of 14 tests failed",
        "tell": {"email:a@2pisoftware.com": {"state": "told"}, "email:b@2pisoftware.com": {"state": "failed"}},
    },
    "errored, and the operators are still to be told": {
        "state": RunState.ERRORED,
        "reason": "the registry was away, twice",
        "tell": {"email:ops@2pisoftware.com": {"state": "due"}},
    },
    "superseded": {
        "state": RunState.SUPERSEDED,
        "reason": "a newer push of master (3333333) takes its place: run 01KAW4",
    },
    "cancelled": {"state": RunState.CANCELLED, "reason": "cancelled by sam@laptop"},
    "skipped": {"state": RunState.SKIPPED, "reason": "there is nothing to deploy", "started_at": None},
    "waiting for a lock": {
        "state": RunState.WAITING,
        "waiting_for": WaitingFor.LOCK,
        "reason": "run 01KAW2 holds cmfive/github.com/2pisoftware/cmfive/refs/heads/master",
        "started_at": None,
        "ended_at": None,
    },
    "left alone, because its repository kills runners": {
        "state": RunState.WAITING,
        "waiting_for": WaitingFor.RUNNER,
        "reason": "run 01KAW2 of github.com/2pisoftware/cmfive killed its runners again and again",
        "started_at": None,
        "ended_at": None,
    },
    "running": {"state": RunState.RUNNING, "ended_at": None},
}


def in_every_state():
    event = of_kind(EventKind.PUSH, commit="2" * 40)
    for name, changes in STATES.items():
        one = told([event], "github.com", called="72d3162e-cc78-11e3-81ab-4c9367dc0958")
        times = {"started_at": NOW + timedelta(seconds=2), "ended_at": NOW + timedelta(seconds=80)}
        yield f"run: {name}", replace(one, runs=(replace(one.runs[0], **{**times, **changes}),))


CASES = {**dict(recorded()), **dict(ours()), **dict(in_every_state())}


def rendered(name):
    living = {} if name.startswith("ours") else {"default": 2}
    return lines(Story("x", (CASES[name],), living=living), NOW + timedelta(seconds=90), UTC)


def written():
    """The file's sections by name."""
    sections = TOLD.read_text().split("\n== ")[1:]
    return {name: text.rstrip("\n") for name, _, text in (section.partition("\n") for section in sections)}


@pytest.mark.parametrize("name", CASES)
def test_the_story_is_told_word_for_word(name):
    assert "\n".join(rendered(name)) == written()[name]


def test_the_file_has_no_story_that_nobody_tells():
    assert list(written()) == list(CASES)
    assert len(CASES) >= 20


def test_every_rule_is_shown_to_who_asks_for_it():
    (one,) = (CASES[name] for name in CASES if name == "github: push-master-form")
    every = lines(Story("x", (one,)), NOW, UTC, every=True)
    (about,) = (line for line in every if "deployments" in line)
    assert about.endswith("repository github.com/2pisoftware/cmfive is not bitbucket.org/2pisoftware/{client}_deploy")


def test_where_nothing_came_the_reader_learns_what_to_look_at():
    said = lines(Story("with the commit 2222222", (), ("the webhook's page",)), NOW, UTC)
    assert said == [
        "No delivery with the commit 2222222 has arrived.",
        "",
        "What to look at:",
        "  - the webhook's page",
    ]


if __name__ == "__main__":
    stories = ("\n== " + name + "\n" + "\n".join(rendered(name)) + "\n" for name in CASES)
    TOLD.write_text("Written by `python -m tests.test_stories`; read what changes.\n" + "".join(stories))
