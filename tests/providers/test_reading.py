import json
import subprocess

import pytest

from chalicelib import providers
from chalicelib.errors import BadDelivery
from chalicelib.model import EventKind, Provider
from chalicelib.providers.reading import (
    MOST_EMAILS,
    checked_ref,
    checked_repository,
    each_email_once,
    email_or_none,
    is_ref,
    kind_of,
    parse,
)

REFS = [
    *("refs/heads/main", "refs/heads/feature/x", "refs/heads/-u", "refs/heads/-", "refs/heads/@", "refs/heads/$(id)"),
    *("refs/heads/`id`", "refs/heads/a;id", "refs/heads/a&&id", "refs/heads/a|id", "refs/heads/a'b", 'refs/heads/x"y'),
    *("refs/heads/#1", "refs/heads/{{.}}", "refs/heads/é", "refs/heads/e\u202exe", "refs/heads/x,evil.com"),
    *("refs/heads/A", "refs/heads/" + "a" * 240, "refs/heads/refs/heads/main", "refs/heads/HEAD", "refs/tags/v1.2.0"),
    *("refs/heads/--upload-pack=touch${IFS}pwned", "refs/notes/x", "refs/pull/1/head", "refs/heads/a.b", "refs/x"),
    *("refs/heads/a..b", "refs/heads/a b", "refs/heads/a~b", "refs/heads/a^b", "refs/heads/a:b", "refs/heads/a?b"),
    *("refs/heads/a*b", "refs/heads/*", "refs/heads/a[b", "refs/heads/a]b", "refs/heads/a\\b", "refs/heads/x.lock"),
    *("refs/heads/x.lock/y", "refs/heads/x.LOCK", "refs/heads/x.locks", "refs/heads/.lock", "refs/heads/a@{0}"),
    *("refs/heads/a@{", "refs/heads/a{0}", "refs/heads/.a", "refs/heads/a.", "refs/heads/a./b", "refs/heads/a/.b"),
    *("refs/heads/", "refs/heads", "refs//heads/x", "/refs/heads/x", "refs/heads/x/", "refs/heads/a\x7fb", ".", "@"),
    *(
        "refs/heads/a\nb",
        "refs/heads/a\rb",
        "refs/heads/a\tb",
        "refs/heads/main\n",
        "refs/heads/a\x01b",
        "main",
        "HEAD",
    ),
    *("refs/heads/a\x85b", "refs/heads/a\u2028b", "refs/heads/a\u00a0b", "", "/", "a/b", "@/a", "refs/heads/..", "a/@"),
]


@pytest.mark.parametrize("ref", REFS)
def test_a_ref_is_one_exactly_where_git_says_so(ref):
    git = subprocess.run(["git", "check-ref-format", ref], check=False).returncode == 0
    assert is_ref(ref) == git


def test_a_ref_with_a_nul_is_none():
    assert not is_ref("refs/heads/a\0b")


def test_a_ref_longer_than_a_record_can_take_is_refused():
    assert checked_ref("refs/heads/" + "a" * 989)
    for name in ("a" * 990, "é" * 495):
        with pytest.raises(BadDelivery):
            checked_ref("refs/heads/" + name)


@pytest.mark.parametrize("name", ["2pisoftware/cmfive", "a/.github", "A-b_c.d/E", "6543/x", "2pisoftware/x_deploy"])
def test_a_repositorys_name_stays_as_the_forge_spells_it(name):
    assert checked_repository(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "cmfive",
            "/cmfive",
            "org/",
            "org//app",
            "org/app/../other",
            "org/app.git",
            "org/app ",
            " org/app",
            "org/.",
        ),
        *(
            "org/..",
            "../app",
            "./app",
            "\u043erg/app",
            "org/\u212aernel",
            "org/app\n",
            "org/a b",
            "org/a:b",
            "~org/app",
        ),
        *("org/app/x", "org/cafe\u0301", "org/" + "a" * 101),
    ],
)
def test_a_name_that_could_be_taken_for_another_repository_is_refused(name):
    with pytest.raises(BadDelivery):
        checked_repository(name)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b"{", b"[]", b"1", b"null", b'"x"', b"true", b"\xff", b"{}{}", b"{} x", b"{'a': 1}", b'{"a": 1,}'),
        b'\xef\xbb\xbf{"a": 1}',
        '{"a": 1}'.encode("utf-16"),
        b'{"ref": "a", "ref": "b"}',
        b'{"x": [{"deep": 1, "deep": 1}]}',
        *(b'{"a": NaN}', b'{"a": Infinity}', b'{"a": -Infinity}'),
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a": "\\ud800"}',
        b'{"a": "\\uDFFF\\uD800"}',
        b'{"\\udc00": 1}',
        b'{"a": "\x00"}',
        b'{"a": "\n"}',
        b'{"a": "\xed\xa0\x80"}',
    ],
    ids=lambda body: repr(body[:24]),
)
def test_a_body_that_could_be_read_in_two_ways_is_refused(body):
    with pytest.raises(BadDelivery):
        parse(body, "a body")


