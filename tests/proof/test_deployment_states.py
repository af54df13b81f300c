"""A runner killed with -9 right after it wrote each state of a deployment; from then on only the Lambda is alive.

TAU_STATES says how many states are tried (1, or `all`); TAU_SEED=… chooses the same ones again.
"""

import json
import os
import signal
import urllib.request
from dataclasses import dataclass

import pytest

from chalicelib import wishes
from chalicelib.model import DEPLOYMENT_ENDS, DeploymentState, RunState
from infra.local import samples
from tests.proof.chance import chance
from tests.proof.interceptor import Fault
from tests.proof.once import CLIENT, PATIENCE_S
from tests.proof.writes import Writes
from tests.whole.world import BITBUCKET, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.cloud, pytest.mark.slow]

ENVIRONMENT, SAM = f"{CLIENT}-production", "sam@2pisoftware.com"
ASKED = f"2pisoftware/{CLIENT}_asked"
STATES = [state for state in DeploymentState if state not in DEPLOYMENT_ENDS]
HOW_MANY = os.environ.get("TAU_STATES", "1")


@dataclass(frozen=True)
class Case:
    """How a deployment comes to a state, and how it ends.

    Args:
        write: the name of the write, where it is another one than usual.
        fault: what Elastic Beanstalk does meanwhile.
        back: somebody takes it back.
    """

    write: str | None = None
    fault: str | None = None
    asked: bool = False
    back: bool = False


CASES = {
    DeploymentState.PREPARED: Case(write="deployment made and lock's line"),
    DeploymentState.WAITING_APPROVAL: Case(asked=True),
    DeploymentState.WAITING_READY: Case(fault="refuse"),
    DeploymentState.UPDATING: Case(),
    DeploymentState.VERIFYING: Case(),
    DeploymentState.ROLLING_BACK: Case(fault="stuck", back=True),
}


def chosen():
    return STATES if HOW_MANY == "all" else chance("states").sample(STATES, int(HOW_MANY))


def test_every_state_that_is_no_end_is_one_to_be_killed_in():
    assert list(CASES) == STATES


@pytest.mark.parametrize("state", chosen())
def test_whoever_dies_in_a_state_the_lambda_alone_brings_it_to_its_end_with_one_update(installation, tally, state):
    case = CASES[state]
    before = live_before(installation) if case.back else None
    updates, versions = installation.updates(CLIENT), set(installation.versions(CLIENT))
    (victim,) = installation.runners(1)
    writes, write = Writes(), case.write or f"deployment {state}"

    def kill(_):
        os.kill(victim.pid, signal.SIGKILL)
        victim.process.wait()

    order(installation, case.fault)
    with installation.runner_calls.armed(Fault(lambda call: writes.name(call) == write, after=True, strike=kill)):
        sent = begin(installation, f"v5.{STATES.index(state)}.0", asked=case.asked)
        if case.back:
            take_back(installation, sent.run)
        wait_for(lambda: not victim.running, f"the runner to be killed after {write}", PATIENCE_S)
    assert record(installation, sent.run).state is state
    if case.asked:
        approve(installation, sent.run)
    ended = driven_by_the_lambda(installation, sent.run)
    (label,) = set(installation.versions(CLIENT)) - versions
    assert installation.updates(CLIENT) - updates == {label: 1}
    assert ended.state is (DeploymentState.ROLLED_BACK if case.back else DeploymentState.LIVE)
    assert installation.environment_of(CLIENT)["VersionLabel"] == (before or label)
    installation.runners(1)
    run = installation.wait_for_end(sent.run, PATIENCE_S)
    assert run.state is (RunState.CANCELLED if case.back else RunState.PASSED), run.reason
    assert installation.locks_held() == []
    tally[f"in {state}"] += 1


# --- what happens on the way ----------------------------------------------------------------------


def live_before(installation):
    """The label of a version that is live and well."""
    installation.runners(1)
    run = installation.wait_for_end(installation.release(CLIENT, "v4.0.0").run, PATIENCE_S)
    assert run.state is RunState.PASSED, run.reason
    return installation.environment_of(CLIENT)["VersionLabel"]


def order(installation, fault):
    """What Elastic Beanstalk is to do, once."""
    if fault:
        address = f"{installation.cloud.url}/_elasticbeanstalk/environments/{ENVIRONMENT}/faults"
        body = json.dumps({"fault": fault}).encode()
        with urllib.request.urlopen(urllib.request.Request(address, body, method="POST"), timeout=10) as answer:
            assert answer.status < 300


def begin(installation, version, *, asked):
    """A tag; of a repository whose deployments are approved, where `asked`."""
    if not asked:
        return installation.release(CLIENT, version)
    githost = installation.githost
    files = installation._on_own_base(samples.client(version))
    if not githost.path(BITBUCKET, ASKED).exists():
        githost.create(BITBUCKET, ASKED, {"README": CLIENT})
    githost.commit(BITBUCKET, ASKED, "develop", files, f"Release {version}")
    tag = githost.tag(BITBUCKET, ASKED, version)
    commit = githost.describe(BITBUCKET, ASKED, tag.commit)
    return installation.announced(samples.bitbucket_tag(ASKED, tag, commit, installation.hook_secret))


def record(installation, run_id):
    """The deployment of a run: its last step's."""
    return installation.edge.store.deployment(f"{run_id}.{len(installation.run(run_id).job.steps) - 1}")


def take_back(installation, run_id):
    """Somebody wants it to go no further, while it is under way; his own process dies before it does anything."""

    def is_under_way():
        one = record(installation, run_id)
        return one is not None and one.state is DeploymentState.VERIFYING

    wait_for(is_under_way, "the update to be under way", PATIENCE_S)
    store = installation.edge.store
    while not store.move_deployment(
        one := record(installation, run_id), wishes.stop(one, "sam@laptop", installation.edge.now())
    ):
        pass


def approve(installation, run_id):
    """The Lambda asks, and he who is asked says yes by the command."""

    def is_asked():
        installation.cloud.tick()
        return any("Approve it" in mail.text and run_id in mail.text for mail in installation.cloud.mails())

    wait_for(is_asked, "the mail that asks for an approval", PATIENCE_S)
    said = installation.tau("approve", run_id, "--by", SAM)
    assert f"is approved by {SAM}" in said.stdout, said.stderr


def driven_by_the_lambda(installation, run_id):
    """The deployment at its end, and settled."""

    def is_over():
        installation.cloud.tick()
        one = record(installation, run_id)
        return one.state in DEPLOYMENT_ENDS and one.due_at is None

    wait_for(is_over, "the Lambda to bring it to its end", PATIENCE_S)
    return record(installation, run_id)
