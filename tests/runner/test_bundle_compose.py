"""docker-compose.yml: which service runs our image, what goes along, and what is refused."""

import pytest
import yaml

from chalicelib.errors import StepFailed
from chalicelib.graph import Base
from runner.bundle.compose import Compose
from runner.bundle.dockerrun import Place
from runner.bundle.making import Source, build
from tests.bundling import GOOD, IMAGE, OURS, names, read, tarred

COMPOSE = """\
# The whole site.
x-common: &common
  restart: always
  env_file: .env
services:
  web:
    <<: *common
    image: 2pisoftware/crm:${TAG:-latest}   # ours
    ports: [80:80, "22:22", 08:8]
    volumes:
      - ./nginx/site.conf:/etc/nginx/site.conf:ro
      - /var/app/current/static:/static
      - data:/data
      - /tmp:/tmp
      - {type: bind, source: ./more, target: /more}
  cache:
    <<: *common
    image: redis:${REDIS_TAG}
    read_only: yes
volumes: {data: {}}
"""
FILES = {
    "docker-compose.yml": COMPOSE,
    "Dockerfile": "FROM 2pisoftware/cmfive:latest\n",
    "nginx/site.conf": "a",
    "nginx/other.conf": "b",
    "static/a.css": "c",
    "more/d": "d",
    "src/index.php": "e",
    ".env": "SECRET=1",
}
BASE = Base("docker.io", "2pisoftware/cmfive", "latest", "sha256:" + "b" * 64)
THREE = '{"AWSEBDockerrunVersion": "3"}'


def bundled(compose=COMPOSE, wanted=OURS, files=None, **how):
    return build(tarred({**FILES, "docker-compose.yml": compose, **(files or {})}), wanted, **how)


def test_the_service_of_our_image_runs_it_by_its_digest_and_everything_else_says_what_it_said():
    made = bundled()
    assert made.version == "3"
    before, after = (yaml.safe_load(text) for text in (COMPOSE, read(made, "docker-compose.yml")))
    assert after["services"]["web"].pop("image") == IMAGE
    before["services"]["web"].pop("image")
    assert after == before


def test_words_stay_as_they_were_written():
    written = read(bundled(), "docker-compose.yml")
    # Another reader of YAML would make 1342 of the one, and `true` of the other.
    assert "80:80" in written
    assert '"22:22"' in written
    assert "08:8" in written
    assert "read_only: yes" in written


def test_what_services_take_of_the_tree_goes_along_and_neither_the_rest_nor_env():
    assert names(bundled()) == ["docker-compose.yml", "more/d", "nginx/site.conf", "static/a.css"]


def test_a_registry_with_credentials_gets_a_dockerrun_of_version_3():
    asked = []

    def login(hosts):
        asked.append(hosts)
        return Place("b", "k")

    made = bundled(login=login)
    assert read(made) == {"AWSEBDockerrunVersion": "3", "Authentication": {"bucket": "b", "key": "k"}}
    assert asked == [frozenset({"code.2pisoftware.com:5000", "docker.io"})]
    made = bundled(files={"Dockerrun.aws.json": THREE}, login=login)
    assert read(made)["Authentication"] == {"bucket": "b", "key": "k"}


def test_our_service_is_not_built_over_there_any_more():
    compose = "services: {web: {build: {context: .}, image: 2pisoftware/crm}}"
    assert yaml.safe_load(read(bundled(compose), "docker-compose.yml")) == {"services": {"web": {"image": IMAGE}}}


def test_what_several_services_share_is_filled_in_only_where_it_is_ours():
    compose = "x-a: &a {image: 2pisoftware/crm}\nservices:\n  web: {<<: *a}\n  job: {<<: *a, image: busybox}\n"
    services = yaml.safe_load(read(bundled(compose), "docker-compose.yml"))["services"]
    assert (services["web"]["image"], services["job"]["image"]) == (IMAGE, "busybox")


