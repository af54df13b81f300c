import pytest

from chalicelib.errors import LostClaim, NeedsAttention, StepErrored, StepFailed
from chalicelib.model import StepStatus
from runner.actions import script as action
from runner.context import Image
from runner.stopping import Stopped, Stopping, Why
from tests.installation import event, job
from tests.running import Journal, context, stopping_soon, within

IMAGE = "2pisoftware/cmfive-dev"
pytestmark = pytest.mark.engine


class Killing:
    """The engine, in which somebody kills a container as soon as it has started."""

    def __init__(self, client):
        self.api = self
        self._client = client

    def __getattr__(self, name):
        return getattr(self._client.api, name)

    def start(self, container):
        self._client.api.start(container)
        self._client.api.kill(container)


class Step:
    """A script step, claim after claim: one journal, and what its container printed."""

    def __init__(self, lab, folder):
        self.lab, self.folder = lab, folder
        self.journal = Journal()
        self.log = None

    @staticmethod
    def tree(folder):
        """What is checked out: a script of the repository's own, and a link that leads out of it."""
        (folder / "bin").mkdir(exist_ok=True)
        (folder / "bin" / "announce").write_text("#!/bin/sh\necho $TAU_BRANCH is $TAU_RESULT\n")
        (folder / "bin" / "announce").chmod(0o755)
        (folder / "link").unlink(missing_ok=True)
        (folder / "link").symlink_to("/etc/shadow")

    def run(self, script, *, docker=None, stopping=None, remaining_s=600.0, planned=None, **changes):
        image = Image(IMAGE, self.lab.client.images.get(self.lab.base).id)
        held = context(
            docker or self.lab.client,
            self.folder,
            system=self.lab.system,
            images={IMAGE: image},
            journal=self.journal,
            stopping=stopping or Stopping(),
            remaining_s=lambda: remaining_s,
            secret={"chat-token": "s3cret-value"}.__getitem__,
            trees={"github.com/2pisoftware/cmfive": self.tree},
            **({"job": planned} if planned else {}),
        )
        self.log = held.log
        settings = action.Settings.model_validate({"run": ["sh", "-c", script], "image": IMAGE, **changes})
        try:
            return action.run(settings, held)
        finally:
            assert (self.lab.containers(), self.lab.networks()) == ([], [])


@pytest.fixture
def step(lab, tmp_path):
    return Step(lab, tmp_path)


# --- once -----------------------------------------------------------------------------------------


def test_a_script_that_exits_with_0_has_passed_and_its_output_is_in_the_log(step):
    result = step.run("echo deploying $TO at $TAU_COMMIT", environment={"TO": "live"})
    assert (result.action, result.status, result.facts) == ("script", StepStatus.PASSED, {})
    assert step.log.text == f"deploying live at {'2' * 40}\n"


def test_any_other_code_is_the_scripts_fault_and_shows_its_last_lines(step):
    with pytest.raises(StepFailed, match="the script exited with 3") as said:
        step.run("echo no such host; exit 3")
    assert said.value.lines == ("no such host",)


def test_a_script_that_takes_too_long_is_stopped(step):
    with pytest.raises(StepFailed, match="the script took longer than 1s and had to be stopped"):
        step.run("sleep 600", timeout="1s")
    with pytest.raises(StepFailed, match="the script took longer than 1s"):
        Step(step.lab, step.folder).run("sleep 600", remaining_s=1.0)


def test_a_script_that_wants_too_much_memory_is_told_the_limit(step):
    with pytest.raises(StepFailed, match="the script ran out of memory"):
        step.run("x=x; while true; do x=$x$x; done", memory="32MB")


@pytest.mark.parametrize(("network", "interfaces"), [("none", "lo"), ("internet", "eth0 lo")])
def test_a_script_reaches_the_outside_unless_it_says_otherwise(step, network, interfaces):
    step.run("echo $(ls /sys/class/net)", **({} if network == "internet" else {"network": network}))
    assert set(interfaces.split()) <= set(step.log.text.split())
    assert ("eth0" in step.log.text) == ("eth0" in interfaces)


def test_an_image_that_nobody_has_leaves_no_mark(step):
    with pytest.raises((StepFailed, StepErrored), match=r"the image 127\.0\.0\.1:1/a/b:1 cannot be fetched"):
        step.run("true", image="127.0.0.1:1/a/b:1")
    assert step.journal.entries == []


def test_a_script_may_run_in_any_image_that_this_engine_has_or_can_fetch(step):
    step.run("echo ran", image=step.lab.base)
    assert step.log.text == "ran\n"


# --- the repository's tree ------------------------------------------------------------------------


def test_a_script_of_the_repository_is_there_and_runs_where_it_lies(step):
    step.run("pwd; ./bin/announce; ls -l link | grep -c '/etc/shadow'")
    assert step.log.text == "/tau/tree\ndevelop is passed\n1\n"


