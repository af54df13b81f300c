"""What Tau left live in, beside what Elastic Beanstalk says of the same environments, out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.edge import Edge
from chalicelib.model import Deployment, Live


@dataclass(frozen=True)
class Standing:
    """One environment.

    Args:
        left: as Tau left it.
        health: as it is now; None where nobody could be asked.
        drift: what runs instead, in words; None = nothing else does.
        unseen: why AWS could not be asked.
    """

    left: Live
    health: str | None = None
    drift: str | None = None
    unseen: str | None = None


def lives(edge: Edge) -> list[Standing]:
    """Every environment to which Tau brought a version, by region and name: one question for each region."""
    by_region = groupby(edge.store.all_live(), lambda live: live.region)
    return [standing for region, found in by_region for standing in _of_region(region, list(found), edge)]


def _of_region(region: str, found: list[Live], edge: Edge) -> list[Standing]:
    try:
        answer = edge.client("elasticbeanstalk", region).describe_environments(
            EnvironmentNames=[live.environment for live in found], IncludeDeleted=False
        )
    except (ClientError, BotoCoreError) as error:
        return [Standing(live, unseen=str(error)) for live in found]
    now = {(one["ApplicationName"], one["EnvironmentName"]): one for one in answer["Environments"]}
    return [_explained(live, now.get((live.application, live.environment)), edge) for live in found]


def _explained(live: Live, now: Mapping[str, Any] | None, edge: Edge) -> Standing:
    plain = standing(live, now)
    if now is None or plain.drift is None:
        return plain
    here = (live.region, live.environment)
    begun = (one for one in edge.store.deployments() if one.intended_at and (one.region, one.environment) == here)
    return standing(live, now, next(begun, None))


def standing(live: Live, now: Mapping[str, Any] | None, last: Deployment | None = None) -> Standing:
    """What Tau left beside what Elastic Beanstalk describes.

    Args:
        now: None = it has no such environment.
        last: the newest deployment whose update was begun there, where that is known.
    """
    if now is None:
        return Standing(live, drift="there is no such environment any more")
    health = now.get("HealthStatus") or now.get("Health")
    label, status = now.get("VersionLabel"), now.get("Status")
    if label == live.label:
        return Standing(live, health if status == "Ready" else status)
    # On its way to another version: that one is not live yet, and may be ours.
    changed = f"changed outside Tau: runs {label or 'no version'}" if status == "Ready" else None
    if changed and last and last.label == label:
        changed = f"runs {label}, which was deployed and stayed although it is not well: run {last.run}"
    return Standing(live, health if status == "Ready" else status, drift=changed)
