"""What is known of a ref: whatever order webhooks come in, however many are lost, whenever a forge is looked at."""

from collections import Counter
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.comparing import SETTLING, Difference, is_told
from chalicelib.forges.listing import Standing
from chalicelib.records.refs import Ref, found, heard
from chalicelib.records.refs import settled as settled_at
from tests.forge_stand_ins import sha
from tests.installation import NOW, event

REF = "refs/heads/develop"


class World:
    """One branch at a forge, the webhooks under way, and what is known of it. Every commit is pushed once."""

    def __init__(self):
        self.at = ""
        self.under_way = []
        self.known: Ref | None = None
        self.begun = Counter()
        self.now = NOW
        self.made = 0

    def push(self):
        self.made += 1
        self._to(sha(str(self.made)))

    def delete(self):
        if self.at:
            self._to("")

    def _to(self, at):
        self.under_way.append((self.at, at))
        self.at = at

    def deliver(self, number):
        if self.under_way:
            before, after = self.under_way.pop(number % len(self.under_way))
            self.known, stand = heard(self.known, told(before, after), self._id(), self.now)
            if stand is None and after:
                self.begun[after] += 1

    def lose(self, number):
        if self.under_way:
            self.under_way.pop(number % len(self.under_way))

    def look(self):
        at = self.known.at if self.known else ""
        if at == self.at:
            return
        one = Difference(REF, self.known, Standing(REF, self.at) if self.at else None)
        if self.known and is_told(one):
            self.known = settled_at(self.known, self.at, self.now)
            return
        self.known = found(self.known, told(at, self.at), self._id(), self.now, ())
        if self.at:
            self.begun[self.at] += 1

    def _id(self):
        self.now += SETTLING
        return f"01K{int((self.now - NOW) / timedelta(seconds=1)):023}"


def told(before, after):
    return event(ref=REF, name="develop", before=before or None, after=after or None)


PUSH, LOOK = st.just(("push",)), st.just(("look",))
IN_ANY_ORDER = st.tuples(st.just("deliver"), st.integers(0, 5))
IN_ORDER = st.just(("deliver", 0))
NEVER = st.tuples(st.just("lose"), st.integers(0, 5))


def check(steps):
    world = World()
    for step, *number in steps:
        getattr(world, step)(*number)
        assert set(world.begun.values()) <= {1}
    world.look()
    assert not world.at or world.begun[world.at] == 1
    while world.under_way:
        world.deliver(0)
    world.look()
    assert set(world.begun.values()) <= {1}


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.one_of(PUSH, PUSH, IN_ANY_ORDER, NEVER, LOOK), max_size=40))
def test_every_push_is_begun_once_whatever_comes_late_in_whatever_order_or_never(steps):
    check(steps)


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.one_of(PUSH, PUSH, st.just(("delete",)), IN_ORDER, NEVER, LOOK), max_size=40))
def test_a_branch_that_is_deleted_and_made_again_is_begun_once_whatever_comes_late_or_never(steps):
    check(steps)
