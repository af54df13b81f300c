"""The nouns of Tau, frozen, and the one table of the states a run may go through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

# JSON as it is written into records: text, numbers, booleans, null, lists and objects of these.
Json = Any

VERSION = 1
"""The version `v` of every record and message that this code writes."""


class Provider(StrEnum):
    """A dialect of webhooks. Several forges may speak one (two Bitbucket Data Centers)."""

    GITHUB = "github"
    BITBUCKET_CLOUD = "bitbucket_cloud"
    BITBUCKET_SERVER = "bitbucket_server"
    TAU = "tau"
    """Our own: what is about no forge's repository. It is nothing that ci.yml's `forges` may name."""


class EventKind(StrEnum):
    """What happened, in nobody's dialect."""

    PUSH = "push"
    BRANCH_CREATED = "branch_created"
    BRANCH_DELETED = "branch_deleted"
    TAG_CREATED = "tag_created"
    TAG_DELETED = "tag_deleted"
    PULL_REQUEST = "pull_request"
    PING = "ping"
    IMAGE = "image"
    SCHEDULE = "schedule"
    MANUAL = "manual"
    IGNORED = "ignored"


class RunState(StrEnum):
    """Where a run stands. *failed*: the code said no. *errored*: we broke, twice."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    PASSED = "passed"
    FAILED = "failed"
    ERRORED = "errored"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    SKIPPED = "skipped"


class WaitingFor(StrEnum):
    """What makes a parked run go on; each has a `due_at` at which somebody looks."""

    LOCK = "lock"
    ENVIRONMENT = "environment"
    APPROVAL = "approval"
    DISK = "disk"
    RUNNER = "runner"
    RETRY = "retry"


class Supersede(StrEnum):
    """What a newer push does to a pipeline's older runs of the same ref.

    *queued*: those not yet begun give way. *running*: also one that builds or tests is stopped. *never*: each is built.
    A deployment that was begun is finished under every one of these.
    """

    QUEUED = "queued"
    RUNNING = "running"
    NEVER = "never"


class Origin(StrEnum):
    """Who brought a delivery: a forge's webhook, or we ourselves.

    *reconciled*: a look at the forge. *image*: a run that pushed an image. *schedule*: the time. *manual*: a person.
    """

    WEBHOOK = "webhook"
    RECONCILED = "reconciled"
    IMAGE = "image"
    SCHEDULE = "schedule"
    MANUAL = "manual"


class StepStatus(StrEnum):
    """What came of a step. *errored* is ours, *failed* is the code's."""

    PASSED = "passed"
    FAILED = "failed"
    ERRORED = "errored"
    SKIPPED = "skipped"


ENDS = frozenset(
    {
        RunState.PASSED,
        RunState.FAILED,
        RunState.ERRORED,
        RunState.CANCELLED,
        RunState.SUPERSEDED,
        RunState.SKIPPED,
    }
)

TRANSITIONS: Mapping[RunState, frozenset[RunState]] = {
    RunState.QUEUED: frozenset(
        {RunState.RUNNING, RunState.WAITING, RunState.ERRORED, RunState.CANCELLED, RunState.SUPERSEDED}
    ),
    # running -> running is a take-over: another runner claims with the next epoch.
    RunState.RUNNING: frozenset({RunState.RUNNING, RunState.WAITING, *ENDS}),
    # waiting -> running does not exist: whoever makes the condition true queues the run, a claim starts it.
    RunState.WAITING: frozenset({RunState.QUEUED, *ENDS}),
    **{end: frozenset() for end in ENDS},
}


def may_become(now: RunState, then: RunState) -> bool:
    """Whether a record in `now` may be written as `then`."""
    return then in TRANSITIONS[now]


def may_come_from(then: RunState) -> tuple[RunState, ...]:
    """The states that a record may be in when it is written as `then`, sorted: a write's condition."""
    return tuple(sorted(state for state, nexts in TRANSITIONS.items() if then in nexts))


@dataclass(frozen=True)
class Delivery:
    """One webhook request as it came.

    Args:
        headers: names lower-cased, every value that was sent for the name, in order.
        body: the exact bytes that were signed; of a delivery of our own, the JSON of its events.
    """

    forge: str
    provider: Provider
    headers: Mapping[str, tuple[str, ...]]
    body: bytes
    origin: Origin = Origin.WEBHOOK

    def header(self, name: str) -> str | None:
        """The value of a header that came exactly once, else None."""
        values = self.headers.get(name.lower(), ())
        return values[0] if len(values) == 1 else None


