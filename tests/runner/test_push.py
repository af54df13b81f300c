import socket
from dataclasses import replace

import pytest

from chalicelib.errors import LostClaim, MissingSecret, StepErrored, StepFailed
from runner.actions import push
from runner.context import Image
from runner.stopping import Stopped, Stopping, Why
from tests.installation import job
from tests.running import Impatient, Journal, context, stopping_soon, within

RUN_TAG = "r-01kaq000000000000000000001"


class Counting:
    """The engine's client, which counts pushes."""

    def __init__(self, client):
        self._client = client
        self.api = self
        self.pushes = 0

    def __getattr__(self, name):
        return getattr(self._client.api, name)

    def push(self, *arguments, **more):
        self.pushes += 1
        return self._client.api.push(*arguments, **more)


@pytest.fixture
def engine_client(lab):
    return Counting(lab.client)


@pytest.fixture
def image(lab, request):
    """An image that no other test has, under a name of this test's own."""
    name = lab.name(f"push-{abs(hash(request.node.name))}")
    return make_image(lab, name, request.node.name)


def make_image(lab, name, text):
    container = lab.client.api.create_container(lab.base, ["true"], labels={"tau.system": lab.system})["Id"]
    changes = [f'LABEL tau.system="{lab.system}"', f"LABEL text={abs(hash(text))}"]
    made = lab.client.api.commit(container, changes="\n".join(changes))["Id"]
    lab.client.api.remove_container(container)
    lab.client.api.tag(made, name, RUN_TAG)
    return Image(name, made)


@pytest.fixture
def make(engine_client, image, registry, tmp_path):
    """The context of a push, and its settings."""

    def make(tags=("latest",), to=None, **changes):
        hosts = to or (registry.host,)
        held = replace(job(), registries=dict.fromkeys(hosts, "registry"))
        (pair,) = registry.users.items()
        wanted = {
            "job": held,
            "images": {image.name: image},
            "secret": {"registry": ":".join(pair)}.__getitem__,
            "pace": Impatient(),
            **changes,
        }
        settings = push.Settings(to=hosts, tags=tags, image=image.name)
        return settings, context(engine_client, tmp_path, **wanted)

    return make


pytestmark = pytest.mark.engine


def test_the_digest_is_the_registrys_own_under_every_tag(make, image, registry):
    settings, held = make(tags=("latest", "develop"))
    result = push.run(settings, held)
    digest = result.facts["digests"][registry.host]
    assert digest.startswith("sha256:")
    assert registry.tags(image.name) == ("develop", "latest", RUN_TAG)
    assert {registry.manifest_digest(image.name, tag) for tag in registry.tags(image.name)} == {digest}
    assert result.facts["pushed"] == [
        {"name": f"{registry.host}/{image.name}:{tag}", "digest": digest} for tag in ("latest", "develop")
    ]
    assert result.facts["image"] == {"name": image.name, "id": image.id}


def test_what_was_pushed_is_written_down_with_its_commit(make, image, registry):
    settings, held = make()
    digest = push.run(settings, held).facts["digests"][registry.host]
    record = held.aws.store.known[f"{image.name}:latest"]
    assert (record.digests, record.run) == ({registry.host: digest}, held.run)
    assert held.aws.store.made[image.name, "2" * 40].digests == record.digests


def test_the_engine_keeps_no_name_of_the_registrys(make, lab, image, registry):
    settings, held = make()
    push.run(settings, held)
    assert lab.client.api.images(name=f"{registry.host}/{image.name}") == []
    assert lab.client.images.get(image.id)


def test_a_wrong_password_is_our_fault_and_is_not_shown(make, image, registry):
    settings, held = make(secret=lambda _: "tau:wr0ng")
    with pytest.raises(StepErrored, match=registry.host) as said:
        push.run(settings, held)
    assert "wr0ng" not in f"{said.value} {held.log.text} {held.log.ours}"
    assert registry.tags(image.name) == ()


def test_a_registry_that_is_not_there_is_our_fault(make):
    settings, held = make(to=("127.0.0.1:1",))
    with pytest.raises(StepErrored, match=r"127\.0\.0\.1:1"):
        push.run(settings, held)


