"""What a look found, written and read back; and that no request from outside is ever read so."""

import json

import pytest

from chalicelib import providers
from chalicelib.errors import BadDelivery, BadRecord
from chalicelib.model import Delivery, Origin, Provider, Pull
from chalicelib.providers import reconciled
from tests.installation import event


def test_what_was_found_comes_back_as_it_was():
    events = [event(), event(ref=None, name=None, pull=Pull(7, "2" * 40)), event(name="ünïcode", before=None)]
    made = reconciled.delivery("github.com", Provider.GITHUB, events)
    assert (made.origin, made.forge, made.headers) == (Origin.RECONCILED, "github.com", {})
    assert reconciled.read(made) == events
    assert made.body.isascii()


def test_nothing_but_a_delivery_of_our_own_is_read_so():
    body = reconciled.delivery("github.com", Provider.GITHUB, [event()]).body
    headers = {"x-github-event": ("push",), "x-github-delivery": ("1",), "content-type": ("application/json",)}
    webhook = Delivery("github.com", Provider.GITHUB, headers, body)
    with pytest.raises(BadRecord):
        reconciled.read(webhook)
    with pytest.raises(BadDelivery):
        providers.read(webhook)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"v": 1}', b'{"v": 1, "events": [{}]}', json.dumps({"v": 2, "events": []}).encode()]
)
def test_what_is_not_ours_or_a_newer_programs_is_refused(body):
    with pytest.raises(BadRecord):
        reconciled.read(Delivery("github.com", Provider.GITHUB, {}, body, Origin.RECONCILED))
