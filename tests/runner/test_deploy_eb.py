"""The action from its first call to its last, with the real records and an Elastic Beanstalk with a memory."""

import io
import json
import re
import tarfile
import zipfile
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from botocore.exceptions import EndpointConnectionError
from pydantic import ValidationError

from chalicelib import wishes
from chalicelib.deployer import advance_deployments
from chalicelib.errors import MissingSecret, NeedsAttention, Outrun, Recalled, StepErrored, StepFailed
from chalicelib.graph import Base
from chalicelib.model import DeploymentState, Source, StepStatus, WaitingFor
from runner.actions.deploy_eb import Approve, Settings, run
from runner.classic import Classic
from runner.context import Aws, Context, Image, Park
from runner.fields import Compiling
from runner.stopping import Stopped, Stopping, Why
from tests.deploying import deployment
from tests.fake_beanstalk import FakeBeanstalk
from tests.installation import NOW, event, installation, job
from tests.installation import run as a_run

REGISTRY = "code.2pisoftware.com:5000"
IMAGE = Image("2pisoftware/crm", "sha256:" + "1" * 64, {REGISTRY: "sha256:" + "a" * 64})
SETTINGS = Settings(application="crm", environment="crm-production", image="2pisoftware/crm")
DOCKERRUN = '{"AWSEBDockerrunVersion": "1", "Ports": [{"ContainerPort": 80}]}'


class Clock:
    now = NOW

    def __call__(self):
        return self.now

    def pass_(self, seconds):
        self.now += timedelta(seconds=seconds)


class Journal:
    def __init__(self):
        self.entries = []

    def intend(self, key, **facts):
        self.entries.append(("intent", key, facts))

    def observe(self, key, **facts):
        self.entries.append(("seen", key, facts))

    def observed(self, key):
        return next((facts for kind, name, facts in self.entries if (kind, name) == ("seen", key)), None)


class Log:
    def __init__(self):
        self.lines = []

    def line(self, text):
        self.lines.append(text)


def tree(files):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()


class World:
    def __init__(self, edge, folder):
        self.edge, self.folder, self.clock = edge, folder, Clock()
        self.beanstalk = FakeBeanstalk(self.clock)
        self.log, self.journal = Log(), Journal()
        self.files = {"Dockerrun.aws.json": DOCKERRUN, "Dockerfile": "FROM scratch"}
        self.images = {IMAGE.name: IMAGE}
        self.registries = {REGISTRY: None}
        self.secrets = {}
        self.event = {"ref": "refs/tags/v1.2.0", "name": "v1.2.0", "repository": "2pisoftware/crm_deploy"}
        self.regions = set()
        self.held, self.logins = {}, []
        self.stopping = Stopping()

    def client(self, service, region=None):
        if service != "elasticbeanstalk":
            return self.edge.client(service, region)
        self.regions.add(region)
        return self.beanstalk

    def context(self, run_id="01KAQ", index=3):
        source = Source("github.com", "2pisoftware/crm_deploy", "ssh://git@github.com/2pisoftware/crm_deploy.git")
        planned = job(event=event(**self.event), source=source, registries=self.registries)
        return Context(
            run=run_id,
            epoch=1,
            index=index,
            job=planned,
            folder=self.folder,
            checkout=self._checkout,
            archive=lambda *_: tree(self.files),
            docker=None,
            log=self.log,
            journal=self.journal,
            images=self.images,
            labels={},
            secret=self._secret,
            remaining_s=lambda: 600,
            now=self.clock,
            aws=Aws(self.client, self.edge.store, self.edge.objects, "ap-southeast-2"),
            builder=Classic(),
            stopping=self.stopping,
            registry=self._registry,
            ignored=lambda _repository, _commit, rules: frozenset(rules.decode().split()),
        )

    @staticmethod
    def _checkout(repository, ref, commit, _into):
        assert (repository, ref) == ("github.com/2pisoftware/crm_deploy", "refs/tags/v1.2.0")
        return commit

    def _secret(self, name):
        if name not in self.secrets:
            raise MissingSecret(name)
        return self.secrets[name]

    def _registry(self, host, name, login):
        there = self.held.get((host, name), ())
        self.logins.append(login and login.user)
        return SimpleNamespace(digest=lambda tag: tag if tag in there else None)

    def act(self, settings=SETTINGS, **where):
        return run(settings, self.context(**where))

    def record(self, deployment_id="01KAQ.3"):
        return self.edge.store.deployment(deployment_id)

    def advance(self, seconds=120):
        """Let the ticker do its work for a while."""
        for _ in range(0, seconds, 5):
            for due in self.edge.store.due(self.clock()):
                edge = replace(self.edge, client=self.client, now=self.clock)
                advance_deployments([due.id], edge=edge, now=self.clock())
            self.clock.pass_(5)

    def bundle(self):
        (version,) = self.beanstalk.versions.values()
        return zipfile.ZipFile(io.BytesIO(self.edge.objects.get(version["SourceBundle"]["S3Key"])))