@dataclass(frozen=True)
class Pusher:
    """Who pushed, as far as the forge says it. Never used to grant anything."""

    login: str | None = None
    name: str | None = None
    email: str | None = None


@dataclass(frozen=True)
class Pull:
    """A pull request.

    Args:
        head: its newest commit, as much of the hash as the forge tells; None = it is not open any more.
        branch, target: the branch that it brings, and the one that it wants to go into.
    """

    number: int
    head: str | None = None
    branch: str | None = None
    target: str | None = None


@dataclass(frozen=True)
class PushedImage:
    """An image that stands under a tag in a registry.

    Args:
        name: without host and tag: `2pisoftware/cmfive`.
        digest: of its manifest, `sha256:…`.
        run: which run pushed it.
        chain: the images, with their tags, whose pushes led to this one, oldest first.
        rebuild: what stands on it is to be built again.
    """

    registry: str
    name: str
    tag: str
    digest: str
    run: str
    chain: tuple[str, ...] = ()
    rebuild: bool = False


@dataclass(frozen=True)
class Event:
    """What happened to one ref of one repository, or to an image.

    Args:
        forge: a name from ci.yml's `forges`, such as github.com.
        repository: `owner/name` as the forge spells it; None where the payload names none (a bare ping).
        repository_id: the forge's immutable id as text, or None.
        ref: `refs/heads/…`, `refs/tags/…`, or None where no ref is concerned.
        name: the branch or tag.
        before, after: full object ids; None = nothing on that side. `after` of an annotated tag is the tag object.
        commit: what to check out; None = nothing to build.
        truncated: the payload does not list every commit.
        files: every file that the pushed commits touch; None where the payload does not list them completely.
        pull: which pull request, where it is about one.
        image: what was pushed, where the kind is `image`; then `forge` is `tau`, there is no repository, and `name` is
            the image's with its tag.
        pipeline: the only pipeline that it is for, where the kind is `schedule` or `manual`; or `image`, where that
            pipeline's own image is to be built again, of `repository` and `ref`.
        reason: why it is `ignored`, in words; None otherwise.
    """

    forge: str
    provider: Provider
    delivery_id: str
    kind: EventKind
    repository: str | None
    ref: str | None = None
    name: str | None = None
    before: str | None = None
    after: str | None = None
    commit: str | None = None
    forced: bool = False
    truncated: bool = False
    pusher: Pusher = field(default_factory=Pusher)
    commit_author_emails: tuple[str, ...] = ()
    head_commit_author_email: str | None = None
    head_commit_message: str | None = None
    repository_id: str | None = None
    fork: bool = False
    pull: Pull | None = None
    image: PushedImage | None = None
    pipeline: str | None = None
    reason: str | None = None
    files: tuple[str, ...] | None = None

    @property
    def line(self) -> str:
        """What it is one of a line of: events of the same forge, repository and line may take each other's place."""
        return self.ref or self.name or ""


@dataclass(frozen=True)
class Verdict:
    """Why a rule did or did not match an event: `branch "feature/x" matches none of: master`."""

    pipeline: str
    matched: bool
    reason: str


@dataclass(frozen=True)
class Source:
    """A repository to clone: all of it from ci.yml, nothing from a payload.

    Args:
        clone: the address, with `{repository}` already filled in.
        key: name of the secret that opens it (an SSH key), or None for a public one.
    """

    forge: str
    repository: str
    clone: str
    key: str | None = None

    @property
    def name(self) -> str:
        """`forge/owner/name`, as ci.yml names it and `Job.sources` is keyed."""
        return f"{self.forge}/{self.repository}"


@dataclass(frozen=True)
class Step:
    """One word of ci.yml with its settings, every placeholder filled in."""

    action: str
    settings: Mapping[str, Json]


@dataclass(frozen=True)
class Notify:
    """Who is told, and when: `on` is always, change, failure or never."""

    to: tuple[str, ...] = ("pusher",)
    on: str = "change"


@dataclass(frozen=True)
class Job:
    """One pipeline for one event, resolved: all that a runner needs to know.

    Args:
        sources: every repository that the steps name, keyed `forge/owner/name`; the triggering one too.
        registries: registry host -> name of the secret with its credentials (`user:password`), or None.
        lock: runs with the same lock go one after the other.
        timeout_s: for one claim of the run: parking, and what a dead runner had used up, are not counted.
        config: sha256 of the ci.yml that planned it.
        paths: globs of which one must match a file that changed, where the event does not say which did: the run looks.
        announces: somebody may answer to the images that it pushes.
        rebuild: what stands on them is built again.
        submodules: what may be fetched as a submodule: `repository` is a pattern, `clone` has `{repository}` in it.
    """

    pipeline: str
    event: Event
    steps: tuple[Step, ...]
    source: Source
    sources: Mapping[str, Source]
    registries: Mapping[str, str | None]
    lock: str
    notify: Notify
    operators: tuple[str, ...]
    config: str
    pool: str = "default"
    timeout_s: int = 3600
    supersede: Supersede = Supersede.QUEUED
    paths: tuple[str, ...] = ()
    announces: bool = False
    rebuild: bool = False
    submodules: tuple[Source, ...] = ()


