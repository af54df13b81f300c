"""`tau doctor`: each thing is asked as a run would ask it, nothing is changed, and what is wrong is told apart."""

import json
import os
import shutil
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner

from chalicelib.config import parse
from chalicelib.errors import MissingSecret
from infra.local.registry import Registry
from runner.cli import main
from runner.disk import Amount, Need
from runner.doctor import cloud, machine, outside
from runner.doctor.findings import Mark, found
from runner.doctor.machine import Machine
from runner.doctor.outside import Outside
from runner.needs import write_needs
from runner.storage import UNKNOWN, limits
from tests.installation import NOW, installation
from tests.proof.interceptor import Interceptor
from tests.runner.certificates import certified

HOOK = "a webhook's secret of enough bytes"
LOGIN = "tau:a password made for the occasion"


def config(*, clone="ssh://git@github.com/{repository}.git", registries=None, steps=(), repository="2pisoftware/hello"):
    pipeline = {
        "name": "hello",
        "repository": f"github.com/{repository}",
        "except": [],
        "triggers": {},
        "steps": [{"action": action, "settings": settings} for action, settings in steps],
        "sources": [],
        "notify": {"to": [], "on": "never"},
        "lock": None,
        "timeout_s": 60,
        "pool": "default",
        "map": {},
    }
    return parse(
        {
            "version": 1,
            "operators": [],
            "forges": {"github.com": {"provider": "github", "clone": clone, "webhook": ["hook-2026"]}},
            "registries": registries or {},
            "pipelines": [pipeline],
            "source_sha256": "c" * 64,
        }
    )


def secret(name):
    values = {"hook-2026": HOOK, "registry": LOGIN}
    if name not in values:
        raise MissingSecret(f"the secret {name} cannot be read: set it")
    return values[name]


def asked(questions, name):
    """What is found of one thing."""
    return found(next(question for question in questions if question[0] == name))


def of_outside(name, docker=None, secret=secret, **how):
    return asked(outside.questions(Outside(config(**how), secret, dict(os.environ), docker)), name)


# --- AWS --------------------------------------------------------------------------------------------


class Ses:
    """What SES knows of identities and of the account."""

    class exceptions:  # noqa: N801 - boto3's name
        class NotFoundException(Exception):
            pass

    def __init__(self, verified, **account):
        self.verified, self.account = verified, account

    def get_email_identity(self, *, EmailIdentity):  # noqa: N803 - boto3's name
        if EmailIdentity not in self.verified:
            raise self.exceptions.NotFoundException
        return {"VerifiedForSendingStatus": self.verified[EmailIdentity]}

    def get_account(self):
        return {"SendingEnabled": True, "ProductionAccessEnabled": True, **self.account}


@pytest.fixture
def edge(monkeypatch):
    with installation(monkeypatch) as made:
        as_s3_answers_a_part_of_no_upload(made.client("s3"), monkeypatch)
        yield with_ses(made, Ses({"2pisoftware.com": True}))


def as_s3_answers_a_part_of_no_upload(client, monkeypatch):
    """The emulator in memory breaks at it. https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"""
    real = client._make_api_call

    def answered(operation, parameters):
        if operation == "UploadPart":
            raise ClientError({"Error": {"Code": "NoSuchUpload", "Message": "there is none"}}, operation)
        return real(operation, parameters)

    monkeypatch.setattr(client, "_make_api_call", answered)


def with_ses(edge, ses):
    real = edge.client
    return replace(edge, client=lambda *which: ses if which[0] == "sesv2" else real(*which))


def of_cloud(edge, name, **how):
    return asked(cloud.questions(edge, config(**how), "default"), name)


def test_an_installation_that_is_whole_is_well_and_nothing_of_it_is_changed(edge):
    edge.store.put_in_force("c" * 64, NOW)
    edge.client("sqs").send_message(QueueUrl=edge.queue.url("default"), MessageBody="{}")
    before = edge.client("dynamodb").scan(TableName="tau-test")["Items"]
    findings = [found(one) for one in cloud.questions(edge, config(), "default")]
    assert {one.what: one.said for one in findings if one.mark is not Mark.OK} == {}
    assert asked(cloud.questions(edge, config(), "default"), "queue default").said == "1 message waiting"
    assert edge.client("dynamodb").scan(TableName="tau-test")["Items"] == before
    assert edge.client("s3").list_objects_v2(Bucket="tau-test")["KeyCount"] == 0
    assert edge.client("s3").list_multipart_uploads(Bucket="tau-test").get("Uploads", []) == []
    assert edge.queue.receive("default", wait_s=0, hidden_s=1).receives == 1
    assert "123456789012" in cloud.identity(edge)


