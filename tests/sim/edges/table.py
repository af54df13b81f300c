"""chalicelib.records.table.Table in memory: the same answers, in microseconds."""

from bisect import insort
from functools import partial

from botocore.exceptions import ClientError, ParamValidationError

from chalicelib.records.table import MOST_IN_A_TRANSACTION, Cancelled, Put
from tests.installation import table_of_stack
from tests.sim.edges.changes import changed, put
from tests.sim.edges.conditions import holds
from tests.sim.edges.indexes import Index
from tests.sim.edges.point import at_once, invalid, refused
from tests.sim.edges.values import copied

_PAGE = 100
_EMPTY = {}


class MemoryTable:
    """The table of infra/stack.yml, with its indexes.

    Args:
        point: see tests/sim/edges/point.py; its names are table.get, .write, .transact, .query and .partition.
        lag: (an index's name, how many updates wait) -> how many of the newest it does not show yet; None = none ever.

    `items` is what it holds, by (pk, sk): to be read, never changed, and without a call through the hook.
    """

    def __init__(self, *, point=at_once, lag=None, name="tau-sim"):
        self.name = name
        self.items = {}
        self._point = point
        self._sorts = {}
        described = table_of_stack()
        types = {one["AttributeName"]: one["AttributeType"] for one in described["AttributeDefinitions"]}
        self._indexes = {one["IndexName"]: Index(one, types, lag) for one in described["GlobalSecondaryIndexes"]}

    # --- what Table has ---------------------------------------------------------------------------

    def get(self, place):
        return self._point("table.get", partial(self._get, place))

    def get_many(self, places):
        return self._point("table.get_many", partial(self._get_many, places))

    def write(self, action):
        return self._point("table.write", partial(self._write, action))

    def transact(self, actions):
        # What was written stays written when the same request comes again: botocore repeats its token.
        return self._point("table.transact", partial(self._transact, actions, []))

    def query(self, index, condition, *, most, newest_first=False):
        found, after = 0, None
        while found < most:
            limit = min(most - found, _PAGE)
            page = self._point("table.query", partial(self._page, index, condition, limit, newest_first, after))
            yield from (copied(item) for _, item in page)
            found += len(page)
            if len(page) < limit:
                return
            after = page[-1][0]

    def partition(self, pk):
        yield from self._point("table.partition", partial(self._partition, pk))

    # --- what they do -----------------------------------------------------------------------------

    def _get(self, place):
        item = self.items.get(place)
        return copied(item) if item is not None else None

    def _get_many(self, places):
        found = {place: self._get(place) for place in places}
        return {place: item for place, item in found.items() if item is not None}

    def _write(self, action):
        place, old, when = self._looked_up(action)
        if when is not None and not holds(when, old or _EMPTY):
            return None
        new, keys = self._prepared(action, old)
        if action.__class__ is Put:
            self._keep(place, new, keys)
            return _EMPTY.copy()
        if new is None:
            raise KeyError("Attributes")  # as Table fails: DynamoDB has written nothing, so there is nothing to return
        self._keep(place, new, keys)
        return copied(new)

    def _transact(self, actions, done):
        if done:
            return
        looked_up = [self._looked_up(action) for action in actions]
        _check_transaction(looked_up)
        failed = {
            index: copied(old) if old else {}
            for index, (_, old, when) in enumerate(looked_up)
            if when is not None and not holds(when, old or _EMPTY)
        }
        if failed:
            raise Cancelled(failed)
        made = [self._prepared(action, old, many=True) for action, (_, old, _) in zip(actions, looked_up, strict=True)]
        for (place, _, _), (new, keys) in zip(looked_up, made, strict=True):
            if new is not None:
                self._keep(place, new, keys)
        done.append(True)

    def _looked_up(self, action):
        """Where it writes, what is there, and what must be so."""
        place = (action.item.get("pk"), action.item.get("sk")) if action.__class__ is Put else action.place
        return place, self.items.get(place), action.when

    def _prepared(self, action, old, *, many=False):
        """The item after an action, and under what the indexes will have it; nothing is written yet."""
        try:
            new = put(action) if action.__class__ is Put else changed(old, action)
            return new, [index.key_of(new) for index in self._indexes.values()] if new else None
        except ClientError as error:
            if not many:
                raise
            raise _cancelled(error) from error

    def _keep(self, place, item, keys):
        if place not in self.items:
            insort(self._sorts.setdefault(place[0], []), place[1])
        self.items[place] = item
        for index, key in zip(self._indexes.values(), keys, strict=True):
            index.change(place, key, item)

    def _page(self, index, condition, most, newest_first, after):
        if index not in self._indexes:
            raise invalid("Query", f"The table does not have the specified index: {index}")
        return self._indexes[index].page(condition, most, newest_first=newest_first, after=after)

    def _partition(self, pk):
        return [copied(self.items[pk, sk]) for sk in self._sorts.get(pk, ())]


def _check_transaction(looked_up):
    if not looked_up:
        raise ParamValidationError(report="Invalid length for parameter TransactItems, value: 0, valid min length: 1")
    if len(looked_up) > MOST_IN_A_TRANSACTION:
        raise invalid("TransactWriteItems", "Member must have length less than or equal to 100")
    if len({place for place, _, _ in looked_up}) < len(looked_up):
        raise invalid("TransactWriteItems", "Transaction request cannot include multiple operations on one item")


def _cancelled(error):
    """One of its updates cannot be carried out, whatever the conditions say."""
    return refused("TransactWriteItems", "TransactionCanceledException", f"[ValidationError] {error}")