@dataclass(frozen=True)
class Stop:
    """Somebody asks the holder of a run to stop it.

    Args:
        state: the end that is asked for: cancelled or superseded.
        by: who asks: a person (`sam@laptop`), or the newer run's id.
    """

    state: RunState
    by: str
    at: datetime


@dataclass(frozen=True)
class Handed:
    """A push whose run was superseded: its successor's mail names it, and goes to its pusher too.

    Args:
        to: address of whoever pushed it, or None where the payload says none.
        by, message: the pusher's name, and the first line of the commit's message.
    """

    commit: str | None
    to: str | None = None
    by: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class Run:
    """One Job being enacted.

    Args:
        id: a ULID; its order is the order of the deliveries.
        send: number of the newest wake-up message; an older message is answered by deleting it.
        epoch: how often it was claimed; every write of a runner is conditional on it.
        beat: a counter that the holder moves; never a time.
        attempts: claims that ended without the runner saying how (it died).
        journal: what was meant and what was seen, oldest first; see docs/records.md.
        tell: who is still to be told: `email:<address>` -> {"state": "due" | "told" | "failed", ...}.
        due_at: when somebody should look if nobody has; None at a told end.
        results: what came of the steps so far, by the step's index as text.
        stop: that it should stop, where somebody has asked for it; its holder decides when.
        handed: by run id, the superseded runs whose people this one tells; `hands` counts how many were ever handed.
        followed_until: somebody reads the log as it is written, until then.
    """

    id: str
    delivery: str
    job: Job
    state: RunState
    created_at: datetime
    send: int = 1
    epoch: int = 0
    beat: int = 0
    attempts: int = 0
    waiting_for: WaitingFor | None = None
    due_at: datetime | None = None
    reason: str | None = None
    runner: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    journal: tuple[Mapping[str, Json], ...] = ()
    tell: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    results: Mapping[str, StepResult] = field(default_factory=dict)
    stop: Stop | None = None
    handed: Mapping[str, Handed] = field(default_factory=dict)
    hands: int = 0
    followed_until: datetime | None = None
    v: int = VERSION

    @property
    def ended(self) -> bool:
        return self.state in ENDS

    @property
    def has_acted(self) -> bool:
        """Whether it has begun anything that outsiders may see: it does not give way to a newer run any more."""
        return any(entry["kind"] == "intent" for entry in self.journal)

    @property
    def must_finish(self) -> bool:
        """Whether it has begun something that is not stopped half-way: a version on its way to an environment."""
        return any(entry.get("must_finish") for entry in self.journal)


@dataclass(frozen=True)
class Message:
    """What lies in the queue: it only wakes somebody up."""

    run: str
    send: int
    v: int = VERSION


