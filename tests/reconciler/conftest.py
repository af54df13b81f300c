"""Installations that compare what they know with what stands at forges."""

import pytest

from tests.forge_stand_ins import BitbucketStandIn, GitHubStandIn, sha
from tests.hooks import REPOSITORY, pipeline
from tests.installation import installation
from tests.reconciler.world import ANY, OTHER, World, put_secrets


@pytest.fixture
def edge(monkeypatch):
    with installation(monkeypatch) as made:
        put_secrets(made)
        yield made


@pytest.fixture(params=[GitHubStandIn, BitbucketStandIn], ids=["github", "bitbucket"])
def world(request, edge):
    with request.param() as forge:
        yield World(edge, forge)


@pytest.fixture
def github(edge):
    with GitHubStandIn() as forge:
        yield World(edge, forge)


@pytest.fixture
def two(edge):
    """Two repositories at one forge."""
    with GitHubStandIn() as forge:
        forge.repository(OTHER).branches["develop"] = sha("other")
        names = (OTHER, REPOSITORY)
        rules = [pipeline(name.partition("/")[2], repository=f"github.com/{name}", triggers=ANY) for name in names]
        yield World(edge, forge, *rules)
