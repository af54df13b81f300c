"""A log as somebody reads it while it grows, and a run's end as somebody waits for it."""

from datetime import timedelta

import pytest

from chalicelib.errors import BadInput, NotThere
from chalicelib.model import RunState, StepResult, StepStatus
from runner.following import FOLLOWED_FOR, Part, print_log, wait_for_end
from runner.runlog import StepLog, step_prefix
from tests.installation import NOW, installation, later
from tests.running import Action, queued


class Pace:
    """A time that passes only while somebody sleeps; what is due meanwhile happens then."""

    def __init__(self):
        self.passed_s = 0.0
        self.plans = {}

    def now(self):
        return NOW + timedelta(seconds=self.passed_s)

    def monotonic(self):
        return self.passed_s

    def sleep(self, seconds):
        self.passed_s += seconds
        for at in [at for at in self.plans if at <= self.passed_s]:
            self.plans.pop(at)()


@pytest.fixture
def edge(monkeypatch):
    with installation(monkeypatch) as made:
        yield made


@pytest.fixture
def held(edge):
    return edge.store.claim(queued(edge, 1, Action("test")), "r1", NOW)


@pytest.fixture
def pace():
    return Pace()


def end(edge, held):
    edge.store.end(held, RunState.FAILED, reason="1 of 2 tests failed", tell={}, now=NOW)


def test_a_runner_is_told_every_half_minute_that_somebody_reads_along(edge, held, pace, capfdbinary):
    said = []
    for second in (1, 29, 31, 61, 99):
        pace.plans[second] = lambda: said.append(edge.store.run(held.id).followed_until - FOLLOWED_FOR)
    pace.plans[100] = lambda: end(edge, held)
    print_log(edge, held.id, pace, follow=True)
    assert said == [NOW, NOW, later(30), later(60), later(90)]
    assert capfdbinary.readouterr().err == f"[tau] {held.id}: failed: 1 of 2 tests failed\n".encode()


def test_whoever_only_looks_once_slows_nobody_down(edge, held, pace):
    print_log(edge, held.id, pace, follow=False)
    assert edge.store.run(held.id).followed_until is None
    assert pace.passed_s == 0


def test_a_run_at_its_end_has_nobody_left_to_tell(edge, held, pace):
    end(edge, held)
    print_log(edge, held.id, pace, follow=True)
    assert edge.store.run(held.id).followed_until is None


def test_what_is_written_while_it_is_followed_comes_once_and_in_order(edge, held, pace, capfdbinary):
    log = StepLog(edge.objects, step_prefix(held.id, 1, 0), lambda: NOW)
    pace.plans[2] = lambda: log.write(b"first\n")
    pace.plans[3] = log.close
    pace.plans[5] = lambda: end(edge, held)
    print_log(edge, held.id, pace, follow=True)
    assert capfdbinary.readouterr().out == b"first\n"


def test_the_end_is_waited_for_as_long_as_it_is_worth(edge, held, pace):
    assert wait_for_end(edge, held.id, pace).state is RunState.RUNNING
    assert pace.passed_s == 15
    pace.plans[17] = lambda: end(edge, held)
    assert wait_for_end(edge, held.id, pace).state is RunState.FAILED
    assert pace.passed_s == 17


def test_a_run_that_does_not_exist_is_not_waited_for(edge, pace):
    with pytest.raises(NotThere):
        wait_for_end(edge, "01NONE", pace)
    with pytest.raises(NotThere):
        print_log(edge, "01NONE", pace, follow=True)


# --- step by step ---------------------------------------------------------------------------------


@pytest.fixture
def three_steps(edge):
    """A run whose second step failed; each printed a line, the second in red, with a cleared screen before it."""
    run = queued(edge, 1, Action("build"), Action("test"), Action("script"))
    held = edge.store.claim(run, "r1", NOW)
    printed = (b"built\n", b"\x1b[2J\x1b[31mFAILED\x1b[0m", b"told\n")
    for index, text in enumerate(printed):
        log = StepLog(edge.objects, step_prefix(held.id, 1, index), lambda: NOW)
        log.write(text)
        log.close()
    statuses = (StepStatus.PASSED, StepStatus.FAILED, StepStatus.PASSED)
    results = {
        str(index): StepResult(action, status, NOW, later(14 * (index + 1)))
        for index, (action, status) in enumerate(zip(("build", "test", "script"), statuses, strict=True))
    }
    edge.store.end(held, RunState.FAILED, reason="1 failed", tell={}, now=later(60), results=results)
    return held.id


ON_A_TERMINAL = Part(as_stored=False)


def test_on_a_terminal_a_line_above_each_step_says_what_became_of_it_and_nothing_harms(
    edge, three_steps, pace, capfdbinary
):
    print_log(edge, three_steps, pace, follow=False, part=ON_A_TERMINAL)
    assert capfdbinary.readouterr().out.decode() == (
        "\x1b[1m── build (step 1 of 3): ✔ passed, 14s\x1b[0m\nbuilt\n\x1b[0m"
        "\x1b[1m── test (step 2 of 3): ✘ failed, 28s\x1b[0m\n\x1b[31mFAILED\x1b[0m\x1b[0m\n"
        "\x1b[1m── script (step 3 of 3): ✔ passed, 42s\x1b[0m\ntold\n\x1b[0m"
    )


def test_in_a_pipe_and_for_who_asks_for_it_a_log_is_as_it_is_stored(edge, three_steps, pace, capfdbinary):
    print_log(edge, three_steps, pace, follow=False)
    assert capfdbinary.readouterr().out == b"built\n\x1b[2J\x1b[31mFAILED\x1b[0mtold\n"


@pytest.mark.parametrize("part", [Part(failed=True), Part(step=2)], ids=["failed", "step"])
def test_one_step_can_be_seen_alone(edge, three_steps, pace, capfdbinary, part):
    print_log(edge, three_steps, pace, follow=False, part=part)
    assert capfdbinary.readouterr().out == b"\x1b[2J\x1b[31mFAILED\x1b[0m"


def test_a_step_that_there_is_not_is_named_with_those_that_there_are(edge, three_steps, pace):
    with pytest.raises(BadInput, match="no step 4; its steps are 1 build, 2 test, 3 script"):
        print_log(edge, three_steps, pace, follow=False, part=Part(step=4))


def test_a_step_that_goes_on_is_shown_as_it_comes_under_one_line(edge, held, pace, capfdbinary):
    log = StepLog(edge.objects, step_prefix(held.id, 1, 0), lambda: NOW)
    pace.plans[2] = lambda: (log.write(b"first "), log._flush())
    pace.plans[4] = lambda: (log.write(b"second\n"), log.close())
    pace.plans[6] = lambda: end(edge, held)
    print_log(edge, held.id, pace, follow=True, part=ON_A_TERMINAL)
    assert capfdbinary.readouterr().out.decode() == "\x1b[1m── test (step 1 of 1)\x1b[0m\nfirst second\n\x1b[0m"


def test_what_a_run_left_is_counted_below_its_log_with_the_command_that_fetches_it(edge, held, pace, capfdbinary):
    files = [{"name": name, "bytes": 1_000_000, "key": "artifacts/x"} for name in "ab"]
    result = StepResult("test", StepStatus.PASSED, NOW, NOW, facts={"artifacts": {"files": files}})
    edge.store.finish_step(held, 0, result)
    print_log(edge, held.id, pace, follow=False)
    assert capfdbinary.readouterr().err.decode().splitlines()[1:] == [
        f"[tau] 2 artifacts, 2.0 MB: tau artifacts {held.id} --to DIR"
    ]
