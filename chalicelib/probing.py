"""Addresses that deployments name in; whether they answer, in words that hold nothing of the answers, out."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future, wait
from functools import partial
from http.client import HTTPException
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from chalicelib.environment import Answer
from chalicelib.model import Deployment
from chalicelib.verifying import is_probed

ANSWERS_WITHIN_S = 8.0
_TIMEOUT = urllib3.Timeout(connect=3, read=4)
_GOOD = range(200, 400)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_HEADERS = {"User-Agent": "tau", "Connection": "close"}

Ask = Callable[[Deployment], Answer]


def ask_all(deployments: Collection[Deployment], ask: Ask) -> dict[str, Answer]:
    """What came of the probes of those whose version is to answer now, by the deployment's id: all at once."""
    due = [one for one in deployments if is_probed(one)]
    if not due:
        return {}
    asked = {one.id: _beside(partial(ask, one)) for one in due}
    answered, _ = wait(asked.values(), timeout=ANSWERS_WITHIN_S)
    late = Answer(good=False, said=f"its probe is not answered within {ANSWERS_WITHIN_S:.0f} s")
    return {name: one.result() if one in answered else late for name, one in asked.items()}


def _beside(question: Callable[[], Answer]) -> Future[Answer]:
    """Who answers byte by byte is not waited for, nor when this process ends: a pool's threads would be."""
    asked: Future[Answer] = Future()

    def work() -> None:
        try:
            asked.set_result(question())
        except BaseException as error:  # noqa: BLE001 - for whoever wants the answer, where it is raised again
            asked.set_exception(error)

    threading.Thread(target=work, name="probe", daemon=True).start()
    return asked


def ask(deployment: Deployment) -> Answer:
    """Ask at the address that ci.yml names, or at a path of the environment's own.

    An environment's address is Elastic Beanstalk's word, and may be in a private network. One of ci.yml may hold a part
    of a repository's name, and its DNS may be somebody else's: it has to be public. A redirection is an answer, and is
    not followed.
    """
    probe = deployment.probe or "/"
    if probe.startswith("/"):
        if deployment.url is None:
            return Answer(good=False, said=f"{probe} is not asked: {deployment.environment} has no address")
        return _asked(f"{deployment.url}{probe}", public=False)
    return _asked(probe, public=True)


def _asked(address: str, *, public: bool) -> Answer:
    parts = urlsplit(address)
    host, tls = parts.hostname or "", parts.scheme == "https"
    try:
        port = parts.port or (443 if tls else 80)
        found = [str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        closed = [one for one in found if public and not is_public(one)]
        if closed:
            return Answer(good=False, said=f"{address} is not asked: {host} is {closed[0]}, no public address")
        # Asked is the very address that was looked at: DNS may say another one the next time.
        with _pool(found[0], port, host, tls=tls) as pool:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            headers = {**_HEADERS, "Host": parts.netloc}
            answer = pool.urlopen("GET", path, headers=headers, retries=False, redirect=False, preload_content=False)
            answer.close()
    except (HTTPError, HTTPException, OSError, ValueError) as error:
        return Answer(good=False, said=f"{address} does not answer ({type(error).__name__})")
    return Answer(good=answer.status in _GOOD, said=f"{address} answers {answer.status}")


def is_public(address: str) -> bool:
    """Whether it is in the internet: not private, loopback, link-local (metadata), multicast or reserved."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and (found in _NAT64 or found.sixtofour or found.teredo):
        return False  # another network's address lies inside
    inner = getattr(found, "ipv4_mapped", None) or found
    return bool(inner.is_global and not inner.is_multicast)


def _pool(address: str, port: int, host: str, *, tls: bool) -> urllib3.HTTPConnectionPool:
    if not tls:
        return urllib3.HTTPConnectionPool(address, port, timeout=_TIMEOUT)
    return urllib3.HTTPSConnectionPool(
        address, port, timeout=_TIMEOUT, cert_reqs="CERT_REQUIRED", server_hostname=host, assert_hostname=host
    )
