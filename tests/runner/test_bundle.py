"""Real trees packed by git: what is in the bundle, what is refused, and that the same tree is the same bytes."""

import json
import os
from dataclasses import replace

import pytest

from chalicelib.errors import StepFailed
from runner.bundle import dockerrun, making
from runner.bundle.dockerrun import Place, dockercfg
from runner.bundle.making import build
from tests.bundling import GOOD, IMAGE, OURS, archived, opened


def test_only_what_sets_up_the_environment_goes_in_and_the_image_is_filled_in(tmp_path):
    files = {
        "Dockerfile": "FROM scratch",
        "app/index.php": "<?php",
        "Dockerrun.aws.json": GOOD,
        ".ebextensions/01.config": "option_settings: {}",
        ".platform/hooks/postdeploy/go.sh": "#!/bin/sh",
        ".env": "SECRET=1",
    }
    tree = archived(tmp_path, files, executable={".platform/hooks/postdeploy/go.sh"})
    with opened(build(tree, OURS)) as made:
        assert made.namelist() == [".ebextensions/01.config", ".platform/hooks/postdeploy/go.sh", "Dockerrun.aws.json"]
        assert made.read(".ebextensions/01.config") == b"option_settings: {}"
        modes = [info.external_attr >> 16 for info in made.infolist()]
        assert modes == [0o100644, 0o100755, 0o100644]
        assert json.loads(made.read("Dockerrun.aws.json")) == {
            "AWSEBDockerrunVersion": "1",
            "Image": {"Name": IMAGE, "Update": "true"},
            "Ports": [{"ContainerPort": 80}],
        }


def test_the_same_tree_is_the_same_bytes_whenever_it_was_committed(tmp_path):
    files = {"Dockerrun.aws.json": GOOD, ".ebextensions/b.config": "b", ".ebextensions/a.config": "a"}
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    first = build(archived(one, files), OURS)
    second = build(archived(two, {"README": "another commit", **files}), OURS)
    assert first == second


@pytest.mark.parametrize(
    "files",
    [
        {"Dockerrun.aws.json": GOOD, ".ebextensions/a.config": "b"},
        {"Dockerrun.aws.json": GOOD, ".ebextensions/b.config": "a"},
        {"Dockerrun.aws.json": GOOD.replace("80", "81"), ".ebextensions/a.config": "a"},
    ],
)
def test_another_content_is_another_hash(tmp_path, files):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    before = build(archived(one, {"Dockerrun.aws.json": GOOD, ".ebextensions/a.config": "a"}), OURS)
    assert build(archived(two, files), OURS).content != before.content


def test_another_image_is_another_hash(tmp_path):
    tree = archived(tmp_path, {"Dockerrun.aws.json": GOOD})
    assert build(tree, OURS).content != build(tree, replace(OURS, reference=IMAGE.replace("a" * 64, "b" * 64))).content


def test_a_link_inside_the_bundle_stays_a_link(tmp_path):
    files = {"Dockerrun.aws.json": GOOD, ".platform/hooks/prebuild/go.sh": "#!/bin/sh"}
    tree = archived(tmp_path, files, links={".platform/hooks/postdeploy": "prebuild"})
    with opened(build(tree, OURS)) as made:
        link = made.getinfo(".platform/hooks/postdeploy")
        assert (link.external_attr >> 16, made.read(link)) == (0o120777, b"prebuild")


@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside", "../Dockerfile", "nowhere"])
def test_a_link_that_leads_out_of_the_bundle_is_refused(tmp_path, target):
    files = {"Dockerrun.aws.json": GOOD, "Dockerfile": "FROM scratch"}
    tree = archived(tmp_path, files, links={".ebextensions/a.config": target})
    with pytest.raises(StepFailed, match=r"\.ebextensions/a\.config is a symbolic link to"):
        build(tree, OURS)


def test_a_folder_that_is_a_link_is_refused(tmp_path):
    tree = archived(tmp_path, {"Dockerrun.aws.json": GOOD, "eb/a.config": "a"}, links={".ebextensions": "eb"})
    with pytest.raises(StepFailed, match="symbolic link to 'eb'"):
        build(tree, OURS)


def test_a_dockerrun_that_is_a_link_is_refused(tmp_path):
    links = {"Dockerrun.aws.json": ".ebextensions/run.json"}
    tree = archived(tmp_path, {".ebextensions/run.json": GOOD}, links=links)
    with pytest.raises(StepFailed, match=r"Dockerrun\.aws\.json is a symbolic link"):
        build(tree, OURS)


