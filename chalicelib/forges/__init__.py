"""The REST APIs of forges: which branches, tags and open pull requests there are. Only ever read.

A forge's client is one class in CLIENTS; calls.py is how all of them ask.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from chalicelib.config import Forge
from chalicelib.forges.bitbucket_cloud import BitbucketCloud
from chalicelib.forges.calls import Calls
from chalicelib.forges.github import GitHub
from chalicelib.model import Provider

Client = GitHub | BitbucketCloud

CLIENTS: dict[Provider, type[GitHub | BitbucketCloud]] = {
    Provider.GITHUB: GitHub,
    Provider.BITBUCKET_CLOUD: BitbucketCloud,
}


def client_of(forge: Forge, token: str, now: Callable[[], datetime], timeout_s: float) -> Client:
    """Who asks a forge, with the token of its ci.yml.

    Raises:
        BadConfig: the token cannot be sent; its value is not in the text.
    """
    client = CLIENTS[forge.provider]
    return client(forge, Calls(forge.name, forge.api or "", token, now, headers=client.HEADERS, timeout_s=timeout_s))
