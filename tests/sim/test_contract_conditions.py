"""Our table in memory judges boto3's conditions as DynamoDB does."""

from decimal import Decimal

import pytest
from boto3.dynamodb.conditions import Attr
from botocore.exceptions import ClientError

from chalicelib.records.table import Change
from tests.sim.edges.worlds import PLACE

# Where an emulator is not like DynamoDB; what is asserted is DynamoDB's documentation, and what ScyllaDB's own contract
# tests say of it: https://github.com/scylladb/scylladb/tree/master/test/alternator
ERRS = {
    "moto": {
        # It compares as Python does: true is 1, what is not there is None, and "text" < 9 is an error within itself.
        "test_a_condition_holds_or_not[<>(yes, 1)-True]",
        "test_a_condition_holds_or_not[=(yes, 1)-False]",
        "test_a_condition_holds_or_not[=(l, [1, 'a', 1])-False]",
        "test_a_condition_holds_or_not[=(m, {'a': True})-False]",
        "test_a_condition_holds_or_not[=(absent, None)-False]",
        "test_a_condition_holds_or_not[<(t, 9)-False]",
        "test_a_condition_holds_or_not[>(n, 'a')-False]",
        "test_a_condition_holds_or_not[<(yes, 5)-False]",
        "test_a_comparison_that_makes_no_sense_is_refused[<(n, True)]",
        "test_a_comparison_that_makes_no_sense_is_refused[>(n, [1])]",
        "test_a_comparison_that_makes_no_sense_is_refused[begins_with(t, 3)]",
    },
    "cloud": {
        # It turns a number into text first.
        "test_a_condition_holds_or_not[begins_with(n, '3')-False]",
        # It takes them for false.
        "test_a_comparison_that_makes_no_sense_is_refused[<(n, True)]",
        "test_a_comparison_that_makes_no_sense_is_refused[>(n, [1])]",
    },
}


HELD = {
    "n": 3,
    "x": 1.5,
    "t": "text",
    "yes": True,
    "no": None,
    "raw": b"ab",
    "l": [1, "a", True],
    "m": {"a": 1},
    "s": {"a", "b"},
}
TRUE = [
    Attr("n").eq(3),
    Attr("n").eq(3.0),
    Attr("x").eq(Decimal("1.5")),
    Attr("t").eq("text"),
    Attr("yes").eq(True),
    Attr("no").eq(None),
    Attr("raw").eq(b"ab"),
    Attr("l").eq([1, "a", True]),
    Attr("m").eq({"a": 1}),
    Attr("s").eq({"b", "a"}),
    Attr("n").ne(4),
    Attr("n").ne("3"),
    Attr("yes").ne(1),
    Attr("absent").ne(1),
    Attr("n").lt(4),
    Attr("n").lt(3.5),
    Attr("n").lte(3),
    Attr("x").gt(1),
    Attr("n").gte(3),
    Attr("t").lt("texts"),
    Attr("t").gt("Text"),
    Attr("raw").lt(b"b"),
    Attr("n").between(3, 4),
    Attr("t").between("a", "z"),
    Attr("t").is_in(["other", "text"]),
    Attr("n").is_in([1, 3]),
    Attr("t").begins_with("te"),
    Attr("t").contains("ex"),
    Attr("s").contains("a"),
    Attr("l").contains(1),
    Attr("n").exists(),
    Attr("no").exists(),
    Attr("absent").not_exists(),
    Attr("s").attribute_type("SS"),
    Attr("no").attribute_type("NULL"),
    Attr("yes").attribute_type("BOOL"),
    ~Attr("absent").eq(1),
    Attr("n").eq(4) | Attr("t").eq("text"),
    Attr("n").eq(3) & Attr("t").eq("text") & ~Attr("yes").eq(False),
]
FALSE = [
    Attr("n").eq("3"),
    Attr("yes").eq(1),
    Attr("l").eq([1, "a", 1]),
    Attr("l").eq([1, "a"]),
    Attr("m").eq({"a": True}),
    Attr("absent").eq(None),
    Attr("absent").lt(9),
    Attr("absent").gte(0),
    Attr("t").lt(9),
    Attr("n").gt("a"),
    Attr("yes").lt(5),
    Attr("n").between(4, 5),
    Attr("absent").between(1, 2),
    Attr("t").is_in(["other"]),
    Attr("absent").is_in(["a"]),
    Attr("t").begins_with("ex"),
    Attr("n").begins_with("3"),
    Attr("absent").contains("a"),
    Attr("s").contains("c"),
    Attr("n").contains("3"),
    Attr("absent").exists(),
    Attr("no").not_exists(),
    Attr("absent").attribute_type("S"),
    Attr("n").attribute_type("S"),
    ~Attr("n").eq(3),
    Attr("n").eq(3) & Attr("t").eq("other"),
    Attr("n").eq(4) | Attr("t").eq("other"),
]


def said(condition):
    if not hasattr(condition, "_values"):
        return getattr(condition, "name", repr(sorted(condition) if isinstance(condition, set) else condition))
    return f"{condition.expression_operator}({', '.join(map(said, condition._values))})"


@pytest.mark.parametrize(
    ("condition", "holds"), [*((one, True) for one in TRUE), *((one, False) for one in FALSE)], ids=said
)
def test_a_condition_holds_or_not(table, condition, holds):
    table.write(Change(PLACE, values=HELD))
    assert (table.write(Change(PLACE, when=condition, values={"z": 1})) is not None) is holds


@pytest.mark.parametrize("condition", [Attr("n").lt(True), Attr("n").gt([1]), Attr("t").begins_with(3)], ids=said)
def test_a_comparison_that_makes_no_sense_is_refused(table, condition):
    table.write(Change(PLACE, values=HELD))
    with pytest.raises(ClientError, match="ValidationException"):
        table.write(Change(PLACE, when=condition, values={"z": 1}))
