"""A run that ended in; those who should know told, and what came of it in the record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from chalicelib import pinning, wire
from chalicelib.edge import Edge
from chalicelib.errors import MailDelayed, TauError
from chalicelib.model import Json, Result, Run, RunState, StepResult, StepStatus
from chalicelib.when import should_run, when_of

_AGAIN_AFTER = timedelta(minutes=1)
_LONGEST_PAUSE = timedelta(minutes=10)
_GIVE_UP_AFTER = 100


def result_of(run: Run, state: RunState, reason: str | None, now: datetime) -> Result:
    """What came of a run, from its record."""
    return Result(
        run=run.id,
        job=pinning.job_of(run),
        state=state,
        started_at=run.started_at or run.created_at,
        ended_at=run.ended_at or now,
        steps=_steps(run),
        reason=reason,
        handed=run.handed,
    )


def _steps(run: Run) -> tuple[StepResult, ...]:
    """What came of the steps; behind one that did not pass, only of those that run because of it.

    What else lies there is of an earlier claim.
    """
    last_words = {str(at) for at, step in enumerate(run.job.steps) if should_run(when_of(step), healthy=False)}
    steps, healthy = [], True
    for index in sorted(run.results, key=int):
        if healthy or index in last_words:
            steps.append(run.results[index])
        healthy = healthy and run.results[index].status is StepStatus.PASSED
    return tuple(steps)


def notices(addresses: Iterable[str]) -> Mapping[str, Mapping[str, Json]]:
    """What `tell` says of people who are still to be told."""
    return {f"email:{address}": {"state": "due", "attempts": 0} for address in addresses}


def tell(run: Run, edge: Edge, now: datetime) -> None:
    """Mail everybody whose notice is due; one that fails does not keep the others from hearing."""
    result = result_of(run, run.state, run.reason, now)
    due = {whom: notice for whom, notice in run.tell.items() if notice["state"] == "due"}
    left = len(due)
    if not due:
        edge.store.all_told(run.id)
    for whom, notice in due.items():
        outcome = _tell_one(whom, notice, result, edge, now)
        left -= outcome["state"] != "due"
        edge.store.told(run.id, whom, outcome, now + _pause(outcome) if left else None)


def _tell_one(whom: str, notice: Mapping[str, Json], result: Result, edge: Edge, now: datetime) -> Mapping[str, Json]:
    attempts = notice["attempts"] + 1
    address = whom.removeprefix("email:")
    try:
        message_id = edge.post(edge, result, address)
    except MailDelayed as error:
        state = "due" if attempts < _GIVE_UP_AFTER else "failed"
        return {"state": state, "attempts": attempts, "reason": str(error)}
    except TauError as error:
        return {"state": "failed", "attempts": attempts, "reason": str(error)}
    except Exception as error:  # noqa: BLE001 - around one report: a fault of ours must not hide the next one's mail
        return {"state": "failed", "attempts": attempts, "reason": f"{type(error).__name__}: {error}"}
    return {"state": "told", "attempts": attempts, "message_id": message_id, "at": wire.time_text(now)}


def _pause(outcome: Mapping[str, Json]) -> timedelta:
    attempts: int = outcome["attempts"]
    return min(_AGAIN_AFTER * float(2 ** min(attempts - 1, 10)), _LONGEST_PAUSE)
