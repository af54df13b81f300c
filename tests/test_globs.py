"""Globs and captures: which names they let in."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.globs import capture, captures, covers, is_literal, matches


@pytest.mark.parametrize(
    ("glob", "name", "expected"),
    [
        ("master", "master", True),
        ("master", "Master", False),
        ("master", "master2", False),
        ("feature/*", "feature/x", True),
        ("feature/*", "feature/", True),
        ("feature/*", "feature/x/y", False),
        ("feature/**", "feature/x/y", True),
        ("*", "v1.2.0", True),
        ("*", "a/b", False),
        ("**", "a/b", True),
        ("v?", "v1", True),
        ("v?", "v/", False),
        ("v?", "v10", False),
        ("v1.*", "v1x2", False),
        ("[ab]", "a", False),
        ("[ab]", "[ab]", True),
        ("**a*", "a/a", True),
        ("**a*", "a/ab/", False),
        ("*é*", "caféx", True),
    ],
)
def test_a_star_stops_at_a_slash_and_two_do_not(glob, name, expected):
    assert matches(glob, name) is expected


@pytest.mark.parametrize("control", ["\n", "\r", "\x00", "\x1b", "\x7f", "\x85", "\u2028", "\u2029", "\ud800"])
def test_a_name_with_a_control_character_never_matches(control):
    assert not matches("**", f"master{control}")
    assert not matches(f"master{control}", f"master{control}")
    assert capture("o/{name}", f"o/x{control}") is None


def naive(glob: str, name: str) -> bool:
    """The same rules, slow and plain."""
    if not glob:
        return not name
    if glob.startswith("**"):
        rest = glob.lstrip("*")
        return any(naive(rest, name[at:]) for at in range(len(name) + 1))
    if glob[0] == "*":
        end = name.find("/")
        return any(naive(glob[1:], name[at:]) for at in range((len(name) if end < 0 else end) + 1))
    if not name or (name[0] == "/" and glob[0] == "?"):
        return False
    return glob[0] in {"?", name[0]} and naive(glob[1:], name[1:])


@settings(max_examples=1500, deadline=None)
@given(st.text("ab/*?", max_size=9), st.text("ab/", max_size=9))
def test_the_fast_matcher_says_what_the_plain_rules_say(glob, name):
    assert matches(glob, name) is naive(glob, name)


@pytest.mark.parametrize("glob", ["*a" * 20 + "b", "**a" * 20 + "b", "**a*a" * 10 + "b", "*a**" * 10 + "b"])
def test_no_name_makes_a_glob_take_long(glob):
    # A matcher that tries every way would still be at it tomorrow.
    assert not matches(glob, "a" * 255)


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("2pi/{client}_deploy", "2pi/crm_2pi_deploy", {"client": "crm_2pi"}),
        ("2pi/{client}_deploy", "2PI/Crm_Deploy", {"client": "Crm"}),
        ("2pi/{client}_deploy", "2pi/_deploy", None),
        ("2pi/{client}_deploy", "2pi/a/b_deploy", None),
        ("2pi/{client}_deploy", "2pi/x_deploy2", None),
        ("2pi/{a}-{b}", "2pi/x-y-z", {"a": "x", "b": "y-z"}),
        ("2pi/{a}*", "2pi/xyz", {"a": "x"}),
        ("2pi/*_deploy", "2pi/x_deploy", {}),
        ("2pi/x.y", "2pi/xzy", None),
        ("2pi/k", "2pi/\u212a", None),  # the Kelvin sign folds to k, but no forge thinks so
    ],
)
def test_a_capture_catches_one_or_more_characters_but_a_slash(pattern, name, expected):
    assert capture(pattern, name) == expected


def test_a_pattern_knows_its_captures_and_whether_it_has_any_wildcard():
    assert captures("2pi/{client}_{stage}") == ("client", "stage")
    assert is_literal("2pi/cmfive")
    assert not is_literal("2pi/*")
    assert not is_literal("2pi/{client}")


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_every_text_without_wildcards_matches_itself_alone(text):
    plain = re.sub(r"[*?{}\x00-\x1f\x7f-\x9f\u2028\u2029]", "", text)
    assert matches(plain, plain)
    assert not matches(plain, plain + "x")


# --- one glob and another -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("**", "**"), ("**", "a/*"), ("*", "ab?"), ("feature/**", "feature/*"), ("a*c", "abc"), ("a*c", "ac"),
        ("?", "x"), ("**/x", "a/b/x"), ("a**", "a"), ("*-*", "a-b-c"), ("x:*", "x:1*"),
    ],
)  # fmt: skip
def test_a_wide_glob_covers_a_narrow_one(wide, narrow):
    assert covers(wide, narrow)


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("*", "**"),
        ("*", "a/b"),
        ("?", "*"),
        ("?", "/"),
        ("a*", "*"),
        ("abc", "ab?"),
        ("a/*", "a"),
        ("a", "ab"),
        ("", "*"),
    ],
)
def test_a_narrow_glob_does_not_cover_a_wide_one(wide, narrow):
    assert not covers(wide, narrow)


some_globs = st.text(alphabet="a/*?", max_size=6)


@settings(max_examples=500, deadline=None)
@given(some_globs, some_globs, st.text(alphabet="a/b", max_size=5))
def test_whatever_fits_a_covered_glob_fits_the_one_that_covers_it(wide, narrow, name):
    if covers(wide, narrow) and matches(narrow, name):
        assert matches(wide, name)
