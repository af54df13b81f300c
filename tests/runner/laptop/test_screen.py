"""What is printed of a log that goes on and on."""

import io
from datetime import UTC, datetime

from runner import capping
from runner.laptop.screen import Endless, Screen


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
