"""A tag on a commit whose image is there already: the same digest under more names, and nothing is built."""

from dataclasses import replace

import pytest

from chalicelib.errors import LostClaim
from chalicelib.graph import Known
from chalicelib.model import EventKind, RunState, StepStatus
from chalicelib.records.images import Made
from runner.actions import tag
from runner.made import SPARED, images_of
from runner.run import enact
from tests.installation import NOW, event, job
from tests.running import Action, Images, Journal, context, passed, queued, tools

NAME, HOSTS = "2pisoftware/cmfive", ("code.example:5000", "docker.io")
DIGEST, OLDER = "sha256:" + "1" * 64, "sha256:" + "0" * 64
COMMIT = "2" * 40


class Registry:
    """One repository of a registry: tags and digests; `moves` remembers what was moved. It may die at a tag."""

    def __init__(self, *digests, **tags):
        self.digests, self.tags, self.moves, self.dies_at = set(digests), dict(tags), [], None

    def digest(self, what):
        return what if what in self.digests else self.tags.get(what)

    def tag(self, digest, name):
        if name == self.dies_at:
            self.dies_at = None
            raise LostClaim(name)
        assert digest in self.digests
        self.tags[name] = digest
        self.moves.append(name)


class World:
    """Two registries, the records, and one run's journal."""

    def __init__(self, folder):
        self.folder, self.records, self.journal = folder, Images(), Journal()
        self.registries = {host: Registry(DIGEST, OLDER, latest=OLDER) for host in HOSTS}
        self.made(dict.fromkeys(HOSTS, DIGEST))

    def made(self, digests):
        self.records.made = {(NAME, COMMIT): Made(NAME, COMMIT, "01", digests, "sha256:9", NOW)} if digests else {}

    def tag(self, name="v1.2.0", tags=("v1.2.0",), to=HOSTS):
        made = event(kind=EventKind.TAG_CREATED, ref=f"refs/tags/{name}", name=name, commit=COMMIT)
        held = context(
            None,
            self.folder,
            job=replace(job(), event=made, registries=dict.fromkeys(HOSTS)),
            journal=self.journal,
            registry=lambda host, image, login: self.registries[host],  # noqa: ARG005 - there is one image
        )
        held = replace(held, aws=replace(held.aws, store=self.records))
        self.log = held.log
        return tag.run(tag.Settings(image=NAME, to=to, tags=tags), held)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_the_image_of_the_commit_gets_the_tags_in_every_registry_by_its_digest(world):
    result = world.tag(tags=("v1.2.0", "1.2", "1"))
    assert [registry.tags["1.2"] for registry in world.registries.values()] == [DIGEST, DIGEST]
    assert result.facts["digests"] == dict.fromkeys(HOSTS, DIGEST)
    assert result.facts[SPARED] == NAME
    assert result.facts["moved"] == ["v1.2.0", "1.2", "1"]
    assert "is tagged, and not built again" in world.log.ours[0]


def test_a_registry_that_had_the_very_image_before_is_not_forgotten(world):
    world.tag(to=HOSTS[:1])
    world.journal = Journal()
    world.tag(to=HOSTS[1:])
    for found in (world.records.known[f"{NAME}:v1.2.0"], world.records.made[NAME, COMMIT]):
        assert found.digests == dict.fromkeys(HOSTS, DIGEST)


def test_a_registry_that_had_another_image_under_the_tag_is_not_said_to_have_this_one(world):
    world.tag(to=HOSTS[:1])
    known = world.records.known[f"{NAME}:v1.2.0"]
    world.records.known[known.named] = replace(known, id="sha256:another")
    world.journal = Journal()
    world.tag(to=HOSTS[1:])
    assert world.records.known[known.named].digests == {HOSTS[1]: DIGEST}


def test_where_no_image_of_the_commit_is_known_it_is_left_to_the_build(world):
    world.made(None)
    result = world.tag()
    assert (result.status, dict(result.facts)) == (StepStatus.PASSED, {})
    assert world.log.ours == [f"no {NAME} was built of 2222222 yet: it is built now"]


def test_an_image_that_one_registry_has_lost_is_built_again(world):
    world.registries["docker.io"].digests.clear()
    assert SPARED not in world.tag().facts
    assert world.registries["code.example:5000"].moves == []


def test_a_claim_that_died_between_two_tags_goes_on_and_moves_none_back(world):
    world.registries["docker.io"].dies_at = "1"
    with pytest.raises(LostClaim):
        world.tag(tags=("1.2", "1"))
    # Another run was quicker meanwhile.
    world.registries["docker.io"].tags["1.2"] = OLDER
    world.tag(tags=("1.2", "1"))
    assert world.registries["docker.io"].tags == {"latest": OLDER, "1.2": OLDER, "1": DIGEST}
    assert world.registries["code.example:5000"].moves == ["1.2", "1"]


def test_a_finished_step_that_is_done_again_moves_nothing(world):
    world.tag(tags=("1",))
    world.tag(tags=("1",))
    assert [registry.moves for registry in world.registries.values()] == [["1"], ["1"]]


def test_a_tag_never_goes_back_to_an_older_release(world):
    newer = Known(NAME, "1", {}, "", "01", "cmfive", NOW, "github.com", event().provider, version="1.10.0")
    world.records.known[f"{NAME}:1"] = newer
    result = world.tag(name="v1.9.3", tags=("v1.9.3", "1.9", "1"))
    assert result.facts["moved"] == ["v1.9.3", "1.9"]
    assert f"{NAME}:1 stays at 1.10.0, which is newer than 1.9.3" in world.log.ours


def test_a_newer_release_moves_it_on(world):
    world.tag(name="v1.9.3", tags=("1",))
    assert world.records.known[f"{NAME}:1"].version == "1.9.3"


# --- the steps behind it ---------------------------------------------------------------------------------


def acts():
    found = {"image": {"name": NAME, "id": "sha256:9"}, "digests": {"docker.io": DIGEST}, SPARED: NAME}
    build, test, push = (Action(word, image=NAME) for word in ("build", "test", "push"))
    return Action("tag", passed("tag", **found)), build, test, push, Action("deploy_eb", image=NAME)


def test_what_would_make_the_image_is_spared_and_the_deployment_gets_it(edge, tmp_path, docker, pace):
    made = acts()
    held = edge.store.claim(queued(edge, 1, *made, send=False), "r1", NOW)
    ended = enact(held, tools(edge, tmp_path, docker, pace, *made))
    assert ended.state is RunState.PASSED
    assert [str(step.status) for step in ended.steps] == ["passed", "skipped", "skipped", "skipped", "passed"]
    assert [act.calls for act in made] == [1, 0, 0, 0, 1]
    assert made[-1].contexts[0].image(NAME).digests == {"docker.io": DIGEST}


def test_where_it_found_none_every_step_is_done(edge, tmp_path, docker, pace):
    made = (Action("tag"), *acts()[1:2])
    held = edge.store.claim(queued(edge, 1, *made, send=False), "r1", NOW)
    made[1].outcomes = [passed("build", image={"name": NAME, "id": "sha256:1"}, commits={})]
    assert enact(held, tools(edge, tmp_path, docker, pace, *made)).state is RunState.PASSED
    assert [act.calls for act in made] == [1, 1]


def test_an_image_that_was_found_is_one_of_the_runs_images():
    assert images_of({"0": acts()[0].outcomes[0]})[NAME].digests == {"docker.io": DIGEST}
