"""A deployment that waits for its approval in; whose word counts, by the ci.yml of today, out."""

from __future__ import annotations

from collections.abc import Sequence

from chalicelib.config import Config
from chalicelib.edge import Edge
from chalicelib.model import Deployment, Job, Run, Step
from chalicelib.plan import plan
from chalicelib.revalidating import newer


def approvers(record: Deployment, run: Run, edge: Edge) -> Sequence[str]:
    """Those whom ci.yml names now; where it knows nothing of this deployment any more, those who were asked."""
    today = newer(run, edge)
    named_now = named(record, run.job, today, edge.region) if today else None
    return record.approvers if named_now is None else named_now


def named(record: Deployment, job: Job, config: Config, home: str) -> Sequence[str] | None:
    """Whom a ci.yml names for a deployment; None where it does not have it, or would ask nobody.

    Where its pipeline does not answer any more to what was pushed, it is not known where that one's steps would lead:
    then those are left who were asked and are still named in any of them.

    Args:
        home: the installation's region, into which a step leads that names none.
    """
    pipeline = next((one for one in config.pipelines if one.name == job.pipeline), None)
    if pipeline is None:
        return None
    planned = next((one for one in plan(job.event, config).jobs if one.pipeline == job.pipeline), None)
    if planned:
        return _by([step for step in planned.steps if _leads_to(step, record, home)]) or None
    anywhere = {one.casefold() for one in _by(pipeline.steps)}
    return [one for one in record.approvers if one.casefold() in anywhere] if anywhere else None


def _leads_to(step: Step, record: Deployment, home: str) -> bool:
    said = step.settings
    place = (said.get("application"), said.get("environment"), said.get("region") or home)
    return place == (record.application, record.environment, record.region)


def _by(steps: Sequence[Step]) -> list[str]:
    asked = [step.settings.get("approve") or {} for step in steps if step.action == "deploy_eb"]
    return list(dict.fromkeys(address for one in asked for address in one.get("by", ())))
