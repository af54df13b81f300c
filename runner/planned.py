"""A delivery and a ci.yml in; what would come of it, as JSON and for people, out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape

from chalicelib import providers, wire
from chalicelib.answering import Answer, Refusal, addressed, answer, events_of, refusal
from chalicelib.config import Config
from chalicelib.errors import BadInput, UnknownForge
from chalicelib.model import Delivery, Event, Job, Json, Provider, Verdict
from chalicelib.plan import Plan
from chalicelib.plan import plan as plan_event
from chalicelib.reports.words import clean, commit

_LONGEST_SETTINGS = 1000


@dataclass(frozen=True)
class Planned:
    """What would come of a delivery: of each event a plan, and what its sender would be told."""

    events: tuple[Event, ...]
    plans: tuple[Plan, ...]
    answer: Answer


def plan_request(
    headers: Mapping[str, tuple[str, ...]],
    body: bytes,
    provider: Provider,
    config: Config,
    *,
    forge: str | None = None,
    secret: bytes | None = None,
) -> Planned:
    """What would come of a request that nobody has seen before.

    Args:
        forge: the forge of ci.yml that sent it; None where one alone speaks the dialect.
        secret: what it must be signed with; None = its signature is not looked at.

    Raises:
        BadInput: ci.yml has several forges that speak the dialect, and none was named; or not the named one.
    """
    pinned = _pinned(provider, config, forge)
    try:
        if pinned is None:
            return _of_no_forge(headers, body, provider, config, secret)
        delivery = addressed(headers, body, pinned, config)
        _verify(delivery, secret)
        return plan_taken(delivery, config)
    except Refusal as error:
        return Planned((), (), refusal(error))


def plan_taken(delivery: Delivery, config: Config) -> Planned:
    """What would come of a delivery that was verified.

    Raises:
        BadDelivery: it is not readable.
    """
    events = events_of(delivery)
    plans = tuple(plan_event(event, config) for event in events)
    starts = any(plan.jobs for plan in plans)
    return Planned(events, plans, answer(events, [plan.verdicts for plan in plans], starts=starts))


def _pinned(provider: Provider, config: Config, forge: str | None) -> str | None:
    """The forge that sent it; None where ci.yml has none that speaks the dialect."""
    speaking = [name for name, one in config.forges.items() if one.provider is provider]
    if forge is not None and forge not in speaking:
        raise BadInput(f"ci.yml has no forge {forge} that speaks {provider}: {', '.join(speaking) or 'none'} does")
    if forge is None and len(speaking) > 1:
        raise BadInput(f"several forges of ci.yml speak {provider}: name one by --forge ({', '.join(speaking)})")
    return forge or next(iter(speaking), None)


def _of_no_forge(
    headers: Mapping[str, tuple[str, ...]], body: bytes, provider: Provider, config: Config, secret: bytes | None
) -> Planned:
    """What a forge says that ci.yml does not know: it is read, and answered by no pipeline."""
    try:
        other = addressed(headers, body, None, config)
    except UnknownForge as error:
        told = refusal(error)
    else:
        raise UnknownForge(f"the headers are {other.provider}'s, and ci.yml has no forge that speaks {provider}")
    # A forge of the dialect's name stands in for the one that is missing.
    delivery = Delivery(provider, provider, headers, body)
    _verify(delivery, secret)
    events = providers.read(delivery)
    reason = f"ci.yml has no forge that sends webhooks of {provider}"
    none = Plan((), tuple(Verdict(pipeline.name, matched=False, reason=reason) for pipeline in config.pipelines))
    return Planned(tuple(events), (none,) * len(events), told)


def _verify(delivery: Delivery, secret: bytes | None) -> None:
    if secret is not None:
        providers.check_signature(delivery, secret)


# --- as JSON ----------------------------------------------------------------------------------------


def to_json(planned: Planned) -> Json:
    """Events with their verdicts and jobs, and the answer."""
    return {
        "events": [
            {**wire.to_json(event), "verdicts": wire.to_json(plan.verdicts), "jobs": wire.to_json(plan.jobs)}
            for event, plan in zip(planned.events, planned.plans, strict=True)
        ],
        "answer": {"status": planned.answer.status, "reason": planned.answer.body.get("reason")},
    }


# --- for people -------------------------------------------------------------------------------------


def show(planned: Planned) -> None:
    """Each event with every pipeline's verdict, the jobs with their steps, and the answer."""
    console = Console(highlight=False, soft_wrap=True)
    for event, plan in zip(planned.events, planned.plans, strict=True):
        console.print(f"[bold]{escape(_headline(event))}[/]")
        for line in [*_verdicts(plan.verdicts), *(line for job in plan.jobs for line in _job(job)), ""]:
            console.print(escape(line))
    reason = planned.answer.body.get("reason")
    console.print(f"The forge is told {planned.answer.status}" + (f": {escape(clean(reason, 500))}" if reason else "."))


def _headline(event: Event) -> str:
    """The event in one line: what, where, which commit, by whom."""
    number = f"{event.pull.number}" if event.pull else ""
    by = f"by {clean(event.pusher.login)}" if event.pusher.login else ""
    where = f"{event.forge}/{event.repository or ''}".rstrip("/")
    words = (event.kind.replace("_", " "), number, clean(event.name or ""), clean(where), commit(event.commit), by)
    return " ".join(word for word in words if word) + (f": {clean(event.reason)}" if event.reason else "")


def _verdicts(verdicts: Sequence[Verdict]) -> list[str]:
    width = max((len(verdict.pipeline) for verdict in verdicts), default=0)
    words = {True: "yes", False: "no "}
    return [f"  {clean(v.pipeline):{width}}  {words[v.matched]} {clean(v.reason, 500)}" for v in verdicts]


def _job(job: Job) -> list[str]:
    lines = [
        f"{clean(job.pipeline)}: in pool {clean(job.pool)}, lock {clean(job.lock)}, from {clean(job.source.clone)}"
    ]
    for number, step in enumerate(job.steps, 1):
        settings = clean(json.dumps(step.settings, ensure_ascii=False), _LONGEST_SETTINGS)
        lines.append(f"  {number}. {step.action} {settings}")
    return lines