@pytest.fixture
def world(monkeypatch, tmp_path):
    with installation(monkeypatch) as edge:
        yield World(edge, tmp_path)


def test_the_first_call_makes_version_and_record_and_parks(world):
    parked = world.act()
    assert isinstance(parked, Park)
    assert (parked.waiting_for, parked.due_at) == (WaitingFor.ENVIRONMENT, NOW + timedelta(seconds=20))
    record = world.record()
    assert (record.state, record.region, record.due_at) == (DeploymentState.PREPARED, "ap-southeast-2", NOW)
    assert record.deadline_at == NOW + timedelta(minutes=30)
    assert list(world.beanstalk.versions) == [record.label]
    assert [entry[:2] for entry in world.journal.entries] == [
        ("intent", "version"),
        ("seen", "version"),
        ("intent", "deploy crm-production"),
    ]


def test_from_the_intent_to_deploy_on_the_run_must_finish(world):
    world.act()
    must_finish = [key for _, key, facts in world.journal.entries if facts.get("must_finish")]
    assert must_finish == ["deploy crm-production"]
    assert world.record() is not None


@pytest.mark.parametrize("why", [*Why])
def test_who_should_stop_stops_before_it_means_to_deploy(world, why):
    world.stopping.ask(why)
    with pytest.raises(Stopped):
        world.act()
    assert ("intent", "deploy crm-production") not in [entry[:2] for entry in world.journal.entries]
    assert world.record() is None


def test_who_has_begun_to_deploy_asks_no_more_whether_to_stop(world):
    world.act()
    world.stopping.ask(Why.ASKED)
    world.advance()
    assert world.act().status is StepStatus.PASSED


def test_the_version_says_what_it_is(world):
    world.act()
    ((label, version),) = world.beanstalk.versions.items()
    assert label.startswith("v1.2.0-2222222-")
    assert len(label) == len("v1.2.0-2222222-") + 8
    assert version["SourceBundle"] == {"S3Bucket": "tau-test", "S3Key": f"bundles/crm/{label}.zip"}
    assert version["Description"] == "github.com/2pisoftware/crm_deploy v1.2.0 2222222, run 01KAQ"
    assert (version["Process"], version["AutoCreateApplication"]) == (True, False)


def test_the_bundle_runs_the_tested_image_by_its_digest(world):
    world.act()
    with world.bundle() as made:
        assert made.namelist() == ["Dockerrun.aws.json"]
        said = json.loads(made.read("Dockerrun.aws.json"))
    assert said["Image"] == {"Name": f"{REGISTRY}/2pisoftware/crm@sha256:{'a' * 64}", "Update": "true"}
    assert "Authentication" not in said


