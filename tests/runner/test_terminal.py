"""What a build printed may be shown on a terminal: it keeps its colours and can do nothing else."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.terminal import Harmless


def shown(*pieces):
    out = Harmless()
    text = b"".join([*map(out.feed, pieces), out.end()]).decode()
    assert text.endswith("\x1b[0m")
    return text.removesuffix("\x1b[0m")


HARMFUL = {
    "a link": ("\x1b]8;;javascript:alert(1)\x1b\\click\x1b]8;;\x1b\\", "click"),
    "a title": ("\x1b]0;rm -rf ~\x07text", "text"),
    "a cleared screen": ("\x1b[2J\x1b[Htext", "text"),
    "a moved cursor": ("FAILED\x1b[1A\x1b[2KPASSED", "FAILEDPASSED"),
    "a question that the terminal answers": ("\x1b[6n\x1b[ctext\x05", "text"),
    "a device control string": ("\x1bP+q544e\x1b\\text", "text"),
    "a clipboard": ("\x1b]52;c;ZWNobyBib28=\x07text", "text"),
    "a reset": ("\x1bctext", "text"),
    "eight-bit controls": ("\x9b2J\x9d0;title\x9ctext", "text"),
    "a reversed direction": ("\u202etxet\u202c", "txet"),
    "a backspace": ("FAIL\b\b\b\bPASS", "FAILPASS"),
    "one that never ends": ("\x1b]0;title\ntext", "]0;title\ntext"),
}


@pytest.mark.parametrize("what", HARMFUL)
def test_what_does_more_than_colour_is_left_out(what):
    printed, expected = HARMFUL[what]
    assert shown(printed.encode()) == expected


@pytest.mark.parametrize(
    "text", ["\x1b[1;31mred\x1b[0m\n", "\x1b[38;5;208m256\x1b[m", "10 %\r20 %\r\n", "tab\tcafé ✔ 日本\n"]
)
def test_colours_progress_and_text_stay_as_they_are(text):
    assert shown(text.encode()) == text


def test_what_is_no_text_is_shown_as_such():
    assert shown(b"\xff\xfe caf\xc3\xa9") == "\ufffd\ufffd café"


@given(
    parts=st.lists(st.sampled_from([*(text for text, _ in HARMFUL.values()), "\x1b[31m", "a", "é", "\n", "\x1b", "["])),
    cuts=st.lists(st.integers(0, 100), max_size=6),
)
def test_however_it_is_cut_no_other_escape_comes_out_and_the_same_is_shown(parts, cuts):
    text = "".join(parts).encode()
    at = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in itertools.pairwise(at)]
    assert shown(*pieces) == shown(text)
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", re.sub(r"\x1b\[[0-9;:]*m", "", shown(text)))


def test_a_sequence_without_end_is_not_waited_for():
    out = Harmless()
    assert len(out.feed(b"\x1b]0;" + b"x" * 10_000)) > 10_000