def test_what_a_script_does_to_the_tree_is_gone_with_its_container(step):
    step.run("echo mine > bin/announce; rm link; touch new")
    (tree,) = step.folder.glob("tree-*")
    assert sorted(path.name for path in tree.iterdir()) == ["bin", "link"]
    assert "TAU_BRANCH" in (tree / "bin" / "announce").read_text()


def test_a_hostile_branch_is_the_value_of_a_variable_and_nothing_more(step):
    hostile = "x;touch owned;$(touch owned)`touch owned`"
    step.run('printf "%s" "$TAU_BRANCH"; ls', planned=job(event=event(name=hostile, ref=f"refs/heads/{hostile}")))
    assert step.log.text == f"{hostile}bin\nlink\n"


def test_a_script_gets_the_secrets_that_it_names(step):
    step.run('echo "$TOKEN"; [ "$TOKEN" = s3cret-value ]', secrets={"TOKEN": "chat-token"})
    assert step.log.text == "s3cret-value\n"


# --- after a claim that died ----------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 3])
def test_what_an_earlier_claim_has_seen_is_the_verdict_and_the_script_runs_no_second_time(step, code):
    def run():
        if code:
            with pytest.raises(StepFailed, match="the script exited with 3"):
                step.run(f"echo ran; exit {code}")
        else:
            assert step.run("echo ran").status is StepStatus.PASSED

    run()
    assert step.log.text == "ran\n"
    run()
    assert step.log.text == ""
    assert [kind for kind, _, _ in step.journal.entries] == ["intent", "seen"]


def test_a_script_whose_runner_died_in_the_middle_is_a_persons_to_look_at(step):
    step.journal.intend("script")
    with pytest.raises(NeedsAttention) as said:
        step.run("echo ran")
    assert str(said.value) == (
        "needs attention: `sh -c echo ran` was interrupted; it may have done a part of its work; look, then "
        "`tau redrive 01KAQ000000000000000000001`"
    )
    assert step.log.text == ""


def test_a_script_that_may_run_again_does(step):
    step.journal.intend("script")
    assert step.run("echo ran", retry="safe").status is StepStatus.PASSED
    assert step.log.text == "ran\n"


def test_a_claim_that_is_lost_runs_nothing(step):
    step.journal.lost_at = "script"
    with pytest.raises(LostClaim):
        step.run("echo ran")
    assert step.log.text == ""


def test_a_script_that_somebody_kills_is_a_persons_to_look_at_unless_it_may_run_again(step):
    with pytest.raises(NeedsAttention, match=r"was interrupted \(the script was killed from outside"):
        step.run("sleep 600", docker=Killing(step.lab.client))
    with pytest.raises(StepErrored, match="the script was killed from outside") as said:
        step.run("sleep 600", docker=Killing(step.lab.client), retry="safe")
    assert not isinstance(said.value, NeedsAttention)


# --- a claim that should stop ---------------------------------------------------------------------


@pytest.mark.parametrize("retry", ["never", "safe"])
@pytest.mark.parametrize("why", [Why.ASKED, Why.LOST])
def test_a_script_is_ended_for_whoever_asks_for_its_end(step, retry, why):
    stopping = Stopping()
    with within(10), stopping_soon(stopping, why), pytest.raises(Stopped) as stopped:
        step.run("echo begun; sleep 600", stopping=stopping, retry=retry)
    assert stopped.value.why is why
    said = "`sh -c echo begun; sleep 600` was interrupted: it may have done a part of its work"
    assert getattr(stopped.value, "__notes__", []) == ([said] if retry == "never" else [])


@pytest.mark.parametrize("why", [Why.HANDED_BACK, Why.SUPERSEDED])
def test_a_script_that_must_not_run_twice_is_not_handed_to_another_runner(step, why):
    stopping = Stopping()
    with stopping_soon(stopping, why):
        result = step.run("sleep 2; echo done", stopping=stopping)
    assert (result.status, step.log.text) == (StepStatus.PASSED, "done\n")
    assert step.log.ours[-1] == "this run is to stop, and waits for the script: it must not be begun twice"


def test_a_script_that_must_not_run_twice_can_still_be_cancelled_while_its_runner_stops(step):
    stopping = Stopping()
    with within(10), stopping_soon(stopping, Why.HANDED_BACK, 0.5), stopping_soon(stopping, Why.ASKED, 1):
        with pytest.raises(Stopped) as stopped:
            step.run("sleep 600", stopping=stopping)
        assert stopped.value.why is Why.ASKED


def test_a_script_that_may_run_again_is_handed_to_another_runner(step):
    stopping = Stopping()
    with within(10), stopping_soon(stopping, Why.HANDED_BACK), pytest.raises(Stopped):
        step.run("sleep 600", stopping=stopping, retry="safe")


def test_a_script_that_has_not_begun_is_handed_to_another_runner(step):
    stopping = Stopping()
    stopping.ask(Why.HANDED_BACK)
    with pytest.raises(Stopped):
        step.run("echo ran", stopping=stopping)
    assert (step.log.text, step.journal.entries) == ("", [])