def test_it_goes_live_and_its_events_stand_in_the_log_once_and_in_order(world):
    world.act()
    world.advance(20)
    assert isinstance(world.act(), Park)
    world.advance(100)
    result = world.act()
    assert result.status is StepStatus.PASSED
    label = world.record().label
    assert result.facts["deployment"] == {
        "application": "crm",
        "environment": "crm-production",
        "region": "ap-southeast-2",
        "label": label,
        "previous_label": "v1",
        "image": f"{REGISTRY}/2pisoftware/crm@sha256:{'a' * 64}",
        "built_from": None,
        "url": "http://crm-production.example",
        "note": None,
    }
    assert world.log.lines == [
        f"eb: made the version {label}",
        f"eb: {label} is on its way to crm-production (ap-southeast-2)",
        "eb: INFO Environment update is starting.",
        "eb: INFO Environment update completed.",
        f"eb: {label} is live in crm-production: http://crm-production.example",
    ]
    assert world.beanstalk.updates == [label]


def test_between_its_ends_the_run_is_looked_at_seldom(world):
    world.act()
    world.advance(10)
    parked = world.act()
    assert parked.due_at == world.clock() + timedelta(seconds=20)
    assert parked.reason == f"Elastic Beanstalk brings {world.record().label} to crm-production"


def test_a_rollback_fails_the_step_with_its_events(world):
    world.beanstalk.fate = "rolled back"
    world.act()
    world.advance()
    with pytest.raises(StepFailed, match="Elastic Beanstalk rolled back to v1: Failed to deploy") as caught:
        world.act()
    assert caught.value.lines == (
        "INFO Environment update is starting.",
        "ERROR Failed to deploy application.",
        "INFO Environment update completed.",
    )


def test_a_way_back_that_fails_too_is_for_a_person_and_is_not_tried_again(world):
    world.act()
    world.advance()
    world.beanstalk.well, world.beanstalk.back, world.beanstalk.fate = {world.record().label}, "Red", "Red"
    world.event |= {"name": "v1.3.0"}
    world.act(run_id="01KAR")
    world.advance(400)
    with pytest.raises(
        NeedsAttention, match=r"needs attention: .* its health is Red .* The way back to v1.2.0-.* failed"
    ) as caught:
        world.act(run_id="01KAR")
    assert caught.value.facts == {"not_back": {"environment": "crm-production", "region": world.record().region}}


def test_the_record_says_what_is_deployed_and_who_wanted_it(world):
    world.act()
    record = world.record()
    assert (record.tag, record.commit, record.by) == ("v1.2.0", "2" * 40, "A Developer")
    assert record.repository == "github.com/2pisoftware/crm_deploy"
    assert record.image.startswith("code.2pisoftware.com:5000/2pisoftware/crm@sha256:")


def test_where_ci_yml_wants_no_rollback_the_record_says_so(world):
    world.act(Settings(**{**SETTINGS.model_dump(), "rollback": "never"}))
    assert world.record().rolls_back is False


def test_a_right_that_tau_lacks_is_not_the_codes_fault(world):
    world.act()
    world.beanstalk.refusals["DescribeEnvironments"] = ["AccessDenied"] * 99
    world.advance()
    world.beanstalk.refusals.clear()
    with pytest.raises(StepErrored, match="AWS does not let Tau call elasticbeanstalk:DescribeEnvironments"):
        world.act()


def test_events_that_cannot_be_read_change_no_verdict(world):
    world.act()
    world.advance()
    world.beanstalk.refusals["DescribeEvents"] = ["Throttling"]
    assert world.act().status is StepStatus.PASSED


def test_the_same_tag_again_is_the_same_version_and_no_update(world):
    world.act()
    world.advance()
    world.act(run_id="01KAR")
    world.advance()
    assert world.act(run_id="01KAR").status is StepStatus.PASSED
    assert (len(world.beanstalk.versions), len(world.beanstalk.updates)) == (1, 1)
    assert world.beanstalk.calls.count("CreateApplicationVersion") == 1


def test_a_crash_before_the_record_is_made_up_for(world):
    world.beanstalk.refusals["CreateApplicationVersion"] = ["InternalFailure"]
    with pytest.raises(StepErrored, match="InternalFailure was ordered"):
        world.act()
    assert world.record() is None
    assert isinstance(world.act(), Park)
    assert len(list(world.edge.objects.keys("bundles/"))) == 1