@pytest.mark.parametrize(
    ("service", "call", "name"),
    [
        ("dynamodb", "GetItem", "table"),
        ("dynamodb", "BatchGetItem", "table"),
        ("dynamodb", "Query", "table"),
        ("dynamodb", "TransactWriteItems", "table"),
        ("sqs", "GetQueueAttributes", "queue default"),
        ("sqs", "ChangeMessageVisibility", "queue default"),
        ("sqs", "DeleteMessage", "queue default"),
        ("s3", "ListObjectsV2", "bucket"),
        ("s3", "GetObject", "bucket"),
        ("s3", "UploadPart", "bucket"),
        ("elasticbeanstalk", "DescribeEnvironments", "Elastic Beanstalk ap-southeast-2"),
    ],
)
def test_a_right_that_is_missing_is_named_with_what_gives_it(edge, monkeypatch, service, call, name):
    client = edge.client(*(service, edge.region) if service == "elasticbeanstalk" else (service,))
    real = client._make_api_call

    def refusing(operation, parameters):
        if operation == call:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": f"not authorized: {call}"}}, call)
        return real(operation, parameters)

    monkeypatch.setattr(client, "_make_api_call", refusing)
    steps = [("deploy_eb", {"application": {"template": "{client}"}, "environment": "x"})]
    finding = of_cloud(edge, name, steps=steps)
    assert finding.mark is Mark.BROKEN
    assert f"not authorized: {call}" in finding.said
    assert "attach the policies that infra/stack.yml makes" in finding.said


def test_what_was_never_made_is_named(edge):
    elsewhere = replace(edge, settings=replace(edge.settings, bucket="tau-none", table="tau-none"))
    assert "ResourceNotFound" in of_cloud(elsewhere, "table").said
    assert "NoSuchBucket" in of_cloud(elsewhere, "bucket").said
    of_arm = asked(cloud.questions(edge, config(), "arm"), "queue arm")
    assert (of_arm.mark, of_arm.said) == (
        Mark.BROKEN,
        "there is no queue of the pool arm: deploy infra/pool.yml for it",
    )


def test_an_environment_that_is_not_there_is_named(edge):
    steps = [("deploy_eb", {"application": "acme", "environment": "acme-production"})]
    finding = of_cloud(edge, "Elastic Beanstalk ap-southeast-2", steps=steps)
    assert "there is no environment acme-production of acme" in finding.said
    client = edge.client("elasticbeanstalk")
    client.create_application(ApplicationName="acme")
    client.create_environment(
        ApplicationName="acme", EnvironmentName="acme-production", SolutionStackName="64bit Amazon Linux 2"
    )
    assert of_cloud(edge, "Elastic Beanstalk ap-southeast-2", steps=steps).said == "1 environment"


@pytest.mark.parametrize(
    ("ses", "mark", "words"),
    [
        (Ses({"tau@2pisoftware.com": True}), Mark.OK, "SES sends for tau@2pisoftware.com"),
        (Ses({}), Mark.BROKEN, "knows neither tau@2pisoftware.com nor its domain"),
        (Ses({"2pisoftware.com": False}), Mark.BROKEN, "has not verified 2pisoftware.com yet"),
        (Ses({"2pisoftware.com": True}, ProductionAccessEnabled=False), Mark.MIND, "in its sandbox"),
        (Ses({"2pisoftware.com": True}, SendingEnabled=False), Mark.BROKEN, "does not send for this account"),
    ],
)
def test_whether_mails_leave_is_told_with_the_reason(edge, ses, mark, words):
    finding = of_cloud(with_ses(edge, ses), "mail")
    assert (finding.mark, words in finding.said) == (mark, True)


@pytest.mark.parametrize(
    ("seconds", "mark"), [(2, Mark.OK), (-90, Mark.MIND), (90, Mark.MIND), (400, Mark.BROKEN), (-400, Mark.BROKEN)]
)
def test_a_clock_that_goes_wrong_is_told_and_from_five_minutes_on_it_is_broken(edge, seconds, mark):
    from datetime import UTC, datetime, timedelta

    wrong = replace(edge, now=lambda: datetime.now(UTC) - timedelta(seconds=seconds))
    assert of_cloud(wrong, "clock").mark is mark


def test_another_ci_yml_in_force_is_told_by_both_hashes(edge):
    assert of_cloud(edge, "ci.yml in force").mark is Mark.MIND
    edge.store.put_in_force("d" * 64, NOW)
    finding = of_cloud(edge, "ci.yml in force")
    assert (finding.mark, "ddddddd, and here is ccccccc" in finding.said) == (Mark.MIND, True)


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
    here = Machine(tmp_path, os.environ, limits(2, 1), lab.client)
    assert asked(machine.questions(here), "engine").said.startswith("Docker ")
    assert asked(machine.questions(here), "builder").mark is not Mark.BROKEN


