"""Forges on their bad days, over real HTTP: what is asked, what is not, and what keeps nobody else waiting."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.forges.calls import MOST_BYTES, MOST_PAGES
from chalicelib.model import EventKind
from tests.forge_stand_ins import BitbucketStandIn, GitHubStandIn, Trouble, sha
from tests.hooks import REPOSITORY, pipeline
from tests.reconciler.world import OTHER, TOKEN_NAME, World, happened, of, reasons

# --- pages ----------------------------------------------------------------------------------------


def test_every_page_is_read(world):
    world.forge.page_size = 3
    for number in range(10):
        world.push(f"b{number}")
        world.tag(f"v{number}")
        world.repository.pulls[number + 1] = sha(str(number)), REPOSITORY
    looked = world.look_at_one()
    assert looked.counts == {"branch": 10, "tag": 10, "pull request": 10}
    world.tag("v99")
    assert happened(world.look_at_one()) == [(EventKind.TAG_CREATED, "v99")]


@pytest.mark.parametrize(
    "address",
    [
        "https://127.0.0.1:9/2.0/repositories/x?page=2",
        "{api}@evil.example/x?page=2",
        "http://evil.example\\@127.0.0.1/2.0/x",
        "//evil.example/2.0/x",
        "{host}/1.0/elsewhere?page=2",
        "http://[",
    ],
)
def test_a_next_page_at_another_address_is_not_asked_for(edge, address):
    with BitbucketStandIn() as stranger, BitbucketStandIn() as forge:
        world = World(edge, forge)
        next_page = address.format(api=forge.api, host=forge.host).replace("127.0.0.1:9", stranger.host[7:])
        body = b'{"values": [], "next": "%s"}' % next_page.replace("\\", "\\\\").encode()
        forge.trouble = of("/refs", Trouble(body=body))
        (looked,) = world.look()
        assert "names a next page that is not its own" in looked.reason
        assert stranger.asked == []
        assert len([path for path in forge.paths if "/refs" in path]) == 1


def test_pages_without_end_are_given_up(edge):
    with BitbucketStandIn() as forge:
        world = World(edge, forge)
        body = b'{"values": [], "next": "%s/repositories/x/refs?page=2"}' % forge.api.encode()
        forge.trouble = of("/refs", Trouble(body=body))
        (looked,) = world.look()
        assert f"more than {MOST_PAGES} pages" in looked.reason
        assert len(forge.asked) == MOST_PAGES


# --- what has not changed -------------------------------------------------------------------------


def test_what_has_not_changed_is_not_sent_again_and_costs_nothing(world):
    world.push("develop")
    world.tag("v1")
    world.look()
    world.forge.remaining, world.forge.asked = 100, []
    looked = world.look_at_one()
    assert looked.counts == {"branch": 1, "tag": 1}
    assert all("If-None-Match" in headers for _, headers in world.forge.asked)
    assert world.forge.remaining == 100
    world.push("develop")
    assert happened(world.look_at_one()) == [(EventKind.PUSH, "develop")]


def test_a_list_is_asked_for_anew_once_a_webhook_has_changed_what_is_known_of_it(github):
    github.deliver(github.push("develop"))
    github.look()
    # The webhook is an old one, and so is the forge's list by the time it comes.
    github.deliver(github.push("develop"))
    github.forge.asked = []
    github.look()
    sent = {
        path.partition("?")[0].rpartition("/")[2]: "If-None-Match" in headers for path, headers in github.forge.asked
    }
    assert sent == {"heads": False, "tags": True, "pulls": True}


def test_of_several_pages_none_is_taken_for_unchanged(github):
    github.forge.page_size = 2
    for number in range(5):
        github.tag(f"v{number}")
    github.look()
    # On the last page: the first stays the same.
    github.tag("v9")
    assert happened(github.look_at_one()) == [(EventKind.TAG_CREATED, "v9")]


# --- limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "minutes"),
    [
        (Trouble(429, {"Retry-After": "1800"}), 30),
        (Trouble(403, {"Retry-After": "1800"}), 30),
        (Trouble(403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "{in_half_an_hour}"}), 30),
        (Trouble(403, {}, b'{"message": "You have exceeded a secondary rate limit"}'), 5),
        (Trouble(429), 5),
        (Trouble(429, {"Retry-After": "soon"}), 5),
        (Trouble(429, {"Retry-After": "999999999999"}), 360),
        (Trouble(403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9" * 30}), 5),
    ],
    ids=["429", "403 with a time", "403 spent", "secondary", "429 bare", "no time", "too long", "no date"],
)
def test_a_forge_that_has_had_enough_is_left_alone_until_it_says(two, trouble, minutes):
    two.look()
    reset = str(int((two.clock() + timedelta(minutes=45)).timestamp()))
    headers = {name: value.replace("{in_half_an_hour}", reset) for name, value in trouble.headers.items()}
    two.forge.trouble = lambda _: replace(trouble, headers=headers)
    two.forge.asked = []
    first = two.look()
    assert len(two.forge.asked) == 1
    assert len(first) == 2
    assert all("it is left alone until" in one.reason and one.failed for one in first)
    two.forge.trouble, two.forge.asked = lambda _: None, []
    (later,) = two.look(minutes=minutes - 1)
    assert (later.repository, later.reason) == (None, first[0].reason)
    assert two.forge.asked == []
    assert {one.reason for one in two.look(minutes=2)} == {None}


def test_the_last_request_that_is_allowed_is_used_and_no_more_are_tried(two):
    two.forge.remaining, two.forge.reset = 2, int((two.clock() + timedelta(hours=1)).timestamp())
    looked = two.look()
    assert len(two.forge.asked) == 2
    assert "allows no more requests: it is left alone until" in looked[-1].reason


def test_one_forges_limit_is_not_anothers(edge):
    with GitHubStandIn() as hub, BitbucketStandIn() as bucket:
        rules = [pipeline(name[:3], repository=f"{name}/{REPOSITORY}") for name in ("github.com", "bitbucket.org")]
        world = World(edge, hub, *rules, more=(bucket,))
        bucket.repository(REPOSITORY).branches["develop"] = sha("there")
        hub.trouble = lambda _: Trouble(429, {"Retry-After": "60"})
        taken = {one.forge: (one.taken, one.failed) for one in world.look()}
        assert taken == {"github.com": (0, True), "bitbucket.org": (1, False)}


# --- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (Trouble(403), "github.com: the token may not read /repos/2pisoftware/other/git/matching-refs/heads (403)"),
        (Trouble(404), "github.com has nothing at /repos/2pisoftware/other/git/matching-refs/heads, or hides it"),
        (Trouble(301, {"Location": "https://evil.example/"}), "has moved (301): correct its name in ci.yml"),
        (Trouble(500), "github.com is unwell: 500 for"),
        (Trouble(503, {"Retry-After": "3600"}), "github.com is unwell: 503 for"),
        (Trouble(418), "github.com answers 418 for"),
        (Trouble(304), "github.com answers 304 for"),
        (Trouble(cut=10), "github.com did not answer: ProtocolError"),
        (Trouble(gone=True), "github.com did not answer: ProtocolError"),
        (Trouble(late_s=0.8), "github.com did not answer: ReadTimeoutError"),
        (Trouble(body=b"<html>"), "answers what this program cannot read"),
        (Trouble(body=b'{"message": "no list"}'), "answers what this program cannot read"),
        (Trouble(body=b"[1]"), "answers what this program cannot read"),
        (Trouble(body=b'[{"ref": "refs/heads/x"}]'), "answers what this program cannot read"),
        (Trouble(body=b'[{"ref": "refs/heads/x", "object": {"sha": "1"}}]'), "answers what this program cannot read"),
        (Trouble(body=b" " * (MOST_BYTES + 1)), f"answers with more than {MOST_BYTES} bytes"),
    ],
    ids=lambda value: None if isinstance(value, str) else f"{value.status} {(value.body or b'')[:20]!r} {value.late_s}",
)
def test_one_repository_that_fails_keeps_no_other_from_being_compared(two, trouble, said):
    two.forge.etags = False
    two.look()
    two.push("develop")
    two.forge.trouble = of(f"{OTHER}/git/matching-refs/heads", trouble)
    looked = {one.repository: one for one in two.look()}
    assert looked[OTHER].failed
    assert said in looked[OTHER].reason
    assert happened(looked[REPOSITORY]) == [(EventKind.BRANCH_CREATED, "develop")]
    two.forge.trouble = lambda _: None
    two.forge.repository(OTHER).branches["develop"] = sha("lost")
    assert {one.repository: happened(one) for one in two.look()} == {
        OTHER: [(EventKind.PUSH, "develop")],
        REPOSITORY: [],
    }


def test_a_connection_that_is_lost_once_is_tried_again(world):
    left = [Trouble(gone=True)]
    world.forge.trouble = lambda _: left.pop() if left else None
    world.push("develop")
    assert (world.look_at_one().reason, world.look_at_one().counts) == (None, {"branch": 1})


def test_pull_requests_that_the_token_may_not_read_do_not_keep_branches_from_being_compared(world):
    world.forge.trouble = lambda path: Trouble(403) if "pull" in path else None
    world.push("develop")
    world.look()
    world.push("develop")
    looked = world.look_at_one()
    assert happened(looked) == [(EventKind.PUSH, "develop")]
    assert "(403)" in looked.reason


def test_a_ref_of_which_the_forge_says_no_more_waits_for_the_next_look(github):
    github.push("develop")
    github.look()
    github.push("develop")
    github.tag("v1")
    github.forge.trouble = of(f"git/commits/{github.repository.branches['develop']}", Trouble(500))
    looked = github.look_at_one()
    assert happened(looked) == [(EventKind.TAG_CREATED, "v1")]
    assert looked.failed
    github.forge.trouble = lambda _: None
    assert happened(github.look_at_one()) == [(EventKind.PUSH, "develop")]


def test_a_token_that_is_refused_is_said_and_the_forge_not_asked_again(two):
    two.edge.client("ssm").put_parameter(
        Name=f"/tau/test/secrets/{TOKEN_NAME}", Value="an-old-one", Type="SecureString", Overwrite=True
    )
    two.edge.secrets._kept.clear()
    assert set(reasons(two.look()).values()) == {"github.com refuses the token (401): put a new one in its place"}
    assert len(two.forge.asked) == 1
    two.forge.asked = []
    two.look()
    assert len(two.forge.asked) == 1, "whether it was put is found out by asking"


def test_a_forge_that_answers_nobody_is_given_up_for_this_time(edge):
    with GitHubStandIn() as forge:
        names = [f"2pisoftware/r{number}" for number in range(9)]
        world = World(
            edge, forge, *(pipeline(f"r{n}", repository=f"github.com/{name}") for n, name in enumerate(names))
        )
        for name in names:
            forge.repository(name).branches["develop"] = sha(name)
        forge.trouble = lambda _: Trouble(502)
        looked = world.look()
        assert len(looked) == 9
        assert len(forge.asked) == 3
        assert "after 3 such in a row nothing else is asked" in looked[-1].reason
        forge.trouble = lambda _: None
        assert sum(one.taken for one in world.look()) == 9


def test_nobody_at_the_address_is_a_reason_and_no_traceback(edge):
    with GitHubStandIn() as forge:
        world = World(edge, forge)
    (looked,) = world.look()
    assert "github.com did not answer" in looked.reason
