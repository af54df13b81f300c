"""Whatever the records do, our table in memory holds the same afterwards as one that speaks DynamoDB's protocol."""

import pytest

from chalicelib.errors import TauError
from chalicelib.records.table import Cancelled
from chalicelib.store import Store
from tests.sim.edges.story import Story
from tests.sim.edges.table import MemoryTable
from tests.sim.edges.worlds import entered

_OPERATIONS = 200
_SEEDS = range(6)
_DONE = {
    *("create", "record", "claim", "take_over", "beat", "note", "finish_step", "park", "park_for_lock", "park_queued"),
    *("wake", "ask_to_stop", "end", "end_unclaimed", "supersede", "take_telling", "move_deployment", "acquire_lock"),
    *("pin", "put_known_image", "put_made_image", "put_last_look"),
}
_REFUSED = {"claim", "take_over", "beat", "note", "park", "park_for_lock", "end", "end_unclaimed", "move_deployment"}


@pytest.fixture(params=["moto", pytest.param("cloud", marks=pytest.mark.cloud)])
def world(request):
    with entered(request) as made:
        yield made


def outcome(operation, store):
    try:
        return operation(store)
    except TauError as error:
        return type(error), str(error)
    except Cancelled as cancelled:
        return cancelled.failed


def told(items):
    """Without items of a key alone: emulators make one when something is taken from what is not there."""
    return {place: item for place, item in items.items() if len(item) > len(place)}


@pytest.mark.parametrize("seed", _SEEDS)
def test_a_random_life_leaves_the_same_items(world, seed):
    ours, theirs = Store(MemoryTable()), Store(world.table())
    story = Story(seed, ours)
    for number in range(_OPERATIONS):
        name, operation = story.next()
        expected = outcome(operation, theirs)
        assert outcome(operation, ours) == expected, f"{number}: {name}"
        if number % 20 == 0 or number == _OPERATIONS - 1:
            assert told(ours.table.items) == told(world.items(theirs.table)), f"{number}: {name}"


def test_everything_succeeds_and_fails_in_one_of_these_lives():
    """Otherwise the test above would compare nothing but refusals."""
    done, refused = set(), set()
    for seed in _SEEDS:
        store = Store(MemoryTable())
        story = Story(seed, store)
        for _ in range(_OPERATIONS):
            name, operation = story.next()
            came = outcome(operation, store)
            (refused if isinstance(came, tuple | dict) or came is False else done).add(name)
    assert done >= _DONE
    assert refused >= _REFUSED
