"""Our table in memory takes values, changes and transactions as DynamoDB does."""

from decimal import Decimal

import pytest
from boto3.dynamodb.conditions import Attr
from botocore.exceptions import ClientError

from chalicelib.model import RunState
from chalicelib.records.table import Cancelled, Change, Put
from tests.sim.edges.worlds import PLACE, exact, item

# Where an emulator is not like DynamoDB; what is asserted is DynamoDB's documentation, and what ScyllaDB's own contract
# tests say of it: https://github.com/scylladb/scylladb/tree/master/test/alternator
ERRS = {
    "moto": {
        # It looks only whether there is anything at all.
        "test_a_place_in_what_is_no_map_cannot_be_written[attributes1]",
        "test_a_place_in_what_is_no_map_cannot_be_written[attributes2]",
        "test_what_dynamodb_cannot_do_is_refused[a map and a place in it]",
        # It makes an item of the key alone.
        "test_taking_away_from_what_is_not_there_makes_no_item",
        # A ValidationException instead.
        "test_a_transaction_with_an_update_that_cannot_be_is_not_written",
    },
    "cloud": {
        # It overwrites what is no list.
        "test_a_list_that_is_not_there_takes_no_entries",
        # It takes one after the other.
        "test_what_dynamodb_cannot_do_is_refused[one attribute twice]",
        "test_what_dynamodb_cannot_do_is_refused[one attribute removed twice]",
        "test_what_dynamodb_cannot_do_is_refused[a map and a place in it]",
        # It makes an item of the key alone.
        "test_taking_away_from_what_is_not_there_makes_no_item",
    },
}


# --- values ---------------------------------------------------------------------------------------

VALUES = [
    ("text", "text"),
    ("", ""),
    (0, 0),
    (-3, -3),
    (1.5, 1.5),
    (2.0, 2),
    (1e20, 10**20),
    (1732363200.123, 1732363200.123),
    (Decimal("0.1"), 0.1),
    (Decimal("7.0"), 7),
    (True, True),
    (b"\x00zip", b"\x00zip"),
    (RunState.RUNNING, "running"),
    ((1, "a", None), [1, "a", None]),
    ([], []),
    ({}, {}),
    ({"a": {"b": [1.0, {"c": (True,)}]}, "d": None}, {"a": {"b": [1, {"c": [True]}]}, "d": None}),
    ({"a", "b"}, {"a", "b"}),
    (frozenset({"a"}), {"a"}),
    ({1, 2}, {Decimal(1), Decimal(2)}),
]


@pytest.mark.parametrize(
    ("given", "back"), VALUES, ids=lambda value: repr(sorted(value) if isinstance(value, set) else value)
)
def test_a_value_comes_back_as_the_table_gives_it(table, given, back):
    table.write(item(put=given))
    changed = table.write(Change(PLACE, values={"set": given}))
    assert exact(table.get(PLACE)) == exact({"pk": "run#1", "sk": "run", "put": back, "set": back})
    assert exact(changed) == exact(table.get(PLACE))


def test_nothing_is_left_out_of_a_put_and_written_by_a_change(table):
    table.write(item(nothing=None))
    assert table.get(PLACE) == {"pk": "run#1", "sk": "run"}
    assert table.write(Change(PLACE, when=Attr("nothing").not_exists(), values={"nothing": None}))
    assert table.get(PLACE) == {"pk": "run#1", "sk": "run", "nothing": None}
    assert table.write(Change(PLACE, when=Attr("nothing").exists(), values={"nothing": 1}))


def test_what_a_reader_does_to_an_item_is_no_write(table):
    table.write(item(journal=[{"a": 1}], tell={"x": {"state": "due"}}, waiters={"r1"}))
    before = table.get(PLACE)
    changed = table.write(Change(PLACE, values={"x": 1}))
    for read in (table.get(PLACE), changed):
        read["journal"][0]["a"] = 2
        read["journal"].append({})
        read["tell"]["x"]["state"] = "told"
        read["waiters"].add("r2")
    assert table.get(PLACE) == {**before, "x": 1}


