"""A delivery of our own, written and read back; and that no request from outside is ever read so."""

import json

import pytest

from chalicelib import providers
from chalicelib.errors import BadDelivery, BadRecord
from chalicelib.model import Delivery, EventKind, Origin, Provider, Pull, PushedImage
from chalicelib.providers import internal
from tests.installation import event

OURS = [origin for origin in Origin if origin is not Origin.WEBHOOK]
IMAGE = PushedImage("code.2pisoftware.com:5000", "2pisoftware/cmfive", "latest", "sha256:1", "01KAQ")


@pytest.mark.parametrize("origin", OURS)
def test_what_happened_comes_back_as_it_was(origin):
    events = [event(), event(ref=None, name=None, pull=Pull(7, "2" * 40)), event(name="ünïcode", before=None)]
    made = internal.delivery(origin, "github.com", Provider.GITHUB, events)
    assert (made.origin, made.forge, made.headers) == (origin, "github.com", {})
    assert internal.read(made) == events
    assert made.body.isascii()


def test_an_image_is_of_no_forge():
    said = event(forge="tau", provider=Provider.TAU, kind=EventKind.IMAGE, repository=None, ref=None, image=IMAGE)
    assert internal.read(internal.delivery(Origin.IMAGE, "tau", Provider.TAU, [said])) == [said]


def test_nothing_but_a_delivery_of_our_own_is_read_so():
    body = internal.delivery(Origin.MANUAL, "github.com", Provider.GITHUB, [event()]).body
    headers = {"x-github-event": ("push",), "x-github-delivery": ("1",), "content-type": ("application/json",)}
    webhook = Delivery("github.com", Provider.GITHUB, headers, body)
    with pytest.raises(BadRecord):
        internal.read(webhook)
    with pytest.raises(BadDelivery):
        providers.read(webhook)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"v": 1}', b'{"v": 1, "events": [{}]}', json.dumps({"v": 2, "events": []}).encode()]
)
def test_what_is_not_ours_or_a_newer_programs_is_refused(body):
    with pytest.raises(BadRecord):
        internal.read(Delivery("github.com", Provider.GITHUB, {}, body, Origin.RECONCILED))
