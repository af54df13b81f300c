import pytest

from chalicelib.errors import StepErrored, StepFailed
from chalicelib.model import StepStatus
from runner.actions import test as action
from runner.containers import Ended
from runner.context import Image
from runner.junit import Tests as Counts
from runner.since import Before
from tests.running import context

IMAGE = "2pisoftware/cmfive-dev"
PASSED = '<testcase classname=\\"a\\" name=\\"one\\"/>'
FAILED = '<testcase classname=\\"a\\" name=\\"two\\"><failure message=\\"1 is not 2\\"/></testcase>'
ERRORED = '<testcase classname=\\"a\\" name=\\"three\\"><error message=\\"KeyError\\"/></testcase>'
SKIPPED = '<testcase classname=\\"a\\" name=\\"four\\"><skipped/></testcase>'


def suite(*cases, name="a"):
    """A command that writes JUnit XML."""
    return f'mkdir -p /results; echo "<testsuite>{"".join(cases)}</testsuite>" > /results/{name}.xml;'


@pytest.fixture
def run(lab, tmp_path):
    """Run a shell command as a test step; the result, with the log."""

    def run(script, remaining_s=600.0, **changes):
        held = context(
            lab.client,
            tmp_path,
            system=lab.system,
            images={IMAGE: Image(IMAGE, lab.client.images.get(lab.base).id)},
            remaining_s=lambda: remaining_s,
        )
        settings = action.Settings.model_validate({"command": ["sh", "-c", script], "image": IMAGE, **changes})
        try:
            return action.run(settings, held), held.log
        finally:
            assert (lab.containers(), lab.networks()) == ([], [])

    return run


# --- in the engine --------------------------------------------------------------------------------


@pytest.mark.engine
def test_a_suite_that_passes_is_counted_and_its_output_is_in_the_log(run):
    result, log = run(f"echo hello; {suite(PASSED, SKIPPED)} {suite(PASSED, name='b')}")
    assert result.status is StepStatus.PASSED
    assert result.facts == {"tests": {"passed": 2, "failed": 0, "skipped": 1, "failures": []}}
    assert log.text == "hello\n"
    assert log.ours[0].startswith("$ sh -c echo hello")
    assert log.ours[-1] == "2 passed, 0 failed, 1 skipped"


@pytest.mark.engine
def test_failing_tests_are_the_verdict_whatever_the_exit_code(run):
    with pytest.raises(StepFailed, match="2 of 3 tests failed") as said:
        run(f"{suite(PASSED, FAILED, ERRORED)} exit 0")
    failures = said.value.facts["tests"]["failures"]
    assert [failure["name"] for failure in failures] == ["a.two", "a.three"]


@pytest.mark.engine
def test_a_suite_that_leaves_no_evidence_is_not_green(run):
    with pytest.raises(StepFailed, match=r"the suite ran no test: it exited with 0, but /results/\*\.xml"):
        run("echo all good, trust me")


@pytest.mark.engine
def test_where_no_results_are_meant_the_exit_code_is_enough(run):
    result, _ = run("true", results="none")
    assert (result.status, result.facts) == (StepStatus.PASSED, {})
    with pytest.raises(StepFailed, match="the test command exited with 1"):
        action.judge(SETTINGS.model_copy(update={"results": "none"}), ended(1), None, ())


@pytest.mark.engine
def test_results_that_are_no_junit_are_named(run):
    with pytest.raises(StepFailed, match=r"/results/a\.xml is no JUnit XML"):
        run("mkdir /results; echo '<testsuite><testcase>' > /results/a.xml")


@pytest.mark.engine
def test_results_larger_than_anybody_reads_have_failed(run):
    with pytest.raises(StepFailed, match="results larger than 16 MB"):
        run("mkdir /results; dd if=/dev/zero of=/results/a.xml bs=1M count=17")


@pytest.mark.engine
def test_results_may_lie_elsewhere(run):
    with pytest.raises(StepFailed, match="1 of 1 tests failed"):
        run(
            f"mkdir -p /app/build; {suite(FAILED)} mv /results/a.xml /app/build/TEST-a.xml",
            results="/app/build/TEST-*.xml",
        )


@pytest.mark.engine
def test_results_that_are_a_link_are_none(run):
    with pytest.raises(StepFailed, match="ran no test"):
        run("mkdir /results; ln -s /etc/passwd /results/a.xml")


@pytest.mark.engine
def test_a_suite_that_takes_too_long_is_stopped_and_shows_its_last_lines(run):
    with pytest.raises(StepFailed, match="the tests took longer than 1s and had to be stopped") as said:
        run("echo hanging; sleep 60", timeout="1s")
    assert said.value.lines == ("hanging",)


