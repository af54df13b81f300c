"""What is printed of a log that goes on and on."""

import io
from datetime import UTC, datetime

from runner.outcome import Ended

from chalicelib.model import Run, RunState, StepResult, StepStatus
from runner import capping
from runner.laptop.machine import Done
from runner.laptop.running import tell
from runner.laptop.screen import Endless, Screen, summary
from tests.installation import job


def test_a_log_without_an_end_passes_however_long_it_is():
    endless, chunk = Endless(), b"x" * 1024 * 1024
    assert all(endless.feed(chunk) == chunk for _ in range(capping.HEAD_BYTES // len(chunk) + 2))
    assert list(endless.end()) == []


def test_what_a_terminal_is_too_slow_for_is_counted_and_what_comes_next_passes_again():
    endless = Endless()
    endless.end_head()
    assert endless.feed(b"lost\n") == b""
    assert endless.feed(b"seen\n") == b"\n[tau] 5 bytes dropped here (5 B)\nseen\n"
    endless.end_head()
    assert endless.feed(b"[tau] ours\n", ours=True) == b"[tau] ours\n"


def test_a_screen_prints_all_that_a_step_wrote():
    output = io.BytesIO()
    screen = Screen(output, Endless)
    log = screen.open_log(None, "", lambda: datetime.now(UTC))
    log.write(b"printed\n")
    log.line("said")
    screen.close()
    assert output.getvalue() == b"printed\n[tau] said\n"


NOW = datetime(2026, 11, 27, tzinfo=UTC)
FORGED = "one\n[tau] passed in 1 s\x1b[2J\x1b]8;;http://evil\x07two"


def step(**more):
    return StepResult("test", StepStatus.FAILED, NOW, NOW, **more)


def test_nothing_that_a_test_writes_passes_for_a_line_of_ours_or_moves_the_cursor():
    failures = [{"name": FORGED, "message": FORGED}]
    tests = {"passed": 0, "failed": 1, "skipped": 0, "failures": failures}
    failed = step(reason=FORGED, lines=("\x1b[31mred\x1b[2J", "one\r[tau] passed\r"), facts={"tests": tests})
    lines = list(summary((failed,)))
    assert lines[1:] == [
        "   one",
        "   [tau] passed in 1 stwo",
        "   one [tau] passed in 1 stwo: one",
        "     [tau] passed in 1 stwo",
        "   | \x1b[31mred\x1b[0m",
        "   | [tau] passed",
    ]


def test_nor_does_the_reason_of_the_end():
    said = []
    run = Run("01KB3W1PXZ4V9Q6JH2M8T5RC7D", "", job(), RunState.RUNNING, NOW)
    tell(Done(run, Ended(RunState.FAILED, FORGED, ())), "1 s", said.append)
    assert said == ["failed in 1 s: one [tau] passed in 1 stwo"]
