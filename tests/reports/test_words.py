"""Durations, sizes, commits, and text that strangers wrote."""

from __future__ import annotations

import time
import unicodedata
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from chalicelib.model import RunState, StepStatus
from chalicelib.reports import words
from runner.fields import Size


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "<1s"),
        (0, "<1s"),
        (0.99, "<1s"),
        (1, "1s"),
        (8.4, "8s"),
        (59.4, "59s"),
        (59.6, "1m 0s"),
        (134, "2m 14s"),
        (3600, "1h 0m"),
        (3661, "1h 1m"),
        (90061, "1d 1h"),
    ],
)
def test_a_duration_is_said_in_its_two_largest_units(seconds, said):
    assert words.duration(seconds) == said
    assert words.duration(timedelta(seconds=seconds)) == said


@pytest.mark.parametrize(
    ("size_bytes", "said"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9949, "9.9 kB"),
        (9999, "10 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (512_000_000, "512 MB"),
        (1_400_000_000, "1.4 GB"),
        (12 * 10**15, "12000 TB"),
    ],
)
def test_a_size_is_said_as_docker_says_it(size_bytes, said):
    assert words.size(size_bytes) == said


@pytest.mark.parametrize("said", ["1000B", "1KB", "64MB", "1536MB", "2GB", "4096GB"])
def test_a_limit_is_said_as_ci_yml_has_it(said):
    assert words.limit(TypeAdapter(Size).validate_python(said)) == said


def test_a_commit_is_said_in_seven_characters_and_a_missing_one_in_words():
    assert words.commit("3f2a1b9c0d4e5f60718293a4b5c6d7e8f9012345") == "3f2a1b9"
    assert words.commit(None) == "no commit"


def test_a_digest_keeps_its_algorithm():
    assert words.digest("sha256:" + "ab" * 32) == "sha256:abababababab"
    assert words.digest("ab" * 32) == "abababababab"


def test_a_moment_is_told_by_the_readers_clock():
    at = datetime(2026, 3, 2, 3, 5, tzinfo=UTC)
    assert words.moment(at, UTC) == "2 Mar 2026, 03:05 UTC"
    assert words.moment(at, ZoneInfo("Australia/Sydney")) == "2 Mar 2026, 14:05 AEDT"


def test_one_is_counted_without_an_s():
    assert words.counted(1, "test") == "1 test"
    assert words.counted(0, "test") == "0 tests"


@pytest.mark.parametrize("status", [*RunState, *StepStatus])
def test_every_state_has_a_sign(status):
    assert words.sign(status) != "?"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\r\nBcc: b@c.de", "a Bcc: b@c.de"),
        ("a\x0bb\x0cc\x85d\u2028e\u2029f\tg", "a b c d e f g"),
        ("a\x00b\x7fc", "a<U+0000>b<U+007F>c"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x9b31mred", "red"),
        ("\x1b]8;;https://evil.example\x07link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;never ended", ""),
        ("\x1b[2Jcleared", "cleared"),
        ("invoice\u202egpj.exe", "invoice<U+202E>gpj.exe"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("lone \ud800", "lone <U+D800>"),
        ("  blanks   around  ", "blanks around"),
        ("日本語 é 👩‍💻", "日本語 é 👩‍💻"),
    ],
)
def test_what_a_stranger_wrote_becomes_one_harmless_line(text, said):
    assert words.clean(text) == said


@given(st.text(st.characters(), max_size=300))
def test_no_text_brings_a_control_or_a_direction_through(text):
    said = words.clean(text)
    assert len(said) <= 200
    assert "\n" not in said
    assert not any(unicodedata.category(char) in {"Cc", "Cs"} or char in "\u202e\u2066\u200f" for char in said)
    said.encode("utf-8")


@pytest.mark.parametrize("piece", ["x", "\x1b]", "\x1b[", "\x1b[0;", "\x1bP", "\n", "\u202e", " "])
def test_a_megabyte_of_anything_is_cut_quickly(piece):
    text = piece * (1_000_000 // len(piece))
    started = time.perf_counter()
    assert len(words.clean(text)) <= 200
    words.clean_lines(text)
    assert time.perf_counter() - started < 1


def test_what_is_too_long_ends_in_an_ellipsis():
    assert words.clean("x" * 300) == "x" * 199 + "…"
    assert words.clean("x" * 200) == "x" * 200


def test_lines_keep_their_indentation_and_lose_their_colours():
    text = "\x1b[31m  Problem 1\x1b[0m\r\n\n\n\t- needs   php\n"
    assert words.clean_lines(text) == ("  Problem 1", "    - needs   php")


def test_only_so_many_lines_are_kept():
    assert words.clean_lines("a\nb\nc", count=2) == ("a", "b")


def test_the_first_line_of_a_message_is_the_first_that_says_something():
    assert words.first_line("\n\n Fix the menu \n\nBecause.") == "Fix the menu"
    assert words.first_line(None) == ""
    assert words.first_line("\n \n") == ""


def test_a_sentence_gets_one_full_stop():
    assert words.sentence("it broke") == "it broke."
    assert words.sentence("it broke.") == "it broke."
    assert words.sentence("") == ""