def test_a_version_that_another_run_makes_at_the_same_moment_is_used(world):
    world.act()
    (label,) = world.beanstalk.versions
    made = world.beanstalk.versions.pop(label)
    create = world.beanstalk.create_application_version

    def meanwhile(**asked):
        world.beanstalk.versions[label] = made
        return create(**asked)

    world.beanstalk.create_application_version = meanwhile
    assert isinstance(world.act(run_id="01KAR"), Park)


def test_a_label_of_another_bundle_is_refused(world):
    world.act()
    (version,) = world.beanstalk.versions.values()
    version["SourceBundle"] = {"S3Bucket": "by-hand", "S3Key": "crm.zip"}
    with pytest.raises(StepFailed, match=r"was made from another bundle \(s3://by-hand/crm.zip\): delete that version"):
        world.act(run_id="01KAR")


# --- several runs, one environment ----------------------------------------------------------------


def test_an_older_run_does_not_begin_once_a_newer_one_has(world):
    world.act(run_id="01KAR")
    with pytest.raises(Outrun, match="run 01KAR, a newer one, deploys to crm-production") as outrun:
        world.act()
    assert outrun.value.by == "01KAR"
    assert world.record() is None
    world.advance()
    assert (world.act(run_id="01KAR").status, len(world.beanstalk.updates)) == (StepStatus.PASSED, 1)


def test_an_older_run_that_waits_in_line_is_outrun_by_a_newer_one(world):
    for name, run_id in (("v1.1.0", "01KA0"), ("v1.2.0", "01KAQ"), ("v1.3.0", "01KAR")):
        world.event |= {"name": name}
        world.act(run_id=run_id)
        world.advance(5)
    world.advance(300)
    with pytest.raises(Outrun, match="run 01KAR, a newer one, deploys to crm-production") as outrun:
        world.act()
    assert outrun.value.by == "01KAR"
    assert world.beanstalk.updates == [world.record(f"{run_id}.3").label for run_id in ("01KA0", "01KAR")]
    assert world.act(run_id="01KAR").status is StepStatus.PASSED


def test_a_newer_run_goes_on_after_an_older_one(world):
    world.act()
    world.advance()
    world.event |= {"name": "v1.3.0"}
    world.act(run_id="01KAR")
    world.advance()
    assert world.act().status is StepStatus.PASSED
    assert world.act(run_id="01KAR").status is StepStatus.PASSED
    assert len(world.beanstalk.updates) == 2


def test_a_run_in_the_queue_is_woken_by_the_end(world):
    from chalicelib.records.runs import new_run

    waiting = a_run(7)
    store = world.edge.store
    store.table.write(new_run(waiting))
    claimed = store.claim(store.run(waiting.id), "r1", NOW)
    parked = world.act(run_id=waiting.id)
    store.park(claimed, parked.waiting_for, NOW + timedelta(days=1), parked.reason)
    world.advance()
    message = world.edge.queue.receive("default", wait_s=0, hidden_s=10)
    assert json.loads(message.body) == {"v": 1, "run": waiting.id, "send": 2}
    assert store.lock_holder("eb/ap-southeast-2/crm-production") is None


def test_a_registry_with_credentials_gets_them_written_for_the_instances(world):
    world.registries, world.secrets = {REGISTRY: "registry"}, {"registry": "tau:a:b\n"}
    world.act()
    key = f"bundles/auth/{REGISTRY}.dockercfg"
    with world.bundle() as made:
        said = json.loads(made.read("Dockerrun.aws.json"))
    assert said["Authentication"] == {"Bucket": "tau-test", "Key": key}
    assert json.loads(world.edge.objects.get(key))[REGISTRY]["auth"] == "dGF1OmE6Yg=="
    world.secrets["registry"] = "tau:new"
    world.act(run_id="01KAR")
    assert json.loads(world.edge.objects.get(key))[REGISTRY]["auth"] == "dGF1Om5ldw=="
    assert len(world.beanstalk.versions) == 1