@dataclass(frozen=True)
class StepResult:
    """What came of one step.

    Args:
        reason: one sentence for a person; None when it passed.
        lines: the lines of output that show why, at most 20.
        facts: what later steps and the mail need (image id, digests, test counts), JSON.
    """

    action: str
    status: StepStatus
    started_at: datetime
    ended_at: datetime
    reason: str | None = None
    lines: tuple[str, ...] = ()
    facts: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What came of a run, for those who are told."""

    run: str
    job: Job
    state: RunState
    started_at: datetime
    ended_at: datetime
    steps: tuple[StepResult, ...] = ()
    reason: str | None = None
    handed: Mapping[str, Handed] = field(default_factory=dict)


class DeploymentState(StrEnum):
    """Where a version stands on its way to an environment."""

    PREPARED = "prepared"
    WAITING_APPROVAL = "waiting_approval"
    WAITING_READY = "waiting_ready"
    UPDATING = "updating"
    VERIFYING = "verifying"
    ROLLING_BACK = "rolling_back"
    LIVE = "live"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    ROLLBACK_FAILED = "rollback_failed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


DEPLOYMENT_ENDS = frozenset(
    {
        DeploymentState.LIVE,
        DeploymentState.FAILED,
        DeploymentState.ROLLED_BACK,
        DeploymentState.ROLLBACK_FAILED,
        DeploymentState.CANCELLED,
        DeploymentState.SUPERSEDED,
    }
)
"""*failed*: nothing was deployed, or there was no way back. *cancelled*: before it began, as people said."""


@dataclass(frozen=True)
class Deployment:
    """A version on its way to an Elastic Beanstalk environment, or there.

    Args:
        id: `<run>.<step index>`: one step of one run makes one deployment.
        number: raised by every write; a write is conditional on the number that was read.
        previous_label: what ran before we called; None until it was seen.
        called: whether our UpdateEnvironment is known to have been answered.
        deadline_at: when the present state has lasted too long.
        events_after: the newest event already written into the log.
        ours: it failed, and no version is to blame: a right that we lack, an AWS that does not answer.
        timeout_s: how long one state may last; `deadline_at` is made of it.
        mark_at: the newest event that stood before we called, by Elastic Beanstalk's own clock. Until then: since when
            events matter; None = since shortly before it was created.
        ready_at: when the environment was first seen Ready with our label.
        outrun_by: the newer run for which it was given up before it began.
        rolls_back: whether a version that does not do is undone.
        good_label: the version that was live and well there last, as far as the records know.
        back_to: where a rollback leads; `failure` is why, `undoing` whether the call for it is meant or made.
        health: as it was when it was found live.
        repository: what it was made from, `forge/owner/name`, with `tag` (or branch) and `commit`.
        image: which image runs, by digest; `by`: who pushed, or who asked for the way back.
        aborted_at: when the update under way was last asked to end.
        stopped_by: who wants it to go no further.
        instead_of: the version that a person wants to be rid of, where this one is the way back.
        approvers: addresses of whom one has to approve it first, within `approve_within_s`.
        approved_by, refused_by: who did.
        asked: approver -> why the mail to him was not taken, or an empty text; `asking_at`: when somebody began to ask.
        probe: an address, or a path of the environment's own, that has to answer before the version counts as live.
        probe_within_s: how long it may take to, once the environment is Ready and well.
        unseen: how many looks at Elastic Beanstalk in a row were refused or not answered.
        built_from: what the image stands on, by digest, where Elastic Beanstalk builds it itself.
        accept: which health does: before (not sick, and no worse than before), green, yellow or any.
        health_within_s: how long it may take until then, once the environment is Ready; None = as long as its deadline
            says, and for less where it is sick.
        hold_s: how long it has to stay so; `well_at` is since when it is.
        answered: whether the version that ran before answered at the probe, `answered_label`; None = it was not asked.
        template: the saved configuration from which the environment is created, should it not be there; `creates`:
            that is what was called, or is to be.
    """

    id: str
    run: str
    region: str
    application: str
    environment: str
    label: str
    state: DeploymentState
    number: int
    created_at: datetime
    deadline_at: datetime
    due_at: datetime | None
    intended_at: datetime | None = None
    called: bool = False
    previous_label: str | None = None
    previous_health: str | None = None
    events_after: datetime | None = None
    reason: str | None = None
    url: str | None = None
    v: int = VERSION
    timeout_s: int = 1800
    mark_at: datetime | None = None
    ready_at: datetime | None = None
    ours: bool = False
    outrun_by: str | None = None
    rolls_back: bool = True
    good_label: str | None = None
    back_to: str | None = None
    failure: str | None = None
    undoing: bool = False
    health: str | None = None
    repository: str | None = None
    tag: str | None = None
    commit: str | None = None
    image: str | None = None
    by: str | None = None
    unseen: int = 0
    probe: str | None = None
    probe_within_s: int = 60
    built_from: str | None = None
    aborted_at: datetime | None = None
    stopped_by: str | None = None
    instead_of: str | None = None
    approvers: tuple[str, ...] = ()
    approve_within_s: int = 0
    approved_by: str | None = None
    refused_by: str | None = None
    asked: Mapping[str, str] = field(default_factory=dict)
    asking_at: datetime | None = None
    accept: str = "before"
    health_within_s: int | None = None
    hold_s: int = 0
    well_at: datetime | None = None
    answered_label: str | None = None
    answered: bool | None = None
    template: str | None = None
    creates: bool = False


@dataclass(frozen=True)
class Live:
    """What is live in an environment, as Tau left it.

    Args:
        deployment: the id of the one that brought it.
        since: when it was found live.
        good_label: the version that was live and well there before.
    """

    region: str
    application: str
    environment: str
    label: str
    deployment: str
    since: datetime
    health: str | None = None
    url: str | None = None
    repository: str | None = None
    tag: str | None = None
    commit: str | None = None
    image: str | None = None
    by: str | None = None
    good_label: str | None = None
    built_from: str | None = None
