"""A bundle's docker-compose.yml: what it brings up, in which order, and what is refused."""

import io
import json
import tarfile

import pytest

from infra.local.eb_bundle import BadBundle
from infra.local.eb_compose import Service, read
from tests.local.beanstalks import bundle, pulled

WEB = {"image": "crm:1", "ports": ["80:8000"]}


def composed(services, **files):
    return bundle({"docker-compose.yml": json.dumps({"services": services}), **files})


def test_without_the_file_it_is_one_container_that_answers():
    (service,) = read(pulled("crm:1"))
    assert (service.bundle.image, service.bundle.port, service.answers) == ("crm:1", 8080, True)
    assert service.with_variables({"A": "b"}) == {"A": "b"}


def test_whoever_is_needed_is_started_first_and_one_answers():
    wanted = {
        "web": {**WEB, "depends_on": ["cache"]},
        "cache": {"image": "redis:7", "depends_on": {"store": {"condition": "service_started"}}},
        "store": {"image": "mariadb@sha256:0", "command": "--skip-networking=0 --x='a b'", "restart": "always"},
    }
    services = read(composed(wanted))
    assert [service.name for service in services] == ["store", "cache", "web"]
    assert [service.answers for service in services] == [False, False, True]
    assert services[0].bundle.command == ("--skip-networking=0", "--x=a b")
    assert services[2].bundle.port == 8000


@pytest.mark.parametrize("port", ["80:8000", "0.0.0.0:80:8000", "80:8000/tcp", {"published": 80, "target": 8000}])
def test_a_port_is_published_in_any_of_its_forms(port):
    (service,) = read(composed({"web": {**WEB, "ports": ["443:8443", port]}}))
    assert service.bundle.port == 8000


def test_an_image_is_built_from_its_own_folder():
    files = {"web/Dockerfile": "FROM crm:base\n", "web/a/b": "c", "webs/Dockerfile": "FROM other\n"}
    (service,) = read(composed({"web": {"build": {"context": "./web/"}, "ports": ["80:80"]}}, **files))
    assert (service.bundle.image, service.bundle.bases) == (None, ("crm:base",))
    from infra.local.eb_bundle import context

    assert b"a/b" in context(service.bundle)
    assert b"webs" not in context(service.bundle)


def test_variables_come_from_the_environment_where_the_file_says_so():
    given = {"HOST": "db", "B": "2"}
    own = {"A": "http://${HOST}/", "C": "${NONE:-three}", "D": "$$HOST", "E": "$B", "F": None}
    (service,) = read(composed({"web": {**WEB, "environment": own}}))
    assert service.with_variables(given) == {"A": "http://db/", "C": "three", "D": "$HOST", "E": "2", "F": ""}
    listed = read(composed({"web": {**WEB, "environment": ["A=1=1"], "env_file": [".env"]}}))[0]
    assert listed.with_variables(given) == {"HOST": "db", "B": "2", "A": "1=1"}


def test_files_of_the_bundle_are_copied_to_their_places_and_volumes_are_its_own():
    mounts = ["./site.conf:/etc/nginx/site.conf:ro", "./html:/www", {"source": "data", "target": "/data"}, "/tmp/x"]
    files = {"site.conf": "listen 80;", "html/a/index.html": "hello", "html2/b": "no"}
    (service,) = read(composed({"web": {**WEB, "volumes": mounts}}, **files))
    with tarfile.open(fileobj=io.BytesIO(service.files)) as tar:
        assert {one.name: tar.extractfile(one).read() for one in tar} == {
            "etc/nginx/site.conf": b"listen 80;",
            "www/a/index.html": b"hello",
        }
    assert service.volumes == ("/data", "/tmp/x")


def test_a_file_of_variables_is_read_and_what_the_service_says_goes_before():
    wanted = {"web": {**WEB, "env_file": ["./web.env", ".env"], "environment": {"B": "own"}}}
    (service,) = read(composed(wanted, **{"web.env": "# a comment=1\nA=$HOST\nB=file\nnothing\n"}))
    assert service.with_variables({"HOST": "db"}) == {"HOST": "db", "A": "db", "B": "own"}


def test_the_registrys_credentials_are_named_beside_it():
    said = {"AWSEBDockerrunVersion": "3", "Authentication": {"bucket": "b", "key": "k"}}
    (service,) = read(composed({"web": WEB}, **{"Dockerrun.aws.json": json.dumps(said)}))
    assert service.bundle.authentication == ("b", "k")


@pytest.mark.parametrize(
    ("services", "said"),
    [
        ([], "has no services"),
        ({}, "has no services"),
        ({"web": "crm:1"}, "has no services"),
        ({"web": {"ports": ["80:80"]}}, "services.web has neither image nor build"),
        ({"web": {**WEB, "volumes": ["/etc:/etc"]}}, "services.web.volumes: '/etc:/etc' is not served here"),
        ({"web": {**WEB, "volumes": ["a:b"]}}, "services.web.volumes: 'a:b' is not served here"),
        ({"web": {**WEB, "volumes": ["./no:/no"]}}, "services.web.volumes: there is no no in the bundle"),
        ({"web": {**WEB, "env_file": "no.env"}}, "services.web.env_file: there is no no.env in the bundle"),
        ({"web": {**WEB, "privileged": True}}, "services.web.privileged is not served here"),
        ({"web": {**WEB, "ports": ["8080:8000"]}}, "exactly one service must publish port 80"),
        ({"web": WEB, "other": WEB}, "exactly one service must publish port 80"),
        ({"web": {**WEB, "ports": ["80:http"]}}, "services.web.ports: '80:http' is no port"),
        ({"web": {**WEB, "depends_on": ["web"]}}, "goes in a circle"),
        ({"web": {**WEB, "depends_on": ["store"]}}, "names what is not there"),
        ({"web": {"build": "web", "ports": ["80:80"]}}, "services.web.build: there is no web/Dockerfile"),
        ({"web": {"build": {"target": "x"}, "ports": ["80:80"]}}, "services.web.build: only a context"),
        ({"web": {**WEB, "environment": 3}}, "services.web.environment must be a mapping or a list"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_place(services, said):
    with pytest.raises(BadBundle) as caught:
        read(composed(services))
    assert said in str(caught.value)


def test_files_that_are_none_are_refused():
    with pytest.raises(BadBundle, match="not valid YAML"):
        read(bundle({"docker-compose.yml": "services: ["}))
    with pytest.raises(BadBundle, match="not a valid zip file"):
        read(b"no zip file")
    with pytest.raises(BadBundle, match=r"Dockerrun\.aws\.json is not valid JSON"):
        read(composed({"web": WEB}, **{"Dockerrun.aws.json": "["}))


def test_a_service_of_its_own_has_no_other_variables():
    service = Service("web", read(pulled("crm:1"))[0].bundle, {"A": "1"}, all_variables=False)
    assert service.with_variables({"B": "2"}) == {"A": "1"}
