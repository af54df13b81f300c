"""The local Elastic Beanstalk, asked by boto3; where Docker is the point, by containers that really run."""

import base64
import contextlib
import http.client
import io
import json
import shutil
import time
import urllib.error
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import docker
import pytest
from botocore.exceptions import ClientError

from infra.local import eb_bundle
from infra.local.eb_proxy import Address, Server
from infra.local.elastic_beanstalk import ElasticBeanstalk
from infra.local.emulator import REGION
from infra.local.registry import Registry
from tests.local.beanstalks import BUCKET, EngineNobodyAsks, bundle, client_at, page_of, pulled, s3_at

PASSWORD = "s3cret:with:colons"
BUSYBOX = Path("/usr/bin/busybox")
HTTPD = 'CMD ["/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]'
BROKEN_SCRIPT = r"echo could not reach the database; printf '\\033[31mgiving up\\033[0m\\n'; exit 3"
BROKEN = f'CMD ["/busybox", "sh", "-c", "{BROKEN_SCRIPT}"]'


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with s3_at(tmp_path_factory.mktemp("s3")) as client:
        yield client


@contextlib.contextmanager
def client_of(service):
    with client_at(service.start()) as client:
        yield client


@pytest.fixture
def eb(s3):
    """A client of a service that runs nothing."""
    with ElasticBeanstalk(EngineNobodyAsks(), s3, "tau-test", 0.02) as service, client_of(service) as client:
        yield client


@pytest.fixture
def slow(s3):
    """The same, but each step takes so long that a test stands in the middle of it."""
    with ElasticBeanstalk(EngineNobodyAsks(), s3, "tau-test", 30) as service, client_of(service) as client:
        yield client


@pytest.fixture
def system(docker_client):
    """A name for labels and images; afterwards nothing in Docker bears it."""
    name = f"tau-test-{uuid.uuid4().hex[:8]}"
    yield name
    assert containers_of(docker_client, name) == []
    assert docker_client.images.list(filters={"label": f"tau.system={name}"}) == []
    images = [name for image in docker_client.images.list() for name in (*image.tags, *image.attrs["RepoDigests"])]
    assert [image for image in images if name in image] == []


@pytest.fixture
def live(s3, docker_client, system):
    """A client of a service that runs its containers."""
    with ElasticBeanstalk(docker_client, s3, system, 0.02, answer_timeout_s=2) as service, client_of(service) as client:
        client.create_application(ApplicationName="crm")
        yield client
        print(*messages(client), sep="\n")  # noqa: T201 - pytest shows it of a test that fails


def containers_of(docker_client, system):
    return docker_client.containers.list(all=True, filters={"label": f"tau.system={system}"}, ignore_removed=True)


def busybox(page, command=HTTPD, **dockerrun):
    """A bundle with a Dockerfile: busybox, and a page that it serves."""
    files = {
        "busybox": BUSYBOX.read_bytes(),
        "www/index.html": page,
        "Dockerfile": f"FROM scratch\nCOPY busybox /busybox\nCOPY www /www\nEXPOSE 8080\n{command}\n",
    }
    if dockerrun:
        files["Dockerrun.aws.json"] = json.dumps({"AWSEBDockerrunVersion": 1, **dockerrun})
    return bundle(files, executable={"busybox"})


def put_version(eb, s3, label, body, **more):
    s3.put_object(Bucket=BUCKET, Key=f"{label}.zip", Body=body)
    place = {"S3Bucket": BUCKET, "S3Key": f"{label}.zip"}
    given = {"ApplicationName": "crm", "AutoCreateApplication": True, "SourceBundle": place, **more}
    return eb.create_application_version(VersionLabel=label, **given)["ApplicationVersion"]


def processed(eb, label):
    """A version when it is processed, one way or the other."""
    return until(lambda: versions(eb)[label], lambda version: version["Status"] not in {"UNPROCESSED", "PROCESSING"})


def versions(eb):
    return {one["VersionLabel"]: one for one in eb.describe_application_versions()["ApplicationVersions"]}


def environment(eb, name="crm-production", **more):
    (found,) = eb.describe_environments(EnvironmentNames=[name], **more)["Environments"]
    return found


def create(eb, **more):
    """An environment when it is there; by boto3's own waiter."""
    given = {"ApplicationName": "crm", "EnvironmentName": "crm-production", **more}
    eb.create_environment(**given)
    wait(eb, "environment_exists")
    return environment(eb, given["EnvironmentName"])


def update(eb, label):
    eb.update_environment(EnvironmentName="crm-production", VersionLabel=label)
    wait(eb, "environment_updated")
    return environment(eb)


def wait(eb, waiter, **more):
    names = {"EnvironmentNames": ["crm-production"], "IncludeDeleted": waiter == "environment_terminated"}
    eb.get_waiter(waiter).wait(**names, **more, WaiterConfig={"Delay": 0.05, "MaxAttempts": 600})


def until(look, holds, patience_s=10):
    deadline = time.monotonic() + patience_s
    while not holds(seen := look()):
        assert time.monotonic() < deadline, f"still {seen}"
        time.sleep(0.02)
    return seen


def messages(eb, **more):
    """What the events say, oldest first."""
    return [event["Message"] for event in reversed(eb.describe_events(**more)["Events"])]


