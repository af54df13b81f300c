import pytest

from chalicelib.errors import NotNow
from runner.registry_trouble import trouble

HOST = "code.example:5000"


def said(text, secret="registry"):
    return trouble(HOST, "pushing a/b failed", text, secret=secret)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x509: certificate signed by unknown authority", "put that one's certificate into /etc/docker/certs.d/"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] unable to get local issuer certificate", "this machine does not know"),
        ("x509: certificate has expired or is not yet valid: current time … is after …", "has expired"),
        ("x509: certificate is valid for other.example, not code.example", "is for another name"),
        ("x509: cannot validate certificate for 10.0.0.1 because it doesn't contain any IP SANs", "another name"),
        ("Hostname mismatch, certificate is not valid for 'code.example'", "is for another name"),
        ("http: server gave HTTP response to HTTPS client", "speaks no TLS"),
        ("unauthorized: authentication required", "refuses our user and password: correct the secret registry"),
        ("no basic auth credentials", "refuses our user and password"),
        ("denied: requested access to the resource is denied", "does not let it do this"),
        ("error parsing HTTP 413 response body: invalid character '<': Request Entity Too Large", "nothing so large"),
        ("manifest invalid: manifest invalid", "pushing a/b failed: manifest invalid"),
    ],
)
def test_what_a_person_has_to_put_right_is_said_once_and_not_tried_again(text, words):
    error = said(text)
    assert words in str(error)
    assert HOST in str(error) or "manifest" in text
    assert text.split()[-1] in str(error)
    assert not isinstance(error, NotNow)


@pytest.mark.parametrize(
    "text",
    [
        "received unexpected HTTP status: 500 Internal Server Error",
        "received unexpected HTTP status: 502 Bad Gateway",
        "error parsing HTTP 429 response body: invalid character 'T': \"Too Many Requests\"",
        "toomanyrequests: You have reached your pull rate limit",
        "Patch http://x/v2/a/blobs/uploads/1: write tcp 1->2: write: connection reset by peer",
        'Put "http://x/v2/a/manifests/r": EOF',
        "net/http: request canceled (Client.Timeout exceeded while awaiting headers)",
        "blob upload unknown",
        "dial tcp 127.0.0.1:1: connect: connection refused",
        "unknown: unknown error",
    ],
)
def test_what_may_be_over_in_a_moment_is_worth_another_try(text):
    assert isinstance(said(text), NotNow)


def test_a_registry_without_credentials_in_ci_yml_is_told_from_one_with_wrong_ones():
    assert "ci.yml, which names no `credentials`" in str(said("unauthorized: authentication required", secret=None))
