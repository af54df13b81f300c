"""What somebody wrote or pushed, fitted to where it goes."""

from __future__ import annotations

import re
from hashlib import sha256

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chalicelib.errors import CannotFit
from chalicelib.fit import Sink, dash, fill, fit, insert, placeholders, shown

# The classes of the design; a host label never starts or ends with a hyphen on top.
HOLDS = {
    Sink.NAME: r"[a-z0-9-]{1,63}",
    Sink.HOST_LABEL: r"[a-z0-9-]{1,63}",
    Sink.IMAGE: r"[a-z0-9-]{1,63}",
    Sink.IMAGE_TAG: r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}",
    Sink.VERSION_LABEL: r"[^/]{1,100}",
}
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=140) | st.text("aB-_./0f", min_size=1, max_size=20)


def head(name: str) -> str:
    return f"refs/heads/{name}"


def hashed(ref: str) -> str:
    return sha256(ref.encode()).hexdigest()[:8]


@pytest.mark.parametrize(
    ("name", "sink"),
    [
        ("v1.2.0", Sink.IMAGE_TAG),
        ("master", Sink.HOST_LABEL),
        ("Feature_x", Sink.IMAGE_TAG),
        ("a" * 128, Sink.IMAGE_TAG),
        ("v1 é", Sink.VERSION_LABEL),
        ("a" * 63, Sink.NAME),
    ],
)
def test_what_is_legal_stays_as_it_is(name, sink):
    assert fit(name, sink, head(name)) == name


@pytest.mark.parametrize(
    ("name", "sink", "start"),
    [
        ("feature/x", Sink.IMAGE_TAG, "feature-x"),
        ("Feature/Übung", Sink.HOST_LABEL, "feature-bung"),
        ("-u", Sink.HOST_LABEL, "u"),
        (".hidden", Sink.IMAGE_TAG, "hidden"),
        ("é", Sink.NAME, "ref"),
        ("a" * 129, Sink.IMAGE_TAG, "a" * 119),
        ("v1.2.0", Sink.HOST_LABEL, "v1-2-0"),
        ("a\u202eb", Sink.VERSION_LABEL, "a-b"),
        ("x,evil.com", Sink.HOST_LABEL, "x-evil-com"),
        ("$(id)", Sink.IMAGE, "id"),
    ],
)
def test_what_is_not_legal_is_fitted_and_marked_with_the_hash_of_the_ref(name, sink, start):
    assert fit(name, sink, head(name)) == f"{start}-{hashed(head(name))}"


def test_a_legal_name_that_looks_fitted_is_marked_too():
    innocent = fit("feature/x", Sink.IMAGE_TAG, head("feature/x"))
    copycat = fit(innocent, Sink.IMAGE_TAG, head(innocent))
    assert copycat == f"{innocent}-{hashed(head(innocent))}"
    assert fit("v1-20261123", Sink.IMAGE_TAG, "refs/tags/v1-20261123") != "v1-20261123"


def test_nobody_can_move_a_runs_own_tag_by_naming_a_branch_after_it():
    name = "r-01jd8x6v9c3q2w4e5r6t7y8z9a"
    assert fit(name, Sink.IMAGE_TAG, head(name)) == f"{name}-{hashed(head(name))}"


@settings(max_examples=800, deadline=None)
@given(names, st.sampled_from(sorted(HOLDS)))
def test_whatever_is_pushed_comes_out_legal(name, sink):
    out = fit(name, sink, head(name))
    assert re.fullmatch(HOLDS[sink], out)
    assert out.isprintable()
    assert insert(out, sink) == out


@settings(max_examples=800, deadline=None)
@given(names, names, st.sampled_from(sorted(HOLDS)), st.none() | st.integers(10, 40))
def test_two_refs_never_share_a_name(one, other, sink, room):
    assume(one != other)
    assert fit(one, sink, head(one), room) != fit(other, sink, head(other), room)