# --- the machine ------------------------------------------------------------------------------------


def of_machine(name, folder, *, reserve_mb=1, **how):
    environ = {"PATH": os.environ["PATH"], **how.pop("environ", {})}
    return asked(machine.questions(Machine(folder, environ, limits(2, reserve_mb), how.pop("docker", None))), name)


def test_a_git_that_is_old_or_missing_is_told(tmp_path):
    assert of_machine("git", tmp_path).said.startswith("version 2.")
    (tmp_path / "git").write_text("#!/bin/sh\necho git version 2.20.1\n")
    (tmp_path / "git").chmod(0o755)
    old = of_machine("git", tmp_path, environ={"PATH": str(tmp_path)})
    assert (old.mark, old.said) == (Mark.BROKEN, "git version 2.20.1 is too old: 2.30 or newer is needed")
    none = of_machine("git", tmp_path, environ={"PATH": str(tmp_path / "none")})
    assert "there is no git on PATH" in none.said


def test_a_disk_is_held_against_what_the_neediest_pipeline_took_and_what_stays_free(tmp_path):
    assert of_machine("disk", tmp_path).mark is Mark.OK
    assert "a run takes up to 1.2 GB" in of_machine("disk", tmp_path).said
    full = of_machine("disk", tmp_path, reserve_mb=10**9)
    assert (full.mark, "are needed: runs wait" in full.said) == (Mark.BROKEN, True)
    write_needs(tmp_path, {"hello": (Need(Amount(10**18, 1), Amount(0, 0)),), "small": (UNKNOWN,)})
    hungry = of_machine("disk", tmp_path)
    assert (hungry.mark, "runs wait" in hungry.said) == (Mark.BROKEN, True)


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    finding = of_machine("folder", tmp_path / "none" / "of it")
    assert (finding.mark, finding.said) == (Mark.OK, f"{tmp_path}/none/of it is made when it is wanted")
    assert not (tmp_path / "none").exists()


# --- the command ------------------------------------------------------------------------------------


def tau(*arguments, **environ):
    return CliRunner().invoke(main, ("doctor", *arguments), env={"DOCKER_HOST": "tcp://127.0.0.1:1", **environ})


def test_without_settings_the_machine_is_looked_at_and_the_rest_is_said_to_need_a_code_server(tmp_path):
    said = tau("--folder", str(tmp_path))
    marks = {line.split()[2]: line.split()[1] for line in said.stdout.splitlines()[:-1]}
    assert marks["git"] == "ok"
    assert marks["engine"] == "broken", "there is none at this address"
    assert marks["installation"] == "mind"
    assert not {"AWS", "secrets", "registry", "forge"} & set(marks)
    assert said.exit_code == 1
    assert said.stdout.splitlines()[-1] == "1 broken, 1 thing to mind."


def test_a_code_server_of_the_local_cloud_is_well_but_for_what_nobody_has_stored(cloud, registry, tmp_path):
    known = {"version": 1, "operators": [], "forges": {}, "pipelines": [], "source_sha256": "c" * 64}
    known["registries"] = {registry.host: "doctors-registry"}
    (tmp_path / "ci.json").write_text(json.dumps(known))
    arguments = ("--config", str(tmp_path / "ci.yml"), "--folder", str(tmp_path), "--json")

    def said():
        done = tau(*arguments, **cloud.environment)
        return done.exit_code, {one["what"]: (one["mark"], one["said"]) for one in json.loads(done.stdout)}

    _, without = said()
    assert {
        what for what in ("AWS", "clock", "table", "queue default", "bucket", "mail") if without[what][0] != "ok"
    } == set()
    assert without["secrets"][0] == without[f"registry {registry.host}"][0] == "broken"
    assert "set the SSM parameter /tau/local/secrets/doctors-registry" in without["secrets"][1]
    cloud.put_secret("doctors-registry", LOGIN)
    code, there = said()
    assert {what for what, (mark, _) in there.items() if mark == "broken"} == {"engine"}
    assert code == 1
    assert LOGIN.partition(":")[2] not in json.dumps(there)


def test_a_setting_that_is_missing_is_one_finding_and_what_can_be_asked_is_asked(tmp_path):
    said = tau("--folder", str(tmp_path), TAU_STAGE="test")
    assert "✗ broken  settings                 TAU_BUCKET is not set" in said.stdout
    assert "✓ ok      git" in said.stdout
    assert said.exit_code == 1
