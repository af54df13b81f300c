"""A push by the real engine to a real registry, with a proxy between them that does what networks and registries do."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from chalicelib.errors import NotNow, StepErrored
from infra.local.registry import Registry
from runner.actions import push
from runner.context import Image
from tests.installation import job
from tests.proof.interceptor import Answer, Fault, Interceptor
from tests.runner.certificates import certified
from tests.running import Impatient, context

pytestmark = pytest.mark.engine

RUN_TAG = "r-01kaq000000000000000000001"
UNAVAILABLE = Answer(503, {"Retry-After": "0", "Content-Type": "text/html"}, b"<h1>503 Service Unavailable</h1>")


@pytest.fixture(scope="module")
def images(lab):
    """Two images that differ in a label and share every layer."""

    def make(number):
        container = lab.client.api.create_container(lab.base, ["true"], labels={"tau.system": lab.system})["Id"]
        changes = f'LABEL tau.system="{lab.system}"\nLABEL number={number}'
        made = lab.client.api.commit(container, changes=changes)["Id"]
        lab.client.api.remove_container(container)
        name = lab.name("push-faults")
        lab.client.api.tag(made, name, f"number-{number}")
        return Image(name, made)

    return [make(number) for number in range(2)]


@pytest.fixture
def proxy(registry):
    with Interceptor(f"http://{registry.host}") as made:
        yield made


@pytest.fixture
def pushed(lab, images, registry, tmp_path):
    """Push an image to a host; the context and the result."""

    def push_it(host, number=0, tag="latest", **changes):
        held = replace(job(), registries={host: "registry"})
        (pair,) = registry.users.items()
        wanted = {"images": {images[number].name: images[number]}, "secret": {"registry": ":".join(pair)}.__getitem__}
        made = context(lab.client, tmp_path, job=held, pace=Impatient(), **{**wanted, **changes})
        push_it.held = made
        return made, push.run(push.Settings(to=(host,), tags=(tag,), image=images[number].name), made)

    return push_it


def manifest(method):
    return lambda call: call.method == method and f"/manifests/{RUN_TAG}" in call.path


@pytest.mark.parametrize(
    "fault",
    [
        Fault(manifest("PUT"), times=2, answer=UNAVAILABLE),
        Fault(manifest("PUT"), answer=Answer(500, {}, b"no space left on device")),
        Fault(manifest("PUT"), after=True),
        Fault(manifest("HEAD"), answer=Answer(429, {"Retry-After": "1"}, b"")),
        Fault(lambda call: call.method == "PUT" and "/manifests/public-" in call.path, times=2, answer=UNAVAILABLE),
        Fault(lambda call: call.method == "PUT" and "/manifests/public-" in call.path, after=True),
    ],
    ids=["503 twice", "500", "reset", "429", "503 for a public tag", "a public tag's answer lost"],
)
def test_what_is_over_in_a_moment_is_tried_again_and_the_image_is_there_once(pushed, proxy, registry, images, fault):
    public = f"public-{time.monotonic_ns()}"
    with proxy.armed(fault):
        held, result = pushed(proxy.host, tag=public)
    assert fault.struck
    assert any("asking again in" in line for line in held.log.ours)
    digest = result.facts["digests"][proxy.host]
    assert {registry.manifest_digest(images[0].name, tag) for tag in (RUN_TAG, public)} == {digest}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "refuses our user and password: correct the secret registry"),
        (403, "knows our user and does not let it do this"),
        (413, "takes nothing so large: raise its limit"),
    ],
)
def test_what_a_person_has_to_put_right_is_said_at_once(pushed, proxy, status, words):
    fault = Fault(manifest("PUT"), times=None, answer=Answer(status, {"Content-Type": "text/html"}, b"<h1>no</h1>"))
    with proxy.armed(fault), pytest.raises(StepErrored, match=words) as said:
        pushed(proxy.host)
    assert not isinstance(said.value, NotNow)
    assert not [line for line in pushed.held.log.ours if "asking again" in line]


def test_a_registry_that_stays_away_is_asked_four_times_and_no_more(pushed, proxy, registry, images):
    fault = Fault(manifest("PUT"), times=None, answer=UNAVAILABLE)
    before = registry.manifest_digest(images[0].name, "latest")
    with proxy.armed(fault), pytest.raises(NotNow, match="503"):
        pushed(proxy.host)
    assert len(fault.struck) == 4
    assert registry.manifest_digest(images[0].name, "latest") == before


def test_another_digest_under_our_tag_moves_no_public_one(pushed, proxy, registry, images):
    other = Fault(manifest("HEAD"), answer=Answer(200, {"Docker-Content-Digest": f"sha256:{'0' * 64}"}, b""))
    before = registry.manifest_digest(images[0].name, "latest")
    with proxy.armed(other), pytest.raises(StepErrored, match=r"has sha256:0000.* and the engine pushed sha256:"):
        pushed(proxy.host, number=1)
    assert registry.manifest_digest(images[0].name, "latest") == before


def test_layers_that_a_registry_has_are_not_sent_again(pushed, registry):
    sent = []

    def count(call, _):
        sent.append(len(call.body) if call.method == "PATCH" else 0)

    with Interceptor(f"http://{registry.host}", count) as proxy:
        pushed(proxy.host)
        first = sum(sent)
        sent.clear()
        pushed(proxy.host, number=1)
    assert sum(sent) < 20_000, "the configuration alone, and no layer"
    assert first >= 0


# --- certificates and passwords ---------------------------------------------------------------------


@pytest.fixture
def secure(lab, registry, tmp_path):
    """The registry behind TLS, at an address that the engine does not take for its own machine's."""
    gateway = lab.client.api.inspect_network("bridge")["IPAM"]["Config"][0]["Gateway"]
    folder = tmp_path / "certificates"
    folder.mkdir()
    opened, trusted = [], []

    def open_it(*, address=gateway, trust=True, **how):
        made = certified(folder, address=address, **how)
        proxy = Interceptor(f"http://{registry.host}", at=gateway, tls=made.server).__enter__()
        opened.append(proxy)
        if trust:
            trusted.append(Path("/etc/docker/certs.d") / proxy.host)
            trusted[-1].mkdir(parents=True)
            shutil.copy(made.authority, trusted[-1] / "ca.crt")
        return proxy

    yield open_it
    for proxy in opened:
        proxy.__exit__()
    for path in trusted:
        shutil.rmtree(path)


