"""What an action gets to see: the run, its workspace, the engine, and the protocol's few verbs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from chalicelib.errors import StepFailed
from chalicelib.graph import Base
from chalicelib.model import Job, Json, StepResult, WaitingFor
from runner.building import Builder
from runner.operators import Operators
from runner.pace import Pace, Real
from runner.redaction import NOTHING_SECRET, Matcher
from runner.registry import Credentials, Registry
from runner.since import Before
from runner.stopping import Stopping
from runner.submodules import Submodules

if TYPE_CHECKING:
    # They bring boto3, and `tau check` reads an action's settings without it.
    from chalicelib.objects import Objects
    from chalicelib.store import Store


@dataclass(frozen=True)
class Park:
    """An action's answer when only time or somebody else can make it go on; it is called again later."""

    waiting_for: WaitingFor
    due_at: datetime
    reason: str


class Log(Protocol):
    """Where a step's output goes; our own lines carry the prefix `[tau] `."""

    def line(self, text: str) -> None: ...

    def write(self, chunk: bytes) -> None: ...

    def tail(self, most: int = 20) -> tuple[str, ...]:
        """The last lines that the step itself printed."""


class Journal(Protocol):
    """The run's memory across crashes. Every write fails with LostClaim when another epoch holds the run."""

    def intend(self, key: str, **facts: Json) -> Mapping[str, Json] | None:
        """Write down what is about to be done outside.

        Args:
            facts: two of them are heard by the run itself: `needs_image=False`, going on needs no image in this engine;
                `must_finish=True`, the run is not stopped any more.

        Returns:
            None the first time; else the facts of the intent that an earlier claim wrote under this key
            and never answered: look outside before doing it again.
        """

    def begun(self, key: str) -> bool:
        """Whether an earlier claim intended this and never said what came of it; nothing is written."""

    def observe(self, key: str, **facts: Json) -> None:
        """Write down what was seen after the effect `key`."""

    def observed(self, key: str) -> Mapping[str, Json] | None:
        """What `observe` wrote under this key, in any epoch."""


@dataclass(frozen=True)
class Image:
    """The image that this pipeline built: `name` as in ci.yml, `id` in the engine, digest by registry once pushed.

    Args:
        bases: what it stands on.
        commits: what it was built from, by repository.
    """

    name: str
    id: str
    digests: Mapping[str, str] = field(default_factory=dict)
    bases: tuple[Base, ...] = ()
    commits: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """Everything an action may use. Built anew for each step.

    Args:
        run: the run's id; `epoch` the claim's number; `index` the step's place, from 0.
        folder: the run's own, empty at its claim.
        checkout: `checkout("forge/owner/name", ref, commit or None, into)` -> the commit that lies there now.
        submodules: `submodules("forge/owner/name", commit, into)` -> those of a commit that was checked out there, laid
            into its tree; None = this run may have none.
        archive: `archive("forge/owner/name", commit)` -> the tree as tar, of a commit that was checked out.
        ignored: `ignored("forge/owner/name", commit, rules)` -> the files that rules as in a .gitignore name.
        images: by ci.yml name, what earlier steps of this run made.
        labels: what every Docker object of this step must carry.
        secret: value of a secret that ci.yml names for this.
        remaining_s: seconds until the run's deadline.
        stopping: whether this claim should stop early; what takes long listens to it.
        registry: `registry(host, image name, login)` -> manifests there.
        builder: how this runner builds images.
        pace: how to wait, and to do something beside.
        so_far: what came of the steps before this one, in order.
        operators: whose scripts this machine runs itself.
        before: what this very step's suite was when the branch's last run came to it.
        matcher: what nobody may read of what this run leaves.
        bases: by the image that is built, what its FROM lines meant in the run that this one repeats.
    """

    run: str
    epoch: int
    index: int
    job: Job
    folder: Path
    checkout: Callable[[str, str, str | None, Path], str]
    archive: Callable[[str, str], bytes]
    docker: Any  # docker.DockerClient; the SDK's stubs stop short of its streams
    log: Log
    journal: Journal
    images: Mapping[str, Image]
    labels: Mapping[str, str]
    secret: Callable[[str], str]
    remaining_s: Callable[[], float]
    now: Callable[[], datetime]
    aws: Aws
    builder: Builder
    stopping: Stopping = field(default_factory=Stopping)
    registry: Callable[[str, str, Credentials | None], Registry] = Registry
    pace: Pace = field(default_factory=Real)
    so_far: tuple[StepResult, ...] = ()
    operators: Operators = field(default_factory=Operators)
    before: Callable[[], Before | None] = lambda: None
    ignored: Callable[[str, str, bytes], frozenset[str]] = lambda *_: frozenset()
    matcher: Callable[[], Matcher] = lambda: NOTHING_SECRET
    submodules: Callable[[str, str, Path], Submodules | None] = lambda *_: None
    bases: Mapping[str, tuple[Base, ...]] = field(default_factory=dict)

    def image(self, name: str | None) -> Image:
        """The image that the steps before this one made under a name of ci.yml.

        Raises:
            StepFailed: none did.
        """
        if name is None or name not in self.images:
            made = ", ".join(self.images) or "none"
            raise StepFailed(
                f"no step before this one built the image {name}: correct `image` in ci.yml (built: {made})"
            )
        return self.images[name]


@dataclass(frozen=True)
class Aws:
    """The edge to AWS that actions use.

    Args:
        client: `client(service, region)` makes or finds a boto3 client.
        fetch: what lies at an address that AWS has signed; None where nothing can be fetched.
    """

    client: Callable[..., Any]
    store: Store
    objects: Objects
    region: str
    fetch: Callable[[str], bytes] | None = None