def test_what_a_writer_does_to_its_values_afterwards_is_no_write(table):
    entry, waiters = {"a": [1]}, {"r1"}
    table.write(item(journal=[entry], waiters=waiters))
    entry["a"].append(2)
    waiters.add("r2")
    assert table.get(PLACE)["journal"] == [{"a": [1]}]
    assert table.get(PLACE)["waiters"] == {"r1"}


# --- writes ---------------------------------------------------------------------------------------


def test_a_put_is_of_a_new_item_only(table):
    assert table.write(item(a=1)) == {}
    assert table.write(item(a=2)) is None
    assert table.get(PLACE)["a"] == 1
    assert table.write(Put({"pk": "run#1", "sk": "run", "b": 3}, when=Attr("a").eq(1))) == {}
    assert table.get(PLACE) == {"pk": "run#1", "sk": "run", "b": 3}


def test_a_change_without_a_condition_makes_the_item(table):
    change = Change(PLACE, values={"a": 1}, add={"n": 2, "s": {"x"}}, discard={"t": {"y"}}, remove=("u",))
    assert table.write(change) == {"pk": "run#1", "sk": "run", "a": 1, "n": 2, "s": {"x"}}


def test_a_change_returns_the_whole_item_after_it(table):
    table.write(item(a=1, b=2))
    assert table.write(Change(PLACE, values={"a": 3}, remove=("b", "c"))) == {"pk": "run#1", "sk": "run", "a": 3}
    assert table.write(Change(PLACE, when=Attr("a").eq(1), values={"a": 4})) is None
    assert table.get(PLACE)["a"] == 3


def test_one_place_in_a_map_is_written_by_itself(table):
    table.write(item(tell={"x": 1, "y": {"z": 1}}))
    change = Change(PLACE, inside={("tell", "y"): {"w": 2}, ("tell", "email:a.b@c[0]"): "due"})
    assert table.write(change)["tell"] == {"x": 1, "y": {"w": 2}, "email:a.b@c[0]": "due"}


@pytest.mark.parametrize("attributes", [{}, {"tell": "text"}, {"tell": [1]}])
def test_a_place_in_what_is_no_map_cannot_be_written(table, attributes):
    table.write(item(**attributes))
    with pytest.raises(ClientError, match="ValidationException"):
        table.write(Change(PLACE, inside={("tell", "x"): 1}))
    assert table.get(PLACE) == {"pk": "run#1", "sk": "run", **attributes}


def test_entries_go_to_the_end_of_a_list(table):
    table.write(item(journal=[]))
    table.write(Change(PLACE, append={"journal": [{"a": 1.0}]}))
    assert exact(table.write(Change(PLACE, append={"journal": ({"b": 2}, "c")}))["journal"]) == exact(
        [{"a": 1}, {"b": 2}, "c"]
    )


def test_a_list_that_is_not_there_takes_no_entries(table):
    table.write(item(a=1))
    with pytest.raises(ClientError, match="ValidationException"):
        table.write(Change(PLACE, append={"journal": [1]}))
    with pytest.raises(ClientError, match="ValidationException"):
        table.write(Change(PLACE, append={"a": [1]}))


def test_numbers_are_added_exactly(table):
    table.write(item(n=1, x=0.1))
    changed = table.write(Change(PLACE, add={"n": 2, "x": 0.2, "new": 5}))
    assert exact((changed["n"], changed["x"], changed["new"])) == exact((3, 0.3, 5))
    assert table.write(Change(PLACE, add={"x": 0.7}))["x"] == 1


def test_only_numbers_are_added_to_numbers(table):
    table.write(item(text="a", members={"r1"}))
    for add in ({"text": 1}, {"members": 1}, {"text": {"r1"}}, {"new": "a"}):
        with pytest.raises(ClientError, match="ValidationException"):
            table.write(Change(PLACE, add=add))


