"""Plain items and changes in, DynamoDB calls out: the only place that speaks its expression language."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.conditions import Attr, ConditionBase, ConditionExpressionBuilder
from boto3.dynamodb.types import Binary, TypeDeserializer, TypeSerializer

from chalicelib.model import Json

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
MOST_IN_A_TRANSACTION = 100
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
MOST_IN_A_BATCH = 100
_CONFLICT_TRIES = 8
_CONFLICT_PAUSE_S = 0.1

Place = tuple[str, str]
"""`pk` and `sk` of an item."""

_to_item = TypeSerializer().serialize
_of_item = TypeDeserializer().deserialize


@dataclass(frozen=True)
class Put:
    """A new item, and what must be so for it to be written."""

    item: Mapping[str, Json]
    when: ConditionBase = field(default_factory=lambda: Attr("pk").not_exists())


@dataclass(frozen=True)
class Change:
    """Named attributes of one item, and what must be so for them to change.

    Args:
        values: attribute -> its new value.
        inside: (map attribute, its key) -> the new value there.
        remove: attributes that go.
        append: list attribute -> entries for its end.
        add: number or set attribute -> what is added.
        discard: set attribute -> elements that go.
    """

    place: Place
    when: ConditionBase | None = None
    values: Mapping[str, Json] = field(default_factory=dict)
    inside: Mapping[tuple[str, str], Json] = field(default_factory=dict)
    remove: Sequence[str] = ()
    append: Mapping[str, Sequence[Json]] = field(default_factory=dict)
    add: Mapping[str, Json] = field(default_factory=dict)
    discard: Mapping[str, set[str]] = field(default_factory=dict)


class Cancelled(Exception):
    """A transaction that was not written.

    Args:
        failed: index of each action whose condition was not met -> the item as it stands (empty when absent).
    """

    def __init__(self, failed: Mapping[int, Mapping[str, Json]]) -> None:
        super().__init__(f"conditions not met: {sorted(failed)}")
        self.failed = failed


class Table:
    """One DynamoDB table; every read of an item is consistent."""

    def __init__(self, client: DynamoDBClient, name: str) -> None:
        self._client = client
        self.name = name

    def get(self, place: Place) -> dict[str, Json] | None:
        answer = self._client.get_item(TableName=self.name, Key=_place(place), ConsistentRead=True)
        return plain(answer["Item"]) if "Item" in answer else None

    def get_many(self, places: Sequence[Place]) -> dict[Place, dict[str, Json]]:
        """Those of many items that are there, in as few calls as AWS allows."""
        found: dict[Place, dict[str, Json]] = {}
        keys = [_place(place) for place in places]
        for attempt in range(1, _CONFLICT_TRIES + 1):
            left: list[Any] = []
            for start in range(0, len(keys), MOST_IN_A_BATCH):
                wanted: Any = {self.name: {"Keys": keys[start : start + MOST_IN_A_BATCH], "ConsistentRead": True}}
                answer: Any = self._client.batch_get_item(RequestItems=wanted)
                for item in map(plain, answer["Responses"].get(self.name, ())):
                    found[item["pk"], item["sk"]] = item
                left += answer.get("UnprocessedKeys", {}).get(self.name, {}).get("Keys", [])
            if not left:
                break
            # Under throttling it answers a part: whoever is still missing then is found by the next look.
            keys = left
            _let_others_finish(attempt)
        return {place: found[place] for place in places if place in found}

    def write(self, action: Put | Change) -> Mapping[str, Json] | None:
        """Write one item; None when its condition is not met.

        Returns:
            The item as it stands after a Change; {} after a Put.
        """
        for attempt in range(1, _CONFLICT_TRIES):
            try:
                return self._write(action)
            except self._client.exceptions.TransactionConflictException:
                # A transaction has the item in hand, and botocore does not ask again.
                _let_others_finish(attempt)
        return self._write(action)

    def _write(self, action: Put | Change) -> Mapping[str, Json] | None:
        try:
            if isinstance(action, Put):
                self._client.put_item(TableName=self.name, **_put(action))
                return {}
            answer = self._client.update_item(TableName=self.name, **_change(action), ReturnValues="ALL_NEW")
            return plain(answer["Attributes"])
        except self._client.exceptions.ConditionalCheckFailedException:
            return None

    def transact(self, actions: Sequence[Put | Change]) -> None:
        """Write all or nothing.

        Raises:
            Cancelled: at least one condition was not met.
        """
        items = [self._item(action) for action in actions]
        for attempt in range(1, _CONFLICT_TRIES + 1):
            try:
                # botocore makes the ClientRequestToken and repeats it in its retries: a lost answer is no second write.
                self._client.transact_write_items(TransactItems=items)
            except self._client.exceptions.TransactionCanceledException as error:
                reasons = error.response.get("CancellationReasons", [])
                failed = {
                    index: plain(reason.get("Item", {}))
                    for index, reason in enumerate(reasons)
                    if reason.get("Code") == "ConditionalCheckFailed"
                }
                if failed:
                    raise Cancelled(failed) from error
                # Another transaction touched one of the items at the same moment: nothing was decided, go again.
                if attempt == _CONFLICT_TRIES or not _conflict(reasons):
                    raise
                _let_others_finish(attempt)
            else:
                return

    def query(
        self, index: str, condition: ConditionBase, *, most: int, newest_first: bool = False
    ) -> Iterator[dict[str, Json]]:
        """Up to `most` items of an index, in the order of its range key."""
        built = ConditionExpressionBuilder().build_expression(condition, is_key_condition=True)
        pages = self._client.get_paginator("query").paginate(
            TableName=self.name,
            IndexName=index,
            KeyConditionExpression=built.condition_expression,
            ExpressionAttributeNames=built.attribute_name_placeholders,
            ExpressionAttributeValues={k: _value(v) for k, v in built.attribute_value_placeholders.items()},
            ScanIndexForward=not newest_first,
            PaginationConfig={"MaxItems": most, "PageSize": min(most, 100)},
        )
        for page in pages:
            for item in page["Items"]:
                yield plain(item)

    def partition(self, pk: str) -> Iterator[dict[str, Json]]:
        """Every item of a partition as it stands, in the order of `sk`."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self.name,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": pk}},
            ConsistentRead=True,
        )
        for page in pages:
            for item in page["Items"]:
                yield plain(item)

    def _item(self, action: Put | Change) -> Any:
        kind, built = ("Put", _put(action)) if isinstance(action, Put) else ("Update", _change(action))
        return {kind: {"TableName": self.name, **built, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}}


