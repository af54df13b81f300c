"""An item and a Change in, the item after it out; nothing of the old one is changed in place."""

from decimal import Decimal
from functools import lru_cache

from tests.sim.edges.point import invalid
from tests.sim.edges.values import NUMBERS, kind_of, normal

_KEYS = ("pk", "sk")


def put(action):
    """A Put's item as it is kept."""
    item = {name: normal(value) for name, value in action.item.items() if value is not None}
    for name in _KEYS:
        value = item.get(name)
        if value.__class__ is not str or not value:
            raise invalid("PutItem", f"One or more parameter values were invalid: the key {name} is {value!r}")
    return item


def changed(item, change):
    """The item after a change; None where there was none and nothing was to be written, only taken away."""
    values, inside, append, add, discard = change.values, change.inside, change.append, change.add, change.discard
    _check(tuple(values), tuple(inside), tuple(change.remove), tuple(append), tuple(add), tuple(discard))
    new = dict(zip(_KEYS, change.place, strict=True)) if item is None else item.copy()
    for name, value in values.items():
        new[name] = normal(value)
    for (name, key), value in inside.items():
        new[name] = _inside(new, name, key, value)
    for name in change.remove:
        new.pop(name, None)
    for name, entries in append.items():
        new[name] = _appended(new, name, entries)
    for name, value in add.items():
        new[name] = _added(new, name, normal(value))
    for name, value in discard.items():
        _discard(new, name, normal(value))
    return new if item is not None or values or add else None


@lru_cache(maxsize=4096)
def _check(values, inside, remove, append, add, discard):
    """What DynamoDB refuses before it looks at the item; the same few shapes come again and again."""
    whole = [*values, *remove, *append, *add, *discard]
    paths = [*whole, *inside]
    if not paths:
        raise invalid("UpdateItem", "Invalid UpdateExpression: The expression can not be empty;")
    if len(set(paths)) < len(paths) or {name for name, _ in inside} & set(whole):
        raise invalid("UpdateItem", "Invalid UpdateExpression: Two document paths overlap with each other")
    for name in _KEYS:
        if name in whole or name in {outer for outer, _ in inside}:
            raise invalid("UpdateItem", f"Cannot update attribute {name}. This attribute is part of the key")


def _inside(item, name, key, value):
    held = item.get(name)
    if held.__class__ is not dict:
        raise invalid("UpdateItem", "The document path provided in the update expression is invalid for update")
    return {**held, key: normal(value)}


def _appended(item, name, entries):
    if name not in item:
        raise invalid("UpdateItem", "The provided expression refers to an attribute that does not exist in the item")
    held = item[name]
    if held.__class__ is not list:
        raise _incorrect()
    return [*held, *map(normal, entries)]


def _added(item, name, value):
    if value.__class__ in NUMBERS:
        held = item.get(name, 0)
        if held.__class__ is int and value.__class__ is int:
            return held + value
        if held.__class__ not in NUMBERS:
            raise _incorrect()
        return normal(Decimal(str(held)) + Decimal(str(value)))
    if value.__class__ is not set:
        raise invalid("UpdateItem", f"Incorrect operand type for operator or function; operator: ADD: {value!r}")
    held = item.get(name)
    return held | _like(held, value) if name in item else value


def _discard(item, name, value):
    if value.__class__ is not set:
        raise invalid("UpdateItem", f"Incorrect operand type for operator or function; operator: DELETE: {value!r}")
    if name not in item:
        return
    left = item[name] - _like(item[name], value)
    # There is no empty set in DynamoDB.
    if left:
        item[name] = left
    else:
        del item[name]


def _like(held, value):
    if held.__class__ is not set or kind_of(held) != kind_of(value):
        raise _incorrect()
    return value


def _incorrect():
    return invalid("UpdateItem", "An operand in the update expression has an incorrect data type")
