"""Deliveries of our own beside webhooks: none takes the other's place, and none is taken for a word about a ref."""

import json
from dataclasses import replace

import pytest

from chalicelib import graph, intake, starts
from chalicelib.config import TriggerKind, parse
from chalicelib.model import EventKind, Origin, PushedImage, Pusher, RunState, StepResult, StepStatus
from chalicelib.plan import plan
from chalicelib.providers import internal
from chalicelib.superseding import rivals, successor
from infra.local.samples import Webhook, signature
from tests.forge_stand_ins import GitHubStandIn
from tests.graphs import CMFIVE, known
from tests.hooks import REPOSITORY, SECRET, compiled, pipeline
from tests.installation import NOW, SETTINGS, event, job, run
from tests.reconciler.world import SECRETS, World
from tests.sim.edges.cloud import MemoryCloud

STEPS = [
    {"action": "build", "settings": {"image": "2pisoftware/dep"}},
    {"action": "push", "settings": {"image": "2pisoftware/dep", "to": ["docker.io"], "tags": ["latest"]}},
    {"action": "deploy_eb", "settings": {"application": "dep"}},
]
ANY = {"push": {"names": ["**"]}, "tag": {"names": ["*"]}}
DEP = pipeline("dep", triggers=ANY, steps=STEPS)
NIGHTLY = pipeline("dep", triggers={"schedule": {"cron": "0 3 * * *", "timezone": "UTC", "ref": "master"}}, steps=STEPS)


@pytest.fixture
def world():
    cloud = MemoryCloud(SETTINGS, lambda: NOW, lambda: 0.0, lambda _until: None)
    for name, value in SECRETS.items():
        cloud.put_secret(name, value)
    with GitHubStandIn() as forge:
        yield World(cloud.edge(), forge, DEP)


def touching(webhook, *files):
    """A push that lists its files, as GitHub's do."""
    body = json.loads(webhook.body)
    for commit in body["commits"]:
        commit.update(added=[], removed=[], modified=list(files))
    raw = json.dumps(body).encode()
    return Webhook({**webhook.headers, "X-Hub-Signature-256": signature(SECRET, raw)}, raw)


def again(ref, digest="sha256:2"):
    """The event that builds the image of `dep` again, since what it stands on was pushed."""
    name = ref.split("/", 2)[2]
    child = known("2pisoftware/dep:latest", CMFIVE, ref=ref, repository=REPOSITORY, ref_name=name, pipeline="dep")
    image = PushedImage("docker.io", "2pisoftware/cmfive", "latest", digest, "01RUN", (), rebuild=True)
    return graph.rebuild_of(child, image, job())


def rebuilt(world, ref):
    one = again(ref)
    world.clock.pass_(1)
    return intake.take(internal.delivery(Origin.IMAGE, one.forge, one.provider, [one]), world.config, world.edge, NOW)


def test_a_late_webhook_that_lists_its_files_starts_nothing_that_a_look_has_started(world):
    world.deliver(world.push("develop"))
    world.look()
    lost = touching(world.push("develop"), "a.txt")
    world.look()
    assert world.deliver(lost).status == 200
    assert set(world.built().values()) == {1}


def test_a_tag_that_is_told_again_after_its_image_was_rebuilt_starts_nothing(world):
    world.look()
    tag = world.tag("v1")
    assert world.deliver(tag).status == 202
    rebuilt(world, "refs/tags/v1")
    assert world.deliver(tag).status == 200


def test_an_image_of_a_ref_that_a_look_found_is_rebuilt_all_the_same(world):
    world.look()
    world.tag("v1")
    assert world.look_at_one().runs == 1
    assert rebuilt(world, "refs/tags/v1").status == 202


def test_what_is_announced_a_second_time_is_known_though_a_push_came_between(world):
    world.look()
    world.deliver(world.push("master"))
    assert rebuilt(world, "refs/heads/master").status == 202
    world.deliver(world.push("master"))
    assert rebuilt(world, "refs/heads/master").status == 200


def test_a_rebuild_of_a_ref_that_nobody_knows_says_nothing_of_where_it_stands(world):
    world.push("old")
    rebuilt(world, "refs/heads/old")
    assert world.look_at_one().runs == 0


def planned(one):
    (found,) = plan(one, parse(compiled(NIGHTLY))).jobs
    return found


def started(kind):
    config = parse(compiled(NIGHTLY))
    (rule,) = config.pipelines
    if kind is EventKind.SCHEDULE:
        return starts.scheduled(rule, rule.triggers[TriggerKind.SCHEDULE], REPOSITORY, NOW, config)
    return starts.started(rule, REPOSITORY, "refs/heads/master", config, nonce="x", by=Pusher(login="kim"))


@pytest.mark.parametrize("kind", [EventKind.SCHEDULE, EventKind.MANUAL])
def test_a_rebuild_and_a_start_never_take_each_others_place(kind):
    """One does not go live, the other rebuilds nothing."""
    start, rebuild = planned(started(kind)), planned(again("refs/heads/master"))
    assert [len(one.steps) for one in (start, rebuild)] == [3, 2]
    assert start.lock == rebuild.lock
    for older, newer in ((start, rebuild), (rebuild, start)):
        assert rivals(run(1, job=older), [run(2, job=newer)]) == []


def test_of_two_starts_without_a_commit_the_newer_one_is_done():
    older, newer = run(1, job=planned(started(EventKind.SCHEDULE))), run(2, job=planned(started(EventKind.SCHEDULE)))
    assert successor(older, rivals(older, [newer]), lambda: pytest.fail("no commit is known")) == newer


def pinned(number, commit, **changes):
    """A scheduled run that has begun, and wrote down which commit it builds."""
    entry = {"step": -1, "kind": "seen", "key": "source github.com/2pisoftware/cmfive", "epoch": 1, "commit": commit}
    one = job(event=event(kind=EventKind.SCHEDULE, commit=None))
    return run(number, job=one, journal=(entry,), **changes)


def test_a_commit_that_a_run_wrote_down_counts_like_one_that_a_push_brought():
    push = run(1, job=job(event=event(commit="a" * 40)))
    nightly = pinned(2, "b" * 40, state=RunState.PASSED)
    assert rivals(push, [nightly]) == [nightly]
    newer = run(3, job=job(event=event(commit="c" * 40)), state=RunState.PASSED)
    assert rivals(nightly, [newer]) == [newer]


def test_an_announcement_made_again_from_the_record_has_the_same_body():
    digests = {"docker.io": "sha256:1", "code.example:5000": "sha256:1"}
    facts = {"image": {"name": "2pisoftware/cmfive", "id": "sha256:9"}, "digests": digests, "moved": ["latest"]}
    result = StepResult("push", StepStatus.PASSED, NOW, NOW, facts=facts)
    one = replace(run(1), results={"0": result})
    (here,) = graph.pushed(one, one.results)
    other = replace(result, facts={**facts, "digests": dict(sorted(digests.items()))})
    (there,) = graph.pushed(one, {"0": other})
    assert here == there
