"""A table's secondary indexes: sorted as items come and go, so that a query costs what it returns."""

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict, deque
from operator import itemgetter

from boto3.dynamodb import conditions

from tests.sim.edges.conditions import name_of, operand_of
from tests.sim.edges.point import invalid


class _Absent:
    """What an item has where it has nothing."""


_ABSENT = _Absent()
_TYPES = {"S": frozenset({str, _Absent}), "N": frozenset({int, float, _Absent})}
_LAST = "\U0010ffff"
_range_of = itemgetter(0)


class Index:
    """One index.

    Args:
        described: as CloudFormation describes it.
        types: attribute -> S or N.
        lag: (the index's name, how many updates wait) -> how many of the newest it does not show yet; None = none ever.
    """

    def __init__(self, described, types, lag):
        self.name = described["IndexName"]
        self._hash, self._range = (key["AttributeName"] for key in described["KeySchema"])
        self._hash_types, self._range_types = _TYPES[types[self._hash]], _TYPES[types[self._range]]
        self._keys_only = described["Projection"]["ProjectionType"] == "KEYS_ONLY"
        self._lag = lag
        self._waiting = deque()
        self._keys = {}
        self._items = {}
        self._sorted = defaultdict(list)

    def key_of(self, item):
        """Under what an item stands in the index; None where it does not.

        Raises:
            ClientError: one of its keys is not of the kind that the index wants: such an item is not written.
        """
        outer, inner = item.get(self._hash, _ABSENT), item.get(self._range, _ABSENT)
        if outer.__class__ not in self._hash_types or inner.__class__ not in self._range_types or "" in (outer, inner):
            raise invalid(
                "PutItem",
                "One or more parameter values were invalid: Type mismatch for Index Key or empty string, "
                f"IndexName: {self.name}, keys: {outer!r}, {inner!r}",
            )
        return None if outer is _ABSENT or inner is _ABSENT else (outer, inner)

    def change(self, place, key, item):
        """An item was written."""
        if self._lag:
            self._waiting.append((place, key, item))
        else:
            self._show(place, key, item)

    def page(self, condition, most, *, newest_first, after=None):
        """Up to `most` entries behind `after`: (the entry, its item)."""
        if self._lag:
            self._catch_up(self._lag(self.name, len(self._waiting)))
        outer, low, high = self._bounds(condition)
        entries = self._sorted.get(outer, [])
        start, end = _slice(entries, low, high)
        if newest_first:
            end = min(end, bisect_left(entries, after)) if after else end
            found = entries[max(start, end - most) : end][::-1]
        else:
            start = max(start, bisect_right(entries, after)) if after else start
            found = entries[start : min(end, start + most)]
        return [(entry, self._shown(outer, entry)) for entry in found]

    def _catch_up(self, hidden):
        while len(self._waiting) > hidden:
            self._show(*self._waiting.popleft())

    def _show(self, place, key, item):
        before = self._keys.get(place)
        if before != key:
            if before is not None:
                entries = self._sorted[before[0]]
                del entries[bisect_left(entries, (before[1], *place))]
                del self._keys[place], self._items[place]
            if key is not None:
                insort(self._sorted[key[0]], (key[1], *place))
                self._keys[place] = key
        if key is not None:
            self._items[place] = item

    def _shown(self, outer, entry):
        inner, pk, sk = entry
        if self._keys_only:
            return {"pk": pk, "sk": sk, self._hash: outer, self._range: inner}
        return self._items[pk, sk]

    def _bounds(self, condition):
        """The hash value, and the lowest and the highest range: (value, whether it is itself within), or None."""
        first, rest = condition, None
        if first.__class__ is conditions.And:
            first, rest = condition._values
        if first.__class__ is not conditions.Equals or name_of(first._values[0]) != self._hash:
            raise invalid("Query", f"Query condition missed key schema element: {self._hash}")
        outer = operand_of(first._values[1])
        if rest is None:
            return outer, None, None
        if name_of(rest._values[0]) != self._range:
            raise invalid("Query", f"Query condition missed key schema element: {self._range}")
        return outer, *_limits(rest)


def _limits(condition):
    operands = [operand_of(value) for value in condition._values[1:]]
    first, last = operands[0], operands[-1]
    match condition:
        case conditions.Equals() | conditions.Between():
            return (first, True), (last, True)
        case conditions.LessThan() | conditions.LessThanEquals():
            return None, (first, isinstance(condition, conditions.LessThanEquals))
        case conditions.GreaterThan() | conditions.GreaterThanEquals():
            return (first, isinstance(condition, conditions.GreaterThanEquals)), None
        case conditions.BeginsWith():
            return (first, True), (first + _LAST, True)
        case _:
            raise NotImplementedError(f"key conditions of the kind {type(condition).__name__}")


def _slice(entries, low, high):
    start, end = 0, len(entries)
    if low:
        value, within = low
        start = (bisect_left if within else bisect_right)(entries, value, key=_range_of)
    if high:
        value, within = high
        end = (bisect_right if within else bisect_left)(entries, value, key=_range_of)
    return start, end