def test_a_missing_secret_is_ours(world):
    world.registries = {REGISTRY: "registry"}
    with pytest.raises(MissingSecret):
        world.act()


# --- what Elastic Beanstalk builds ----------------------------------------------------------------

SOURCE = SETTINGS.model_copy(update={"bundle": "source"})
BASE = Base(REGISTRY, "2pisoftware/cmfive", "latest", "sha256:" + "c" * 64)


@pytest.fixture
def building(world):
    world.images = {IMAGE.name: replace(IMAGE, digests={}, bases=(BASE,))}
    world.files = {"Dockerfile": f"FROM {REGISTRY}/2pisoftware/cmfive:latest\nCOPY . /app\n", "app/index.php": "<?php"}
    world.held = {(REGISTRY, BASE.name): {BASE.digest}}
    return world


def test_what_elastic_beanstalk_builds_stands_on_what_was_tested_and_need_not_be_pushed(building):
    building.act(SOURCE)
    with building.bundle() as made:
        assert made.namelist() == ["Dockerfile", "app/index.php"]
        assert made.read("Dockerfile").decode().startswith(f"FROM {REGISTRY}/2pisoftware/cmfive@{BASE.digest}\n")
    record = building.record()
    assert (record.image, record.built_from) == (None, f"{REGISTRY}/2pisoftware/cmfive:latest@{BASE.digest}")


def test_that_it_was_built_there_is_a_fact_and_stands_with_what_is_live(building):
    building.act(SOURCE)
    building.advance()
    facts = building.act(SOURCE).facts["deployment"]
    said = f"{REGISTRY}/2pisoftware/cmfive:latest@{BASE.digest}"
    assert (facts["built_from"], facts["image"]) == (said, None)
    assert building.edge.store.live("ap-southeast-2", "crm-production").built_from == said


def test_the_instances_log_in_to_the_registry_of_what_they_build_on(building):
    building.registries, building.secrets = {REGISTRY: "registry", "docker.io": "hub"}, {"registry": "tau:a"}
    building.act(SOURCE)
    key = f"bundles/auth/{REGISTRY}.dockercfg"
    with building.bundle() as made:
        assert json.loads(made.read("Dockerrun.aws.json")) == {
            "AWSEBDockerrunVersion": "1",
            "Authentication": {"Bucket": "tau-test", "Key": key},
        }
    assert list(json.loads(building.edge.objects.get(key))) == [REGISTRY]
    assert building.logins == ["tau"]


def test_a_base_that_its_registry_has_no_more_is_refused_before_anything_is_uploaded(building):
    building.registries, building.held = {REGISTRY: None}, {}
    with pytest.raises(StepFailed, match=rf"{REGISTRY} does not have 2pisoftware/cmfive@sha256:c+ \(any more\)"):
        building.act(SOURCE)
    assert list(building.edge.objects.keys("bundles/")) == []
    assert building.beanstalk.versions == {}


def test_an_image_that_was_found_and_not_built_in_this_run_has_no_bases_that_could_be_named(building):
    building.images = {IMAGE.name: IMAGE}
    with pytest.raises(StepFailed, match=r"line 1: FROM .*: which image that was in the test is not known"):
        building.act(SOURCE)


def test_what_ebignore_names_is_left_out_and_what_is_not_pinned_is_said(building):
    building.files |= {"Dockerfile": "FROM scratch\nCOPY --from=composer:2 /a /a\n", ".ebignore": "notes", "notes": "x"}
    building.act(SOURCE)
    with building.bundle() as made:
        assert made.namelist() == [".ebignore", "Dockerfile", "app/index.php"]
    assert building.log.lines[0].startswith("eb: Dockerfile, line 2: composer:2 is not pinned")