def test_a_registry_with_a_certificate_of_its_own_authority_is_believed_where_the_engine_does(pushed, secure, registry):
    proxy = secure()
    held, result = pushed(proxy.host)
    assert (
        registry.manifest_digest(held.image(next(iter(held.images))).name, "latest") in result.facts["digests"].values()
    )


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"trust": False}, "signed by an authority that this machine does not know: put .* into /etc/docker/certs.d/"),
        ({"days": (-3, -2)}, "has expired, or this machine's clock is wrong"),
        ({"address": "192.0.2.1"}, "is for another name"),
    ],
    ids=["unknown", "expired", "another name"],
)
def test_each_way_in_which_a_certificate_is_not_good_has_a_sentence_of_its_own(pushed, secure, how, words):
    proxy = secure(**how)
    with pytest.raises(StepErrored, match=f"the certificate of {proxy.host} .*{words}") as said:
        pushed(proxy.host)
    assert not isinstance(said.value, NotNow)


def test_a_wrong_password_is_told_from_all_that_and_not_shown(pushed, secure):
    proxy = secure()
    with pytest.raises(StepErrored, match=f"{proxy.host} refuses our user and password: correct the secret registry"):
        pushed(proxy.host, secret=lambda _: "tau:wr0ng password")
    assert "wr0ng" not in f"{pushed.held.log.text} {pushed.held.log.ours}"


def test_a_registry_whose_users_have_another_hash_refuses_everybody_and_the_sentence_says_why(pushed, tmp_path):
    other = Registry(tmp_path / "registry", {"tau": "a password made for the occasion"})
    other.start()
    try:
        # What `htpasswd` writes where nobody asks it for bcrypt; the registry reads the file again for each request.
        (other.folder / "htpasswd").write_text("tau:$apr1$5NrsLhHp$bTTtPqOv9FvSKWz2UuYzJ0\n")
        with pytest.raises(StepErrored, match="its htpasswd file holds bcrypt"):
            pushed(other.host)
    finally:
        other.stop()
