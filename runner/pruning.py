"""Elastic Beanstalk's application versions in; those that Tau made and nothing needs any more gone, out."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.edge import Edge
from chalicelib.errors import TauError
from chalicelib.model import DEPLOYMENT_ENDS, Deployment, Live
from runner.pace import Flag

log = logging.getLogger("tau.pruning")

QUOTA = 1000
"""Of one region, all applications together, unless AWS has raised it.

Source: https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/applications-lifecycle.html
"""
WARN_FROM = 900
YOUNG_FOR = timedelta(days=1)
"""Who has just made a version may be about to write down that it is to be deployed."""
_EVERY_S = 3600
_AHEAD = timedelta(days=400)
_MOST = 1000
# What deploy_eb writes into a description, where it was not cut off.
_OURS = re.compile(r", run [0-9A-HJKMNP-TV-Z]{26}")

Version = Mapping[str, Any]
Place = tuple[str, str]
"""Application and label."""


def surplus(
    versions: Iterable[Version], needed: Collection[Place], bucket: str, keep: int, now: datetime
) -> list[Place]:
    """What may go, oldest first: made by Tau, needed by nothing, not young, and not among an application's newest.

    Args:
        versions: as Elastic Beanstalk describes them.
        keep: how many of Tau's newest versions of each application stay, whatever becomes of them.
    """
    ours = sorted((one for one in versions if is_ours(one, bucket)), key=lambda one: (_place(one)[0], _made_at(one)))
    gone = []
    for _, found in groupby(ours, key=lambda one: _place(one)[0]):
        old = list(found)[:-keep]
        gone += [one for one in old if _place(one) not in needed and now - _made_at(one) > YOUNG_FOR]
    return [_place(one) for one in sorted(gone, key=_made_at)]


def is_ours(version: Version, bucket: str) -> bool:
    """Whether Tau made it: its bundle lies where Tau puts it, and its description names a run."""
    application, label = _place(version)
    source = version.get("SourceBundle", {})
    lies = (source.get("S3Bucket"), source.get("S3Key")) == (bucket, f"bundles/{application}/{label}.zip")
    return lies and _OURS.search(version.get("Description") or "") is not None


def needed_places(
    environments: Iterable[Mapping[str, Any]], lives: Iterable[Live], deployments: Iterable[Deployment]
) -> set[Place]:
    """What runs anywhere, whoever brought it; what Tau left live or is bringing; and each one's way back."""
    found = {(one["ApplicationName"], one.get("VersionLabel")) for one in environments}
    found |= {(one.application, label) for one in lives for label in (one.label, one.good_label)}
    found |= {
        (one.application, label)
        for one in deployments
        for label in (one.label, one.previous_label, one.good_label, one.back_to)
    }
    return {(application, label) for application, label in found if label}


def _place(version: Version) -> Place:
    return version["ApplicationName"], version["VersionLabel"]


def _made_at(version: Version) -> datetime:
    made: datetime = version["DateCreated"]
    return made


# --- what is asked and done ------------------------------------------------------------------------


class Pruner:
    """Counts the versions of each region to which Tau deploys, once an hour, and removes what may go.

    Args:
        keep: as of `surplus`; 0 = nothing is ever removed.
    """

    def __init__(self, edge: Edge, keep: int, stopping: Flag) -> None:
        self._edge = edge
        self._keep = keep
        self._stopping = stopping

    def run(self) -> None:
        """Until the runner stops."""
        while not self._stopping.is_set():
            try:
                self.prune()
            except (TauError, ClientError, BotoCoreError) as error:
                # It is in nobody's way, and the next round comes.
                log.warning("versions are not in order", extra={"error": str(error)})
            self._stopping.wait(_EVERY_S)

    def prune(self) -> list[Place]:
        """One round; what went."""
        lives, deployments = self._edge.store.all_live(), self._under_way()
        gone = []
        for region in sorted({one.region for one in lives} | {one.region for one in deployments}):
            client = self._edge.client("elasticbeanstalk", region)
            versions = list(_pages(client.describe_application_versions, "ApplicationVersions"))
            if len(versions) >= WARN_FROM:
                log.warning(
                    "%d application versions in %s, of %d that AWS allows by default: delete old ones, set"
                    " TAU_KEEP_VERSIONS, or ask for more",
                    *(len(versions), region, QUOTA),
                    extra={"region": region, "versions": len(versions)},
                )
            if self._keep:
                environments = list(_pages(client.describe_environments, "Environments", IncludeDeleted=False))
                needed = needed_places(environments, lives, deployments)
                bucket = self._edge.settings.bucket
                found = surplus(versions, needed, bucket, self._keep, self._edge.now())
                gone += [place for place in found if _deleted(place, client)]
        return gone

    def _under_way(self) -> list[Deployment]:
        """Each is due as long as it has not come to its end."""
        store = self._edge.store
        ids = [due.id for due in store.due(self._edge.now() + _AHEAD, _MOST) if due.kind == "deployment"]
        return [one for one in store.read_deployments(ids) if one.state not in DEPLOYMENT_ENDS]


def _deleted(place: Place, client: Any) -> bool:
    application, label = place
    try:
        client.delete_application_version(ApplicationName=application, VersionLabel=label, DeleteSourceBundle=True)
    except ClientError as error:
        # Somebody has just deployed it, or another runner was quicker.
        log.warning("version not removed", extra={"application": application, "label": label, "error": str(error)})
        return False
    log.info("version removed", extra={"application": application, "label": label})
    return True


def _pages(ask: Any, part: str, **asked: Any) -> Iterable[Mapping[str, Any]]:
    while True:
        page = ask(MaxRecords=_MOST, **asked)
        yield from page[part]
        if not page.get("NextToken"):
            return
        asked["NextToken"] = page["NextToken"]
