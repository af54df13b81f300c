"""The packaged app in the local cloud: what reaches it, what it may do, when it runs."""

import hashlib
import shutil
import time
from urllib.parse import quote_plus

import pytest

from infra.local.cloud import CloudError, LocalCloud
from infra.local.package import PackagingError, package
from tests.local.echo_app import APP, made_in, post

pytestmark = pytest.mark.cloud


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    with LocalCloud(tmp_path_factory.mktemp("cloud")) as running:
        yield running


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    return made_in(tmp_path_factory.mktemp("app"))


@pytest.fixture(scope="module")
def api(cloud, app):
    return cloud.deploy_app({"MARK": "1"}, app=app)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize(
    "body",
    [
        b'{"a":\r\n1}\r\n',
        b"\xef\xbb\xbf{}",
        '{"é":"\u2028 😀"}'.encode(),
        b'{"a":"\x00"}',
        b'{"a":"\\u00e9"}',
        b"no json",
    ],
    ids=["crlf", "bom", "non-ascii", "nul", "escape", "text"],
)
def test_a_body_reaches_the_function_with_every_byte_as_it_was_signed(api, body, chunked):
    status, said = post(f"{api}/echo", body, chunked=chunked)
    assert (status, said["sha256"]) == (200, hashlib.sha256(body).hexdigest())


def test_a_form_reaches_the_function_with_every_byte_as_it_was_signed(api):
    body = b"payload=" + quote_plus('{"é": "a+b &"}').encode()
    status, said = post(f"{api}/echo", body, (("Content-Type", "application/x-www-form-urlencoded"),))
    assert (status, said["sha256"]) == (200, hashlib.sha256(body).hexdigest())


def test_a_body_of_a_megabyte_passes(api):
    body = b'{"a":"' + b"x" * 1_000_000 + b'"}'
    assert post(f"{api}/echo", body)[1]["sha256"] == hashlib.sha256(body).hexdigest()


def test_a_header_that_comes_twice_never_looks_like_one_that_came_once(api):
    twice = (("X-Hub-Signature-256", "sha256=a"), ("X-Hub-Signature-256", "sha256=b"))
    _, said = post(f"{api}/echo", b"{}", (("Content-Type", "application/json"), *twice))
    # At AWS these are two values; the emulator joins them.
    assert said["headers"]["x-hub-signature-256"] == ["sha256=a, sha256=b"]


def test_the_function_sees_the_cloud_its_settings_and_nothing_of_ours(api, cloud):
    environment = post(f"{api}/echo", b"{}")[1]["environment"]
    assert environment["AWS_ENDPOINT_URL"] == cloud.url
    assert environment["TAU_BUCKET"] == cloud.environment["TAU_BUCKET"]
    assert environment["MARK"] == "1"
    assert "AWS_PROFILE" not in environment


def test_files_of_the_package_can_be_others_than_the_folders(cloud, app, api):
    other = APP.replace('"/echo"', '"/other"').replace("def echo", "def other").encode()
    cloud.deploy_app(app=app, files={"app.py": other})
    try:
        # The API still has the folder's routes; its function has the other file's.
        assert post(f"{api}/echo", b"{}")[0] == 405
    finally:
        cloud.deploy_app({"MARK": "1"}, app=app)


@pytest.mark.usefixtures("api")
def test_a_function_may_do_no_more_than_its_policy_says(cloud, app):
    greedy = APP.replace('boto3.client("s3").put_object(', 'boto3.client("s3").list_objects_v2(').replace(
        'Key=f"logs/tick/{event.event_id}", Body=b""', ""
    )
    cloud.deploy_app(app=app, files={"app.py": greedy.encode()})
    with pytest.raises(CloudError, match="not authorized to perform: s3:ListBucket"):
        cloud.tick()
    cloud.deploy_app({"MARK": "1"}, app=app)


@pytest.mark.usefixtures("api")
def test_the_schedule_is_there_and_its_function_does_its_work(cloud):
    rules = cloud.client("events").list_rules()["Rules"]
    assert [rule["ScheduleExpression"] for rule in rules if rule["State"] == "ENABLED"] == ["rate(1 minute)"]
    cloud.tick()
    assert marks(cloud)


@pytest.mark.slow
@pytest.mark.usefixtures("api")
def test_the_schedule_fires_by_itself_within_a_minute_or_so(cloud):
    before = marks(cloud)
    deadline = time.monotonic() + 90
    while marks(cloud) == before:
        assert time.monotonic() < deadline, "the schedule never fired"
        time.sleep(1)


def marks(cloud):
    found = cloud.client("s3").list_objects_v2(Bucket=cloud.environment["TAU_BUCKET"], Prefix="logs/tick/")
    return {item["Key"] for item in found.get("Contents", [])}


def test_deploying_again_replaces_the_app_under_the_same_address_and_a_failing_tick_is_told(api, cloud, app):
    assert cloud.deploy_app({"MARK": "2", "FAIL": "1"}, app=app) == api
    assert post(f"{api}/echo", b"{}")[1]["environment"]["MARK"] == "2"
    with pytest.raises(CloudError, match="the ticker was told to fail"):
        cloud.tick()
    assert "ValueError: the ticker was told to fail" in cloud.logs()
    cloud.deploy_app({"MARK": "1"}, app=app)


def test_an_unchanged_app_is_packaged_once(app):
    first = package(app, "local", "ap-southeast-2")
    stamp = first.zip.stat().st_mtime_ns
    assert package(app, "local", "ap-southeast-2").zip.stat().st_mtime_ns == stamp
    (app / "chalicelib").mkdir(exist_ok=True)
    (app / "chalicelib" / "__init__.py").write_text("CHANGED = True\n")
    assert package(app, "local", "ap-southeast-2").key != first.key


def test_an_app_that_cannot_be_imported_is_refused_with_the_reason(app, tmp_path):
    shutil.copytree(app, tmp_path / "app")
    (tmp_path / "app" / "app.py").write_text("raise RuntimeError('ci.json is stale')")
    with pytest.raises(PackagingError, match=r"(?s)cannot package .*ci\.json is stale"):
        package(tmp_path / "app", "local", "ap-southeast-2")