def plain(item: Mapping[str, Any]) -> dict[str, Json]:
    """DynamoDB's typed attributes as Python's: numbers as int or float, bytes as bytes, sets as sets of text."""
    return {name: _plain_value(_of_item(value)) for name, value in item.items()}


def _plain_value(value: Any) -> Json:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, Binary):
        return bytes(value.value)  # type: ignore[attr-defined] # the stubs do not know Binary's own field
    if isinstance(value, Mapping):
        return {name: _plain_value(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain_value(inner) for inner in value]
    return value


def _value(value: Json) -> Any:
    """A value as DynamoDB writes it: JSON's kinds here, commonest first; bytes and sets by boto3's own serializer."""
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, int | float):
        return {"N": str(value)}
    if isinstance(value, Mapping):
        return {"M": {name: _value(inner) for name, inner in value.items()}}
    if isinstance(value, list | tuple):
        return {"L": [_value(inner) for inner in value]}
    return _to_item(value)


def _place(place: Place) -> Any:
    return {"pk": {"S": place[0]}, "sk": {"S": place[1]}}


def _put(action: Put) -> Any:
    names, values, condition = _condition(action.when)
    return {
        "Item": {name: _value(value) for name, value in action.item.items() if value is not None},
        "ConditionExpression": condition,
        "ExpressionAttributeNames": names,
        **({"ExpressionAttributeValues": values} if values else {}),
    }


def _change(change: Change) -> Any:
    names, values, condition = _condition(change.when) if change.when else ({}, {}, "")
    naming = _Naming(names, values)
    clauses = {
        "SET": [f"{naming.path(name)} = {naming.value(value)}" for name, value in change.values.items()]
        + [f"{naming.path(*path)} = {naming.value(value)}" for path, value in change.inside.items()]
        + [
            f"{naming.path(name)} = list_append({naming.path(name)}, {naming.value(list(entries))})"
            for name, entries in change.append.items()
        ],
        "REMOVE": [naming.path(name) for name in change.remove],
        "ADD": [f"{naming.path(name)} {naming.value(value)}" for name, value in change.add.items()],
        "DELETE": [f"{naming.path(name)} {naming.value(value)}" for name, value in change.discard.items()],
    }
    return {
        "Key": _place(change.place),
        "UpdateExpression": " ".join(f"{verb} {', '.join(parts)}" for verb, parts in clauses.items() if parts),
        "ExpressionAttributeNames": names,
        **({"ExpressionAttributeValues": values} if values else {}),
        **({"ConditionExpression": condition} if condition else {}),
    }


class _Naming:
    """Placeholders for names and values, in the maps that the condition has already begun."""

    def __init__(self, names: dict[str, str], values: dict[str, Any]) -> None:
        self._names = names
        self._values = values

    def path(self, *names: str) -> str:
        return ".".join(self._name(name) for name in names)

    def _name(self, name: str) -> str:
        placeholder = f"#u{len(self._names)}"
        self._names[placeholder] = name
        return placeholder

    def value(self, value: Json) -> str:
        placeholder = f":u{len(self._values)}"
        self._values[placeholder] = _value(value)
        return placeholder


def _condition(condition: ConditionBase) -> tuple[dict[str, str], dict[str, Any], str]:
    built = ConditionExpressionBuilder().build_expression(condition, is_key_condition=False)
    values = {name: _value(value) for name, value in built.attribute_value_placeholders.items()}
    return dict(built.attribute_name_placeholders), values, built.condition_expression


def _let_others_finish(attempt: int) -> None:
    time.sleep(_CONFLICT_PAUSE_S * attempt * random.random())  # noqa: S311 - spreads, guards nothing


def _conflict(reasons: Sequence[Mapping[str, Any]]) -> bool:
    return any(reason.get("Code") == "TransactionConflict" for reason in reasons)