@pytest.mark.parametrize("name", ["Dockrrun.aws", "Dockerrun.aws", "dockerrun.aws.json", "Dockerrun.json"])
def test_a_name_that_is_nearly_right_is_recognised(tmp_path, name):
    tree = archived(tmp_path, {name: GOOD, "Dockerfile": "FROM scratch"})
    with pytest.raises(StepFailed, match=rf"did you mean Dockerrun\.aws\.json by {name}\?"):
        build(tree, OURS)


def test_a_missing_dockerrun_says_what_to_write(tmp_path):
    with pytest.raises(StepFailed, match=r'has no Dockerrun\.aws\.json.*write \{"AWSEBDockerrunVersion": "1"'):
        build(archived(tmp_path, {"Dockerfile": "FROM scratch"}), OURS)


def test_a_bundle_that_is_too_large_is_refused(tmp_path):
    tree = archived(tmp_path, {"Dockerrun.aws.json": GOOD, ".ebextensions/a": os.urandom(3000).hex()})
    with pytest.raises(StepFailed, match="more than 0 MB, which is what Elastic Beanstalk takes: move large files"):
        build(tree, OURS, most_bytes=3000)
    assert making.MOST_BYTES == 512 * 1024 * 1024


def filled(text, credentials=None):
    said = dockerrun.parsed(text.encode())
    complaints = list(dockerrun.complaints(said, OURS, builds=False))
    if complaints:
        raise StepFailed(complaints[0], tuple(complaints))
    return json.loads(dockerrun.filled(said, OURS, credentials, builds=False))


@pytest.mark.parametrize("version", ['"1"', "1"])
def test_the_version_may_be_a_number_or_a_text(version):
    text = f'{{"AWSEBDockerrunVersion": {version}, "Ports": [{{"ContainerPort": "80", "HostPort": 8000}}]}}'
    made = filled(text)
    assert made["Image"] == {"Name": IMAGE, "Update": "true"}
    assert made["Ports"] == [{"ContainerPort": "80", "HostPort": 8000}]


def test_whatever_else_it_says_stays():
    text = '{"AWSEBDockerrunVersion": 1, "Ports": [{"ContainerPort": 80}], "Logging": "/var/log/nginx", "Volumes": []}'
    made = filled(text)
    assert (made["Logging"], made["Volumes"]) == ("/var/log/nginx", [])
    assert "Authentication" not in made


def test_credentials_are_named_where_the_registry_has_some():
    assert filled(GOOD, Place("b", "k"))["Authentication"] == {"Bucket": "b", "Key": "k"}


def test_a_byte_order_mark_is_no_mistake():
    assert filled("\ufeff" + GOOD)["Image"]["Name"] == IMAGE


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is no JSON: Expecting value: line 1 column 1"),
        ('{"AWSEBDockerrunVersion": "1",}', "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "expected an object"),
        ("{}", "AWSEBDockerrunVersion is missing"),
        (GOOD.replace('"1"', "4"), r"AWSEBDockerrunVersion: 4 is not known: write one of 1 \(one container\), 2"),
        (GOOD.replace('"1"', "true"), "AWSEBDockerrunVersion: True is not known"),
        (GOOD.replace('{"Name": "<IMAGE>"}', '"<IMAGE>"'), "Image: expected an object"),
        ('{"AWSEBDockerrunVersion": "1"}', "Ports: expected the port that the container listens on"),
        (GOOD.replace('[{"ContainerPort": 80}]', "[]"), "Ports: expected the port"),
        (GOOD.replace('{"ContainerPort": 80}', "80"), r"Ports\[0\]: expected an object with a ContainerPort"),
        (GOOD.replace("80", "0"), r"Ports\[0\]\.ContainerPort: expected a number from 1 to 65535, got 0"),
        (GOOD.replace("80", '"65536"'), r"Ports\[0\]\.ContainerPort: .* got '65536'"),
        (GOOD.replace("80", '"http"'), r"got 'http'"),
        (GOOD.replace("80", "true"), r"got True"),
        (GOOD.replace("80", '80, "HostPort": -1'), r"Ports\[0\]\.HostPort"),
    ],
)
def test_what_is_wrong_in_it_is_said_with_its_place(text, sentence):
    with pytest.raises(StepFailed, match=sentence):
        filled(text)


def test_everything_that_is_wrong_is_said_at_once():
    with pytest.raises(StepFailed) as caught:
        filled('{"Image": 1}')
    assert len(caught.value.lines) == 3


def test_credentials_are_written_in_the_old_format():
    assert json.loads(dockercfg({"code.2pisoftware.com:5000": ("tau", "a:b")})) == {
        "code.2pisoftware.com:5000": {"auth": "dGF1OmE6Yg==", "email": ""}
    }
    assert list(json.loads(dockercfg({"docker.io": ("tau", "x")}))) == ["https://index.docker.io/v1/"]
