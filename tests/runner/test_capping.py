"""A log that is too long keeps its beginning, its end and our own lines, and says what it has lost."""

import re

from hypothesis import given
from hypothesis import strategies as st

from runner import capping
from runner.capping import Capped

MB = 1024 * 1024


def through(capped, *chunks):
    passed = [
        capped.feed(chunk[6:], ours=True) if chunk.startswith(b"ours: ") else capped.feed(chunk) for chunk in chunks
    ]
    return b"".join([*passed, *capped.end()])


def dropped(text):
    return sum(map(int, re.findall(rb"\[tau\] (\d+) bytes dropped here", text)))


def test_what_is_not_too_long_comes_out_as_it_is():
    assert through(Capped(10, 10), b"one\n", b"two\n") == b"one\ntwo\n"


def test_the_beginning_and_the_end_stay_and_the_rest_is_counted():
    lines = [f"line {number:06}\n".encode() for number in range(300_000)]
    text = through(Capped(MB, MB), *lines)
    assert text.startswith(b"".join(lines[:80_000]))
    assert text.endswith(b"".join(lines[-80_000:]))
    ours = b"".join(line for line in text.splitlines(keepends=True) if b"[tau]" in line)
    assert dropped(text) == len(b"".join(lines)) - (len(text) - len(ours) - 1)
    assert len(text) < 2 * MB + 70_000


def test_a_line_without_an_end_is_cut_in_its_middle():
    text = through(Capped(MB, MB), b"x" * (20 * MB), b"the end")
    assert text.startswith(b"x" * MB + b"\n[tau] this log is long")
    assert text.endswith(b"xxthe end")
    assert text.count(b"x") - text.count(b"next") + dropped(text) >= 20 * MB
    assert b"\n[tau] " in text


def test_our_own_lines_stay_where_they_were_said():
    text = through(
        Capped(10, 10), *[b"a" * 70_000] * 3, b"ours: [tau] here\n", *[b"b" * 70_000] * 3, b"ours: [tau] there\n"
    )
    kept = re.sub(rb"[ab]{2,}", lambda found: found[0][:1] * 2, text)
    assert kept.index(b"[tau] here\n") < kept.index(b"bb") < kept.index(b"[tau] there\n")
    assert dropped(text) >= 5 * 70_000 - 10 - 10 - 70_000


def test_where_nothing_had_to_be_dropped_nothing_is_said_to_be():
    text = through(Capped(10, 100_000), b"a" * 90_000)
    assert text.count(b"a" * 9) > 0
    assert b"dropped here" not in text


@given(st.lists(st.integers(1, 200_000), max_size=20), st.integers(0, 100_000), st.integers(1, 300_000))
def test_every_byte_is_there_or_counted(sizes, head, tail):
    text = through(Capped(head, tail), *[b"\x00" * size for size in sizes])
    assert text.count(b"\x00") + dropped(text) == sum(sizes)
    assert text.count(b"\x00") <= head + tail + capping._BLOCK_BYTES