@pytest.mark.parametrize(
    ("compose", "sentence"),
    [
        ("services: [", "2:1 is no YAML"),
        ("a: 1", "services: expected what is to run"),
        ("services: {web: nginx}", r"services\.web: expected a mapping with an image"),
        ("- a", "expected a mapping with services"),
        ("services: {web: {image: a, image: b}}", "1: image stands here twice"),
        ("services: {web: {image: nginx}}", "services: none of them runs 2pisoftware/crm, which was built"),
        ("services: {web: {image: <IMAGE>}, job: {}}", r"services\.job\.image is missing"),
        (
            "services: {web: {image: 2pisoftware/crm}, job: {image: 'redis:<TAG>'}}",
            r"services\.job\.image: redis:<TAG> holds <TAG>, and is not 2pisoftware/crm",
        ),
        (
            "services: {web: {image: 2pisoftware/crm}, job: {build: ./job}}",
            r"services\.job\.build: nothing is built over there: name an image, or write bundle: source",
        ),
        ("x: &x {build: .}\nservices: {web: {<<: *x, image: 2pisoftware/crm}}", r"services\.web\.build: it comes from"),
        ("include: [a.yml]\nservices: {web: {image: 2pisoftware/crm}}", "include: only docker-compose.yml itself"),
        (
            "services: {web: {image: 2pisoftware/crm, extends: {file: a.yml, service: b}}}",
            r"services\.web\.extends\.file: only docker-compose\.yml itself",
        ),
        (
            "services: {web: {image: 2pisoftware/crm, volumes: ['../x:/x']}}",
            r"services\.web\.volumes: \.\./x leads out of the bundle",
        ),
        (
            "services: {web: {image: 2pisoftware/crm, env_file: [{path: live.env}]}}",
            r"services\.web\.env_file: there is no live\.env in the repository",
        ),
        (
            "services: {web: {image: 2pisoftware/crm}}\nconfigs: {site: {file: ./site}}",
            r"configs\.site\.file: there is no \./site in the repository",
        ),
        ("[" * 100, "nested more than 50 deep"),
        ("#" * 300_000, "has more than 256 KB"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(compose, sentence):
    with pytest.raises(StepFailed, match=rf"^docker-compose\.yml[: ].*{sentence}"):
        bundled(compose)


def test_an_env_file_that_may_be_missing_is_not_asked_for():
    bundled("services: {web: {image: 2pisoftware/crm, env_file: [{path: local.env, required: false}]}}")


def test_merges_of_merges_of_merges_are_read_once():
    lines = ["x0: &x0 {a: b}", *(f"x{n}: &x{n} {{<<: [*x{n - 1}, *x{n - 1}]}}" for n in range(1, 40))]
    compose = "\n".join([*lines, "services: {web: {<<: [*x39, *x39]}}"])
    assert Compose(compose.encode()).images() == []


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"Dockerrun.aws.json": THREE}, None),
        (
            {"Dockerrun.aws.json": '{"AWSEBDockerrunVersion": 3, "Image": {"Name": "a"}}'},
            "Image: version 3 reads nothing but Authentication: say it in docker-compose.yml",
        ),
    ],
)
def test_version_3_says_where_credentials_lie_and_nothing_else(files, sentence):
    if sentence is None:
        assert read(bundled(files=files)) == {"AWSEBDockerrunVersion": "3"}
        return
    with pytest.raises(StepFailed, match=sentence):
        bundled(files=files)


@pytest.mark.parametrize("name", ["docker-compose.yaml", "Docker-Compose.yml", "compose.yml"])
def test_version_3_without_the_file_that_elastic_beanstalk_reads_is_refused(name):
    files = {"Dockerrun.aws.json": THREE, name: COMPOSE}
    with pytest.raises(StepFailed, match=rf"has no docker-compose\.yml.*did you mean docker-compose\.yml by {name}"):
        build(tarred(files), OURS)
    with pytest.raises(StepFailed, match=r"has no docker-compose\.yml, .*of version 3 says nothing of what is to run"):
        build(tarred({"Dockerrun.aws.json": THREE}), OURS)


def test_beside_version_1_a_compose_file_is_for_somebody_else():
    assert names(bundled(files={"Dockerrun.aws.json": GOOD})) == ["Dockerrun.aws.json"]
    with pytest.raises(StepFailed, match=r"docker-compose\.yml would be run in the place of Dockerrun\.aws\.json"):
        bundled(wanted=Source((BASE,)), files={"Dockerrun.aws.json": GOOD, ".env.example": "", "nginx/x": ""})


def test_with_source_a_service_builds_the_dockerfile_that_was_tested():
    compose = "services: {web: {build: .}, cache: {image: redis:7}}"
    tree = {"docker-compose.yml": compose, "Dockerfile": FILES["Dockerfile"], "src/index.php": "e"}
    made = build(tarred(tree), Source((BASE,)))
    assert names(made) == ["Dockerfile", "docker-compose.yml", "src/index.php"]
    assert read(made, "docker-compose.yml") == compose
    assert read(made, "Dockerfile") == f"FROM 2pisoftware/cmfive@{BASE.digest}\n"
    assert made.built_from == f"2pisoftware/cmfive:latest@{BASE.digest}"


@pytest.mark.parametrize(
    ("service", "sentence"),
    [
        ("{build: ./web}", r"services\.web\.build\.context: only the Dockerfile at the top was built and tested"),
        (
            "{build: {context: ., dockerfile: Other}}",
            r"services\.web\.build\.dockerfile: only the Dockerfile at the top",
        ),
        ("{build: {context: ., args: {A: b}}}", r"services\.web\.build\.args: it was built and tested here without"),
        ("{build: {context: ., target: dev}}", r"services\.web\.build\.target"),
        ("{image: 2pisoftware/crm}", r"services: none of them builds the Dockerfile: write `build: \.` in one"),
    ],
)
def test_with_source_nothing_else_is_built(service, sentence):
    tree = {"docker-compose.yml": f"services: {{web: {service}}}", "Dockerfile": FILES["Dockerfile"]}
    with pytest.raises(StepFailed, match=sentence):
        build(tarred(tree), Source((BASE,)))
