import hashlib
import hmac
import unicodedata

import pytest

from chalicelib import providers
from chalicelib.errors import BadConfig, BadSignature, UnknownForge
from chalicelib.model import Delivery, Provider
from chalicelib.providers.signature import NOT_OURS, signature

# https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation
SECRET = b"It's a Secret to Everybody"
HELLO = b"Hello, World!"
HELLO_SIGNED = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
DIGITS = HELLO_SIGNED.removeprefix("sha256=")


def delivery(body=HELLO, provider=Provider.GITHUB, **headers):
    sent = {name.replace("_", "-"): values for name, values in headers.items()}
    return Delivery("github.com", provider, sent, body)


def signed(*values, body=HELLO):
    return delivery(body, x_hub_signature_256=values)


def refused(of, secrets=(SECRET,)):
    with pytest.raises(BadSignature) as caught:
        providers.verify(of, secrets)
    return str(caught.value)


@pytest.mark.parametrize(
    ("body", "digits"),
    [
        (HELLO, DIGITS),
        (b'{"ref":"refs/heads/main"}', "6a42699496d8c4fb346af1c930df527931a321e28ada69dbc5ee82f438517fd2"),
        (
            b"payload=%7B%22ref%22%3A%22refs%2Fheads%2Fmain%22%7D",
            "720493f557150a271b7cfdd9904c5fe4697f30c44588f8b452d36abc47b8796c",
        ),
    ],
)
def test_what_was_signed_with_the_secret_passes(body, digits):
    providers.verify(signed(f"sha256={digits}", body=body), [SECRET])


def test_any_of_several_secrets_is_enough_while_one_replaces_the_other():
    for secrets in ([b"x" * 16, SECRET], [SECRET, b"x" * 16]):
        providers.verify(signed(HELLO_SIGNED), secrets)
    refused(signed(HELLO_SIGNED), [b"x" * 16, b"y" * 16])


@pytest.mark.parametrize(
    "value",
    [
        "",
        "sha256",
        "sha256=",
        DIGITS,
        f"sha1={DIGITS}",
        f"sha512={DIGITS}",
        f"SHA256={DIGITS}",
        f"sha256=sha256={DIGITS}",
        f"sha256={DIGITS.upper()}",
        f"sha256={DIGITS[:-1]}",
        f"sha256={DIGITS}0",
        f"sha256={DIGITS}{DIGITS}",
        f" {HELLO_SIGNED}",
        f"{HELLO_SIGNED} ",
        f"{HELLO_SIGNED}\n",
        f"\t{HELLO_SIGNED}",
        f"{HELLO_SIGNED}, {HELLO_SIGNED}",
        f"{HELLO_SIGNED},{HELLO_SIGNED}",
        "sha256=é" + DIGITS[1:],
        "sha256=" + "٣" * 64,  # digits to Unicode, not to a forge
        "sha256=\ud800" + DIGITS[1:],
        "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59",
        f"sha256={'0' * 64}",
        f"sha256={DIGITS[:-1]}8",
    ],
)
def test_a_header_that_is_not_exactly_the_signature_is_refused_with_the_same_words(value):
    assert refused(signed(value)) == NOT_OURS


def test_a_missing_header_is_refused():
    assert refused(delivery()) == NOT_OURS


def test_a_doubled_header_is_refused_even_if_both_are_right():
    wrong = f"sha256={'0' * 64}"
    for values in ((HELLO_SIGNED, wrong), (wrong, HELLO_SIGNED), (HELLO_SIGNED, HELLO_SIGNED)):
        assert refused(signed(*values)) == NOT_OURS


def test_githubs_older_header_is_never_looked_at():
    refused(delivery(x_hub_signature=(HELLO_SIGNED,)))


@pytest.mark.parametrize("provider", [Provider.BITBUCKET_CLOUD, Provider.BITBUCKET_SERVER])
def test_bitbucket_signs_under_the_name_of_githubs_older_header(provider):
    providers.verify(delivery(HELLO, provider, x_hub_signature=(HELLO_SIGNED,)), [SECRET])
    refused(delivery(HELLO, provider, x_hub_signature_256=(HELLO_SIGNED,)))
    sha1 = hmac.new(SECRET, HELLO, hashlib.sha1).hexdigest()
    refused(delivery(HELLO, provider, x_hub_signature=(f"sha1={sha1}",)))


def test_every_secret_is_tried_whole_whichever_of_them_signed(monkeypatch):
    """No time tells how much of a signature was right, or which secret made it: hmac's own comparison, each time."""
    compared = []
    by_hmac = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda one, other: compared.append(other) or by_hmac(one, other))
    others = [b"another secret of sixteen", b"a third secret of sixteen"]
    for values in ([SECRET, *others], [*others, SECRET]):
        providers.verify(signed(HELLO_SIGNED), values)
    refused(signed(f"sha256={'0' * 64}"))
    assert len(compared) == 3 + 3 + 1
    assert all(isinstance(value, bytes) for value in compared)


@pytest.mark.parametrize(
    "body",
    [
        b'{"ref": "refs/heads/main"}',
        b'{"ref":"refs/heads/main"}\n',
        b'\xef\xbb\xbf{"ref":"refs/heads/main"}',
        '{"ref":"refs/heads/main"}'.encode("utf-16"),
        b'{"ref":"refs/heads/mainn"}',
        b"",
    ],
)
def test_a_body_that_differs_in_one_byte_is_refused(body):
    genuine = signature(b'{"ref":"refs/heads/main"}', SECRET).decode()
    refused(signed(genuine, body=body))


def test_the_bytes_are_signed_not_the_letters():
    composed = unicodedata.normalize("NFC", "café").encode()
    others = [unicodedata.normalize("NFD", "café").encode(), b"caf\\u00e9"]
    genuine = signature(composed, SECRET).decode()
    providers.verify(signed(genuine, body=composed), [SECRET])
    for body in others:
        refused(signed(genuine, body=body))


@pytest.mark.parametrize("key", [b"", b"None", b"null", SECRET + b"\n", SECRET[:-1]])
def test_a_signature_made_with_another_key_is_refused(key):
    refused(signed(signature(HELLO, key).decode()))


@pytest.mark.parametrize(
    ("secrets", "words"),
    [
        ([], "no webhook secret"),
        ([b""], "0 bytes"),
        ([b"x" * 15], "15 bytes"),
        ([SECRET, b"hunter2"], "7 bytes"),
        ([SECRET + b"\0"], "NUL"),
    ],
)
def test_a_secret_that_protects_nothing_is_the_operators_business(secrets, words):
    with pytest.raises(BadConfig, match=words) as caught:
        providers.verify(signed(HELLO_SIGNED), secrets)
    assert not any(secret.decode() in str(caught.value) for secret in secrets if secret)


def test_a_dialect_that_nobody_speaks_is_said_so():
    unknown = delivery(provider=Provider.TAU, x_hub_signature=(HELLO_SIGNED,))
    for attempt in (lambda: providers.verify(unknown, [SECRET]), lambda: providers.read(unknown)):
        with pytest.raises(UnknownForge, match="tau"):
            attempt()
