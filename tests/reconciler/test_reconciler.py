"""What no webhook said: found at a forge over real HTTP, started once, whatever comes late."""

import random

import pytest

from chalicelib.model import EventKind, Origin
from tests.forge_stand_ins import BitbucketStandIn, GitHubStandIn, sha
from tests.installation import NOW, SETTINGS
from tests.reconciler.world import SECRETS, World, happened
from tests.sim.edges.cloud import MemoryCloud


@pytest.fixture(params=[GitHubStandIn, BitbucketStandIn], ids=["github", "bitbucket"])
def quick_world(request):
    """The same over a table in memory, for a test that writes a great deal."""
    cloud = MemoryCloud(SETTINGS, lambda: NOW, lambda: 0.0, lambda _until: None)
    for name, value in SECRETS.items():
        cloud.put_secret(name, value)
    with request.param() as forge:
        yield World(cloud.edge(), forge)


# --- the first look -------------------------------------------------------------------------------


def test_what_stands_there_on_the_day_of_installation_starts_nothing(world):
    world.push("develop")
    for number in range(5):
        world.tag(f"v{number}")
    looked = world.look_at_one()
    assert (looked.taken, looked.found, looked.runs) == (6, (), 0)
    assert looked.counts == {"branch": 1, "tag": 5}
    assert world.look_at_one().found == ()
    assert world.runs() == []


def test_a_push_whose_webhook_is_on_its_way_during_the_first_look_is_built(world):
    webhook = world.push("develop")
    world.look()
    assert world.deliver(webhook).status == 202
    assert world.look_at_one().found == ()
    assert list(world.built().values()) == [1]


def test_a_push_that_is_lost_after_another_was_told_is_found_by_the_first_look(world):
    world.deliver(world.push("develop"))
    world.push("develop")
    assert happened(world.look_at_one()) == [(EventKind.PUSH, "develop")]


# --- what is found --------------------------------------------------------------------------------


def test_a_lost_push_starts_its_run_and_the_late_webhook_names_it(world):
    world.deliver(world.push("develop"))
    world.look()
    lost = world.push("develop")
    looked = world.look_at_one()
    assert (happened(looked), looked.runs) == ([(EventKind.PUSH, "develop")], 1)
    late = world.deliver(lost)
    (run,) = [run for run in world.runs() if run.job.event.commit == world.repository.branches["develop"]]
    assert (late.status, late.body["runs"]) == (200, [run.id])
    assert "found at the forge before this came" in late.body["reason"]
    again = world.deliver(lost)
    assert (again.status, again.body["runs"]) == (200, [run.id])
    assert world.look_at_one().found == ()


def test_what_is_found_is_recorded_as_ours_and_says_what_a_webhook_would(world):
    world.deliver(world.push("develop"))
    world.look()
    before = world.repository.branches["develop"]
    world.push("develop")
    (event,) = world.look_at_one().found
    after = world.repository.branches["develop"]
    assert (event.repository, event.ref, event.before, event.after) == (
        world.full_name,
        "refs/heads/develop",
        before,
        after,
    )
    assert event.head_commit_author_email == "sam@2pisoftware.com"
    assert event.head_commit_message
    (run,) = [run for run in world.runs() if run.job.event == event]
    record = world.edge.store.delivery(run.delivery)
    assert (record["origin"], record["delivery_id"], record["headers"]) == (Origin.RECONCILED, run.delivery, {})
    assert record["runs"] == [run.id]
    assert record["verdicts"][0][0]["matched"] is True


def test_four_tags_at_once_for_which_github_sends_nothing_are_four_runs(github):
    github.tag("v0")
    github.look()
    for number in range(1, 5):
        github.tag(f"v{number}", annotated=number % 2 == 0)
    looked = github.look_at_one()
    assert happened(looked) == [(EventKind.TAG_CREATED, f"v{number}") for number in range(1, 5)]
    wanted = {(f"refs/tags/v{number}", github.repository.tags[f"v{number}"][1]) for number in range(1, 5)}
    assert set(github.built()) == wanted
    assert len({run.delivery for run in github.runs()}) == 1