def refusal(call, *args, **kwargs):
    """Code and text of a request that is refused."""
    with pytest.raises(ClientError) as caught:
        call(*args, **kwargs)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def raw(service, form):
    status, headers, body = service.handle("POST", "/", {}, form.encode())
    assert headers["Content-Type"] == "text/xml"
    return status, body.decode()


# --- the protocol ---------------------------------------------------------------------------------


@pytest.fixture
def service(s3):
    with ElasticBeanstalk(EngineNobodyAsks(), s3, "tau-test", 0.02) as one:
        yield one


def test_an_operation_that_the_model_does_not_know_is_refused(service):
    status, body = raw(service, "Action=LaunchRocket&Version=2010-12-01")
    assert status == 400
    assert "<Code>InvalidAction</Code>" in body
    assert "Could not find operation LaunchRocket for version 2010-12-01" in body


def test_a_request_without_an_operation_is_refused(service):
    assert "<Code>MissingAction</Code>" in raw(service, "Version=2010-12-01")[1]


def test_an_operation_that_the_model_knows_but_nobody_built_says_so_and_is_not_retried(service):
    status, body = raw(service, "Action=ListPlatformBranches")
    assert status == 501
    assert "ListPlatformBranches is not served by the local Elastic Beanstalk." in body


def test_every_missing_member_is_named(service):
    status, body = raw(service, "Action=CreateApplicationVersion")
    assert status == 400
    assert "<Code>ValidationError</Code>" in body
    assert "2 validation errors detected" in body
    assert "Value null at 'applicationName'" in body
    assert "Value null at 'versionLabel'" in body


@pytest.mark.parametrize(
    ("form", "complaint"),
    [
        ("Action=DescribeEvents&MaxRecords=1001", "Member must have value less than or equal to 1000"),
        ("Action=DescribeEvents&MaxRecords=many", "MaxRecords is no integer"),
        ("Action=DescribeEvents&StartTime=yesterday", "StartTime is no timestamp"),
        ("Action=DescribeEvents&Severity=BAD", "Member must satisfy enum value set: [TRACE, DEBUG, INFO, WARN,"),
        ("Action=DescribeEvents&NextToken=12", "Invalid NextToken"),
        (
            "Action=DeleteApplication&ApplicationName=crm&TerminateEnvByForce=perhaps",
            "TerminateEnvByForce is no boolean",
        ),
        (
            f"Action=CreateApplicationVersion&ApplicationName=crm&VersionLabel={'x' * 101}",
            "at 'versionLabel' failed to satisfy constraint: Member must have length less than or equal to 100",
        ),
    ],
)
def test_a_value_outside_the_models_limits_is_refused(service, form, complaint):
    status, body = raw(service, form)
    assert status == 400
    assert complaint in body


def test_bytes_that_are_no_text_are_refused(service):
    assert service.handle("POST", "/", {}, b"Action=\xff")[0] == 400


def test_a_request_by_get_is_answered_too(service):
    status, _, body = service.handle("GET", "/?Action=DescribeApplications&Version=2010-12-01", {}, b"")
    assert status == 200
    assert b"<DescribeApplicationsResult><Applications /></DescribeApplicationsResult>" in body


def test_text_that_xml_cannot_hold_still_makes_an_answer(eb):
    eb.create_application(ApplicationName="crm", Description="a \x1b[31mred\x1b[0m <word> & an emoji \N{ROCKET}")
    (found,) = eb.describe_applications()["Applications"]
    assert found["Description"] == "a \ufffd[31mred\ufffd[0m <word> & an emoji \N{ROCKET}"


# --- applications and versions --------------------------------------------------------------------


def test_an_application_is_made_once_and_can_be_deleted(eb):
    eb.create_application(ApplicationName="crm")
    assert refusal(eb.create_application, ApplicationName="crm")[1] == "Application crm already exists."
    eb.delete_application(ApplicationName="crm")
    assert eb.describe_applications(ApplicationNames=["crm"])["Applications"] == []


def test_a_version_with_a_dockerfile_is_processed(eb, s3):
    made = put_version(eb, s3, "v1", busybox("one"), Process=True, Description="the first")
    assert (made["Status"], made["Description"]) == ("PROCESSING", "the first")
    assert processed(eb, "v1")["Status"] == "PROCESSED"
    assert eb.describe_applications()["Applications"][0]["Versions"] == ["v1"]


def test_a_version_that_is_not_processed_stays_unprocessed(eb, s3):
    assert put_version(eb, s3, "v1", b"no zip file")["Status"] == "UNPROCESSED"
    time.sleep(0.1)
    assert versions(eb)["v1"]["Status"] == "UNPROCESSED"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"no zip file", "not a valid zip file"),
        (bundle({"README.md": "hello"}), "Dockerfile and Dockerrun.aws.json are both missing"),
        (bundle({"Dockerrun.aws.json": "{"}), "Dockerrun.aws.json is not valid JSON format"),
        (bundle({"Dockerrun.aws.json": '{"AWSEBDockerrunVersion": 2}'}), "Invalid Dockerrun.aws.json version"),
        (bundle({"Dockerrun.aws.json": '{"AWSEBDockerrunVersion": 1}'}), "names no image"),
        (pulled("a/b", Ports=[{"ContainerPort": "http"}]), "ContainerPort must be a port"),
        (pulled("a/b", Authentication={"Bucket": "x"}), "Authentication needs Bucket and Key"),
    ],
)
def test_a_bundle_that_cannot_run_makes_the_version_fail_with_an_event_that_says_why(eb, s3, body, why):
    put_version(eb, s3, "v1", body, Process=True)
    assert processed(eb, "v1")["Status"] == "FAILED"
    (event,) = eb.describe_events(VersionLabel="v1", Severity="ERROR")["Events"]
    assert why in event["Message"]


