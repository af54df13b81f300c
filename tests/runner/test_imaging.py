"""`tau images`, as somebody types it."""

import json

import pytest

from tests.graphs import CLIENT, CMFIVE, CRM, known
from tests.installation import installation
from tests.runner.test_operating import tau


@pytest.fixture
def store(monkeypatch):
    with installation(monkeypatch) as made:
        yield made.store


def put(store, *images):
    for one in images:
        assert store.put_known_image(one)


def test_each_image_is_shown_below_the_one_that_it_stands_on(store):
    put(store, known(CRM, CMFIVE, run="02"), known(CMFIVE, "library/php:8"), known(CLIENT, CRM, run="03"))
    lines = tau("images").stdout.splitlines()
    assert [line.partition(" pushed")[0] for line in lines] == [CMFIVE, f"  {CRM}", f"    {CLIENT}"]
    assert "by run 02 (crm), on 2pisoftware/cmfive:latest" in lines[1]


def test_what_stands_on_an_image_that_has_moved_on_is_said_to_be_stale(store):
    put(store, known(CMFIVE, digest="sha256:2"), known(CRM, CMFIVE), known(CLIENT, CRM))
    shown = tau("images").stdout.splitlines()
    assert [line.endswith(f"STALE: {CMFIVE} has moved on") for line in shown] == [False, True, False]
    (line,) = tau("images", "--stale").stdout.splitlines()
    assert line.startswith(CRM)


def test_machines_get_the_same_as_json(store):
    put(store, known(CMFIVE, digest="sha256:2"), known(CRM, CMFIVE))
    images = {one["name"]: one for one in json.loads(tau("images", "--json").stdout)}
    assert images["2pisoftware/crm"]["stale"] == [CMFIVE]
    assert images["2pisoftware/cmfive"]["digests"] == {"docker.io": "sha256:2"}
    assert [one["name"] for one in json.loads(tau("images", "--json", "--stale").stdout)] == ["2pisoftware/crm"]


def test_images_in_a_circle_are_shown_all_the_same(store):
    put(store, known(CMFIVE, CRM), known(CRM, CMFIVE))
    shown = tau("images").stdout
    assert CMFIVE in shown
    assert CRM in shown


@pytest.mark.usefixtures("store")
def test_where_nothing_was_pushed_it_is_said():
    assert "No image is known" in tau("images").stdout


def test_where_nothing_is_stale_it_is_said(store):
    put(store, known(CMFIVE), known(CRM, CMFIVE))
    assert tau("images", "--stale").stdout == "No image is stale.\n"
