"""A storm that is over in; what it broke of the promise, in sentences, and its figures out."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from functools import cached_property

from chalicelib.model import Run, RunState
from chalicelib.records.runs import MOST_ATTEMPTS
from infra.local.installation import Answered
from infra.local.mailbox import SentMail
from tests.proof.traffic import CLIENTS, Kind, Letter

_TOLD_OF = re.compile(r"tau log (\w{26})")
# Between SES's answer and our note of it.
_NOTED_WITHIN = timedelta(seconds=2)


def runs_of(answered: Answered) -> list[str]:
    """The runs that an answer promises."""
    return json.loads(answered.body)["runs"] if answered.status in {200, 202} else []


def is_over(run: Run) -> bool:
    """Whether it is at its end, and everybody was told, or cannot be."""
    return run.ended and all(notice["state"] != "due" for notice in run.tell.values())


class Verdict:
    """Everything that is left of a storm, looked at once."""

    def __init__(self, storm) -> None:
        self._storm, self._world = storm, storm.world
        self._items = self._world.items()
        self._mails = self._world.cloud.mails()
        self.letters: dict[str, Letter] = {
            run: letter for letter, answered in storm.answers for run in runs_of(answered)
        }
        self.runs = {run: self._world.run(run) for run in self.letters}

    @cached_property
    def broken(self) -> list[str]:
        """Whatever was lost, done twice, or left."""
        return [
            *self._answers(),
            *self._records(),
            *self._ends(),
            *self._told(),
            *self._tags(),
            *self._deployments(),
            *self._left(),
        ]

    # --- nothing lost ---------------------------------------------------------------------------------

    def _answers(self) -> Iterator[str]:
        taken = defaultdict(list)
        for letter, answered in self._storm.answers:
            if letter.kind is Kind.FORGED:
                if answered.status != 401:
                    yield f"a forged delivery was answered {answered}"
            else:
                taken[letter.webhook.body].append(answered)
        for answers in taken.values():
            statuses, runs = Counter(one.status for one in answers), {tuple(runs_of(one)) for one in answers}
            if set(statuses) - {200, 202} or statuses[202] > 1 or len(runs) != 1 or len(next(iter(runs))) != 1:
                yield f"one body was answered {answers}"

    def _records(self) -> Iterator[str]:
        bodies = {letter.webhook.body for letter in self._storm.letters if letter.kind is not Kind.FORGED}
        written = Counter(pk.partition("#")[0] for pk, sk in self._items if sk in {"delivery", "run"})
        if written != {"delivery": len(bodies), "run": len(bodies)}:
            yield f"{len(bodies)} bodies were to be recorded, with a run each, and there are {dict(written)}"

    def _ends(self) -> Iterator[str]:
        for run in self.runs.values():
            given_up = run.state is RunState.ERRORED and run.attempts >= MOST_ATTEMPTS
            if not (run.state in {RunState.PASSED, RunState.SUPERSEDED} or given_up):
                yield f"run {run.id} is {run.state}: {run.reason}"
            if not is_over(run):
                yield f"nobody was told of run {run.id}: {run.tell}"

    # --- nobody left guessing -------------------------------------------------------------------------

    @cached_property
    def told(self) -> Mapping[tuple[str, str], list[SentMail]]:
        """The mails by run and address."""
        found = defaultdict(list)
        for mail in self._mails:
            for address in mail.to:
                found[_TOLD_OF.search(mail.text)[1], address].append(mail)
        return found

    def _told(self) -> Iterator[str]:
        for run in self.runs.values():
            person = self.letters[run.id].by.email
            if not any((about, person) in self.told for about in (run.id, *self._heirs(run))):
                yield f"{person} never heard of run {run.id}, {run.state}"
        for (run, address), mails in self.told.items():
            if len(mails) > 1 and not self._somebody_died(mails):
                yield f"{address} was told {len(mails)} times of run {run}, and nobody had died"

    def _heirs(self, run: Run) -> Iterable[str]:
        return (other.id for other in self.runs.values() if run.id in other.handed)

    def _somebody_died(self, mails: list[SentMail]) -> bool:
        first, last = mails[0].sent_at - _NOTED_WITHIN, mails[-1].sent_at
        return any(first <= kill <= last for kill in self._storm.kills)

    # --- nothing twice --------------------------------------------------------------------------------

    @cached_property
    def moves(self) -> Mapping[tuple[str, str], list[str]]:
        """Image and public tag -> the runs that moved it, oldest first."""
        puts = self._world.puts
        run_of = {put.digest: put.tag[2:].upper() for put in puts if put.tag.startswith("r-")}
        found = defaultdict(list)
        for put in puts:
            if not put.tag.startswith("r-"):
                found[put.image, put.tag].append(run_of[put.digest])
        return found

    def _tags(self) -> Iterator[str]:
        for (image, tag), runs in self.moves.items():
            yield from (
                f"run {run} moved {image}:{tag} {times} times" for run, times in Counter(runs).items() if times > 1
            )
            if tag != "latest":
                yield from self._order(image, tag, [self.letters[run].number for run in runs])

    def _order(self, image: str, tag: str, numbers: list[int]) -> Iterator[str]:
        if numbers != sorted(numbers):
            yield f"{image}:{tag} went back to an older commit: {numbers}"
        newest = self._newest(image, tag)
        digest = self._world.digest(f"r-{newest.id.lower()}", image)
        if newest.state is RunState.PASSED and self._world.digest(tag, image) != digest:
            yield f"{image}:{tag} is not of its newest commit, run {newest.id}"

    def _newest(self, image: str, tag: str) -> Run:
        of_tag = [run for run, letter in self.letters.items() if (letter.image, letter.tag) == (image, tag)]
        return self.runs[max(of_tag, key=lambda run: self.letters[run].number)]

    def _deployments(self) -> Iterator[str]:
        for client in CLIENTS:
            for label, times in self._world.updates(client).items():
                if times > 1:
                    yield f"{client}-production was updated {times} times to {label}"
            releases = [run for run, letter in self.letters.items() if letter.image == f"2pisoftware/{client}"]
            if not releases:
                continue
            newest, live = self.runs[max(releases)], self._world.environment_of(client).get("VersionLabel", "")
            label = f"{self.letters[newest.id].tag}-"
            if newest.state is RunState.SUPERSEDED or (newest.state is RunState.PASSED and not live.startswith(label)):
                yield f"{client}-production runs {live}; its newest release is run {newest.id}, {newest.state}"

    # --- nothing left ---------------------------------------------------------------------------------

    def _left(self) -> Iterator[str]:
        for (pk, sk), item in self._items.items():
            if sk == "lock" and ("holder" in item or item.get("waiters")):
                yield f"{pk} is held: {item}"
        if self._world.messages():
            yield f"{self._world.messages()} messages are left"
        buried = [letter for letter in self._world.edge.store.dead_letters() if letter.run not in self.given_up]
        if buried:
            yield f"dead letters: {buried}"
        if self._world.containers():
            yield f"containers are left: {sorted(self._world.containers())}"

    # --- figures --------------------------------------------------------------------------------------

    @property
    def given_up(self) -> list[str]:
        """The runs whose runners died too often."""
        return [run.id for run in self.runs.values() if run.attempts >= MOST_ATTEMPTS]

    def figures(self) -> Mapping[str, object]:
        """What the storm was."""
        storm, runs = self._storm, self.runs.values()
        return {
            "deliveries": len(storm.letters),
            "answered": _counts(str(answered.status) for _, answered in storm.answers),
            "sent again after 5xx": storm.resent,
            "deliveries per second": f"{len(storm.letters) / storm.intake_s:.0f}",
            "runs": _counts(str(run.state) for run in runs),
            "given up after dying too often": len(self.given_up),
            "runners killed": len(storm.kills),
            "claims": sum(run.epoch for run in runs),
            "claims taken over": sum(run.attempts for run in runs),
            "public tags moved": sum(map(len, self.moves.values())),
            "environments updated": sum(sum(self._world.updates(client).values()) for client in CLIENTS),
            "mails": len(self._mails),
            "mails sent twice, over a death": sum(len(mails) - 1 for mails in self.told.values()),
            "seconds": f"{storm.seconds:.0f}",
        }


def _counts(words: Iterable[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in Counter(words).most_common())
