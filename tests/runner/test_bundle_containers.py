"""Dockerrun.aws.json of version 2, and what its placeholders stand for."""

import json
import re

import pytest

from chalicelib.errors import StepFailed
from runner.bundle.dockerrun import Place
from runner.bundle.making import Source, build
from runner.bundle.placeholders import ours
from tests.bundling import IMAGE, OURS, names, read, tarred

WEB = {
    "name": "web",
    "image": "2pisoftware/crm:<TAG>",
    "memory": 512,
    "essential": True,
    "portMappings": [{"hostPort": 80, "containerPort": 80}],
    "mountPoints": [
        {"sourceVolume": "conf", "containerPath": "/etc/conf", "readOnly": True},
        {"sourceVolume": "awseb-logs-web", "containerPath": "/var/log"},
    ],
}
CACHE = {"name": "cache", "image": "redis:7", "memoryReservation": 64}
VOLUMES = [{"name": "conf", "host": {"sourcePath": "/var/app/current/conf"}}]


def two(*containers, **more):
    return {"AWSEBDockerrunVersion": 2, "containerDefinitions": list(containers), "volumes": VOLUMES, **more}


def bundled(said, image=OURS, files=None, **how):
    tree = {"Dockerrun.aws.json": json.dumps(said), "Dockerfile": "FROM scratch", "conf/a": "x", "src/b": "y"}
    return build(tarred({**tree, **(files or {})}), image, **how)


def test_the_container_of_our_image_runs_it_by_its_digest_and_the_others_stay():
    made = bundled(two(WEB, CACHE))
    assert made.version == "2"
    said = read(made)
    assert said["containerDefinitions"] == [{**WEB, "image": IMAGE}, CACHE]
    assert said["volumes"] == VOLUMES
    assert made.images == (IMAGE, "redis:7")


def test_what_containers_mount_of_the_bundle_goes_along_and_nothing_else():
    assert names(bundled(two(WEB, CACHE))) == ["Dockerrun.aws.json", "conf/a"]
    everything = [{"name": "conf", "host": {"sourcePath": "/var/app/current/"}}]
    made = bundled(two(WEB, volumes=everything), files={".env": "SECRET=1"})
    assert names(made) == ["Dockerrun.aws.json", "conf/a", "src/b"]


@pytest.mark.parametrize("spelling", [("Authentication", "Bucket", "Key"), ("authentication", "bucket", "key")])
def test_the_credentials_are_named_as_version_2_spells_them(spelling):
    name, bucket, key = spelling
    written = two(WEB, **{name: {bucket: "mine", key: "k"}})
    assert read(bundled(written))["authentication"] == {"bucket": "mine", "key": "k"}
    made = bundled(written, login=lambda _: Place("b", "ours"))
    assert read(made)["authentication"] == {"bucket": "b", "key": "ours"}
    assert [name for name in read(made) if name.lower() == "authentication"] == ["authentication"]


def test_each_registry_from_which_something_is_pulled_is_asked_for_its_credentials():
    asked = []
    bundled(two(WEB, {**CACHE, "image": "ghcr.io/2pisoftware/cache:1"}), login=asked.append)
    assert asked == [frozenset({"code.2pisoftware.com:5000", "ghcr.io"})]