def test_a_whole_surrogate_pair_is_an_ordinary_letter():
    assert parse(b'{"a": "\\ud83d\\ude80 \\\\ud800"}', "a body").text("a") == "🚀 \\ud800"


def test_a_complaint_names_the_place_and_never_the_value():
    fields = parse(json.dumps({"a": {"b": [{"c": "secret"}]}}).encode(), "a push")
    inner = fields.need_child("a").children("b")[0]
    with pytest.raises(BadDelivery, match=r"^a push\.a\.b\[0\]\.c is not a whole number$"):
        inner.number("c")
    with pytest.raises(BadDelivery, match=r"^a push\.a\.b\[0\]\.d is missing$"):
        inner.need_text("d")


def test_null_and_absent_are_the_same_and_true_is_no_number():
    fields = parse(b'{"a": null, "t": true, "e": ""}', "a push")
    assert (fields.text("a"), fields.text("b"), fields.text("e")) == (None, None, None)
    assert (fields.flag("a"), fields.flag("t"), fields.children("a")) == (False, True, [])
    with pytest.raises(BadDelivery):
        fields.number("t")


@pytest.mark.parametrize(
    "sha", ["HEAD", "--help", "a" * 39, "a" * 41, "A" * 40, "main", "a" * 63, "g" * 40, "a" * 40 + "\n", ""]
)
def test_what_is_no_full_sha_is_refused(sha):
    with pytest.raises(BadDelivery):
        parse(json.dumps({"after": sha}).encode(), "a push").need_object_id("after")


@pytest.mark.parametrize("length", [40, 64])
def test_a_sha_of_zeros_is_no_commit(length):
    fields = parse(json.dumps({"a": "0" * length, "b": "0" * (length - 1) + "1"}).encode(), "a push")
    assert fields.need_object_id("a") is None
    assert fields.need_object_id("b") == "0" * (length - 1) + "1"


@pytest.mark.parametrize(
    ("ref", "before", "after", "kind"),
    [
        ("refs/heads/x", "a", "b", EventKind.PUSH),
        ("refs/heads/x", None, "b", EventKind.BRANCH_CREATED),
        ("refs/heads/x", "a", None, EventKind.BRANCH_DELETED),
        ("refs/tags/x", None, "b", EventKind.TAG_CREATED),
        ("refs/tags/x", "a", "b", EventKind.TAG_CREATED),
        ("refs/tags/x", "a", None, EventKind.TAG_DELETED),
    ],
)
def test_what_is_missing_on_a_side_says_what_happened(ref, before, after, kind):
    assert kind_of(ref, before, after) is kind


def test_addresses_are_kept_in_order_each_once_and_not_without_end():
    assert each_email_once(["b@x", None, "a@x", "b@x"]) == ("b@x", "a@x")
    assert len(each_email_once(f"{n}@x" for n in range(3000))) == MOST_EMAILS


@pytest.mark.parametrize("text", [None, "", "  ", "a" * 255, "a@b.c\r\nBcc: x@y.z", "a\0@b.c", "a\x7f@b.c"])
def test_what_no_mail_can_be_sent_to_is_no_address(text):
    assert email_or_none(text) is None


@pytest.mark.parametrize(
    ("headers", "provider"),
    [
        (["X-GitHub-Event", "Host"], Provider.GITHUB),
        (["x-github-event"], Provider.GITHUB),
        (["X-Event-Key", "X-Hook-UUID"], Provider.BITBUCKET_CLOUD),
        (["X-Event-Key", "X-Hook-UUID", "X-Request-UUID", "X-Request-Id"], Provider.BITBUCKET_CLOUD),
        (["X-Event-Key", "X-Request-Id"], Provider.BITBUCKET_SERVER),
        (["X-Event-Key", "X-Request-Id", "X-GitHub-Event"], None),
        (["X-Event-Key"], None),
        ([], None),
        (["X-GitHub-Event", "X-Event-Key", "X-Hook-UUID"], None),
    ],
)
def test_a_forge_is_told_by_its_headers_and_never_guessed(headers, provider):
    assert providers.forge_of(headers) is provider