def test_a_failed_version_cannot_be_deployed(eb, s3):
    put_version(eb, s3, "v1", b"no zip file", Process=True)
    processed(eb, "v1")
    code, message = refusal(
        eb.create_environment, ApplicationName="crm", EnvironmentName="crm-production", VersionLabel="v1"
    )
    assert (code, "its status is FAILED" in message) == ("InvalidParameterValue", True)


def test_a_label_that_exists_is_refused_as_aws_refuses_it(eb, s3):
    put_version(eb, s3, "v1", busybox("one"))
    assert refusal(put_version, eb, s3, "v1", busybox("two")) == (
        "InvalidParameterValue",
        "Application Version v1 already exists.",
    )


def test_a_bundle_that_is_not_in_s3_is_refused_as_aws_refuses_it(eb):
    eb.create_application(ApplicationName="crm")
    place = {"S3Bucket": BUCKET, "S3Key": "nothing.zip"}
    assert refusal(eb.create_application_version, ApplicationName="crm", VersionLabel="v1", SourceBundle=place) == (
        "InvalidParameterCombination",
        f"Unable to download from S3 location (Bucket: {BUCKET}  Key: nothing.zip). Reason: Not Found",
    )
    assert versions(eb) == {}


def test_a_version_of_an_unknown_application_is_refused_unless_it_is_to_be_made(eb, s3):
    assert refusal(put_version, eb, s3, "v1", busybox("one"), AutoCreateApplication=False) == (
        "InvalidParameterValue",
        "No Application named 'crm' found.",
    )
    put_version(eb, s3, "v1", busybox("one"))
    assert [one["ApplicationName"] for one in eb.describe_applications()["Applications"]] == ["crm"]


def test_a_label_with_a_slash_is_refused(eb):
    place = {"S3Bucket": BUCKET, "S3Key": "v1.zip"}
    given = {"ApplicationName": "crm", "VersionLabel": "feature/x", "SourceBundle": place}
    assert refusal(eb.create_application_version, **given)[0] == "InvalidParameterValue"


def test_versions_come_newest_first_page_by_page_and_by_filter(eb, s3):
    s3.put_object(Bucket=BUCKET, Key="v.zip", Body=b"")
    place = {"S3Bucket": BUCKET, "S3Key": "v.zip"}
    labels = [f"v{number}" for number in range(7)]
    for label in labels:
        eb.create_application_version(
            ApplicationName="crm", VersionLabel=label, SourceBundle=place, AutoCreateApplication=True
        )
    pages = list(eb.get_paginator("describe_application_versions").paginate(PaginationConfig={"PageSize": 3}))
    assert [len(page["ApplicationVersions"]) for page in pages] == [3, 3, 1]
    assert [one["VersionLabel"] for page in pages for one in page["ApplicationVersions"]] == labels[::-1]
    wanted = eb.describe_application_versions(ApplicationName="crm", VersionLabels=["v2", "v9"])
    assert [one["VersionLabel"] for one in wanted["ApplicationVersions"]] == ["v2"]
    assert eb.describe_application_versions(ApplicationName="wiki")["ApplicationVersions"] == []


def test_a_version_is_deleted_with_its_bundle_if_that_is_asked_for(eb, s3):
    put_version(eb, s3, "v1", busybox("one"))
    put_version(eb, s3, "v2", busybox("two"))
    eb.delete_application_version(ApplicationName="crm", VersionLabel="v1")
    eb.delete_application_version(ApplicationName="crm", VersionLabel="v2", DeleteSourceBundle=True)
    assert versions(eb) == {}
    s3.head_object(Bucket=BUCKET, Key="v1.zip")
    with pytest.raises(ClientError, match="404"):
        s3.head_object(Bucket=BUCKET, Key="v2.zip")


def test_the_storage_location_is_a_bucket_that_is_made_once(eb, s3):
    bucket = eb.create_storage_location()["S3Bucket"]
    assert bucket == f"elasticbeanstalk-{REGION}-000000000000"
    assert eb.create_storage_location()["S3Bucket"] == bucket
    s3.head_bucket(Bucket=bucket)


# --- environments, without containers -------------------------------------------------------------


def test_an_environment_without_a_version_gets_ready_but_is_red(eb):
    eb.create_application(ApplicationName="crm")
    found = create(eb)
    assert (found["Status"], found["Health"], found["HealthStatus"]) == ("Ready", "Red", "Severe")
    assert "VersionLabel" not in found
    assert found["CNAME"] == found["EndpointURL"]
    with pytest.raises(urllib.error.HTTPError) as caught:
        page_of(found)
    assert caught.value.code == 502
    caught.value.close()