def test_an_annotated_tag_is_checked_out_at_its_commit_and_a_tag_of_a_tag_too(github):
    github.tag("v0")
    github.look()
    github.tag("v1", annotated=True)
    at, made = github.repository.tags["v1"]
    github.repository.tags["v2"] = sha("outer"), made
    github.forge.tags_of_tags[sha("outer")] = at
    events = {event.name: event for event in github.look_at_one().found}
    assert (events["v1"].after, events["v1"].commit) == (at, made)
    assert (events["v2"].after, events["v2"].commit) == (sha("outer"), made)


def test_a_moved_tag_is_found_with_where_it_was(world):
    world.deliver(world.tag("v1"))
    world.look()
    before = world.repository.tags["v1"][1]
    world.tag("v1")
    (event,) = world.look_at_one().found
    assert (event.kind, event.before) == (EventKind.TAG_CREATED, before)


def test_what_is_gone_is_found_and_starts_nothing(world):
    world.deliver(world.push("feature/x"))
    world.deliver(world.tag("v1"))
    world.look()
    webhooks = [world.delete("feature/x"), world.delete_tag("v1")]
    runs = len(world.runs())
    looked = world.look_at_one()
    assert happened(looked) == [(EventKind.BRANCH_DELETED, "feature/x"), (EventKind.TAG_DELETED, "v1")]
    assert world.look_at_one().found == ()
    for webhook in webhooks:
        assert world.deliver(webhook).status == 200
    assert len(world.runs()) == runs


def test_a_branch_that_comes_back_at_the_same_commit_is_new(world):
    world.deliver(world.push("develop"))
    at = world.repository.branches["develop"]
    world.look()
    world.deliver(world.delete("develop"))
    world.push("develop", at)
    assert happened(world.look_at_one()) == [(EventKind.BRANCH_CREATED, "develop")]
    assert world.built()["refs/heads/develop", at] == 2


def test_an_open_pull_request_is_announced_once_for_each_head(world):
    world.push("develop")
    world.look()
    world.repository.pulls[7] = sha("head"), "stranger/hello"
    (event,) = world.look_at_one().found
    assert (event.kind, event.pull.number, event.fork) == (EventKind.PULL_REQUEST, 7, True)
    assert sha("head").startswith(event.pull.head)
    assert world.look_at_one().found == ()
    world.repository.pulls[7] = sha("next"), world.full_name
    (event,) = world.look_at_one().found
    assert (event.fork, sha("next").startswith(event.pull.head)) == (False, True)
    del world.repository.pulls[7]
    assert world.look_at_one().found == ()
    world.repository.pulls[7] = sha("next"), world.full_name
    assert len(world.look_at_one().found) == 1
    assert world.runs() == []


# --- what comes late ------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (0, 2, 1)])
def test_pushes_that_were_gone_past_start_nothing_when_their_webhooks_come(world, order):
    world.deliver(world.push("develop"))
    world.look()
    lost = [world.push("develop") for _ in range(3)]
    looked = world.look_at_one()
    assert looked.runs == 1
    answers = {index: world.deliver(lost[index]) for index in order}
    head = world.repository.branches["develop"]
    assert world.built()["refs/heads/develop", head] == 1
    assert (answers[2].status, len(answers[2].body["runs"])) == (200, 1)
    if order == (0, 1, 2):
        assert {answer.status for answer in answers.values()} == {200}
        assert len(world.runs()) == 2
    assert world.look_at_one().found == ()


def test_an_older_push_that_comes_after_a_newer_one_does_not_make_the_newer_one_news(world):
    world.deliver(world.push("develop"))
    world.look()
    older, newer = world.push("develop"), world.push("develop")
    assert world.deliver(newer).status == 202
    assert world.deliver(older).status == 202
    assert world.look_at_one().found == ()
    assert set(world.built().values()) == {1}


def test_a_push_after_what_was_found_is_news(world):
    world.push("develop")
    world.look()
    world.push("develop")
    world.look()
    assert world.deliver(world.push("develop")).status == 202
    assert world.look_at_one().found == ()


