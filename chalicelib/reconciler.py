"""What forges hold against what deliveries said; whatever no delivery said becomes one of our own.

GitHub sends nothing again and no event for more than three tags at once, Bitbucket drops large payloads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.config import Config, Forge
from chalicelib.edge import Edge
from chalicelib.errors import NotThere, TauError, UnknownForge
from chalicelib.forges import CLIENTS, Client, client_of
from chalicelib.forges.calls import LeftAlone, NotCompared
from chalicelib.globs import is_literal
from chalicelib.intake import ulid
from chalicelib.looking import Means, Sighting, look
from chalicelib.model import Event
from chalicelib.plan import is_watched
from chalicelib.records.looks import Look, Pause

log = logging.getLogger("tau.reconciler")

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Looked:
    """What came of one repository, or of a whole forge.

    Args:
        repository: None where the forge, or one of its owners, could not be asked.
        counts: how many stand: by `branch`, `tag` and `pull request`.
        taken: how many refs were taken as they stand: the first look starts nothing.
        found: what no delivery had said.
        runs: how many runs follow from it.
        reason: why it was not compared, or not all of it.
        failed: whether that should not be.
    """

    forge: str
    repository: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    taken: int = 0
    found: tuple[Event, ...] = ()
    runs: int = 0
    reason: str | None = None
    failed: bool = False


@dataclass(frozen=True)
class _Turn:
    """One repository that is to be looked at."""

    client: Client
    repository: str
    last: Look | None


def reconcile(
    edge: Edge,
    config: Config,
    *,
    deadline: datetime,
    forge: str | None = None,
    repository: str | None = None,
    dry_run: bool = False,
    keep_config: Callable[[], None] = lambda: None,
    new_id: Callable[[datetime], str] = ulid,
    timeout_s: float = 20,
) -> Iterator[Looked]:
    """Look at every repository of ci.yml, the one that was looked at longest ago first; what came of each, as it comes.

    Args:
        deadline: no repository is begun after it; the next call goes on with those that are left.
        forge: only this one, by its name in ci.yml.
        repository: only this one, `owner/name`.
        dry_run: ask and compare, and write nothing.
        keep_config: writes down the ci.yml that plans; called before a record is made.
        new_id: makes a delivery's ULID.
        timeout_s: how long a forge may be silent.

    Raises:
        UnknownForge, NotThere: ci.yml has no such forge, or no pipeline about this repository.
    """
    means = Means(edge, config, deadline, dry_run, keep_config, new_id, timeout_s)
    turns: list[_Turn] = []
    for one in _asked(config, forge, repository):
        for turn in _turns(one, repository, means):
            if isinstance(turn, Looked):
                yield _logged(turn)
            else:
                turns.append(turn)
    left: dict[str, str] = {}
    for turn in sorted(turns, key=_age):
        yield _logged(_take(turn, left, means))


def _age(turn: _Turn) -> tuple[datetime, str, str]:
    return (turn.last.looked_at if turn.last else _NEVER, turn.client.forge.name, turn.repository)


def _asked(config: Config, forge: str | None, repository: str | None) -> list[Forge]:
    if forge is not None and forge not in config.forges:
        raise UnknownForge(f"ci.yml has no forge {forge}; it has {', '.join(config.forges)}")
    asked = [one for name, one in config.forges.items() if forge in {None, name}]
    if repository is None:
        return asked
    about = [one for one in asked if is_watched(one.name, repository, config)]
    if not about:
        raise NotThere(f"no pipeline of ci.yml is about {repository}")
    return about


# --- which repositories ---------------------------------------------------------------------------


def _turns(forge: Forge, repository: str | None, means: Means) -> Iterator[_Turn | Looked]:
    """The repositories of a forge that are to be looked at, and why others are not."""
    try:
        client = _client(forge, means)
        looks = means.edge.store.looks(forge.name)
    except (TauError, ClientError, BotoCoreError) as error:
        yield Looked(forge.name, reason=str(error), failed=True)
        return
    if isinstance(client, Looked):
        yield client
        return
    names = {repository.lower(): repository} if repository else {}
    if not repository:
        for found in _names(client, means):
            if isinstance(found, Looked):
                yield found
            elif is_watched(forge.name, found, means.config):
                names.setdefault(found.lower(), found)
    for key, name in names.items():
        yield _Turn(client, name, looks.get(key))


def _client(forge: Forge, means: Means) -> Client | Looked:
    """Who asks the forge; or why nobody does."""
    if forge.provider not in CLIENTS:
        return Looked(forge.name, reason=f"not compared: nothing here speaks the API of {forge.provider}")
    if forge.token is None:
        return Looked(forge.name, reason="not compared: ci.yml gives it no token")
    pause = means.edge.store.pause(forge.name)
    if pause and means.edge.now() < pause.until:
        return Looked(forge.name, reason=pause.reason, failed=True)
    return client_of(forge, means.edge.secrets.get(forge.token), means.edge.now, means.timeout_s)


def _names(client: Client, means: Means) -> Iterator[str | Looked]:
    """What ci.yml names outright, then what its owners have."""
    patterns = [pipeline.repository.partition("/") for pipeline in means.config.pipelines]
    mine = [pattern for forge, _, pattern in patterns if forge.lower() == client.forge.name.lower()]
    yield from (pattern for pattern in mine if is_literal(pattern))
    owners = dict.fromkeys(pattern.partition("/")[0] for pattern in mine if not is_literal(pattern))
    for owner in owners:
        try:
            yield from client.repositories(owner)
        except NotCompared as error:
            _pause(client.forge.name, error, means)
            reason = f"the repositories of {owner} are not known: {error}"
            yield Looked(client.forge.name, reason=reason, failed=True)


# --- one after the other --------------------------------------------------------------------------


def _take(turn: _Turn, left: dict[str, str], means: Means) -> Looked:
    """Look at one repository; whatever fails there keeps no other from being looked at.

    Args:
        left: by name, the forges that are left alone for the rest of this time, and why.
    """
    forge, seen = turn.client.forge.name, Sighting()
    if forge in left:
        return Looked(forge, turn.repository, reason=left[forge], failed=True)
    if means.is_over:
        return Looked(forge, turn.repository, reason="not compared: there was no time left; it is first next time")
    try:
        look(turn.client, turn.repository, turn.last, means, seen)
    except (TauError, ClientError, BotoCoreError) as error:
        seen.problems.append(str(error))
        if isinstance(error, LeftAlone):
            left[forge] = str(error)
        _pause(forge, error, means)
    problems = "; ".join(dict.fromkeys(seen.problems)) or None
    found = tuple(seen.found)
    return Looked(forge, turn.repository, seen.counts, seen.taken, found, seen.runs, problems, failed=bool(problems))


def _pause(forge: str, error: Exception, means: Means) -> None:
    """Remember for the next times that a forge wants to be left alone."""
    if isinstance(error, LeftAlone) and error.until is not None and not means.dry_run:
        means.edge.store.leave_alone(forge, Pause(error.until, str(error)))


def _logged(looked: Looked) -> Looked:
    """A line for what somebody may want to know."""
    if looked.found or looked.taken or looked.reason:
        about = {"forge": looked.forge, "repository": looked.repository, "reason": looked.reason}
        news = {"found": len(looked.found), "runs": looked.runs, "taken": looked.taken}
        level = logging.WARNING if looked.failed else logging.INFO
        log.log(level, "looked at", extra={**about, **news})
    return looked
