"""A push on its whole way: hook, record, queue, runner, git, build, test, registry, mail."""

import pytest

from chalicelib.model import RunState
from tests.whole.world import HELLO, IMAGE

pytestmark = [pytest.mark.engine, pytest.mark.cloud]


@pytest.fixture(scope="module")
def pushed(installation):
    """A push to develop, and its run at its end."""
    installation.runners(1)
    sent = installation.push("develop")
    assert sent.answered.status == 202
    return sent, installation.wait_for_end(sent.run)


def test_a_push_ends_passed_with_every_step_passed(pushed):
    _, run = pushed
    assert (run.state, run.reason) == (RunState.PASSED, None)
    assert [(result.action, str(result.status)) for _, result in sorted(run.results.items())] == [
        ("build", "passed"),
        ("test", "passed"),
        ("push", "passed"),
    ]
    assert run.results["1"].facts["tests"]["passed"] == 3


def test_the_image_lies_in_the_registry_under_its_tags_with_one_digest(installation, pushed):
    sent, _ = pushed
    digests = {tag: installation.digest(tag) for tag in ("latest", "develop", f"r-{sent.run.lower()}")}
    assert None not in digests.values()
    assert len(set(digests.values())) == 1


def test_the_image_is_recorded_with_the_commit_that_it_was_made_of(installation, pushed):
    sent, run = pushed
    digest = installation.digest("develop")
    store = installation.edge.store
    records = store.made_image(IMAGE, sent.commit), *(store.known_image(IMAGE, tag) for tag in ("latest", "develop"))
    assert {(record.run, record.digests[installation.registry.host]) for record in records} == {(sent.run, digest)}
    assert run.results["2"].facts["digests"] == {installation.registry.host: digest}
    image = installation.docker.images.get(run.results["0"].facts["image"]["id"])
    assert image.labels["org.opencontainers.image.revision"] == sent.commit


def test_the_pusher_gets_one_mail_that_begins_with_the_verdict(installation, pushed):
    sent, run = pushed
    (mail,) = installation.mails(sent.run)
    assert mail.to == ("sam@2pisoftware.com",)
    assert mail.subject == f"passed: {HELLO} develop {sent.commit[:7]} (hello)"
    assert "3 tests passed" in mail.text
    assert "<html" in mail.html
    assert [notice["state"] for notice in run.tell.values()] == ["told"]


def test_the_log_is_read_by_the_command_that_the_mail_names(installation, pushed):
    sent, _ = pushed
    (mail,) = installation.mails(sent.run)
    assert f"tau log {sent.run}" in mail.text
    said = installation.tau("log", sent.run)
    assert said.returncode == 0
    assert f"checked out github.com/{HELLO} at {sent.commit[:7]}" in said.stdout
    assert "ok    the page greets the world" in said.stdout
    assert "3 passed, 0 failed, 0 skipped" in said.stdout
    assert installation.password not in said.stdout
    assert sent.run in installation.tau("runs").stdout


def test_a_second_copy_of_the_body_is_answered_with_the_same_runs_and_starts_nothing(installation, pushed):
    sent, run = pushed
    before = installation.items()
    again = installation.deliver(sent.webhook)
    assert again.status == 200
    assert sent.run in again.body
    assert installation.items() == before
    assert installation.messages() == 0
    assert installation.run(sent.run) == run


def test_nothing_of_the_run_stays_in_the_engine_but_its_image(installation, pushed):
    sent, _ = pushed
    assert installation.remains(sent.run) == []
    assert [
        image["Labels"]["tau.kind"]
        for image in installation.docker.api.images(filters={"label": f"tau.run={sent.run}"})
    ] == ["image"]