def test_no_public_tag_moves_before_every_registry_has_the_image(make, image, registry):
    settings, held = make(to=(registry.host, "127.0.0.1:1"))
    with pytest.raises(StepErrored):
        push.run(settings, held)
    assert registry.tags(image.name) == (RUN_TAG,)


def test_a_secret_that_is_missing_is_named(make):
    def missing(name):
        raise MissingSecret(name)

    settings, held = make(secret=missing)
    with pytest.raises(MissingSecret, match="registry"):
        push.run(settings, held)


def test_an_image_that_no_step_built_is_the_codes_fault(make):
    settings, held = make(images={})
    with pytest.raises(StepFailed, match="no step before this one built the image"):
        push.run(settings, held)


# --- a second claim -------------------------------------------------------------------------------


def died_after(make, journal, entries):
    """A push whose runner died when so many entries of its journal were written."""
    settings, held = make(journal=journal)
    push.run(settings, held)
    del journal.entries[entries:]


def test_an_open_intent_with_the_image_there_pushes_nothing_again(make, engine_client, image, registry):
    journal = Journal()
    died_after(make, journal, 1)
    before = registry.manifest_digest(image.name, RUN_TAG)
    settings, held = make(journal=journal)
    result = push.run(settings, held)
    assert engine_client.pushes == 1
    assert result.facts["digests"] == {registry.host: before}


def test_an_open_intent_without_the_image_there_pushes_it(make, engine_client, image, registry):
    journal = Journal()
    journal.intend(f"push {registry.host}/{image.name}:{RUN_TAG} {image.id}")
    settings, held = make(journal=journal)
    push.run(settings, held)
    assert engine_client.pushes == 1
    assert registry.manifest_digest(image.name, "latest")


def test_what_an_earlier_claim_saw_is_believed(make, engine_client, image, registry):
    journal = Journal()
    died_after(make, journal, 3)
    settings, held = make(journal=journal, tags=("latest", "more"))
    push.run(settings, held)
    assert engine_client.pushes == 1
    assert registry.tags(image.name) == ("latest", "more", RUN_TAG)


def test_an_image_that_had_to_be_built_again_is_pushed_again(make, lab, engine_client, image, registry):
    """Else one registry would have the first image, and the next one the second."""
    journal = Journal()
    died_after(make, journal, 4)
    again = make_image(lab, image.name, "built again")
    settings, held = make(journal=journal, images={image.name: again})
    digest = push.run(settings, held).facts["digests"][registry.host]
    assert engine_client.pushes == 2
    assert {registry.manifest_digest(image.name, tag) for tag in ("latest", RUN_TAG)} == {digest}


def test_a_claim_that_is_lost_pushes_nothing(make, engine_client, image, registry):
    journal = Journal()
    journal.lost_at = f"push {registry.host}/{image.name}:{RUN_TAG} {image.id}"
    settings, held = make(journal=journal)
    with pytest.raises(LostClaim):
        push.run(settings, held)
    assert engine_client.pushes == 0
    assert registry.tags(image.name) == ()


def test_a_claim_that_is_lost_before_the_public_tags_moves_none(make, image, registry):
    journal = Journal()
    journal.lost_at = f"tag {registry.host}/{image.name}"
    settings, held = make(journal=journal)
    with pytest.raises(LostClaim):
        push.run(settings, held)
    assert registry.tags(image.name) == (RUN_TAG,)


def test_tags_that_this_run_has_moved_are_not_moved_back_by_its_next_claim(make, image, registry):
    journal = Journal()
    settings, held = make(journal=journal)
    push.run(settings, held)
    digest = registry.manifest_digest(image.name, "latest")
    before = len(journal.entries)
    assert ("seen", f"tag {registry.host}/{image.name} {digest}", {}) in journal.entries
    push.run(settings, held)
    assert [key for _, key, _ in journal.entries[before:] if key.startswith("tag ")] == []


# --- a claim that should stop ---------------------------------------------------------------------


