"""`tau doctor` and what ci.yml names: secrets, a real git host, a real registry with certificates of every kind."""

import os
import shutil
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from infra.local.registry import Registry
from runner.doctor import outside
from runner.doctor.findings import Mark
from runner.doctor.outside import Outside
from tests.doctoring import asked, config, secret
from tests.proof.interceptor import Interceptor
from tests.runner.certificates import certified


def of_outside(name, docker=None, secret=secret, **how):
    return asked(outside.questions(Outside(config(**how), secret, dict(os.environ), docker)), name)


# --- secrets and forges -----------------------------------------------------------------------------


def test_secrets_of_forges_registries_steps_and_services_are_counted_once_by_name_and_never_shown():
    test = {"secrets": {"A": "one"}, "services": {"db": {"secrets": {"B": "two", "C": "one"}}}}
    known = config(registries={"code.example:5000": "registry"}, steps=[("test", test)])
    assert outside.secret_names(known) == ["hook-2026", "one", "registry", "two"]
    finding = of_outside("secrets", registries={"code.example:5000": "registry"})
    assert (finding.mark, finding.said) == (Mark.OK, "2 are there: hook-2026, registry")


def test_a_secret_that_is_missing_or_too_short_to_sign_is_named():
    missing = of_outside("secrets", registries={"code.example:5000": "none"})
    assert (missing.mark, missing.said) == (Mark.BROKEN, "the secret none cannot be read: set it")
    short = of_outside("secrets", secret=lambda _: "short")
    assert "hook-2026 signs webhooks, and is shorter than 16 bytes" in short.said


def test_a_forge_is_asked_for_a_repository_that_ci_yml_names(githost):
    githost.create("doctor.example", "2pisoftware/hello", {"a": "b"})
    clone = githost.clone_template("doctor.example")
    assert of_outside("forge github.com", clone=clone).said == "2pisoftware/hello can be fetched with no key"
    gone = of_outside("forge github.com", clone=clone, repository="2pisoftware/none")
    assert gone.mark is Mark.BROKEN
    assert "github.com/2pisoftware/none does not exist, or does not let us in" in gone.said
    pattern = of_outside("forge github.com", clone=clone, repository="2pisoftware/{client}_deploy")
    assert (pattern.mark, "none was asked" in pattern.said) == (Mark.MIND, True)


# --- registries -------------------------------------------------------------------------------------


def test_a_registry_that_lets_us_in_is_well_and_its_password_is_not_shown(registry):
    finding = of_outside(f"registry {registry.host}", registries={registry.host: "registry"})
    assert (finding.mark, finding.said) == (Mark.OK, "lets us in with registry")


def test_a_password_that_is_refused_names_the_secret_to_correct(registry):
    hosts = {registry.host: "registry"}
    finding = of_outside(f"registry {registry.host}", registries=hosts, secret=lambda _: "tau:wr0ng password")
    assert finding.mark is Mark.BROKEN
    assert f"{registry.host} refuses our user and password: correct the secret registry" in finding.said
    assert "wr0ng" not in finding.said
    nameless = of_outside(f"registry {registry.host}", registries={registry.host: None})
    assert "correct ci.yml, which names no `credentials` for it" in nameless.said


def test_a_registry_whose_users_are_hashed_otherwise_accepts_nobody_and_the_sentence_says_why(tmp_path):
    with Registry(tmp_path / "registry", {"tau": "a password made for the occasion"}) as other:
        (other.folder / "htpasswd").write_text("tau:$apr1$5NrsLhHp$bTTtPqOv9FvSKWz2UuYzJ0\n")
        finding = of_outside(f"registry {other.host}", registries={other.host: "registry"})
    assert finding.mark is Mark.BROKEN
    assert "its htpasswd file holds bcrypt (`htpasswd -B`) and no other hash" in finding.said


def test_a_registry_that_is_away_is_broken():
    finding = of_outside("registry 127.0.0.1:1", registries={"127.0.0.1:1": "registry"})
    assert (finding.mark, "does not answer" in finding.said) == (Mark.BROKEN, True)


@contextmanager
def behind_tls(registry, folder, *, at, address=None, trust=True, days=(-1, 1)):
    """The registry at an address that nobody takes for his own machine's, with a certificate for `address`."""
    made = certified(folder, address=address or at, days=days)
    with ExitStack() as stack:
        proxy = stack.enter_context(Interceptor(f"http://{registry.host}", at=at, tls=made.server))
        if trust:
            place = Path("/etc/docker/certs.d") / proxy.host
            place.mkdir(parents=True)
            stack.callback(shutil.rmtree, place)
            shutil.copy(made.authority, place / "ca.crt")
        yield proxy.host


CERTIFICATES = [
    ({"trust": False}, "is signed by an authority that this machine does not know: put that one's certificate into"),
    ({"days": (-3, -2)}, "has expired, or this machine's clock is wrong: renew it there"),
    ({"address": "192.0.2.1"}, "is for another name: call it in ci.yml as its certificate does"),
]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may enter an authority where the engine looks for it")
@pytest.mark.parametrize(("how", "words"), CERTIFICATES, ids=["unknown", "expired", "another name"])
def test_each_way_in_which_a_certificate_is_not_good_has_a_sentence_of_its_own(registry, tmp_path, how, words):
    with behind_tls(registry, tmp_path, at="0.0.0.0", **how) as host:
        finding = of_outside(f"registry {host}", registries={host: "registry"})
    assert finding.mark is Mark.BROKEN
    assert f"the certificate of {host} {words}" in finding.said


@pytest.mark.skipif(os.geteuid() != 0, reason="as above")
def test_a_certificate_of_an_authority_of_ones_own_is_believed_where_the_engine_believes_it(registry, tmp_path):
    with behind_tls(registry, tmp_path, at="0.0.0.0") as host:
        assert of_outside(f"registry {host}", registries={host: "registry"}).mark is Mark.OK


@pytest.mark.engine
def test_the_engine_is_asked_too_and_says_the_same_of_a_registry(lab, registry, tmp_path):
    gateway = lab.client.api.inspect_network("bridge")["IPAM"]["Config"][0]["Gateway"]

    def by_engine(host, **how):
        return of_outside(f"engine at {host}", docker=lab.client, registries={host: "registry"}, **how)

    for number, (how, words) in enumerate(CERTIFICATES):
        folder = tmp_path / str(number)
        folder.mkdir()
        with behind_tls(registry, folder, at=gateway, **how) as host:
            finding = by_engine(host)
        assert (finding.mark, f"the certificate of {host} {words}" in finding.said) == (Mark.BROKEN, True), finding
    assert by_engine(registry.host).said == "reaches it, and is let in"
    refused = by_engine(registry.host, secret=lambda _: "tau:wr0ng password")
    assert "correct the secret registry" in refused.said
