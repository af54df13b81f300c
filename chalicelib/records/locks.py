"""Locks: a named item with a holder, and who waits for it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from boto3.dynamodb.conditions import Attr

from chalicelib.errors import Outrun
from chalicelib.model import VERSION
from chalicelib.records.table import Change, Place, Table


def lock_place(name: str) -> Place:
    return f"lock#{hashlib.sha256(name.encode()).hexdigest()}", "lock"


def taken(name: str, holder: str, epoch: int) -> Change:
    """The lock goes to `holder`, if it is free or its own already."""
    return Change(
        lock_place(name),
        when=Attr("holder").not_exists() | Attr("holder").eq(holder),
        values={"name": name, "holder": holder, "epoch": epoch, "v": VERSION},
        discard={"waiters": {holder}},
    )


def freed(name: str, holder: str) -> Change:
    """The lock is free; the condition fails where `holder` has it no more."""
    return Change(lock_place(name), when=Attr("holder").eq(holder), remove=("holder",))


def left(name: str, waiter: str) -> Change:
    """`waiter` stands in line no more; it must not hold the lock either."""
    return Change(
        lock_place(name), when=Attr("holder").not_exists() | Attr("holder").ne(waiter), discard={"waiters": {waiter}}
    )


def awaited(name: str, waiter: str) -> Change:
    """`waiter` stands in line, as long as somebody else holds the lock: otherwise it should claim again."""
    return Change(lock_place(name), when=Attr("holder").exists() & Attr("holder").ne(waiter), add={"waiters": {waiter}})


class LockRecords:
    """Reads and writes of locks that stand alone (an environment's); a run's own goes with its claim and its end."""

    table: Table

    def acquire_lock(self, name: str, holder: str, epoch: int) -> bool:
        """Take a lock; True also when it was ours already."""
        return self.table.write(taken(name, holder, epoch)) is not None

    def acquire_in_order(self, name: str, holder: str, run: str) -> bool:
        """Take a lock whose `newest` run goes last; True also when it was ours already.

        Raises:
            Outrun: a newer run has stood in line since.
        """
        free = taken(name, holder, epoch=0)
        newest = Attr("newest").not_exists() | Attr("newest").lte(run)
        if self.table.write(replace(free, when=newest & free.when if free.when else newest)) is not None:
            return True
        newer = (self.table.get(lock_place(name)) or {}).get("newest", run)
        if newer > run:
            raise Outrun(f"run {newer}, a newer one, goes first", newer)
        return False

    def release_lock(self, name: str, holder: str) -> None:
        """Free a lock; nothing happens when it is not ours."""
        self.table.write(freed(name, holder))

    def lock_holder(self, name: str) -> str | None:
        holder: str | None = (self.table.get(lock_place(name)) or {}).get("holder")
        return holder

    def newest_in_line(self, name: str) -> str | None:
        """The newest run that began to deploy under an environment's lock."""
        newest: str | None = (self.table.get(lock_place(name)) or {}).get("newest")
        return newest

    def waiters(self, name: str) -> Sequence[str]:
        """The runs that wait for a lock, oldest first (their ids sort by age)."""
        return sorted((self.table.get(lock_place(name)) or {}).get("waiters", ()))