def test_an_environment_that_is_not_ready_refuses_an_update_as_aws_does(slow):
    slow.create_application(ApplicationName="crm")
    slow.create_environment(ApplicationName="crm", EnvironmentName="crm-production")
    found = environment(slow)
    assert (found["Status"], found["Health"], found["HealthStatus"]) == ("Launching", "Grey", "Pending")
    must = "Environment named crm-production is in an invalid state for this operation. Must be Ready."
    for call in (slow.update_environment, slow.terminate_environment):
        assert refusal(call, EnvironmentName="crm-production") == ("InvalidParameterValue", must)


def test_only_an_update_under_way_can_be_aborted(eb):
    eb.create_application(ApplicationName="crm")
    create(eb)
    code, message = refusal(eb.abort_environment_update, EnvironmentName="crm-production")
    assert (code, message.endswith("Must be pending deployment.")) == ("InvalidParameterValue", True)


def test_unknown_applications_environments_and_versions_are_refused_as_aws_refuses_them(eb):
    given = {"ApplicationName": "crm", "EnvironmentName": "crm-production"}
    assert refusal(eb.create_environment, **given) == ("InvalidParameterValue", "No Application named 'crm' found.")
    eb.create_application(ApplicationName="crm")
    nothing = ("InvalidParameterValue", "No Application Version named 'v9' found.")
    assert refusal(eb.create_environment, **given, VersionLabel="v9") == nothing
    assert refusal(eb.update_environment, EnvironmentName="crm-production") == (
        "InvalidParameterValue",
        "No Environment found for EnvironmentName = 'crm-production'.",
    )
    create(eb)
    assert refusal(eb.update_environment, EnvironmentName="crm-production", VersionLabel="v9") == nothing
    assert refusal(eb.update_environment, EnvironmentId="e-0000000000")[1] == (
        "No Environment found for EnvironmentId = 'e-0000000000'."
    )
    assert refusal(eb.update_environment)[0] == "MissingRequiredParameter"


@pytest.mark.parametrize("name", ["-crm-production", "crm_production", "crm-production-"])
def test_a_name_that_no_environment_may_have_is_refused(eb, name):
    eb.create_application(ApplicationName="crm")
    code, message = refusal(eb.create_environment, ApplicationName="crm", EnvironmentName=name)
    assert (code, "failed to satisfy constraint" in message) == ("InvalidParameterValue", True)


def test_name_and_address_of_an_environment_are_taken_until_it_is_terminated(eb):
    eb.create_application(ApplicationName="crm")
    given = {"ApplicationName": "crm", "EnvironmentName": "crm-production"}
    first = create(eb)
    assert refusal(eb.create_environment, **given)[1] == "Environment crm-production already exists."
    assert eb.check_dns_availability(CNAMEPrefix="CRM-production")["Available"] is False
    other = {**given, "EnvironmentName": "other", "CNAMEPrefix": "crm-production"}
    assert "is not available." in refusal(eb.create_environment, **other)[1]
    eb.terminate_environment(EnvironmentId=first["EnvironmentId"])
    wait(eb, "environment_terminated")
    dns = eb.check_dns_availability(CNAMEPrefix="crm-production")
    assert dns["Available"] is True
    assert dns["FullyQualifiedCNAME"] == f"crm-production.{REGION}.elasticbeanstalk.com"
    second = create_again(eb)
    assert second["EnvironmentId"] != first["EnvironmentId"]


def create_again(eb):
    eb.create_environment(ApplicationName="crm", EnvironmentName="crm-production")
    return until(lambda: environment(eb, IncludeDeleted=False), lambda found: found["Status"] == "Ready")


def test_a_terminated_environment_is_listed_until_the_caller_does_not_want_it(eb):
    eb.create_application(ApplicationName="crm")
    create(eb)
    eb.terminate_environment(EnvironmentName="crm-production")
    wait(eb, "environment_terminated")
    assert environment(eb)["Status"] == "Terminated"
    assert environment(eb)["Health"] == "Grey"
    assert eb.describe_environments(IncludeDeleted=False)["Environments"] == []
    later = datetime.now(UTC) + timedelta(hours=1)
    assert eb.describe_environments(IncludedDeletedBackTo=later)["Environments"] == []
    assert messages(eb, EnvironmentName="crm-production")[-2:] == [
        "terminateEnvironment is starting.",
        "terminateEnvironment completed successfully.",
    ]


def test_an_application_with_an_environment_is_deleted_only_by_force(eb):
    eb.create_application(ApplicationName="crm")
    create(eb)
    assert "running environments: crm-production" in refusal(eb.delete_application, ApplicationName="crm")[1]
    eb.delete_application(ApplicationName="crm", TerminateEnvByForce=True)
    wait(eb, "environment_terminated")
    assert eb.describe_applications()["Applications"] == []


