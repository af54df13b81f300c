"""Results as runs leave them: passed, failed, deployed, errored, and one whose every text is hostile."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from chalicelib.model import (
    Event,
    EventKind,
    Handed,
    Job,
    Notify,
    Provider,
    Pusher,
    Result,
    RunState,
    Source,
    Step,
    StepResult,
    StepStatus,
)

START = datetime(2026, 3, 2, 3, 5, tzinfo=UTC)
RUN = "01JNA8ZQ4X0M3V5K7T2B9CDEFG"
COMMIT = "3f2a1b9c0d4e5f60718293a4b5c6d7e8f9012345"
DIGEST = "sha256:4f1c09aa7d3e5b2c8f6a1d0e9b7c5a3f1e2d4c6b8a0f9e7d5c3b1a2f4e6d8c0b"

EVENT = Event(
    forge="github.com",
    provider=Provider.GITHUB,
    delivery_id="72d3162e-cc78-11e3-81ab-4c9367dc0958",
    kind=EventKind.PUSH,
    repository="2pisoftware/cmfive",
    ref="refs/heads/develop",
    name="develop",
    commit=COMMIT,
    pusher=Pusher(login="achen", name="Alice Chen", email="alice@2pisoftware.com"),
    commit_author_emails=("bob@2pisoftware.com", "alice@2pisoftware.com"),
    head_commit_author_email="alice@2pisoftware.com",
    head_commit_message="Show overdue tasks first\n\nThe list was sorted by title.",
)
SOURCE = Source("github.com", "2pisoftware/cmfive", "ssh://git@github.com/2pisoftware/cmfive.git", "github")
JOB = Job(
    pipeline="cmfive-dev",
    event=EVENT,
    steps=(Step("build", {}), Step("test", {}), Step("push", {})),
    source=SOURCE,
    sources={},
    registries={},
    lock="cmfive-dev",
    notify=Notify(("pusher",), "always"),
    operators=("ops@2pisoftware.com",),
    config="9c1d5f0a" * 8,
)


def step(action, status, after_s, took_s, **more):
    started = START + timedelta(seconds=after_s)
    return StepResult(action, StepStatus(status), started, started + timedelta(seconds=took_s), **more)


def result(state, took_s, *steps, job=JOB, reason=None):
    return Result(RUN, job, RunState(state), START, START + timedelta(seconds=took_s), tuple(steps), reason)


BUILD = step("build", "passed", 2, 62)

PASSED = result(
    "passed",
    134,
    BUILD,
    step("test", "passed", 64, 48, facts={"tests": {"passed": 212, "failed": 0, "skipped": 3, "failures": []}}),
    step(
        "push",
        "passed",
        112,
        21.6,
        facts={
            "pushed": [
                {"name": "code.2pisoftware.com:5000/2pisoftware/cmfive-dev:develop", "digest": DIGEST},
                {"name": "code.2pisoftware.com:5000/2pisoftware/cmfive-dev:latest", "digest": DIGEST},
                {"name": "docker.io/2pisoftware/cmfive-dev:develop", "digest": DIGEST},
            ]
        },
    ),
)

FAILED = result(
    "failed",
    119,
    BUILD,
    step(
        "test",
        "failed",
        64,
        55,
        reason="2 of 215 tests failed.",
        lines=(
            "There were 2 failures:",
            "",
            "1) TaskListTest::testOverdueTasksComeFirst",
            "Failed asserting that two arrays are equal.",
            "--- Expected",
            "+++ Actual",
            "@@ @@",
            " Array (",
            "-    0 => 'Pay the invoice'",
            "+    0 => 'Book the room'",
            " )",
            "/var/www/cmfive/system/modules/task/tests/unit/TaskListTest.php:48",
        ),
        facts={
            "tests": {
                "passed": 210,
                "failed": 2,
                "skipped": 3,
                "failures": [
                    {
                        "name": "TaskListTest::testOverdueTasksComeFirst",
                        "message": "Failed asserting that two arrays are equal.\n"
                        "--- Expected\n+++ Actual\n-    0 => 'Pay the invoice'\n+    0 => 'Book the room'",
                    },
                    {
                        "name": "TaskListTest::testATaskWithoutADateIsNeverOverdue",
                        "message": "ValueError: DateTime::__construct(): Failed to parse time string (null)",
                    },
                ],
                "since": {
                    "new": ["TaskListTest::testOverdueTasksComeFirst"],
                    "still": {"TaskListTest::testATaskWithoutADateIsNeverOverdue": "8c01d2e" + "0" * 33},
                    "fixed": ["TaskTest::testATaskIsDone"],
                },
            },
            "artifacts": {
                "files": [
                    {"name": "build/screens/overdue.png", "bytes": 48213, "key": f"artifacts/{RUN}/0001/001/001"},
                    {"name": "/var/log/apache2/error.log", "bytes": 1210, "key": f"artifacts/{RUN}/0001/001/002"},
                ],
                "left_out": 1,
            },
        },
    ),
)

BUILD_FAILED = result(
    "failed",
    31,
    step(
        "build",
        "failed",
        2,
        29,
        reason="The Dockerfile stops at step 4 of 9: composer install ended with 2",
        lines=(
            "Step 4/9 : RUN composer install --no-dev",
            "\x1b[30;41mYour requirements could not be resolved to an installable set of packages.\x1b[39;49m",
            "  Problem 1",
            "    - Root composer.json requires php ^8.4 but your php version (8.2.29) does not satisfy that.",
        ),
    ),
)

DEPLOY_EVENT = replace(
    EVENT,
    forge="bitbucket.org",
    provider=Provider.BITBUCKET_CLOUD,
    kind=EventKind.TAG_CREATED,
    repository="2pisoftware/acme_deploy",
    ref="refs/tags/v1.4.0",
    name="v1.4.0",
    pusher=Pusher(login="achen", name="Alice Chen"),
    head_commit_message="Release 1.4.0: invoices by mail",
)
DEPLOY_JOB = replace(
    JOB,
    pipeline="deployments",
    event=DEPLOY_EVENT,
    steps=(*JOB.steps, Step("deploy_eb", {})),
)
DEPLOYED = result(
    "passed",
    403,
    BUILD,
    step("test", "passed", 64, 4.2),
    step(
        "push",
        "passed",
        70,
        9,
        facts={"pushed": [{"name": "code.2pisoftware.com:5000/2pisoftware/acme:v1.4.0", "digest": DIGEST}]},
    ),
    step(
        "deploy_eb",
        "passed",
        80,
        321,
        facts={
            "deployment": {
                "environment": "acme-production",
                "label": "v1.4.0",
                "url": "http://acme-production.ap-southeast-2.elasticbeanstalk.com",
                "previous_label": "v1.3.2",
            }
        },
    ),
    job=DEPLOY_JOB,
)

BUILT_THERE = replace(
    DEPLOYED,
    steps=(
        *DEPLOYED.steps[:2],
        replace(
            DEPLOYED.steps[3],
            facts={
                "deployment": {
                    **DEPLOYED.steps[3].facts["deployment"],
                    "built_from": f"code.2pisoftware.com:5000/2pisoftware/crm:latest@{DIGEST}",
                }
            },
        ),
    ),
)

ERRORED = result(
    "errored",
    187,
    BUILD,
    step("test", "passed", 64, 48, facts={"tests": {"passed": 212, "failed": 0, "skipped": 3}}),
    step(
        "push",
        "errored",
        112,
        75,
        reason="code.2pisoftware.com:5000 refused the connection, twice; "
        "look whether the registry runs (systemctl status docker-registry)",
        lines=("dial tcp 10.0.0.7:5000: connect: connection refused",),
    ),
)

SUPERSEDED = result("superseded", 3, reason="a newer push of develop (8c01d2e) contains this commit")

CANCELLED = result("cancelled", 3, reason="cancelled by sam@laptop")

HANDED = replace(
    PASSED,
    handed={
        "01JNA8ZQ4X0M3V5K7T2B9CDEF0": Handed(
            "8c01d2e" + "0" * 33, "bob@2pisoftware.com", "Bob Okafor", "Sort by title"
        ),
        "01JNA8ZQ4X0M3V5K7T2B9CDEF1": Handed("91fe22a" + "0" * 33, None, "ci-bot", None),
        "01JNA8ZQ4X0M3V5K7T2B9CDEF2": Handed(
            "a0b1c2d" + "0" * 33,
            "alice@2pisoftware.com",
            None,
            "Let the list of tasks be printed on one page, with wide margins",
        ),
    },
)
"""It stands for three older pushes of the same branch."""

CANARY = '"><img/src=x/onerror=alert(1)>{{7*7}}</title><script>alert(2)</script>'
HOSTILE_TEXT = (
    CANARY
    + "\r\nBcc: victims@example.org\nSubject: y\x0b\x0c\x85\u2028\u2029\x00\x07\x1b[2J"
    + "\x1b]8;;javascript:alert(3)\x07click\x1b]8;;\x07 \u202etxt.exe\u2066 \ud800 =?utf-8?q?a=0ABcc:x?= =HYPERLINK()"
)
"""Every trick at once: markup, templates, header lines, controls, escapes, directions, a lone surrogate."""


def hostile(text=HOSTILE_TEXT, state="failed"):
    """A Result whose every text that a stranger can choose is `text`."""
    event = replace(
        EVENT,
        repository=text,
        ref=f"refs/heads/{text}",
        name=text,
        commit=text,
        delivery_id=text,
        pusher=Pusher(text, text, text),
        commit_author_emails=(text,),
        head_commit_author_email=text,
        head_commit_message=text,
    )
    job = replace(JOB, event=event, pipeline=text, pool=text, config=text, steps=(*JOB.steps, Step(text, {})))
    failures = [{"name": text, "message": text}] * 12
    facts = {
        "tests": {"passed": 1, "failed": 12, "skipped": 0, "failures": failures},
        "artifacts": {"files": [{"name": text, "bytes": 1, "key": text}] * 12},
        "pushed": [{"name": text, "digest": text}],
        "deployment": {"environment": text, "label": text, "url": "javascript:" + text, "previous_label": text},
    }
    broken = step("test", "errored" if state == "errored" else "failed", 3, 4, reason=text, lines=(text,) * 30)
    broken = replace(broken, facts=facts)
    ended = result(state, 9, step(text, "passed", 0, 1, reason=text), broken, job=job, reason=text)
    return replace(ended, handed={f"01X{number}": Handed(text, text, text, text) for number in range(100)})