PLATFORMS = {
    "docker": ("64bit Amazon Linux 2023 v4.3.0 running Docker", None, r"which does not know version 2"),
    "ecs": ("64bit Amazon Linux 2023 v4.1.0 running ECS", r"takes a Dockerrun\.aws\.json of version 2 alone", None),
    "old": (
        "64bit Amazon Linux 2018.03 v2.26.0 running Multi-container Docker 19.03.13-ce (Generic)",
        "of version 2 alone",
        None,
    ),
    "another": ("64bit Amazon Linux 2023 v4.0.0 running Python 3.11", "runs no images", "runs no images"),
    "unknown": ("", None, None),
}
TWO = (
    '{"AWSEBDockerrunVersion": 2, "containerDefinitions": [{"name": "web", "image": "2pisoftware/crm", "memory": 64}]}'
)


@pytest.mark.parametrize(("platform", "one", "two"), PLATFORMS.values(), ids=PLATFORMS)
def test_a_file_for_another_platform_is_refused_before_anything_is_uploaded(world, platform, one, two):
    world.beanstalk.environments["crm-production"].platform = platform
    for run_id, text, sentence in (("01KAQ", DOCKERRUN, one), ("01KAR", TWO, two)):
        world.files["Dockerrun.aws.json"] = text
        before = list(world.edge.objects.keys("bundles/"))
        if sentence is None:
            assert isinstance(world.act(run_id=run_id), Park)
            continue
        with pytest.raises(StepFailed, match=f"crm-production runs {re.escape(platform)}, .*{sentence}"):
            world.act(run_id=run_id)
        assert list(world.edge.objects.keys("bundles/")) == before


def test_the_credentials_are_written_only_once_the_bundle_is_found_good(world):
    world.registries, world.secrets = {REGISTRY: "registry"}, {"registry": "tau:a"}
    world.files["Dockerrun.aws.json"] = "{}"
    with pytest.raises(StepFailed):
        world.act()
    assert list(world.edge.objects.keys("bundles/")) == []


def test_of_several_registries_our_own_is_taken(world):
    world.images = {IMAGE.name: replace(IMAGE, digests={"docker.io": "sha256:" + "b" * 64, **IMAGE.digests})}
    world.act()
    with world.bundle() as made:
        assert json.loads(made.read("Dockerrun.aws.json"))["Image"]["Name"].startswith(REGISTRY)


def test_another_region_is_asked_there(world):
    world.act(SETTINGS.model_copy(update={"region": "us-east-1"}))
    assert world.regions == {"us-east-1"}
    assert world.record().region == "us-east-1"


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("feature/x", "feature-x-"),
        ("\U0001f680\U0001f680", ""),
        ("/", ""),
        ("v" * 101, "v" * 40),
        ("", ""),
        ("-rf", ""),
    ],
)
def test_whatever_a_branch_is_called_its_label_is_one_that_elastic_beanstalk_takes(world, name, begins):
    world.event |= {"name": name}
    world.act()
    ((label, version),) = world.beanstalk.versions.items()
    assert re.fullmatch(r"[^/\s]{1,100}", label)
    assert label.startswith(begins)
    assert "-2222222-" in label
    assert re.fullmatch(r"[ -~]{1,200}", version["Description"])
    assert version["SourceBundle"]["S3Key"] == f"bundles/crm/{label}.zip"


def test_nothing_of_a_fork_is_deployed(world):
    world.event |= {"fork": True}
    with pytest.raises(StepFailed, match="comes from a fork, and what is deployed runs as root"):
        world.act()
    assert (list(world.edge.objects.keys("bundles/")), world.beanstalk.versions) == ([], {})


def test_a_branch_with_a_slash_is_fitted_to_a_label(world):
    world.event |= {"name": "feature/Überlänge" + "x" * 100}
    world.act()
    label = world.record().label
    assert (len(label) <= 100, "/" in label, label.startswith("feature-")) == (True, False, True)
    assert "-2222222-" in label
    (version,) = world.beanstalk.versions.values()
    assert version["Description"].isascii()
    assert len(version["Description"]) <= 200


def test_the_budget_of_the_settings_stands_in_the_record(world):
    world.act(Settings(application="crm", environment="crm-production", image=IMAGE.name, timeout="90s"))
    assert (world.record().timeout_s, world.record().deadline_at) == (90, NOW + timedelta(seconds=90))


