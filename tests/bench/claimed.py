"""From a push to its claim: signed webhooks over HTTP, five a second, to the local cloud, and one runner that is free.

The clock starts before the request is made and stops when the runner's log says "claimed". Every run ends soon after,
for its commit has no Dockerfile, and has a ref of its own, so that none waits for another. Once the pushes are those of
several repositories, and once of a single one.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from parts.runner import Watched, installed, watched
from parts.table import show, verdict

from infra.local import samples
from infra.local.installation import Installation
from infra.local.samples import Webhook

AIM_MS = 150
_PUSHES = 100
_EVERY_S = 0.2
_WARM_UP = 5
_PATIENCE_S = 60
_SYSTEM = "tau-bench-claimed"
_CLIENTS = 5
_FILES = {"README": "no Dockerfile: its build fails at once\n"}


@dataclass(frozen=True)
class Sent:
    """A push as its forge sees it: when it sent it, when it was answered, which run it started."""

    sent: float
    answered: float
    run: str


@dataclass(frozen=True)
class Claimed:
    """One push, in ms from its sending on: the 202, the message in the runner's hands, the claim."""

    answered: float
    received: float
    claimed: float


def main() -> None:
    with installed(_SYSTEM) as there, watched(there, "--jobs", "3") as runner:
        for title, hooks in (
            (f"of {_CLIENTS} repositories in turn", list(tags(there))),
            ("of one repository", list(branches(there))),
        ):
            list(send(there, hooks[:_WARM_UP]))
            time.sleep(2)
            sent = list(send(there, hooks[_WARM_UP:]))
            claims = claims_of(runner, sent)
            tell(title, [times(one, claims, received_at(runner)) for one in sent])


def tags(there: Installation) -> Iterator[Webhook]:
    """A tag in one client's repository after another."""
    forge = samples.CLIENT_FORGE
    repositories = [f"2pisoftware/client{number}_deploy" for number in range(_CLIENTS)]
    for repository in repositories:
        there.create(forge, repository, _FILES)
    for number in range(_WARM_UP + _PUSHES):
        repository = repositories[number % _CLIENTS]
        tag = there.githost.tag(forge, repository, f"v{number}")
        yield samples.bitbucket_tag(
            repository, tag, there.githost.describe(forge, repository, tag.commit), there.hook_secret
        )


def branches(there: Installation) -> Iterator[Webhook]:
    """A commit on one branch after another of the same repository."""
    place = (samples.HELLO_FORGE, samples.HELLO)
    there.create(*place, _FILES)
    for number in range(_WARM_UP + _PUSHES):
        branch = f"feature/{number}"
        told = there.githost.describe(
            *place, there.githost.commit(*place, branch, {"note": branch}, f"Work on {branch}")
        )
        yield samples.github_push(samples.HELLO, [told], there.hook_secret, ref=f"refs/heads/{branch}")


def send(there: Installation, hooks: Sequence[Webhook]) -> Iterator[Sent]:
    """Each at its time, whether the one before was answered or not."""
    with ThreadPoolExecutor(8) as forge:
        began = time.monotonic()
        answers: list[Future[Sent]] = []
        for number, hook in enumerate(hooks):
            time.sleep(max(0.0, began + number * _EVERY_S - time.monotonic()))
            answers.append(forge.submit(send_one, there, hook))
        yield from (answer.result() for answer in answers)


def send_one(there: Installation, hook: Webhook) -> Sent:
    sent = time.time()
    answer = there.deliver(hook)
    answered = time.time()
    if answer.status != 202:
        raise SystemExit(f"the hook answered {answer}")
    (run,) = json.loads(answer.body)["runs"]
    return Sent(sent, answered, run)


def claims_of(runner: Watched, sent: Sequence[Sent]) -> Mapping[str, float]:
    """When each run was first claimed."""
    until = time.monotonic() + _PATIENCE_S
    while True:
        lines = runner.said("claimed")
        claims = {line["run"]: line["at"] for line in reversed(lines)}
        missing = [one.run for one in sent if one.run not in claims]
        if not missing:
            return claims
        if time.monotonic() > until:
            raise SystemExit(
                f"{len(missing)} runs were not claimed within {_PATIENCE_S} s; the runner's last lines:\n"
                f"{runner.child.tail()}"
            )
        time.sleep(0.2)


def received_at(runner: Watched) -> Mapping[str, float]:
    """When the first message of each run was in the runner's hands."""
    brought = [(json.loads(body)["run"], call.ended) for call in runner.calls() for body in call.messages]
    return dict(reversed(brought))


def times(one: Sent, claims: Mapping[str, float], received: Mapping[str, float]) -> Claimed:
    moments = (one.answered, received[one.run], claims[one.run])
    return Claimed(*((moment - one.sent) * 1e3 for moment in moments))


def tell(title: str, found: Sequence[Claimed]) -> None:
    claimed = [one.claimed for one in found]
    whole = row("push to claim", claimed)
    show(
        f"From a push to its claim, ms: {len(found)} pushes {title}, {1 / _EVERY_S:.0f} a second",
        ("what", "p50", "p95", "longest", "aim of p50", ""),
        [
            [*row("push to its answer", [one.answered for one in found]), "", ""],
            [*row("push to the message at the runner", [one.received for one in found]), "", ""],
            [*row("  message to claim", [one.claimed - one.received for one in found]), "", ""],
            [*whole, f"{AIM_MS}", verdict(statistics.median(claimed), AIM_MS)],
        ],
    )


def row(name: str, times_ms: Sequence[float]) -> list[str]:
    in_order = sorted(times_ms)
    p95 = in_order[min(len(in_order) - 1, int(len(in_order) * 0.95))]
    return [name, f"{statistics.median(in_order):.0f}", f"{p95:.0f}", f"{in_order[-1]:.0f}"]


if __name__ == "__main__":
    main()