class Moving:
    """A registry in memory, where somebody asks us to stop as soon as so many tags were moved."""

    def __init__(self, stopping, after):
        self.tags, self._stopping, self._after = {}, stopping, after

    def digest(self, tag):
        return self.tags.get(tag)

    def tag(self, digest, tag):
        self.tags[tag] = digest
        if len(self.tags) == self._after:
            self._stopping.ask(Why.LOST)


def test_no_tag_is_moved_once_somebody_has_asked_to_stop(make, image, registry):
    stopping = Stopping()
    moving = Moving(stopping, after=1)
    settings, held = make(tags=("one", "two"), stopping=stopping, registry=lambda *_: moving)
    with pytest.raises(Stopped):
        push.move(registry.host, image, "sha256:1", None, settings.tags, held)
    assert moving.tags == {"one": "sha256:1"}
    with pytest.raises(Stopped):
        push.move("another", image, "sha256:1", None, settings.tags, held)
    assert [key for kind, key, _ in held.journal.entries if "another" in key] == []


def test_a_tag_that_another_run_has_moved_on_since_our_dead_claim_is_not_moved_back(make, image, registry):
    journal, stopping = Journal(), Stopping()
    moving = Moving(stopping, after=2)
    moving.tags = {"latest": "sha256:0", "mine": "sha256:0"}
    settings, held = make(tags=("latest", "mine"), journal=journal, stopping=stopping, registry=lambda *_: moving)
    journal.observe(push.pushing(registry.host, image, held), digest="sha256:1", stood=dict(moving.tags))
    with pytest.raises(Stopped):
        push.move(registry.host, image, "sha256:1", None, settings.tags, held)
    assert moving.tags == {"latest": "sha256:1", "mine": "sha256:0"}
    moving.tags["latest"] = "sha256:2"
    settings, held = make(tags=("latest", "mine"), journal=journal, registry=lambda *_: moving)
    push.move(registry.host, image, "sha256:1", None, settings.tags, held)
    assert moving.tags == {"latest": "sha256:2", "mine": "sha256:1"}


def test_a_registry_that_takes_no_layers_keeps_nobody_who_asks_to_stop(make, lab, image):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        stopping = Stopping()
        settings, held = make(to=(host,), stopping=stopping)
        with within(10), stopping_soon(stopping), pytest.raises(Stopped):
            push.run(settings, held)
    assert lab.client.api.images(name=f"{host}/{image.name}") == []


def test_a_registry_that_does_not_say_what_it_has_keeps_nobody_who_asks_to_stop(make, image):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        stopping, journal = Stopping(), Journal()
        journal.intend(f"push {host}/{image.name}:{RUN_TAG} {image.id}")
        settings, held = make(to=(host,), stopping=stopping, journal=journal)
        with within(10), stopping_soon(stopping), pytest.raises(Stopped):
            push.run(settings, held)


# --- the engine's stream --------------------------------------------------------------------------


def test_an_error_in_the_stream_is_one(tmp_path):
    held = context(None, tmp_path)
    with pytest.raises(StepErrored, match=r"pushing a/b failed: h knows our user .* \(denied\)"):
        push.follow(
            [{"status": "The push refers to …"}, {"error": "denied"}, {"aux": {"Digest": "x"}}], "h", "a/b", held
        )


def test_a_stream_that_ends_without_a_digest_is_one(tmp_path):
    with pytest.raises(StepErrored, match="without a digest"):
        push.follow([{"status": "Pushed", "id": "1"}], "h", "a/b", context(None, tmp_path))


def test_the_log_says_of_each_layer_what_became_of_it_and_nothing_of_its_progress(tmp_path):
    held = context(None, tmp_path)
    messages = [
        *({"status": "Pushing", "id": "1", "progressDetail": {"current": n}} for n in range(50)),
        {"status": "Pushed", "id": "1", "progressDetail": {}},
        {"aux": {"Digest": "sha256:1"}},
    ]
    assert push.follow(messages, "h", "a/b", held) == "sha256:1"
    assert held.log.text == "1: Pushed\n"
