"""boto3's conditions, judged as they stand, without a word of DynamoDB's expression language."""

import operator

from boto3.dynamodb import conditions
from boto3.dynamodb.conditions import Attr, AttributeBase, Key

from tests.sim.edges.point import invalid
from tests.sim.edges.values import NUMBERS, kind_of, normal, same

_ATTRIBUTES = frozenset({Attr, Key})
_PLAIN = frozenset({str, int, bool})


class _Absent:
    """What an item has where it has nothing: equal to no value, and of no kind."""


_ABSENT = _Absent()


def holds(condition, item):
    """Whether an item ({} where there is none) meets a condition."""
    rule = _RULES.get(condition.__class__)
    if rule is None:
        raise NotImplementedError(f"conditions of the kind {type(condition).__name__}")
    return rule(condition._values, item)


def name_of(attribute):
    """The name of a whole attribute of the item."""
    if attribute.__class__ not in _ATTRIBUTES or not attribute.name.isidentifier():
        raise NotImplementedError(f"conditions on {getattr(attribute, 'name', attribute)!r}")
    return attribute.name


def operand_of(value):
    """What an attribute is compared with, as the table would keep it."""
    if value.__class__ in _PLAIN:
        return value
    if isinstance(value, AttributeBase):
        raise NotImplementedError("conditions between two attributes")
    return normal(value)


def _read(attribute, item):
    return item.get(name_of(attribute), _ABSENT)


def _equals(values, item):
    return same(_read(values[0], item), operand_of(values[1]))


def _differs(values, item):
    return not same(_read(values[0], item), operand_of(values[1]))


def _ordered(compare):
    def rule(values, item):
        value, operand = _read(values[0], item), operand_of(values[1])
        return _comparable(value, operand) and compare(value, operand)

    return rule


def _comparable(value, operand):
    kind = operand.__class__
    if kind in NUMBERS:
        return value.__class__ in NUMBERS
    if kind is not str and kind is not bytes:
        raise invalid("UpdateItem", f"Incorrect operand type for operator or function: {kind_of(operand)}")
    return value.__class__ is kind


def _between(values, item):
    value, low, high = _read(values[0], item), operand_of(values[1]), operand_of(values[2])
    if not _comparable(low, high) or low > high:
        raise invalid("UpdateItem", "The BETWEEN operator requires upper bound to be no less than lower bound")
    return _comparable(value, low) and low <= value <= high


def _in(values, item):
    value = _read(values[0], item)
    if not values[1]:
        raise invalid("UpdateItem", "Invalid ConditionExpression: Syntax error; token: )")
    return any(same(value, operand_of(one)) for one in values[1])


def _begins_with(values, item):
    value, operand = _read(values[0], item), operand_of(values[1])
    if operand.__class__ is not str and operand.__class__ is not bytes:
        raise invalid("UpdateItem", "Incorrect operand type for operator or function: begins_with")
    return value.__class__ is operand.__class__ and value.startswith(operand)


def _contains(values, item):
    value, operand = _read(values[0], item), operand_of(values[1])
    if value.__class__ is str or value.__class__ is bytes:
        return operand.__class__ is value.__class__ and operand in value
    if value.__class__ is list or value.__class__ is set:
        return any(same(normal(inner), operand) for inner in value)
    return False


def _of_kind(values, item):
    value = _read(values[0], item)
    return value is not _ABSENT and kind_of(value) == values[1]


_RULES = {
    conditions.And: lambda values, item: holds(values[0], item) and holds(values[1], item),
    conditions.Or: lambda values, item: holds(values[0], item) or holds(values[1], item),
    conditions.Not: lambda values, item: not holds(values[0], item),
    conditions.Equals: _equals,
    conditions.NotEquals: _differs,
    conditions.LessThan: _ordered(operator.lt),
    conditions.LessThanEquals: _ordered(operator.le),
    conditions.GreaterThan: _ordered(operator.gt),
    conditions.GreaterThanEquals: _ordered(operator.ge),
    conditions.In: _in,
    conditions.Between: _between,
    conditions.BeginsWith: _begins_with,
    conditions.Contains: _contains,
    conditions.AttributeType: _of_kind,
    conditions.AttributeExists: lambda values, item: name_of(values[0]) in item,
    conditions.AttributeNotExists: lambda values, item: name_of(values[0]) not in item,
}