def test_events_come_newest_first_page_by_page_and_by_filter(eb):
    eb.create_application(ApplicationName="crm")
    for name in ("crm-one", "crm-two"):
        eb.create_environment(ApplicationName="crm", EnvironmentName=name)
        until(lambda name=name: environment(eb, name), lambda found: found["Status"] == "Ready")
    pages = list(eb.get_paginator("describe_events").paginate(ApplicationName="crm", PaginationConfig={"PageSize": 2}))
    events = [event for page in pages for event in page["Events"]]
    assert [len(page["Events"]) for page in pages] == [2, 2, 2, 1]
    dates = [event["EventDate"] for event in events]
    assert dates == sorted(dates, reverse=True)
    assert events[0]["Message"] == "Successfully launched environment: crm-two"
    assert {event["EnvironmentName"] for event in eb.describe_events(EnvironmentName="crm-one")["Events"]} == {
        "crm-one"
    }
    assert messages(eb, StartTime=dates[0])[-1] == "Successfully launched environment: crm-two"
    assert eb.describe_events(StartTime=dates[0] + timedelta(milliseconds=1))["Events"] == []
    assert len(eb.describe_events(EndTime=dates[0])["Events"]) < len(events)
    assert eb.describe_events(Severity="WARN")["Events"] == []
    request = events[0]["RequestId"]
    assert {event["EnvironmentName"] for event in eb.describe_events(RequestId=request)["Events"]} == {"crm-two"}


def test_a_service_that_is_closed_in_the_middle_of_its_work_stops_at_once(s3):
    began = time.monotonic()
    with ElasticBeanstalk(EngineNobodyAsks(), s3, "tau-test", 60) as service:
        raw(service, "Action=CreateApplication&ApplicationName=crm")
        raw(service, "Action=CreateEnvironment&ApplicationName=crm&EnvironmentName=crm-production")
    assert time.monotonic() - began < 5


# --- bundles --------------------------------------------------------------------------------------


def test_a_dockerfile_wins_over_the_image_that_dockerrun_names():
    read = eb_bundle.read(busybox("one", Image={"Name": "crm:1"}))
    assert (read.image, read.ignored_image, read.bases) == (None, "crm:1", ("scratch",))


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("crm", "index.docker.io"),
        ("2pisoftware/crm:1", "index.docker.io"),
        ("docker.io/2pisoftware/crm", "index.docker.io"),
        ("localhost/crm", "localhost"),
        ("code.2pisoftware.com:5000/2pisoftware/crm@sha256:abc", "code.2pisoftware.com:5000"),
    ],
)
def test_the_registry_of_an_image_is_its_first_part_or_docker_hub(image, registry):
    assert eb_bundle.registry_of(image) == registry


@pytest.mark.parametrize("address", ["code:5000", "https://code:5000", "http://code:5000/v1/"])
def test_credentials_are_found_under_any_spelling_of_their_registry(address):
    file = dockercfg(address)
    assert eb_bundle.credentials(file, "code:5000/crm:1") == {"username": "runner", "password": PASSWORD}
    assert eb_bundle.credentials(file, "other:5000/crm:1") == {}


def test_credentials_in_the_newer_format_are_refused_as_elastic_beanstalk_does_not_read_it():
    newer = json.dumps({"auths": json.loads(dockercfg("code:5000"))}).encode()
    with pytest.raises(eb_bundle.BadBundle, match=r"must be in the \.dockercfg format"):
        eb_bundle.credentials(newer, "code:5000/crm:1")


def dockercfg(address):
    auth = base64.b64encode(f"runner:{PASSWORD}".encode()).decode()
    return json.dumps({address: {"auth": auth, "email": "ops@2pisoftware.com"}}).encode()


