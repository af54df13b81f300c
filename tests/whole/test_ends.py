"""Runs that do not pass: each ends in the right class, with one sentence, and the right people hear of it."""

import pytest

from chalicelib.model import RunState, StepStatus
from infra.local import samples
from infra.local.githost import Tag
from tests.whole.world import BITBUCKET, GITHUB, HELLO, IMAGE, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.cloud, pytest.mark.usefixtures("runner")]

COMMITTER, OPERATORS = "sam@2pisoftware.com", "ops@2pisoftware.com"


@pytest.fixture
def failed(installation):
    """Pushes a change to a branch; returns the failed run and the committer's mail, once both are as they should be."""

    def push(branch, files):
        return ended_failed(installation, installation.push(branch, files))

    return push


def ended_failed(installation, sent):
    run = installation.wait_for_end(sent.run)
    assert run.state is RunState.FAILED, run.reason
    assert run.reason
    assert "\n" not in run.reason
    (mail,) = installation.mails(sent.run)
    assert mail.to == (COMMITTER,)
    assert mail.subject.startswith("failed: ")
    assert installation.remains(sent.run) == []
    return run, words(mail)


def ended_errored(installation, sent):
    run = installation.wait_for_end(sent.run, 60)
    assert run.state is RunState.ERRORED, run.reason
    assert [entry["kind"] for entry in run.journal].count("retry") == 1, "exactly one more try"
    assert "\n" not in run.reason
    mails = {mail.to: mail for mail in installation.mails(sent.run)}
    assert set(mails) == {(COMMITTER,), (OPERATORS,)}
    assert len(installation.mails(sent.run)) == 2
    assert "Not your code" in words(mails[(COMMITTER,)])
    return run, words(mails[(OPERATORS,)])


def words(mail):
    """The mail's text with its line breaks undone."""
    return " ".join(mail.text.split())


# --- the committer acts -----------------------------------------------------------------------------


def test_a_dockerfile_that_fails_is_told_with_its_command_and_its_lines(failed):
    dockerfile = f"FROM {samples.BASE_IMAGE}\nRUN echo 'the bolt is loose' && exit 3\n"
    run, mail = failed("feature/broken-build", {"Dockerfile": dockerfile})
    assert run.reason.startswith("the Dockerfile's command `")
    assert run.reason.endswith("exited with 3")
    assert "| the bolt is loose" in mail
    assert "test not run" in mail


def test_a_dockerfile_that_cannot_be_read_is_the_committers(failed):
    run, _ = failed("feature/no-dockerfile-at-all", {"Dockerfile": f"FROM {samples.BASE_IMAGE}\nFETCH the moon\n"})
    assert "FETCH" in run.reason


def test_no_dockerfile_is_told_with_its_name(failed):
    run, mail = failed("feature/no-dockerfile", {"Dockerfile": None})
    assert run.reason == "there is no Dockerfile in .: build needs one"
    assert "there is no Dockerfile" in mail


def test_tests_that_fail_are_named_in_the_mail_and_nothing_is_pushed(failed, installation):
    latest = installation.digest("latest")
    run, mail = failed("feature/broken-test", samples.broken_hello())
    assert run.reason == "1 of 3 tests failed"
    assert "the page greets the world" in mail
    assert "wanted 'Hello, world', got 'Hello, wrold'" in mail
    assert installation.digest(f"r-{run.id.lower()}") is None
    assert installation.digest("latest") == latest


def test_a_suite_that_ran_no_test_is_not_green(failed):
    run, _ = failed("feature/no-test", {"tests/run": "#!/bin/sh\necho all is well\n"})
    assert run.reason.startswith("the suite ran no test")


def test_a_suite_that_only_exits_with_a_number_is_told_with_it(failed):
    run, mail = failed("feature/exit-7", {"tests/run": "#!/bin/sh\necho out of paper\nexit 7\n"})
    assert run.reason == "the test command exited with 7"
    assert "| out of paper" in mail


def test_a_suite_that_writes_no_junit_is_not_green(failed):
    suite = "#!/bin/sh\nmkdir -p /results\necho '<html>' > /results/a.xml\n"
    run, _ = failed("feature/no-junit", {"tests/run": suite})
    assert "a.xml" in run.reason


