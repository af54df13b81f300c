"""What a registry said, or the engine on its behalf, in; what is wrong and who puts it right out, in one sentence."""

from __future__ import annotations

import re

from chalicelib.errors import NotNow, StepErrored

_EXPIRED = re.compile(r"certificate has expired|certificate is not yet valid", re.IGNORECASE)
_OTHER_NAME = re.compile(
    r"certificate is (not )?valid for|doesn't contain any IP SANs|not valid for any names|hostname mismatch"
    r"|IP address mismatch|relies on legacy Common Name",
    re.IGNORECASE,
)
_UNKNOWN_CA = re.compile(
    r"unknown authority|self[- ]signed certificate|unable to get (local )?issuer certificate", re.IGNORECASE
)
_NO_TLS = re.compile(r"server gave HTTP response to HTTPS client|wrong version number|record layer failure")
_REFUSED = re.compile(
    r"unauthorized|authentication required|no basic auth credentials|incorrect username or password"
    r"|(?:HTTP|status|code):? 401\b",
    re.IGNORECASE,
)
_FORBIDDEN = re.compile(r"\bdenied\b|(?:HTTP|status|code):? 403\b", re.IGNORECASE)
_TOO_LARGE = re.compile(r"entity too large|(?:HTTP|status|code):? 413\b", re.IGNORECASE)
_NOT_NOW = re.compile(
    r"(?:HTTP|status|code):? (?:408|429|5\d\d)\b|\banswers (?:408|429|5\d\d)\b|toomanyrequests|too many requests"
    r"|(?:internal server error|bad gateway|service unavailable|gateway time-?out)"
    r"|connection re(?:fused|set)|broken pipe|i/o timeout|TLS handshake timeout|\bEOF\b|Client\.Timeout"
    r"|request canceled|blob upload (?:unknown|invalid)|no such host|temporary failure|server misbehaving"
    r"|does not answer|unknown: unknown error",
    re.IGNORECASE,
)


def trouble(host: str, doing: str, said: str, *, secret: str | None = None) -> StepErrored:
    """What to tell of a registry that did not do as it was asked.

    Args:
        doing: what it did not do, as a sentence begins: `pushing a/b failed`.
        said: its own words, or the engine's.
        secret: the name of the secret with our user, where ci.yml names one.

    Returns:
        NotNow where asking again may help.
    """
    whole = " ".join(said.split())
    known = _certificate(host, whole) or _user(host, whole, secret)
    if known is None and _NOT_NOW.search(whole):
        return NotNow(f"{doing}: {whole}")
    return StepErrored(f"{doing}: {f'{known} ({whole})' if known else whole}")


def _certificate(host: str, said: str) -> str | None:
    if _EXPIRED.search(said):
        return f"the certificate of {host} has expired, or this machine's clock is wrong: renew it there"
    if _OTHER_NAME.search(said):
        return f"the certificate of {host} is for another name: call it in ci.yml as its certificate does"
    if _UNKNOWN_CA.search(said):
        return (
            f"the certificate of {host} is signed by an authority that this machine does not know:"
            f" put that one's certificate into {certificates(host)}"
        )
    if _NO_TLS.search(said):
        return f"{host} speaks no TLS: give it a certificate, or name it in the engine's insecure-registries"
    return None


def certificates(host: str) -> str:
    """Where the engine looks for the authority of a registry.

    Source: https://docs.docker.com/engine/security/certificates/
    """
    return f"/etc/docker/certs.d/{host}/ca.crt"


def _user(host: str, said: str, secret: str | None) -> str | None:
    ours = f"the secret {secret}" if secret else "ci.yml, which names no `credentials` for it"
    if _REFUSED.search(said):
        return (
            f"{host} refuses our user and password: correct {ours}; its htpasswd file holds bcrypt (`htpasswd -B`) and"
            " no other hash"
        )
    if _FORBIDDEN.search(said):
        return f"{host} knows our user and does not let it do this: give it the right to push, or correct {ours}"
    if _TOO_LARGE.search(said):
        return f"{host}, or a proxy before it, takes nothing so large: raise its limit (nginx: client_max_body_size)"
    return None
