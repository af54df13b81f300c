"""Our table in memory shows its indexes as DynamoDB does, once they have caught up."""

import pytest
from boto3.dynamodb.conditions import Key
from botocore.exceptions import ClientError

from chalicelib.records.table import Change, Put
from tests.sim.edges.worlds import PLACE, exact, item

# Where an emulator is not like DynamoDB.
ERRS = {
    "moto": {
        # It takes them.
        "test_an_item_that_an_index_cannot_hold_is_refused[{'commit': ''}]",
        "test_an_item_that_an_index_cannot_hold_is_refused[{'due_at': 'soon'}]",
        "test_an_item_that_an_index_cannot_hold_is_refused[{'due_shard': 0}]",
        # A ResourceNotFoundException instead.
        "test_an_index_that_is_not_there_is_an_error",
    },
}


def due(table, most=100, condition=None, **how):
    found = table.query("due", condition or Key("due_shard").eq("0"), most=most, **how)
    return [one["pk"] for one in found]


def test_an_index_has_what_bears_its_keys_and_only_the_keys_where_it_says_so(table):
    table.write(item(due_shard="0", due_at=5.5, a=1))
    table.write(item("run#2", due_shard="0"))
    table.write(item("run#3", due_at=3))
    (found,) = table.query("due", Key("due_shard").eq("0"), most=10)
    assert exact(found) == exact({"pk": "run#1", "sk": "run", "due_shard": "0", "due_at": 5.5})


def test_an_item_enters_moves_in_and_leaves_an_index(table):
    for number in (1, 2, 3):
        table.write(item(f"run#{number}", due_shard="0", due_at=number))
    table.write(Change(PLACE, values={"due_at": 2.5}))
    assert due(table) == ["run#2", "run#1", "run#3"]
    table.write(Change(("run#2", "run"), remove=("due_shard", "due_at")))
    table.write(Change(("run#4", "run"), values={"due_shard": "0", "due_at": -1.5}))
    assert due(table) == ["run#4", "run#1", "run#3"]
    table.transact([Change(("run#4", "run"), values={"due_at": 100}), Change(("run#3", "run"), remove=("due_at",))])
    assert due(table) == ["run#1", "run#4"]


def test_an_index_is_read_from_either_end_and_no_further_than_wanted(table):
    for number in range(250):
        table.write(item(f"run#{number:03}", due_shard="0", due_at=number))
    assert due(table, most=3) == ["run#000", "run#001", "run#002"]
    assert due(table, most=2, newest_first=True) == ["run#249", "run#248"]
    assert len(due(table, most=230)) == 230
    assert due(table, most=1000) == [f"run#{number:03}" for number in range(250)]
    assert due(table, most=1000, newest_first=True) == [f"run#{number:03}" for number in reversed(range(250))]


def test_the_range_of_an_index_has_bounds(table):
    for number in range(6):
        table.write(item(f"run#{number}", due_shard="0", due_at=number, day="d", id=f"a{number}"))
    shard = Key("due_shard").eq("0")
    bounds = [
        (Key("due_at").lte(2), "012"),
        (Key("due_at").lt(2), "01"),
        (Key("due_at").gte(4), "45"),
        (Key("due_at").gt(4.5), "5"),
        (Key("due_at").eq(3), "3"),
        (Key("due_at").between(1, 3), "123"),
    ]
    for condition, there in bounds:
        assert due(table, condition=shard & condition) == [f"run#{number}" for number in there]
    assert due(table, condition=shard & Key("due_at").lte(3), most=2, newest_first=True) == ["run#3", "run#2"]
    found = table.query("by_day", Key("day").eq("d") & Key("id").begins_with("a4"), most=9)
    assert [one["pk"] for one in found] == ["run#4"]


def test_an_index_of_everything_shows_the_items_as_they_stand(table):
    table.write(item(day="2026-11-23", id="01", ref_key="k", commit="c", journal=[1]))
    table.write(Change(PLACE, append={"journal": [2]}))
    for index, name, value in (
        ("by_day", "day", "2026-11-23"),
        ("by_ref", "ref_key", "k"),
        ("by_commit", "commit", "c"),
    ):
        assert list(table.query(index, Key(name).eq(value), most=9)) == [table.get(PLACE)]
    assert list(table.query("by_day", Key("day").eq("2026-11-24"), most=9)) == []


@pytest.mark.parametrize("attributes", [{"commit": ""}, {"due_at": "soon"}, {"due_shard": 0}], ids=repr)
def test_an_item_that_an_index_cannot_hold_is_refused(table, attributes):
    with pytest.raises(ClientError, match="ValidationException"):
        table.write(item(**attributes))
    table.write(item())
    with pytest.raises(ClientError, match="ValidationException"):
        table.write(Change(PLACE, values=attributes))


def test_an_index_that_is_not_there_is_an_error(table):
    with pytest.raises(ClientError, match="ValidationException"):
        list(table.query("by_nobody", Key("day").eq("d"), most=1))


def test_a_partition_is_read_in_the_order_of_its_sort_keys(table):
    for sk in ("run", "journal#0002", "journal#0001", "z"):
        table.write(Put({"pk": "run#1", "sk": sk, "a": [1]}))
    table.write(item("run#2"))
    assert [one["sk"] for one in table.partition("run#1")] == ["journal#0001", "journal#0002", "run", "z"]
    assert list(table.partition("run#9")) == []


def test_many_items_are_read_at_once_in_the_order_asked_for_and_those_that_are_absent_are_left_out(table):
    for number in range(250):
        table.write(item(f"run#{number}", number=number))
    wanted = [(f"run#{number}", "run") for number in (*range(249, -1, -1), 900)]
    assert [one["number"] for one in table.get_many(wanted).values()] == list(range(249, -1, -1))
    assert table.get_many([]) == {}
