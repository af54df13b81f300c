"""One repository looked at: what no delivery has said becomes one of our own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from chalicelib import intake
from chalicelib.comparing import Difference, differences, event_of, fingerprint, is_told, is_unsettled
from chalicelib.config import Config
from chalicelib.edge import Edge
from chalicelib.forges import Client
from chalicelib.forges.calls import LeftAlone, NotCompared
from chalicelib.forges.listing import Listing, Standing
from chalicelib.model import Event, Origin
from chalicelib.providers import internal
from chalicelib.providers.reading import HEADS, PULLS, TAGS
from chalicelib.records.deliveries import Accepted, RefMoved
from chalicelib.records.looks import KnownList, Look
from chalicelib.records.refs import Ref, ref_place
from chalicelib.records.table import Place

WATCHED_WITHIN = timedelta(days=7)
"""A repository that nobody has looked at for longer is looked at as if for the first time: what came about meanwhile is
not started all at once."""
# So many go into one delivery: they and their runs are one transaction, and what is lost by a crash is little.
_AT_ONCE = 20
_NEXT = timedelta(milliseconds=1)
_WORDS = {HEADS: "branch", TAGS: "tag", PULLS: "pull request"}


@dataclass(frozen=True)
class Means:
    """What a look needs.

    Args:
        deadline: nothing new is begun after it.
        dry_run: ask, compare, and write nothing.
        keep_config: writes down the ci.yml that plans; called before a record is made.
        new_id: makes a delivery's ULID.
        timeout_s: how long a forge may be silent.
    """

    edge: Edge
    config: Config
    deadline: datetime
    dry_run: bool
    keep_config: Callable[[], None]
    new_id: Callable[[datetime], str]
    timeout_s: float

    @property
    def is_over(self) -> bool:
        return self.edge.now() >= self.deadline


@dataclass
class Sighting:
    """What a look at one repository has found so far.

    Args:
        counts: how many stand: by `branch`, `tag` and `pull request`.
        taken: refs that were taken as they stand, without an event.
        found: what no delivery had said.
        runs: how many runs follow from it.
        problems: why it was not compared, or not all of it.
    """

    counts: Counter[str] = field(default_factory=Counter)
    taken: int = 0
    found: list[Event] = field(default_factory=list)
    runs: int = 0
    problems: list[str] = field(default_factory=list)


def look(client: Client, repository: str, last: Look | None, means: Means, seen: Sighting) -> None:
    """Compare a repository's lists one after the other.

    Raises:
        LeftAlone: the forge cannot be asked any more.
        NotCompared: this list could not be had; what came before it is written.
    """
    store, forge = means.edge.store, client.forge.name
    # Before the forge is asked: whatever is said meanwhile makes the record another one, and then nothing is written.
    known = store.refs_of(forge, repository)
    if last and means.edge.now() - last.looked_at > WATCHED_WITHIN:
        last = None
    lists = dict(last.lists if last else {})
    if not means.dry_run:
        store.begin_look(forge, repository, means.edge.now())
    try:
        for listing in client.LISTINGS:
            mine = {ref: one for ref, one in known.items() if ref.startswith(listing.prefixes)}
            since = last.looked_at if last else means.edge.now()
            _Comparison(client, repository, listing, mine, means, seen, since).compare(lists)
    finally:
        if not means.dry_run and (last is None or lists != last.lists):
            store.end_look(forge, repository, lists)


@dataclass
class _Comparison:
    """One list of one repository."""

    client: Client
    repository: str
    listing: Listing
    known: Mapping[str, Ref]
    means: Means
    seen: Sighting
    since: datetime

    def compare(self, lists: dict[str, KnownList]) -> None:
        last = lists.get(self.listing.name)
        standing_known = {ref: one.at for ref, one in self.known.items() if one.at}
        # An etag says that the list is as it was; what is known must be as well.
        etag = last.etag if last and last.of == fingerprint(standing_known) else None
        listed = self.client.listed(self.repository, self.listing, etag)
        if listed.standing is None:
            self._count(standing_known)
            return
        self._count(listed.standing)
        if last is None:
            self._take_as_they_stand(listed.standing)
        news = self._news(listed.standing, first=last is None)
        for start in range(0, len(news), _AT_ONCE):
            if self.means.is_over:
                break
            self._announce(news[start : start + _AT_ONCE])
        # Of what the forge says, not of what was written: they agree once all of it was.
        of = fingerprint({ref: one.at for ref, one in listed.standing.items()})
        lists[self.listing.name] = KnownList(of, listed.etag)

    def _count(self, refs: Iterable[str]) -> None:
        self.seen.counts.update(_WORDS[prefix] for ref in refs for prefix in _WORDS if ref.startswith(prefix))

    def _news(self, standing: Mapping[str, Standing], *, first: bool) -> list[Difference]:
        """What is to be announced; at a first look only what a delivery has spoken of before."""
        now = self.means.edge.now()
        found = differences(self.known, standing)
        return [one for one in found if (one.known or not first) and not is_unsettled(one, now)]

    def _take_as_they_stand(self, standing: Mapping[str, Standing]) -> None:
        for one in (one for one in standing.values() if one.ref not in self.known):
            self.seen.taken += 1
            if not self.means.dry_run:
                now = self.means.edge.now()
                self.means.edge.store.take_as_it_stands(self.client.forge.name, self.repository, one.ref, one.at, now)

    def _announce(self, news: Sequence[Difference]) -> None:
        """Make events of what is so indeed; one that cannot be asked for waits for the next look."""
        certain: list[Difference] = []
        for one in news:
            try:
                certain += self._made_certain(one)
            except LeftAlone:
                self._record(certain)
                raise
            except NotCompared as error:
                self.seen.problems.append(str(error))
        self._record(certain)

    def _made_certain(self, one: Difference) -> Iterator[Difference]:
        """The difference with all that its event says; nothing where there is no event to make."""
        if one.known and is_told(one):
            self._settle(one.known, one.standing.at if one.standing else "")
        elif one.standing is None:
            if self.client.is_gone(self.repository, one.ref):
                yield one
        elif one.standing.whole:
            yield one
        else:
            yield replace(one, standing=self.client.detail(self.repository, one.standing))

    def _settle(self, ref: Ref, at: str) -> None:
        if not self.means.dry_run:
            self.means.edge.store.settle(self.client.forge.name, self.repository, ref, at, self.means.edge.now())

    def _record(self, certain: Sequence[Difference]) -> None:
        """Write the events and their runs; a ref that somebody has spoken of meanwhile is left out."""
        now = self.means.edge.now()
        # It happened after the look before this one. Whatever a webhook has said since then counts as newer: a tag that
        # was found late must not be deployed over one that came in time.
        self.since += _NEXT
        delivery_id = self.means.new_id(self.since)
        forge = self.client.forge
        events = [event_of(one, forge, self.repository, delivery_id) for one in certain]
        while events:
            delivery = internal.delivery(Origin.RECONCILED, forge.name, forge.provider, events)
            accepted = intake.accept(delivery, self.means.config, now, delivery_id)
            try:
                self._write(accepted)
            except RefMoved as moved:
                events = [event for event in events if ref_place(event) not in moved.places]
            else:
                self.seen.found += accepted.events
                self.seen.runs += len(accepted.runs)
                return

    def _write(self, accepted: Accepted) -> None:
        if self.means.dry_run:
            return
        read: dict[Place, Ref] = {}
        for event in accepted.events:
            place = ref_place(event)
            if place and place[1] in self.known:
                read[place] = self.known[place[1]]
        self.means.keep_config()
        intake.take_found(accepted, read, self.means.edge)