def test_a_set_grows_and_shrinks_and_is_gone_when_it_is_empty(table):
    assert table.write(Change(PLACE, add={"waiters": {"r1"}}))["waiters"] == {"r1"}
    assert table.write(Change(PLACE, add={"waiters": {"r1", "r2"}}))["waiters"] == {"r1", "r2"}
    assert table.write(Change(PLACE, discard={"waiters": {"r1", "r9"}}))["waiters"] == {"r2"}
    assert "waiters" not in table.write(Change(PLACE, discard={"waiters": {"r2"}}))
    assert "waiters" not in table.write(Change(PLACE, discard={"waiters": {"r2"}}))
    assert table.write(Change(PLACE, when=Attr("waiters").not_exists(), add={"waiters": {"r3"}}))


def test_an_empty_set_is_refused(table):
    for change in (Change(PLACE, values={"s": set()}), Change(PLACE, add={"s": set()})):
        with pytest.raises(ClientError, match="ValidationException"):
            table.write(change)


REFUSED = {
    "nothing to write": Change(PLACE, when=Attr("a").exists()),
    "the key": Change(PLACE, values={"pk": "run#2"}),
    "one attribute twice": Change(PLACE, values={"a": 1}, remove=("a",)),
    "one attribute removed twice": Change(PLACE, remove=("a", "a")),
    "a map and a place in it": Change(PLACE, values={"tell": {}}, inside={("tell", "x"): 1}),
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
def test_what_dynamodb_cannot_do_is_refused(table, change):
    table.write(item(a=1, tell={}))
    with pytest.raises(ClientError, match="ValidationException"):
        table.write(change)


def test_taking_away_from_what_is_not_there_makes_no_item(table):
    with pytest.raises(KeyError, match="Attributes"):
        table.write(Change(PLACE, remove=("a",)))
    table.transact([Change(PLACE, remove=("a",), discard={"s": {"x"}})])
    assert table.get(PLACE) is None


# --- transactions ---------------------------------------------------------------------------------


def test_a_transaction_is_written_whole(table):
    table.write(item(a=1))
    table.transact([Change(PLACE, when=Attr("a").eq(1), values={"a": 2}), item("run#2", a=3)])
    assert (table.get(PLACE)["a"], table.get(("run#2", "run"))["a"]) == (2, 3)


def test_a_transaction_that_fails_says_where_and_what_stands_there(table):
    table.write(item(a=1, waiters={"r1"}))
    actions = [item("run#2"), Change(PLACE, when=Attr("a").eq(2), values={"a": 3}), item(a=1)]
    with pytest.raises(Cancelled) as caught:
        table.transact([*actions[:2], Change(("run#3", "run"), when=Attr("a").exists(), values={"a": 1})])
    assert caught.value.failed == {1: {"pk": "run#1", "sk": "run", "a": 1, "waiters": {"r1"}}, 2: {}}
    caught.value.failed[1]["waiters"].clear()
    assert table.get(("run#2", "run")) is None
    assert table.get(PLACE) == {"pk": "run#1", "sk": "run", "a": 1, "waiters": {"r1"}}


def test_a_transaction_touches_each_item_once(table):
    with pytest.raises(ClientError, match="ValidationException"):
        table.transact([Change(PLACE, values={"a": 1}), Change(PLACE, values={"b": 1})])
    assert table.get(PLACE) is None


def test_a_transaction_with_an_update_that_cannot_be_is_not_written(table):
    table.write(item())
    with pytest.raises(ClientError, match="TransactionCanceledException"):
        table.transact([item("run#2"), Change(PLACE, append={"journal": [1]})])
    assert table.get(("run#2", "run")) is None


def test_a_transaction_has_at_most_a_hundred_parts(table):
    table.transact([item(f"run#{number}") for number in range(100)])
    with pytest.raises(ClientError, match="ValidationException"):
        table.transact([item(f"more#{number}") for number in range(101)])
    assert table.get(("run#99", "run"))
    assert table.get(("more#0", "run")) is None