def test_a_tag_that_is_made_again_after_it_was_found_is_started_once_at_the_next_look_at_the_latest(world):
    world.tag("v0")
    world.look()
    lost = world.tag("v1")
    world.look()
    world.deliver(world.delete_tag("v1"))
    again = world.tag("v1")
    # It may as well be the first one's, which was lost and is sent again by hand.
    assert [world.deliver(webhook).status for webhook in (again, lost)] == [200, 200]
    assert happened(world.look_at_one()) == [(EventKind.TAG_CREATED, "v1")]
    assert set(world.built().values()) == {1}


def test_a_tag_whose_webhook_came_late_is_started_at_once_when_it_is_made_again(world):
    world.tag("v0")
    world.look()
    late = world.tag("v1")
    world.look()
    world.deliver(late)
    world.deliver(world.delete_tag("v1"))
    assert world.deliver(world.tag("v1")).status == 202
    assert world.look_at_one().found == ()


def test_a_webhook_that_comes_while_the_forge_is_asked_is_not_doubled(world):
    world.deliver(world.push("develop"))
    world.look()
    on_its_way = [world.push("develop")]

    def arrive(path):
        # The answer that shows the push is already made when its webhook comes.
        if on_its_way and ("pulls" in path or "pullrequests" in path or "git/commits" in path):
            assert world.deliver(on_its_way.pop()).status == 202

    world.forge.trouble = arrive
    looked = world.look_at_one()
    if world.name == "github.com":
        assert looked.found == ()
    assert set(world.built().values()) == {1}
    assert world.look_at_one().found == ()


def test_a_forge_that_does_not_know_yet_what_its_webhook_said_is_not_believed(world):
    world.deliver(world.push("develop"))
    world.look()
    before = world.repository.branches["develop"]
    world.deliver(world.push("develop"))
    now = world.repository.branches["develop"]
    world.repository.branches["develop"] = before
    assert world.look_at_one(minutes=0.2).found == ()
    world.repository.branches["develop"] = now
    assert world.look_at_one().found == ()
    assert set(world.built().values()) == {1}


def test_a_branch_that_a_list_of_several_pages_missed_is_not_taken_for_gone(world):
    world.forge.page_size = 2
    for name in ("a", "b", "c", "d"):
        world.deliver(world.push(name))
    world.look()
    # The list is one short; asked for it alone, the forge has it.
    everything = world.forge.page
    world.forge.page = lambda items, query: everything(
        [i for i in items if not _is(i, "b")] if _all(query) else items, query
    )
    assert world.look_at_one().found == ()


def _is(item, name):
    return name in {item.get("name"), str(item.get("ref")).rpartition("/")[2]}


def _all(query):
    return "q" not in query


# --- whatever happens -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_of_many_pushes_some_of_which_nobody_tells_every_head_has_one_run_whatever_comes_late(quick_world, seed):
    world = quick_world
    chance = random.Random(seed)
    world.deliver(world.push("develop"))
    world.look()
    late = [webhook for index in range(100) if (webhook := _something(world, chance, lost=index in _drops(seed)))]
    assert len(late) >= 8
    world.look()
    built = world.built()
    assert {built[head] for head in world.heads()} == {1}
    chance.shuffle(late)
    for webhook in late:
        world.deliver(webhook)
    assert world.look_at_one().found == ()
    built = world.built()
    assert {built[head] for head in world.heads()} == {1}
    assert max(built.values()) == 1


def _drops(seed):
    return set(random.Random(-seed - 1).sample(range(100), 10))


def _something(world, chance, *, lost):
    """One thing happens; its webhook where that is lost, else None."""
    branches, tags = sorted(world.repository.branches), sorted(world.repository.tags)
    choice = chance.random()
    if choice < 0.6 or not tags:
        webhook = world.push(chance.choice([*branches, f"b{chance.randrange(20)}"]))
    elif choice < 0.75 or len(branches) < 2:
        webhook = world.tag(f"v{world.made}", annotated=chance.random() < 0.5)
    elif choice < 0.85:
        webhook = world.delete(chance.choice(branches[1:]))
    else:
        webhook = world.delete_tag(chance.choice(tags))
    if lost:
        return webhook
    assert world.deliver(webhook).status in {200, 202}
    return None
