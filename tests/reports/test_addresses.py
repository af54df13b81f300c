"""What counts as an address that mail is sent to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.reports.addresses import address


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("dev@2pisoftware.com", "dev@2pisoftware.com"),
        (" dev@2pisoftware.com ", "dev@2pisoftware.com"),
        ("Dev.Eloper+ci@2PiSoftware.COM", "Dev.Eloper+ci@2pisoftware.com"),
        ("o'brien@example.org", "o'brien@example.org"),
        ("dev@bücher.example", "dev@xn--bcher-kva.example"),
        ("dev@Bücher.example", "dev@xn--bcher-kva.example"),
        ("dev@xn--bcher-kva.example", "dev@xn--bcher-kva.example"),
        ("noreplyall@example.org", "noreplyall@example.org"),
        ("l" * 64 + "@example.org", "l" * 64 + "@example.org"),
    ],
)
def test_one_address_is_found_with_its_domain_as_dns_spells_it(text, found):
    assert address(text) == found


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        " ",
        "@",
        "dev",
        "dev@",
        "@example.org",
        "a@b.example, evil@x.example",
        "a@b.example;evil@x.example",
        "a@b.example evil@x.example",
        "a@b.example>",
        "<a@b.example>",
        "A B <a@b.example>",
        '"a\nb" <a@b.example>',
        '"a b"@b.example',
        "a <a@b.example> <e@x.example>",
        "a@b@c.example",
        "a@b.example\r\nBcc: evil@x.example",
        "a@b.example\n",
        "a\x00@b.example",
        "a(comment)@b.example",
        ".a@b.example",
        "a..b@b.example",
        "a.@b.example",
        "a@b..example",
        "a@.example",
        "a@b.example.",
        "a@-b.example",
        "a@b_c.example",
        "a@b",
        "root@localhost",
        "build@runner.local",
        "git@host.localdomain",
        "git@host.(none)",
        "user@[127.0.0.1]",
        "user@127.0.0.1",
        "user@[IPv6:::1]",
        "jörg@example.org",
        "us\u0435r@example.org",
        "dev@straße.example",
        "dev@exa\uff0emple.example",
        "noreply@github.com",
        "no-reply@example.org",
        "No_Reply@users.noreply.github.com",
        "donotreply@example.org",
        "do-not-reply@example.org",
        "noreply+ci@example.org",
        "12345+octocat@users.noreply.github.com",
        "dev@users.noreply.gitlab.example",
        "49699333+dependabot[bot]@users.noreply.github.com",
        "l" * 65 + "@example.org",
        "dev@" + "d" * 64 + ".example",
        "d@" + ".".join(["d" * 50] * 6) + ".example",
        "dev@" + "d." * 155 + "example",
        "\ud800@example.org",
        "dev@\ud800.example",
    ],
)
def test_anything_else_is_no_address(text):
    assert address(text) is None


@given(st.text(max_size=330))
def test_no_text_makes_it_raise_or_return_more_than_one_plain_address(text):
    found = address(f"a@{text}") or address(text)
    assert found is None or (found.isascii() and found.count("@") == 1 and not set(found) & set(' ,;<>"\r\n'))