@pytest.mark.engine
def test_the_runs_deadline_stops_a_suite_too(run):
    with pytest.raises(StepFailed, match="the tests took longer than 1s"):
        run("sleep 60", remaining_s=1.0)


@pytest.mark.engine
def test_a_suite_that_wants_too_much_memory_is_told_the_limit(run):
    with pytest.raises(StepFailed, match=r"the tests ran out of memory \(limit 32MB\)"):
        run("x=x; while true; do x=$x$x; done", memory="32MB")


@pytest.mark.engine
@pytest.mark.parametrize(
    ("script", "given", "reason"),
    [
        ("sleep 60", {"timeout": "1s"}, "the tests took longer than 1s"),
        ("x=x; while true; do x=$x$x; done", {"memory": "32MB"}, "the tests ran out of memory"),
        ("kill -9 $$", {}, "killed from outside"),
        ("true", {}, "is no JUnit XML"),
    ],
)
def test_a_suite_that_was_stopped_in_the_middle_of_a_file_is_told_why_it_was_stopped(run, script, given, reason):
    with pytest.raises((StepFailed, StepErrored), match=reason):
        run(f"mkdir /results; echo '<testsuite><testcase' > /results/half.xml; {script}", **given)


@pytest.mark.engine
def test_what_ci_yml_says_and_the_commit_are_in_the_environment(run):
    _, log = run("echo $GREETING $TAU_COMMIT", environment={"GREETING": "hello"}, results="none")
    assert log.text == f"hello {'2' * 40}\n"


def test_an_image_that_no_step_built_is_the_codes_fault(tmp_path):
    settings = action.Settings.model_validate({"command": ["true"], "image": "a/b"})
    with pytest.raises(StepFailed, match="no step before this one built the image a/b"):
        action.run(settings, context(None, tmp_path))


def test_what_is_new_since_the_branchs_last_run_is_in_the_log_and_in_the_facts(tmp_path):
    then = Before("01A", "1" * 40, {"failed": 1, "failures": [{"name": "b"}]})
    held = context(None, tmp_path, before=lambda: then)
    facts = action.told(Counts(1, 1, 0, (("a", "no"),), frozenset({"b"}), (("b", 2.5),)), held)
    assert facts["tests"]["since"] == {"new": ["a"], "fixed": ["b"]}
    assert held.log.ours == ["1 passed, 1 failed, 0 skipped", "slowest: b (2s)", "newly failing: a", "fixed: b"]


# --- the verdict ----------------------------------------------------------------------------------

SETTINGS = action.Settings.model_validate({"command": ["x"], "image": "a"})
GREEN = Counts(2, 0, 0, ())
RED = Counts(1, 1, 0, (("a", "b"),))


def ended(code=0, *, out_of_memory=False, timed_out_s=None):
    return Ended(code, out_of_memory, timed_out_s)


@pytest.mark.parametrize(
    ("end", "tests", "reason"),
    [
        (ended(137, timed_out_s=60, out_of_memory=True), RED, "took longer"),
        (ended(137, out_of_memory=True), RED, "out of memory"),
        (ended(0, out_of_memory=True), GREEN, "out of memory"),
        (Ended(137, out_of_memory=False, filled=True), RED, "filled the disk"),
        (
            Ended(1, out_of_memory=False, without="the service db exited with 1"),
            RED,
            "failed; meanwhile the service db",
        ),
        (ended(1), RED, "1 of 2 tests failed"),
        (ended(255), None, "exited with 255"),
        (ended(1), GREEN, "exited with 1"),
        (ended(137), RED, "1 of 2 tests failed"),
        (ended(0), Counts(0, 0, 5, ()), "ran no test"),
        (ended(0), None, "ran no test"),
    ],
)
def test_the_first_reason_counts(end, tests, reason):
    with pytest.raises(StepFailed, match=reason):
        action.judge(SETTINGS, end, tests, ("tail",))


@pytest.mark.parametrize("tests", [None, GREEN, Counts(0, 0, 5, ())], ids=["nothing", "only passes", "only skips"])
def test_a_container_that_somebody_killed_is_our_fault_whatever_it_had_written_by_then(tests):
    with pytest.raises(StepErrored, match=r"killed from outside \(137\)"):
        action.judge(SETTINGS, ended(137), tests, ())


def test_green_is_an_exit_code_of_zero_with_a_test_that_passed():
    action.judge(SETTINGS, ended(), GREEN, ())


def test_failing_tests_are_told_with_their_counts_and_the_last_lines():
    with pytest.raises(StepFailed) as said:
        action.judge(SETTINGS, ended(1), RED, ("the last line",), {"tests": RED.facts()})
    assert said.value.lines == ("the last line",)
    assert said.value.facts == {"tests": RED.facts()}
