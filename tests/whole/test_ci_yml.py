"""ci.yml is changed and deployed while runs wait in the queue: what it does not want any more is not begun."""

import pytest

from chalicelib.model import RunState

pytestmark = [pytest.mark.engine, pytest.mark.cloud]


@pytest.fixture(scope="module")
def changed(installation):
    """Runs of two pipelines, by pipeline: then one of the two is taken out of ci.yml, and something else is changed."""
    installation.runners(0)
    before = installation.ci_yml()
    sent = {name: installation.push(f"{name}/while-it-changes") for name in ("doomed", "feature")}
    doomed = before[before.index("  doomed:") : before.index("  tool:")]
    installation.deploy(before.replace(doomed, "").replace("timeout: 5m", "timeout: 6m"))
    # The first delivery afterwards says which ci.yml is in force.
    installation.push("unheard-of/branch")
    installation.runners(1)
    yield sent
    installation.deploy(before)


def test_a_run_whose_pipeline_is_gone_ends_cancelled_and_says_why(installation, changed):
    run = installation.wait_for_end(changed["doomed"].run)
    assert (run.state, run.results) == (RunState.CANCELLED, {})
    assert run.reason == (
        "ci.yml has changed since this was pushed, and doomed does not answer to it any more: it is gone"
    )
    (mail,) = installation.mails(run.id)
    assert mail.subject.startswith("cancelled: ")
    assert "i.yml has changed since this was pushed" in " ".join(mail.text.split())


def test_a_run_that_the_change_does_not_concern_goes_on(installation, changed):
    run = installation.wait_for_end(changed["feature"].run)
    assert (run.state, run.reason) == (RunState.PASSED, None)
