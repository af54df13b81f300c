"""What stands on what, what is stale, and what is built again when an image moves."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.graph import Base, announced, below, event_of, next_level, pushed, rebuild_of, stale
from chalicelib.model import EventKind, PushedImage, StepResult, StepStatus
from tests.graphs import CLIENT, CMFIVE, CRM, known
from tests.installation import NOW, event, job, run


def names(found):
    return [one.named for one in found]


CHAIN = [known(CMFIVE), known(CRM, CMFIVE), known(CLIENT, CRM)]


def test_of_a_chain_only_what_stands_directly_on_the_moved_image_is_next():
    assert names(next_level(CMFIVE, CHAIN)) == [CRM]
    assert names(next_level(CRM, CHAIN)) == [CLIENT]
    assert names(next_level(CLIENT, CHAIN)) == []


def test_all_that_stands_on_an_image_is_named_through_every_level():
    assert names(below([CMFIVE], CHAIN)) == [CLIENT, CRM]


def test_what_stands_on_two_levels_waits_for_the_later_one():
    both = known(CLIENT, CMFIVE, CRM)
    assert names(next_level(CMFIVE, [known(CMFIVE), known(CRM, CMFIVE), both])) == [CRM]


def test_several_tags_of_one_build_are_built_again_once():
    several = [known("o/crm:latest", CMFIVE), known("o/crm:master", CMFIVE)]
    assert len(next_level(CMFIVE, several)) == 1


def test_of_the_releases_only_the_newest_is_built_again_and_every_branch():
    releases = [known(f"o/a:v1.{n}", CMFIVE, run=f"0{n}", ref=f"refs/tags/v1.{n}") for n in (1, 3, 2)]
    branches = [known(f"o/a:{b}", CMFIVE, ref=f"refs/heads/{b}") for b in ("x", "y")]
    assert sorted(names(next_level(CMFIVE, releases + branches))) == ["o/a:v1.3", "o/a:x", "o/a:y"]


def test_a_circle_ends_where_it_began():
    circle = [known(CMFIVE, CRM), known(CRM, CMFIVE)]
    assert names(next_level(CMFIVE, circle)) == [CRM]
    assert names(next_level(CRM, circle, passed=(CMFIVE,))) == []
    assert names(below([CMFIVE], circle)) == [CRM]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=20))
def test_level_by_level_everything_below_is_built_again_whatever_the_graph(edges):
    on = {name: [f"o/i{b}:t" for a, b in edges if a == name and a < b] for name in range(7)}
    images = [known(f"o/i{name}:t", *bases) for name, bases in on.items()]
    built, front = set(), [("o/i6:t", ())]
    while front:
        named, passed = front.pop()
        for one in next_level(named, images, passed):
            built.add(one.named)
            front.append((one.named, (*passed, named)))
    assert built == {one.named for one in below(["o/i6:t"], images)}


def test_stale_is_what_was_built_on_a_digest_that_is_not_under_the_tag_any_more():
    crm = known(CRM, CMFIVE)
    assert stale(crm, {CMFIVE: known(CMFIVE, digest="sha256:1")}) == ()
    assert [base.named for base in stale(crm, {CMFIVE: known(CMFIVE, digest="sha256:2")})] == [CMFIVE]
    assert stale(crm, {}) == ()


def test_a_base_that_is_pinned_by_its_digest_is_never_stale():
    pinned = replace(known(CRM), bases=(Base("docker.io", "2pisoftware/cmfive", None, "sha256:0"),))
    assert stale(pinned, {CMFIVE: known(CMFIVE)}) == ()
    assert next_level(CMFIVE, [pinned]) == ()


# --- what a run says of its pushes -----------------------------------------------------------------------


def push(*tags, status=StepStatus.PASSED, hosts=("a.example", "docker.io")):
    facts = {
        "image": {"name": "2pisoftware/cmfive", "id": "sha256:9"},
        "digests": dict.fromkeys(hosts, "sha256:1"),
        "moved": list(tags),
    }
    return StepResult("push", status, NOW, NOW, facts=facts)


def test_an_image_is_announced_once_for_each_tag_however_many_registries_have_it():
    made = run(1, job=job(announces=True))
    found = pushed(made, {"0": push("latest", "develop")})
    assert [(one.name, one.tag, one.registry) for one in found] == [
        ("2pisoftware/cmfive", "latest", "a.example"),
        ("2pisoftware/cmfive", "develop", "a.example"),
    ]
    assert announced(made, {"0": push("latest")}) == {"images": {"state": "due", "attempts": 0}}


def test_a_push_that_did_not_end_well_or_that_nobody_listens_to_is_not_announced():
    assert announced(run(1, job=job(announces=True)), {"0": push("latest", status=StepStatus.ERRORED)}) == {}
    assert announced(run(1, job=job()), {"0": push("latest")}) == {}


def test_a_rebuilt_image_carries_the_way_that_led_to_it_and_rebuilds_in_turn():
    cause = PushedImage("docker.io", "2pisoftware/cmfive", "latest", "sha256:1", "01", rebuild=True)
    made = run(2, job=job(event=event(kind=EventKind.IMAGE, image=cause), announces=True))
    (image,) = pushed(made, {"0": push("v1")})
    assert (image.chain, image.rebuild) == ((CMFIVE,), True)


def test_who_says_it_twice_says_the_very_same():
    image = PushedImage("docker.io", "2pisoftware/cmfive", "latest", "sha256:1", "01")
    assert event_of(image, job()) == event_of(image, job())
    again = rebuild_of(known(CRM, CMFIVE), image, job())
    assert again == rebuild_of(replace(known(CRM, CMFIVE, run="07"), pushed_at=NOW), image, job())
    assert (again.pipeline, again.repository, again.ref) == ("crm", "2pisoftware/crm_deploy", "refs/heads/master")
