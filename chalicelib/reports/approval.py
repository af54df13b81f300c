"""A deployment that waits for its approval and an approver's address in, the Mail that asks him out."""

from __future__ import annotations

from datetime import UTC

from chalicelib.model import Deployment
from chalicelib.reports import words
from chalicelib.reports.email import Mail, assembled
from chalicelib.reports.letter import Letter, Row
from chalicelib.reports.words import clean


def render(deployment: Deployment, *, to: str) -> Mail:
    """The mail that asks `to`. The same arguments give the same mail, to the byte."""
    about = ("approval", deployment.id)
    return assembled(_letter(deployment, to), to=to, run=deployment.run, thread=about, notice=about)


def _letter(one: Deployment, to: str) -> Letter:
    environment, label = clean(one.environment), clean(one.label)
    approve = f"tau approve {clean(one.run)} --by {clean(to)}"
    until = words.moment(one.deadline_at, UTC)
    about = (
        Row("Environment", f"{environment} ({clean(one.region)})"),
        Row("Version", label),
        Row("Repository", clean(one.repository or "")),
        Row("Tag", clean(one.tag or "")),
        Row("Commit", words.commit(one.commit) if one.commit else "", fixed=True),
        Row("By", clean(one.by or "")),
        Row("Until", until),
    )
    return Letter(
        subject=f"approval wanted: {label} to {environment}",
        state="waiting",
        sign=words.sign("waiting"),
        title="Approval wanted",
        verdict=f"{label} is ready, and goes to {environment} as soon as somebody whom ci.yml names approves it.",
        about=tuple(row for row in about if row.value),
        broke=(),
        steps=(),
        tests="",
        failures=(),
        more_failures="",
        artifacts=(),
        more_artifacts="",
        pushed=(),
        deployment=(),
        excerpt_title="",
        excerpt=(),
        commands=(
            Row("Approve it", approve, fixed=True),
            Row("Refuse it", f"{approve} --refuse", fixed=True),
            Row("The log", f"tau log {clean(one.run)}", fixed=True),
        ),
        run=clean(one.run),
        because="You get this because deploy_eb in ci.yml names you under `approve`.",
    )
