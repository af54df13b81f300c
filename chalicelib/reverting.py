"""An environment that somebody wants back at its last good version in; a deployment of that version begun, out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import intake, pinning, wire
from chalicelib.aborting import deployments_to, going_to
from chalicelib.beanstalk import rollback_lock
from chalicelib.edge import Edge
from chalicelib.errors import BadRecord, NotThere, Outrun, TauError
from chalicelib.model import (
    Deployment,
    DeploymentState,
    EventKind,
    Handed,
    Live,
    Message,
    Run,
    RunState,
    Step,
)
from chalicelib.records.run_items import new_run
from chalicelib.records.table import Put
from chalicelib.reports.whom import pusher
from chalicelib.reports.words import clean
from chalicelib.wishes import waits

log = logging.getLogger("tau.reverting")

_MOST_LABELS = 20
_MAY_STAY = frozenset({DeploymentState.FAILED, DeploymentState.ROLLBACK_FAILED})


class NoWayBack(TauError):
    """There is no version to go back to, or something is under way."""


@dataclass(frozen=True)
class Ask:
    """Who wants it, when, and the id of the run that it is given."""

    run_id: str
    by: str
    at: datetime


@dataclass(frozen=True)
class Begun:
    """A way back that has begun: `record` is its deployment, in a run of its own."""

    record: Deployment
    unsent: bool = False


def roll_back(
    environment: str,
    region: str,
    by: str,
    edge: Edge,
    now: datetime,
    new_id: Callable[[datetime], str] = intake.ulid,
) -> Begun:
    """Deploy the version again that was live and well before the one that runs now.

    What runs is what was live last, or what came after it, failed, and stayed. It is a deployment like another:
    verified, undone where it does not do, told to those who hear of the pipeline. No approval is asked for, and nothing
    that waits goes over it.

    Args:
        by: who wants it, for the records and the mail.

    Raises:
        NotThere: Tau brought nothing there, or the records do not know any more what did.
        NoWayBack: no earlier version was live and well and is kept, or something is under way.
    """
    live = _undisturbed(environment, region, edge)
    latest = list(deployments_to(environment, region, edge))
    before = [one for one in latest if one.state is DeploymentState.LIVE]
    stayed = _stayed(live, latest, edge)
    runs = stayed.label if stayed else live.label
    label = _target(live, runs, before, edge)
    old = stayed or edge.store.deployment(live.deployment)
    brought = _run_of(old, edge) if old else None
    if old is None or brought is None:
        raise NotThere(f"there is no record any more of how {clean(runs)} came to {clean(environment)}")
    made = next((one for one in before if one.label == label), None)
    # As far as it is not known how the version came about, nothing is said of it.
    good = made or replace(old, label=label, repository=None, tag=None, commit=None, image=None, built_from=None)
    ask = Ask(new_id(now), by, now)
    run, record = _run(good, brought, _run_of(made, edge) if made else None, ask), _record(good, live, runs, ask)
    try:
        created = edge.store.create_deployment(record, _new(run))
    except Outrun as outrun:
        raise NoWayBack(f"{outrun} just now: `tau deploys` shows it") from outrun
    if not created:
        raise NoWayBack("somebody else begins one just now: `tau deploys` shows it")
    log.info("rollback begun", extra={"deployment": record.id, "label": label, "by": by})
    return Begun(record, unsent=not _sent(run, edge))


def _undisturbed(environment: str, region: str, edge: Edge) -> Live:
    """What is live there, where nothing is under way."""
    live = edge.store.live(region, environment)
    if live is None:
        raise NotThere(
            f"Tau has brought no version to {clean(environment)} in {region} yet: `tau live` lists where it has"
        )
    busy = next((one for one in going_to(environment, region, edge) if not waits(one)), None)
    if busy:
        raise NoWayBack(
            f"{clean(busy.label)} is under way to {clean(environment)}: "
            f"`tau abort {clean(environment)}` takes it back, or wait for its end"
        )
    return live


def _stayed(live: Live, latest: Sequence[Deployment], edge: Edge) -> Deployment | None:
    """The deployment that began last, if it failed and its version runs there all the same."""
    last = next((one for one in latest if one.intended_at), None)
    if last is None or last.state not in _MAY_STAY or last.label == live.label:
        return None
    found = _asked(
        "what runs there",
        lambda: edge.client("elasticbeanstalk", live.region).describe_environments(
            ApplicationName=live.application, EnvironmentNames=[live.environment], IncludeDeleted=False
        )["Environments"],
    )
    return last if [one.get("VersionLabel") for one in found] == [last.label] else None


def _target(live: Live, runs: str, before: Sequence[Deployment], edge: Edge) -> str:
    """The last label that was verified, is not what runs, and is still kept by Elastic Beanstalk.

    This is asked with the rights of who wants it: what is not kept would be found out half an hour later.
    """
    labels = list(dict.fromkeys(_labels(live, runs, before)))
    if not labels:
        raise NoWayBack(f"{clean(live.environment)} has had no version before {clean(runs)} that was well")
    known = _asked(
        "which versions are kept",
        lambda: edge.client("elasticbeanstalk", live.region).describe_application_versions(
            ApplicationName=live.application, VersionLabels=labels
        )["ApplicationVersions"],
    )
    kept = {one["VersionLabel"] for one in known if one.get("Status", "").upper() != "FAILED"}
    found = next((label for label in labels if label in kept), None)
    if found is None:
        named = ", ".join(clean(label) for label in labels)
        raise NoWayBack(f"Elastic Beanstalk keeps no version any more to which to go back: {named}")
    return found


def _asked(what: str, ask: Callable[[], list[Any]]) -> list[Any]:
    try:
        return ask()
    except (ClientError, BotoCoreError) as error:
        raise NoWayBack(f"Elastic Beanstalk cannot be asked {what}, so nothing was begun: {error}") from error


def _labels(live: Live, runs: str, before: Sequence[Deployment]) -> Iterator[str]:
    if runs != live.label:
        yield live.label
    elif live.good_label and live.good_label != live.label:
        yield live.good_label
    yield from [one.label for one in before if one.label != runs][:_MOST_LABELS]


def _run(good: Deployment, brought: Run, of: Run | None, ask: Ask) -> Run:
    """The run in whose name it is deployed: it only waits for the end, and tells of it.

    Nothing takes its place, and it is not cancelled: its journal says that its deployment has begun.

    Args:
        brought: the run that brought what is to go; whoever pushed that hears too.
        of: the run that made the version to which it goes back, where the records still have it.
    """
    job = pinning.job_of(of or brought)
    event = job.event if of else replace(job.event, name=good.label)
    settings = {
        "application": good.application,
        "environment": good.environment,
        "region": good.region,
        "timeout": good.timeout_s,
        "rollback": "auto" if good.rolls_back else "never",
    }
    begun = {
        "step": 0,
        "kind": "intent",
        "key": f"deploy {good.environment}",
        "epoch": 0,
        "label": good.label,
        "must_finish": True,
        "at": wire.time_text(ask.at),
    }
    return Run(
        id=ask.run_id,
        delivery=brought.delivery,
        job=replace(
            job,
            event=replace(event, kind=EventKind.MANUAL, pusher=replace(event.pusher, login=ask.by, name=None)),
            steps=(Step("deploy_eb", settings),),
            lock=rollback_lock(good.region, good.environment),
            notify=replace(job.notify, on="never" if job.notify.on == "never" else "always"),
            paths=(),
            announces=False,
            rebuild=False,
        ),
        state=RunState.QUEUED,
        created_at=ask.at,
        journal=(begun,),
        reason=f"back to {good.label}, for {ask.by}",
        handed={brought.id: Handed(None, pusher(brought.job.event))},
        hands=1,
    )


def _record(good: Deployment, live: Live, runs: str, ask: Ask) -> Deployment:
    return Deployment(
        id=f"{ask.run_id}.0",
        run=ask.run_id,
        region=live.region,
        application=live.application,
        environment=live.environment,
        label=good.label,
        state=DeploymentState.PREPARED,
        number=1,
        created_at=ask.at,
        deadline_at=ask.at + timedelta(seconds=good.timeout_s),
        due_at=ask.at,
        timeout_s=good.timeout_s,
        rolls_back=good.rolls_back,
        probe=good.probe,
        probe_within_s=good.probe_within_s,
        accept=good.accept,
        health_within_s=good.health_within_s,
        hold_s=good.hold_s,
        repository=good.repository,
        tag=good.tag,
        commit=good.commit,
        image=good.image,
        built_from=good.built_from,
        by=ask.by,
        instead_of=runs,
    )


def _run_of(deployment: Deployment, edge: Edge) -> Run | None:
    try:
        return edge.store.run(deployment.run)
    except (NotThere, BadRecord):
        return None


def _new(run: Run) -> Put:
    return Put({**new_run(run).item, "handed": wire.to_json(run.handed), "hands": run.hands})


def _sent(run: Run, edge: Edge) -> bool:
    """Where the queue does not answer, the ticker sends it."""
    try:
        edge.queue.call(Message(run.id, run.send), run.job)
    except (ClientError, BotoCoreError) as error:
        log.warning("not sent", extra={"run": run.id, "error": str(error)})
        return False
    return True
