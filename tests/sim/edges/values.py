"""Values as a table keeps them: what chalicelib.records.table gives back of what it was given."""

from collections.abc import Set as AbstractSet
from decimal import Decimal
from types import NoneType

from chalicelib.records.table import _value, plain
from tests.sim.edges.point import invalid

NUMBERS = frozenset({int, float, Decimal})
_AS_THEY_ARE = frozenset({str, int, bool, bytes, NoneType})
_CHANGEABLE = frozenset({list, dict, set})
# Below this every whole float is exactly one integer; above it its digits decide.
_EXACT = 2**53


def normal(value):
    """A value as it comes back; what is stored is never changed in place, so it may be shared."""
    kind = value.__class__
    if kind in _AS_THEY_ARE:
        return value
    if kind in _NORMAL:
        return _NORMAL[kind](value)
    return str.__str__(value) if isinstance(value, str) else _by_the_table(value)


def _normal_list(value):
    return [normal(inner) for inner in value]


def _normal_map(value):
    return {_text(name): normal(inner) for name, inner in value.items()}


def _normal_float(value):
    if not -_EXACT < value < _EXACT:
        return _by_the_table(value)
    return int(value) if value.is_integer() else value


def _normal_set(value):
    return value.copy() if value and all(inner.__class__ is str for inner in value) else _by_the_table(value)


_NORMAL = {list: _normal_list, tuple: _normal_list, dict: _normal_map, float: _normal_float, set: _normal_set}


def _by_the_table(value):
    """Whatever is rare goes the way of the real one."""
    if isinstance(value, AbstractSet) and not value:
        raise invalid("UpdateItem", "One or more parameter values were invalid: An string set may not be empty")
    return plain({"it": _value(value)})["it"]


def _text(name):
    if not isinstance(name, str):
        raise TypeError(f"the key of a map must be text, not {name!r}")
    return str.__str__(name)


def copied(item):
    """An item that its reader may change as it likes."""
    made = item.copy()
    for name, value in item.items():
        if value.__class__ in _CHANGEABLE:
            made[name] = _copied(value)
    return made


def _copied(value):
    kind = value.__class__
    if kind is dict:
        return {name: _copied(inner) if inner.__class__ in _CHANGEABLE else inner for name, inner in value.items()}
    if kind is list:
        return [_copied(inner) if inner.__class__ in _CHANGEABLE else inner for inner in value]
    return set(value)


def same(one, other):
    """Equal as DynamoDB sees it: by kind and content, so that true is not 1."""
    kind = one.__class__
    if kind is not other.__class__:
        return kind in NUMBERS and other.__class__ in NUMBERS and one == other
    if kind is list:
        return len(one) == len(other) and all(map(same, one, other))
    if kind is dict:
        return one.keys() == other.keys() and all(same(inner, other[name]) for name, inner in one.items())
    return one == other


def kind_of(value):
    """DynamoDB's letters for the kind of a value."""
    kind = value.__class__
    if kind is set:
        first = next(iter(value))
        return "SS" if isinstance(first, str) else "NS" if isinstance(first, Decimal) else "BS"
    return _KINDS[kind]


_KINDS = {
    str: "S",
    int: "N",
    float: "N",
    Decimal: "N",
    bytes: "B",
    bool: "BOOL",
    NoneType: "NULL",
    list: "L",
    dict: "M",
}