@settings(max_examples=300, deadline=None)
@given(names, st.sampled_from(sorted(HOLDS)))
def test_a_branch_named_like_another_ones_fitted_name_gets_its_own(name, sink):
    out = fit(name, sink, head(name))
    assume(out != name)
    assert fit(out, sink, head(out)) != out


def test_an_empty_name_cannot_fit_anywhere():
    for sink in Sink:
        with pytest.raises(CannotFit):
            fit("", sink, head(""))


@pytest.mark.parametrize(
    ("text", "sink"),
    [
        ("crm_2pisoftware", Sink.NAME),
        ("-x", Sink.NAME),
        ("a/b", Sink.HOST_LABEL),
        ("CRM", Sink.IMAGE),
        ("code.2pisoftware.com/crm", Sink.IMAGE),
        ("localhost/crm", Sink.IMAGE),
        ("a b", Sink.IMAGE_TAG),
        ("a/b", Sink.VERSION_LABEL),
        ("a\nb", Sink.VERSION_LABEL),
        ("", Sink.NAME),
        ("a" * 64, Sink.NAME),
    ],
)
def test_a_capture_that_the_sink_cannot_hold_is_refused(text, sink):
    with pytest.raises(CannotFit, match=re.escape(f'"{shown(text)}"')):
        insert(text, sink)


def test_a_text_holds_anything_as_it_is():
    assert insert("a/ b\n$(id)", Sink.TEXT) == "a/ b\n$(id)"
    assert fit("feature/x", Sink.TEXT, head("feature/x")) == "feature/x"


def test_dash_makes_a_repositorys_name_an_environments():
    assert dash("crm_2pi.software") == "crm-2pi-software"


def test_a_template_inserts_captures_and_fits_what_was_pushed():
    values = {"client": "crm_2pi", "branch": "feature/x", "commit7": "abc1234"}
    ref = head("feature/x")
    assert fill("2pisoftware/{client}", Sink.IMAGE, values, ref) == "2pisoftware/crm_2pi"
    assert fill("{client|dash}-production", Sink.NAME, values, ref) == "crm-2pi-production"
    assert fill("{branch}-{commit7}", Sink.IMAGE_TAG, values, ref) == f"feature-x-{hashed(ref)}-abc1234"
    assert fill("{branch} at {commit7}", Sink.TEXT, values, ref) == "feature/x at abc1234"
    assert fill("{ print $1 }", Sink.TEXT, values, ref) == "{ print $1 }"


def test_a_pushed_name_cannot_add_a_part_to_an_images_name():
    values = {"branch": "x/../../cmfive"}
    assert re.fullmatch(r"dev/x-cmfive-[0-9a-f]{8}", fill("dev/{branch}", Sink.IMAGE, values, head("x")))


def test_a_pushed_name_takes_only_the_room_that_the_template_leaves():
    out = fill("dev-{branch}-{commit}", Sink.IMAGE_TAG, {"branch": "b" * 100, "commit": "0" * 40}, head("b"))
    assert len(out) == 128
    assert out.startswith("dev-bbb")
    assert out.endswith("-" + "0" * 40)


@pytest.mark.parametrize(
    ("template", "sink", "why"),
    [
        ("{tag}", Sink.IMAGE_TAG, "{tag} has no value here"),
        ("{client}", Sink.NAME, "crm_x"),
        ("a" * 125 + "{branch}", Sink.IMAGE_TAG, "no room"),
        ("{branch}/{client}", Sink.NAME, "crm_x"),
    ],
)
def test_a_template_that_cannot_be_filled_says_why(template, sink, why):
    with pytest.raises(CannotFit, match=re.escape(why)):
        fill(template, sink, {"branch": "develop", "client": "crm_x"}, head("develop"))


def test_only_a_word_in_braces_is_a_placeholder():
    assert [str(one) for one in placeholders("{a} {b|dash} { c } {1} {} {d.e} ${f}")] == ["{a}", "{b|dash}", "{f}"]