# --- the address of an environment ----------------------------------------------------------------


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was asked; `GET /slow` takes a while."""

    def do_POST(self):
        if self.path == "/slow":
            time.sleep(0.3)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(201)
        self.send_header("X-Seen", f"{self.command} {self.path} {self.headers['Host']} {self.headers['X-Mine']}")
        self.send_header("Set-Cookie", "a=1")
        self.send_header("Set-Cookie", "b=2")
        self.end_headers()
        self.wfile.write(body[::-1])

    do_GET = do_POST  # noqa: N815  # http.server's names
    do_PATCH = do_POST  # noqa: N815  # the same

    def log_message(self, *_):
        pass


@pytest.fixture
def echo():
    server = Server(Echo)
    yield server
    server.close()


@pytest.fixture
def address():
    one = Address()
    yield one
    one.close()


def test_an_address_passes_method_path_headers_and_body_both_ways(address, echo):
    address.switch(echo.port)
    connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=10)
    for _ in range(2):  # on one connection
        connection.request("PATCH", "/a%20b?c=d", b"live", {"Host": "crm.example", "X-Mine": "yes"})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (201, b"evil")
        assert answer.getheader("X-Seen") == "PATCH /a%20b?c=d crm.example yes"
        assert answer.headers.get_all("Set-Cookie") == ["a=1", "b=2"]
    connection.close()


def test_an_address_that_leads_nowhere_answers_502_and_keeps_the_connection_usable(address, echo):
    connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=10)
    statuses = []
    for target in (None, 1, echo.port):
        address.switch(target)
        connection.request("POST", "/", b"some body")
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
    connection.close()
    assert statuses == [502, 502, 201]


def test_a_switch_waits_for_the_answers_that_the_old_container_still_owes(address, echo):
    address.switch(echo.port)
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(page_of, {"CNAME": f"127.0.0.1:{address.port}"}, "/slow")
        time.sleep(0.1)
        began = time.monotonic()
        address.switch(None)
        assert time.monotonic() - began > 0.1
        assert answer.result() == ""


# --- containers that really run -------------------------------------------------------------------


@pytest.mark.engine
def test_a_new_environment_serves_its_version(live, s3):
    put_version(live, s3, "v1", busybox("one"), Process=True)
    processed(live, "v1")
    found = create(live, VersionLabel="v1")
    assert (found["VersionLabel"], found["Health"], found["HealthStatus"]) == ("v1", "Green", "Ok")
    assert page_of(found) == "one"
    assert messages(live, EnvironmentName="crm-production") == [
        "createEnvironment is starting.",
        "Waiting for EC2 instances to launch. This may take a few minutes.",
        "Deploying new version to instance(s).",
        "Instance deployment completed successfully.",
        "Successfully launched environment: crm-production",
    ]


@pytest.mark.engine
def test_an_update_that_answers_goes_live_at_the_same_address_and_loses_no_request(live, s3, docker_client, system):
    put_version(live, s3, "v1", busybox("one"))
    put_version(live, s3, "v2", busybox("two"))
    first = create(live, VersionLabel="v1")
    begun = live.update_environment(EnvironmentName="crm-production", VersionLabel="v2")
    assert (begun["Status"], begun["VersionLabel"], begun["Health"]) == ("Updating", "v2", "Grey")
    seen = [page_of(first) for _ in iter(lambda: environment(live)["Status"], "Ready")]
    assert set(seen) <= {"one", "two"}
    found = environment(live)
    assert (found["VersionLabel"], found["Health"], found["CNAME"]) == ("v2", "Green", first["CNAME"])
    assert page_of(found) == "two"
    assert len(containers_of(docker_client, system)) == 1
    assert messages(live, VersionLabel="v2") == [
        "Environment update is starting.",
        "Deploying new version to instance(s).",
        "Instance deployment completed successfully.",
        "New application version was deployed to running EC2 instances.",
        "Environment update completed successfully.",
    ]


@pytest.mark.engine
def test_a_bad_container_leaves_the_old_version_live_and_says_why(live, s3, docker_client, system):
    put_version(live, s3, "v1", busybox("one"))
    put_version(live, s3, "v2", busybox("two", BROKEN))
    create(live, VersionLabel="v1")
    found = update(live, "v2")  # boto3's waiter is content
    assert (found["Status"], found["VersionLabel"], found["Health"]) == ("Ready", "v1", "Green")
    assert page_of(found) == "one"
    assert len(containers_of(docker_client, system)) == 1
    errors = messages(live, VersionLabel="v2", Severity="ERROR")
    assert errors[-1] == "Failed to deploy application."
    (reason,) = [text for text in errors if "Return code: 1 Output:" in text]
    assert "Docker container quit unexpectedly after launch: could not reach the database\ngiving up." in reason


@pytest.mark.engine
def test_a_container_that_never_answers_leaves_the_old_version_live(live, s3):
    put_version(live, s3, "v1", busybox("one"))
    put_version(
        live, s3, "v2", busybox("two", 'CMD ["/busybox", "sh", "-c", "echo still warming up; exec /busybox sleep 600"]')
    )
    create(live, VersionLabel="v1")
    assert update(live, "v2")["VersionLabel"] == "v1"
    (reason,) = [text for text in messages(live, Severity="ERROR") if "Return code: 1 Output:" in text]
    assert "did not answer on port 8080 within 2 s" in reason
    assert "still warming up" in reason


@pytest.mark.engine
def test_a_new_environment_whose_version_does_not_run_is_ready_red_and_without_a_version(live, s3):
    put_version(live, s3, "v1", busybox("one", BROKEN))
    found = create(live, VersionLabel="v1")
    assert (found["Status"], found["Health"]) == ("Ready", "Red")
    assert "VersionLabel" not in found
    assert "Create environment operation is complete, but with errors" in messages(live, Severity="ERROR")[-1]
    put_version(live, s3, "v2", busybox("two"))
    assert update(live, "v2")["Health"] == "Green"


@pytest.mark.engine
def test_a_bundle_that_vanished_from_s3_or_is_none_fails_the_update_and_nothing_else(live, s3):
    put_version(live, s3, "v1", busybox("one"))
    put_version(live, s3, "v2", b"no zip file")
    put_version(live, s3, "v3", busybox("three"))
    s3.delete_object(Bucket=BUCKET, Key="v3.zip")
    create(live, VersionLabel="v1")
    for label, why in (("v2", "not a valid zip file"), ("v3", "Unable to download from S3 location")):
        assert update(live, label)["VersionLabel"] == "v1"
        assert any(why in text for text in messages(live, VersionLabel=label, Severity="ERROR"))


@pytest.mark.engine
def test_a_dockerfile_that_fails_says_what_the_build_printed(live, s3):
    put_version(live, s3, "v1", busybox("one", 'RUN ["/busybox", "sh", "-c", "echo no such module; exit 7"]'))
    create(live, VersionLabel="v1")
    (reason,) = [text for text in messages(live, Severity="ERROR") if "Return code: 1 Output:" in text]
    assert "Failed to build Docker image" in reason
    assert "no such module" in reason
    assert "returned a non-zero code: 7" in reason


@pytest.mark.engine
def test_a_compose_file_brings_up_several_containers_that_find_each_other(live, s3, docker_client, system):
    fetch = "until /busybox wget -qO /www/index.html http://store:8080/; do /busybox sleep 0.1; done"
    serve = "exec /busybox httpd -f -p 8080 -h /www"
    start = f'CMD ["/busybox", "sh", "-c", "echo fetching; {fetch}; echo $GREETING >> /www/index.html; {serve}"]'
    compose = {
        "web": {"build": "./web", "ports": ["80:8080"], "env_file": ".env", "depends_on": ["store"]},
        "store": {"build": {"context": "store"}, "volumes": ["./page:/www/index.html:ro", "kept:/kept"]},
    }
    files = {"docker-compose.yml": json.dumps({"services": compose}), "page": "from the bundle\n"}
    for name, dockerfile in (("web", start), ("store", HTTPD)):
        files |= {
            f"{name}/busybox": BUSYBOX.read_bytes(),
            f"{name}/www/index.html": f"from {name}\n",
            f"{name}/Dockerfile": f"FROM scratch\nCOPY busybox /busybox\nCOPY www /www\n{dockerfile}\n",
        }
    put_version(live, s3, "v1", bundle(files, executable={"web/busybox", "store/busybox"}))
    variable = {"Namespace": "aws:elasticbeanstalk:application:environment", "OptionName": "GREETING"}
    found = create(live, VersionLabel="v1", OptionSettings=[{**variable, "Value": "hello"}])
    assert (found["Health"], page_of(found)) == ("Green", "from the bundle\nhello\n")
    assert len(containers_of(docker_client, system)) == 2
    wanted = {"label": f"tau.system={system}"}
    assert len(docker_client.networks.list(filters=wanted)) == 1
    live.terminate_environment(EnvironmentName="crm-production")
    wait(live, "environment_terminated")
    assert (containers_of(docker_client, system), docker_client.networks.list(filters=wanted)) == ([], [])


@pytest.mark.engine
def test_a_missing_page_is_an_answer_too(live, s3):
    put_version(live, s3, "v1", busybox("one", HTTPD.replace("/www", "/")))
    found = create(live, VersionLabel="v1")
    assert found["Health"] == "Green"
    assert page_of(found, "/www/index.html") == "one"


@pytest.mark.engine
def test_an_aborted_update_keeps_the_old_version(live, s3):
    put_version(live, s3, "v1", busybox("one"))
    put_version(live, s3, "v2", busybox("two", 'CMD ["/busybox", "sleep", "600"]'))
    create(live, VersionLabel="v1")
    live.update_environment(EnvironmentName="crm-production", VersionLabel="v2")
    assert environment(live)["AbortableOperationInProgress"] is True
    live.abort_environment_update(EnvironmentName="crm-production")
    found = until(lambda: environment(live), lambda one: one["Status"] == "Ready")
    assert (found["VersionLabel"], page_of(found)) == ("v1", "one")


@pytest.mark.engine
def test_variables_reach_the_container_and_a_change_of_them_starts_it_again(live, s3):
    script = 'CMD ["/busybox", "sh", "-c", "echo $GREETING > /www/index.html; exec /busybox httpd -f -p 8080 -h /www"]'
    put_version(live, s3, "v1", busybox("one", script))
    variable = {"Namespace": "aws:elasticbeanstalk:application:environment", "OptionName": "GREETING"}
    found = create(live, VersionLabel="v1", OptionSettings=[{**variable, "Value": "good morning"}])
    assert page_of(found) == "good morning\n"
    live.update_environment(EnvironmentName="crm-production", OptionSettings=[{**variable, "Value": "good night"}])
    wait(live, "environment_updated")
    assert page_of(found) == "good night\n"


@pytest.mark.engine
def test_health_names_the_version_that_really_runs(live, s3):
    put_version(live, s3, "v1", busybox("one"))
    put_version(live, s3, "v2", busybox("two", BROKEN))
    create(live, VersionLabel="v1")
    update(live, "v2")
    health = live.describe_environment_health(EnvironmentName="crm-production", AttributeNames=["All"])
    assert (health["Status"], health["HealthStatus"], health["Color"]) == ("Ready", "Ok", "Green")
    assert health["InstancesHealth"]["Ok"] == 1
    named = live.describe_environment_health(EnvironmentName="crm-production", AttributeNames=["Color"])
    assert ("Color" in named, "Causes" in named) == (True, False)
    (instance,) = live.describe_instances_health(EnvironmentName="crm-production", AttributeNames=["All"])[
        "InstanceHealthList"
    ]
    assert (instance["Deployment"]["VersionLabel"], instance["Deployment"]["Status"]) == ("v1", "Deployed")


@pytest.mark.engine
def test_a_version_that_runs_cannot_be_deleted(live, s3):
    put_version(live, s3, "v1", busybox("one"))
    create(live, VersionLabel="v1")
    given = {"ApplicationName": "crm", "VersionLabel": "v1"}
    assert refusal(live.delete_application_version, **given)[0] == "OperationInProgressFailure"


@pytest.mark.engine
def test_every_method_header_and_status_passes_through_the_address(live, s3):
    put_version(live, s3, "v1", busybox("one"))
    host, _, port = create(live, VersionLabel="v1")["CNAME"].partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    seen = []
    for method, path in (("GET", "/"), ("HEAD", "/"), ("GET", "/nothing"), ("DELETE", "/")):  # on one connection
        connection.request(method, path, headers={"Connection": "keep-alive"})
        answer = connection.getresponse()
        seen.append((answer.status, len(answer.read())))
    connection.close()
    assert [status for status, _ in seen] == [200, 200, 404, 501]
    assert [size for _, size in seen][:2] == [3, 0]


@pytest.mark.engine
def test_terminating_removes_the_container_and_closes_the_address(live, s3, docker_client, system):
    put_version(live, s3, "v1", busybox("one", f"VOLUME /data\n{HTTPD}"))
    found = create(live, VersionLabel="v1")
    ((volume,),) = [one.attrs["Mounts"] for one in containers_of(docker_client, system)]
    live.terminate_environment(EnvironmentName="crm-production")
    wait(live, "environment_terminated")
    assert containers_of(docker_client, system) == []
    with pytest.raises(docker.errors.NotFound):
        docker_client.volumes.get(volume["Name"])
    with pytest.raises(urllib.error.URLError):
        page_of(found)


@pytest.mark.engine
def test_what_a_killed_predecessor_left_behind_is_removed_and_other_systems_are_left_alone(s3, docker_client, system):
    labels = {"tau.system": system, "tau.kind": "local-eb"}
    image = docker_client.images.build(
        fileobj=io.BytesIO(b"FROM scratch\nLABEL a=b"), labels=labels, tag=f"{system}:left", rm=True
    )[0]
    orphan = docker_client.containers.create(image, command="/nothing", labels=labels)
    other = docker_client.containers.create(image, command="/nothing", labels={**labels, "tau.system": "other"})
    try:
        with ElasticBeanstalk(docker_client, s3, system):
            left = {one.id for one in docker_client.containers.list(all=True, ignore_removed=True)}
            assert (orphan.id in left, other.id in left) == (False, True)
    finally:
        other.remove(force=True)
        with ElasticBeanstalk(docker_client, s3, system):
            pass  # now that nobody uses it, the image goes too


@pytest.fixture
def registry(tmp_path):
    if not (shutil.which("docker-registry") and shutil.which("htpasswd")):
        pytest.skip("needs docker-registry and apache2-utils")
    with Registry(tmp_path / "registry", {"runner": PASSWORD}) as one:
        yield one


def build(docker_client, archive, tag):
    context = io.BytesIO(eb_bundle.context(eb_bundle.Bundle(archive=archive)))
    return docker_client.images.build(fileobj=context, custom_context=True, tag=tag, rm=True)[0]


@pytest.fixture
def pushed(docker_client, registry, system):
    """An image that lies in the registry and nowhere else: its name without a tag, and its digest."""
    name = f"{registry.host}/{system}/crm"
    image = build(docker_client, busybox("pulled"), f"{name}:v1")
    login = {"username": "runner", "password": PASSWORD}
    said = list(docker_client.images.push(name, tag="v1", auth_config=login, stream=True, decode=True))
    assert not any("error" in line for line in said)
    docker_client.images.remove(f"{name}:v1")
    with contextlib.suppress(docker.errors.ImageNotFound):
        docker_client.images.remove(image.id)
    return name, next(line["aux"]["Digest"] for line in said if "aux" in line)


@pytest.mark.engine
def test_an_image_is_pulled_by_its_digest_with_the_credentials_that_lie_in_s3(live, s3, registry, pushed):
    name, digest = pushed
    s3.put_object(Bucket=BUCKET, Key="dockercfg", Body=dockercfg(f"https://{registry.host}"))
    authentication = {"Bucket": BUCKET, "Key": "dockercfg"}
    put_version(live, s3, "v1", pulled(f"{name}@{digest}", Authentication=authentication))
    put_version(live, s3, "v2", pulled(f"{name}:v1", Authentication=authentication, Ports=[{"ContainerPort": 8080}]))
    assert page_of(create(live, VersionLabel="v1")) == "pulled"
    assert update(live, "v2")["VersionLabel"] == "v2"


@pytest.mark.engine
def test_an_image_behind_a_password_cannot_be_pulled_without_credentials(live, s3, pushed):
    name, digest = pushed
    put_version(live, s3, "v1", pulled(f"{name}@{digest}"))
    assert create(live, VersionLabel="v1")["Health"] == "Red"
    assert any(f"Failed to pull Docker image {name}@{digest}" in text for text in messages(live, Severity="ERROR"))


@pytest.mark.engine
def test_a_tag_that_is_not_in_the_registry_fails_though_the_engine_still_has_the_image(
    live, s3, docker_client, registry, pushed
):
    name, _ = pushed
    build(docker_client, busybox("stale"), f"{name}:v2")
    try:
        s3.put_object(Bucket=BUCKET, Key="dockercfg", Body=dockercfg(registry.host))
        put_version(live, s3, "v2", pulled(f"{name}:v2", Authentication={"Bucket": BUCKET, "Key": "dockercfg"}))
        create(live, VersionLabel="v2")
        assert any(f"Failed to pull Docker image {name}:v2" in text for text in messages(live, Severity="ERROR"))
    finally:
        docker_client.images.remove(f"{name}:v2")


@pytest.mark.engine
def test_a_dockerfile_beside_an_image_is_built_and_an_event_warns_of_it(live, s3):
    put_version(live, s3, "v1", busybox("built", Image={"Name": "2pisoftware/crm@sha256:0"}))
    assert page_of(create(live, VersionLabel="v1")) == "built"
    (warning,) = [e["Message"] for e in live.describe_events(Severity="WARN")["Events"]]
    assert "2pisoftware/crm@sha256:0 in Dockerrun.aws.json is ignored" in warning
