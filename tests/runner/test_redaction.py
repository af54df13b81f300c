"""Whatever a secret looks like in an output, and however it comes in pieces, it does not go out."""

import base64
import html
import itertools
import json
import shlex
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.disguises import too_short
from runner.redaction import Matcher, Redactor

SECRET = "pa$s/w+rd'é\"&9~zz"
RAW = SECRET.encode()
KEY = (
    "-----BEGIN OPENSSH PRIVATE KEY-----\n"
    "AAAAB3NzaC1yc2EAAAAD\nQABAAABgQC7vbqajDhA+/\n"
    "-----END OPENSSH PRIVATE KEY-----"
)


def through(pieces, *secrets, found=bool):
    matcher = Matcher({f"s{number}": [value] for number, value in enumerate(secrets)})
    redactor = Redactor(lambda: matcher, found)
    return b"".join([*map(redactor.feed, pieces), redactor.end()])


def wrapped(raw, width):
    text = base64.b64encode(raw)
    return b"\n".join(text[at : at + width] for at in range(0, len(text), width))


SHOWN = {
    "raw": RAW,
    "base64": base64.b64encode(RAW),
    "base64 of a line": base64.b64encode(RAW + b"\n"),
    "base64, one byte before": base64.b64encode(b"u" + RAW + b"\n"),
    "base64, two bytes before": base64.b64encode(b"u:" + RAW),
    "base64 for addresses": base64.urlsafe_b64encode(RAW + b"??>>"),
    "URL": quote(SECRET, safe="").encode(),
    "URL, a path": quote(SECRET).encode(),
    "URL, lower case": b"pa%24s%2fw%2brd%27%c3%a9%22%269~zz",
    "URL, a form": quote_plus(SECRET).encode(),
    "JSON, ASCII": json.dumps(SECRET).encode(),
    "JSON, UTF-8": json.dumps(SECRET, ensure_ascii=False).encode(),
    "JSON of PHP": json.dumps(SECRET).replace("/", "\\/").encode(),
    "shell, Python's": shlex.quote(SECRET).encode(),
    "shell, a trace of bash": b"+ login '" + SECRET.replace("'", "'\\''").encode() + b"'",
    "hex": RAW.hex().encode(),
    "HEX": RAW.hex().upper().encode(),
    "XML": html.escape(SECRET, quote=False).encode(),
    "XML of JUnit": html.escape(SECRET).replace("&#x27;", "&apos;").encode(),
    "XML of PHP": html.escape(SECRET).replace("&#x27;", "&#039;").encode(),
    "XML of an attribute": html.escape(SECRET, quote=False).replace('"', "&quot;").encode(),
    "HTML of Python": html.escape(SECRET).encode(),
    "repr": repr(SECRET).encode(),
}


@pytest.mark.parametrize("how", SHOWN)
def test_a_secret_is_hidden_however_it_is_written(how):
    shown = through([b"before ", SHOWN[how], b" after"], SECRET)
    assert b"***" in shown
    # Of what is encoded, the characters at its ends belong to what stands beside it as well.
    assert len(shown) <= len(b"before *** after") + 14, shown
    assert shown.startswith(b"before ")
    assert shown.endswith(b" after")


NOT_SHOWN = {"reversed": RAW[::-1], "base64 twice": base64.b64encode(base64.b64encode(RAW))}


@pytest.mark.parametrize("how", NOT_SHOWN)
def test_what_no_reader_recognises_is_not_hidden_and_the_documentation_says_so(how):
    assert through([NOT_SHOWN[how]], SECRET) == NOT_SHOWN[how]


@given(cuts=st.lists(st.integers(0, 80), max_size=8), shown=st.sampled_from(sorted(SHOWN)))
def test_pieces_of_any_size_show_what_the_whole_shows(cuts, shown):
    text = b"a " + SHOWN[shown] + b" pa$s " + RAW + RAW[:9] + b"x"
    at = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    assert through([text[start:end] for start, end in itertools.pairwise(at)], SECRET) == through([text], SECRET)


@given(
    text=st.text("ab", max_size=60),
    secrets=st.lists(st.text("ab", min_size=6, max_size=12), max_size=4),
    size=st.integers(1, 7),
)
def test_secrets_that_overlap_leave_nothing_of_each_other_and_cost_nothing_else(text, secrets, size):
    pieces = [text[at : at + size].encode() for at in range(0, len(text), size)]
    hidden = [False] * len(text)
    for secret, at in itertools.product(secrets, range(len(text))):
        if text.startswith(secret, at):
            hidden[at : at + len(secret)] = [True] * len(secret)
    left = "".join(one for one, is_hidden in zip(text, hidden, strict=True) if not is_hidden)
    assert through(pieces, *secrets).replace(b"***", b"").decode() == left


@given(st.lists(st.binary(max_size=30), max_size=10))
def test_what_is_no_secret_comes_out_byte_for_byte(pieces):
    assert through(pieces, "a secret that is not there") == b"".join(pieces)


def test_what_is_no_secret_passes_at_once():
    matcher = Matcher({"s": ["s3cret!"]})
    redactor = Redactor(lambda: matcher)
    assert redactor.feed(b"building\n") == b"building\n"
    assert redactor.feed(b"it ends in s3cr") == b"it ends in "
    assert redactor.kept == b"s3cr"
    assert redactor.end() == b"s3cr"


def test_each_line_of_a_key_is_hidden_and_what_every_key_begins_with_is_not():
    shown = through([KEY.encode() + b"\n"], KEY)
    assert shown == b"-----BEGIN OPENSSH PRIVATE KEY-----\n***\n***\n-----END OPENSSH PRIVATE KEY-----\n"


@pytest.mark.parametrize("width", [76, 64, 10_000])
def test_a_key_that_was_encoded_as_a_whole_is_hidden(width):
    key = f"-----BEGIN X-----\n{'k3Y+/' * 60}\n-----END X-----"
    shown = through([wrapped(key.encode() + b"\n", width)], key)
    assert len(shown.replace(b"***", b"").replace(b"\n", b"")) < 16, shown


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        ("ci:correct-horse", b"password correct-horse"),
        ("ci:correct-horse", base64.b64encode(b"ci:correct-horse")),
        ("mysql://app:correct-horse@db/crm", b"-p correct-horse"),
        ("ghp_0123456789:x-oauth-basic", b"ghp_0123456789"),
    ],
)
def test_what_is_secret_in_a_login_or_an_address_is_hidden_by_itself(value, printed):
    assert b"***" in through([printed], value)
    assert b"horse" not in through([printed], value)


def test_a_secret_of_five_letters_is_no_reason_to_hide_half_of_a_log():
    assert through([b"the house"], "house", "") == b"the house"
    assert too_short("house")
    assert not too_short("houses")


def test_it_says_whose_secret_it_found_and_not_which_it_is():
    found = []
    through([b"one s3cr", b"et! two hunter22"], "s3cret!", "hunter22", "not there", found=found.append)
    assert found == ["s0", "s1"]