REFUSED = {
    "no image": (lambda world: world.images.clear(), "no step before this one built the image 2pisoftware/crm"),
    "not pushed": (
        lambda world: world.images.update({IMAGE.name: replace(IMAGE, digests={})}),
        "2pisoftware/crm was not pushed: ci.yml needs a push step before deploy_eb",
    ),
    "no environment": (
        lambda world: world.beanstalk.environments.clear(),
        "there is no environment crm-production of the application crm in ap-southeast-2",
    ),
    "no Dockerrun": (lambda world: world.files.pop("Dockerrun.aws.json"), r"has no Dockerrun\.aws\.json"),
    "bad Dockerrun": (
        lambda world: world.files.update({"Dockerrun.aws.json": "{}"}),
        "AWSEBDockerrunVersion is missing",
    ),
}


@pytest.mark.parametrize(("spoil", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_deployed_is_refused_before_anything_is_uploaded(world, spoil, sentence):
    spoil(world)
    with pytest.raises(StepFailed, match=sentence):
        world.act()
    assert list(world.edge.objects.keys("bundles/crm/")) == []
    assert (world.beanstalk.versions, world.record()) == ({}, None)


@pytest.mark.parametrize("name", ["abc", "a" * 41])
def test_a_name_that_no_environment_can_have_is_refused(world, name):
    with pytest.raises(StepFailed, match="has 4 to 40 characters"):
        world.act(SETTINGS.model_copy(update={"environment": name}))


ERRORS = {
    "quota": ("TooManyApplicationVersionsException", StepErrored, "quota of application versions in ap-southeast-2"),
    "region": ("S3LocationNotInServiceRegionException", StepFailed, "bundles lie in another region than"),
    "denied": ("AccessDenied", StepErrored, r"elasticbeanstalk:CreateApplicationVersion was refused \(AccessDenied\)"),
}


@pytest.mark.parametrize(("code", "kind", "sentence"), ERRORS.values(), ids=ERRORS)
def test_a_refused_version_says_who_can_do_what(world, code, kind, sentence):
    world.beanstalk.refusals["CreateApplicationVersion"] = [code]
    with pytest.raises(kind, match=sentence):
        world.act()
    assert world.record() is None


def test_an_application_that_is_not_there_is_named(world):
    text = "No Application named 'crm' found."
    error = world.beanstalk.error("DescribeEnvironments", "InvalidParameterValue", text)
    world.beanstalk.describe_environments = lambda **_: (_ for _ in ()).throw(error)
    with pytest.raises(StepFailed, match="there is no application crm in ap-southeast-2"):
        world.act()


def test_an_elastic_beanstalk_out_of_reach_is_ours(world):
    error = EndpointConnectionError(endpoint_url="https://elasticbeanstalk")
    world.beanstalk.describe_environments = lambda **_: (_ for _ in ()).throw(error)
    with pytest.raises(StepErrored, match="cannot be reached"):
        world.act()


@pytest.mark.parametrize(
    "fields",
    [
        {"region": "sydney"},
        {"timeout": "soon"},
        {"label": "mine"},
        {"application": None},
        {"bundle": "zip"},
        {"health": {"within": "31m"}},
    ],
)
def test_settings_are_checked(fields):
    with pytest.raises(ValidationError):
        Settings(**{"application": "crm", "environment": "crm-production", **fields})


def test_what_has_to_answer_stands_in_the_record(world):
    settings = Settings(**SETTINGS.model_dump() | {"probe": "https://crm.example.com/health", "probe_within": 120})
    world.act(settings)
    assert (world.record().probe, world.record().probe_within_s) == ("https://crm.example.com/health", 120)


@pytest.mark.parametrize(
    ("health", "stands"),
    [
        (None, ("before", None, 0)),
        ({}, ("before", None, 0)),
        ({"accept": "yellow", "within": "10m", "hold": "1m"}, ("yellow", 600, 60)),
    ],
)
def test_which_health_does_stands_in_the_record(world, health, stands):
    world.act(Settings(**SETTINGS.model_dump() | {"health": health}))
    record = world.record()
    assert (record.accept, record.health_within_s, record.hold_s) == stands


# --- approvals, and what people take back ---------------------------------------------------------

ASKING = SETTINGS.model_copy(update={"approve": Approve(by=("sam@2pisoftware.com",), within=86400)})


def test_a_run_that_waits_for_an_approval_is_parked_for_it_and_looks_ever_more_rarely(world):
    world.act(ASKING)
    world.advance(10)
    record = world.record()
    assert (record.approvers, record.approve_within_s) == (("sam@2pisoftware.com",), 86400)
    parked = world.act(ASKING)
    assert (parked.waiting_for, parked.due_at - world.clock()) == (WaitingFor.APPROVAL, timedelta(seconds=20))
    assert "waits for the approval of sam@2pisoftware.com" in parked.reason
    world.clock.pass_(7200)
    assert world.act(ASKING).due_at - world.clock() == timedelta(seconds=7200 / 4 + 2.5)
    assert world.beanstalk.updates == []


def test_a_version_that_was_approved_goes_live_and_the_mail_says_on_whose_word(world):
    world.act(ASKING)
    world.advance(10)
    record = world.record()
    world.edge.store.move_deployment(record, wishes.answer(record, "sam@2pisoftware.com", world.clock(), yes=True))
    world.advance(120)
    facts = world.act(ASKING).facts["deployment"]
    assert facts["note"] == "approved by sam@2pisoftware.com"


@pytest.mark.parametrize(
    ("by_then_s", "said"),
    [
        (0, "cancelled by sam@laptop: v1.2.0-2222222-"),
        (15, "aborted by sam@laptop: crm-production runs v1 again"),
    ],
)
def test_what_people_take_back_ends_its_run_cancelled_and_says_who_did(world, by_then_s, said):
    world.act()
    if by_then_s:
        world.advance(by_then_s)
    record = world.record()
    world.edge.store.move_deployment(record, wishes.stop(record, "sam@laptop", world.clock()))
    world.advance(120)
    with pytest.raises(Recalled) as recalled:
        world.act()
    assert str(recalled.value).startswith(said)


def test_the_run_of_a_rollback_has_built_nothing_and_tells_of_it_all_the_same(world):
    world.images = {}
    world.edge.store.create_deployment(
        deployment("01KAQ", label="v1", instead_of="v2", by="sam@laptop", image=None, created_at=NOW, due_at=NOW)
    )
    world.beanstalk.add_version("v1")
    world.advance(30)
    facts = world.act(Settings(application="crm", environment="crm-production")).facts["deployment"]
    assert (facts["label"], facts["image"]) == ("v1", None)
    assert facts["note"] == "instead of v2, as sam@laptop wanted"


@pytest.mark.parametrize("approve", [{"by": ()}, {"by": ("sam",)}, {"by": ("sam@x.org",), "within": 31 * 86400}, {}])
def test_an_approval_needs_addresses_and_an_end(approve):
    with pytest.raises(ValidationError):
        Settings(application="crm", environment="crm-production", approve=approve)


# --- an environment that is not there -----------------------------------------------------------


@pytest.mark.parametrize("create", [{}, {"template": "usual", "stack": "x"}, "usual", True])
def test_what_is_created_names_a_saved_configuration_and_nothing_else(create):
    with pytest.raises(ValidationError):
        Settings(application="crm", environment="crm-production", create=create)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("usual", None),
        ("{client}", None),
        ("a/b", "cannot be a version label"),
        ("", "expected text, got an empty one"),
        ("{stage}", "{stage} is not known"),
    ],
)
def test_its_name_is_checked_when_ci_yml_is(template, said):
    asked = {"application": "crm", "environment": "crm-production", "create": {"template": template}}
    compiling = Compiling(samples={"client": "erp"})
    if said is None:
        assert Settings.model_validate(asked, context=compiling).create.template == template
    else:
        with pytest.raises(ValidationError, match=said):
            Settings.model_validate(asked, context=compiling)