def ended_cancelled(installation, sent):
    run = installation.wait_for_end(sent.run, 60)
    assert run.state is RunState.CANCELLED, run.reason
    (mail,) = installation.mails(sent.run)
    assert mail.to == (COMMITTER,)
    assert mail.subject.startswith("cancelled: ")
    return run, words(mail)


def test_a_run_whose_commit_was_forced_away_is_cancelled_and_says_so(installation):
    branch = "feature/forced-away"
    webhook = installation.commit(branch)
    path = installation.githost.path(GITHUB, HELLO)
    installation.githost.git(path, "update-ref", f"refs/heads/{branch}", "refs/heads/develop")
    run, mail = ended_cancelled(installation, installation.announced(webhook))
    assert f"is gone from refs/heads/{branch}" in run.reason
    assert "push again" in mail


def test_a_run_whose_branch_was_deleted_since_is_cancelled_and_says_so(installation):
    branch = "feature/deleted"
    webhook = installation.commit(branch)
    installation.githost.git(installation.githost.path(GITHUB, HELLO), "update-ref", "-d", f"refs/heads/{branch}")
    run, _ = ended_cancelled(installation, installation.announced(webhook))
    assert f"refs/heads/{branch} of github.com/{HELLO} is gone" in run.reason


def test_an_environment_that_is_missing_is_named_and_nothing_is_uploaded(installation):
    installation.cloud.client("elasticbeanstalk").create_application(ApplicationName="homeless")
    run, mail = ended_failed(installation, installation.release("homeless", "v1.0.0"))
    assert run.reason.startswith("there is no environment homeless-production of the application homeless")
    assert "homeless-production" in mail
    versions = installation.cloud.client("elasticbeanstalk").describe_application_versions(ApplicationName="homeless")
    assert versions["ApplicationVersions"] == []


def test_an_application_that_is_missing_at_elastic_beanstalk_is_named(installation):
    run, _ = ended_failed(installation, installation.release("nameless", "v1.0.0"))
    assert "nameless" in run.reason


# --- the operators act ------------------------------------------------------------------------------


def test_a_repository_that_does_not_exist_is_tried_once_more_and_then_the_operators_hear(installation):
    tag = Tag("v1.0.0", "a" * 40, "a" * 40)
    head = installation.githost.git(installation.githost.path(GITHUB, HELLO), "rev-parse", "develop")
    commit = installation.githost.describe(GITHUB, HELLO, head)
    webhook = samples.bitbucket_tag("2pisoftware/ghost_deploy", tag, commit, installation.hook_secret)
    run, mail = ended_errored(installation, installation.announced(webhook))
    assert run.reason.startswith(f"{BITBUCKET}/2pisoftware/ghost_deploy does not exist, or does not let us in")
    assert "ghost_deploy" in mail
    assert [result.status for result in run.results.values()] == [StepStatus.ERRORED]


def test_a_registry_that_refuses_the_user_is_the_operators(installation):
    installation.runners(0)  # the old password would be remembered for a minute
    installation.cloud.put_secret("registry", "tau:not the password")
    installation.runners(1)
    try:
        sent = installation.push("feature/refused")
        run, mail = ended_errored(installation, sent)
    finally:
        installation.runners(0)
        installation.cloud.put_secret("registry", f"tau:{installation.password}")
    assert installation.registry.host in run.reason
    assert installation.registry.host in mail
    assert "not the password" not in installation.tau("log", sent.run).stdout + mail
    assert [str(run.results[index].status) for index in ("0", "1", "2")] == ["passed", "passed", "errored"]
    assert installation.digest("refused", IMAGE) is None


def test_a_registry_that_is_away_for_a_moment_costs_a_second_try_and_no_mail_about_it(installation):
    installation.registry.stop()
    try:
        sent = installation.push("feature/registry-away")
        wait_for(lambda: installation.run(sent.run).waiting_for == "retry", "the first try to fail")
    finally:
        installation.registry.start()
    run = installation.wait_for_end(sent.run)
    assert run.state is RunState.PASSED, run.reason
    (mail,) = installation.mails(sent.run)
    assert mail.subject.startswith("passed: ")
    assert installation.digest(f"r-{sent.run.lower()}")