WRONG = [
    (two(), "containerDefinitions: version 2 runs these"),
    (two("web"), r"containerDefinitions\[0\]: expected an object"),
    (two({**WEB, "name": ""}), r"containerDefinitions\[0\]\.name is missing"),
    (two({**WEB, "name": "a b"}), r"containerDefinitions\[0\]\.name: 'a b' can be no container's name"),
    (two(WEB, {**CACHE, "name": "web"}), r"containerDefinitions\[1\]\.name: there is a container web already"),
    (two(WEB, {**CACHE, "image": 7}), r"containerDefinitions\[1\]\.image: expected text, got 7"),
    (
        two(WEB, {**CACHE, "image": "redis:$TAG"}),
        r"containerDefinitions\[1\]\.image: redis:\$TAG holds \$TAG, and is not",
    ),
    (two(CACHE), "containerDefinitions: none of them runs 2pisoftware/crm, which was built"),
    (two({"name": "web", "image": "<IMAGE>"}), r"containerDefinitions\[0\]\.memory is missing"),
    (
        two({**WEB, "memory": "512"}),
        r"containerDefinitions\[0\]\.memory: expected a number of MB, 4 or more, got '512'",
    ),
    (two({**WEB, "essential": "yes"}), r"containerDefinitions\[0\]\.essential: expected true or false"),
    (
        two({**WEB, "portMappings": [{"containerPort": 80, "hostPort": 70000}]}),
        r"containerDefinitions\[0\]\.portMappings\[0\]\.hostPort: expected a number from 1 to 65535, got 70000",
    ),
    (
        two({**WEB, "portMappings": [80]}),
        r"containerDefinitions\[0\]\.portMappings\[0\]: expected objects with a containerPort",
    ),
    (two(WEB, volumes=[]), r"containerDefinitions\[0\]\.mountPoints\[0\]\.sourceVolume: 'conf' is none of volumes"),
    (two({**WEB, "mountPoints": [{"sourceVolume": ["conf"]}]}), r"containerDefinitions\[0\]\.mountPoints\[0\]\.source"),
    (two(WEB, volumes=[{"name": ["conf"]}]), r"volumes\[0\]\.name: expected text"),
    (
        two({**WEB, "portMappings": [{"containerPort": "8" * 5000}]}),
        r"containerDefinitions\[0\]\.portMappings\[0\]\.containerPort: expected a number",
    ),
    (two(WEB, volumes={"a": 1}), "volumes: expected objects with a name"),
    (two(WEB, authentication={"bucket": "b"}), "authentication: expected an object such as"),
    (two(WEB, authentication={}, Authentication={}), "authentication and Authentication say the same: leave one out"),
]


@pytest.mark.parametrize(("said", "sentence"), WRONG)
def test_what_is_wrong_is_said_with_its_place(said, sentence):
    with pytest.raises(StepFailed) as caught:
        bundled(said)
    assert any(re.match(rf"Dockerrun\.aws\.json: {sentence}", line) for line in caught.value.lines), caught.value.lines


def test_version_2_builds_nothing():
    with pytest.raises(StepFailed, match="version 2 builds nothing: write bundle: image"):
        bundled(two(WEB), Source(()))


def test_by_hand_the_images_stay_as_they_are_written_unless_nobody_can_run_them():
    plain = {**WEB, "image": "2pisoftware/crm:1"}
    assert read(bundled(two(plain, CACHE), None))["containerDefinitions"] == [plain, CACHE]
    with pytest.raises(StepFailed, match=r"<TAG> stands for an image that nobody named: --image NAME@sha256:… fills"):
        bundled(two(WEB), None)


@pytest.mark.parametrize(
    ("written", "found"),
    [
        (["2pisoftware/crm"], {"2pisoftware/crm"}),
        (["redis:7", "docker.io/2pisoftware/crm:1"], {"docker.io/2pisoftware/crm:1"}),
        (["code.example:5000/2pisoftware/crm@sha256:ab"], {"code.example:5000/2pisoftware/crm@sha256:ab"}),
        (["2pisoftware/crm:{{TAG}}"], {"2pisoftware/crm:{{TAG}}"}),
        (["<REGISTRY>/2pisoftware/crm:<TAG>"], {"<REGISTRY>/2pisoftware/crm:<TAG>"}),
        (["{{IMAGE}}"], {"{{IMAGE}}"}),
        (["[IMAGE]:[TAG]"], {"[IMAGE]:[TAG]"}),
        (["$IMAGE", "redis:7"], {"$IMAGE"}),
        (["${IMAGE}"], {"${IMAGE}"}),
        # Which of two placeholders is ours, nobody knows; a name does.
        (["<WEB>", "<CACHE>"], set()),
        (["<CACHE>", "2pisoftware/crm:1"], {"2pisoftware/crm:1"}),
        (["2pisoftware/crm-dev:1", "other/crm"], set()),
    ],
)
def test_our_image_is_known_by_its_name_or_by_a_placeholder_alone(written, found):
    assert ours(written, "2pisoftware/crm") == found
    assert ours(written, None) == set()
