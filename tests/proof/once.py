"""What must hold of a run whose runner was killed, however it was killed: done, and done once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from chalicelib.model import Run, RunState
from tests.proof.watched import Watched
from tests.whole.world import IMAGE, Sent, wait_for

CLIENT = "proof"
PATIENCE_S = 150


@dataclass(frozen=True)
class Trial:
    """A push, or a tag, that somebody is about to kill the runner of; and what there was before."""

    world: Watched
    version: str | None
    containers: frozenset[str]
    updates: Counter[str]
    versions: frozenset[str]

    @classmethod
    def of(cls, world: Watched, version: str | None) -> Trial:
        """A trial with a push to develop, or with a tag of this name."""
        return cls(world, version, world.containers(), world.updates(CLIENT), frozenset(world.versions(CLIENT)))

    def begin(self) -> Sent:
        sent = self.world.release(CLIENT, self.version) if self.version else self.world.push("develop")
        assert sent.answered.status == 202, sent.answered
        return sent

    def finish(self, sent: Sent) -> tuple[str, int]:
        """Let another runner finish it, and look at everything that must be there once.

        Returns:
            What the kill hit, in words, and how many mails were sent.
        """
        at_kill = self.world.run(sent.run)
        is_untold = at_kill.ended and any(notice["state"] == "due" for notice in at_kill.tell.values())
        is_uncalled = at_kill.state is RunState.QUEUED and at_kill.epoch > 0
        self.world.runners(1)
        if is_untold or is_uncalled:  # the ticker's turn comes a minute later
            self.world.make_due(sent.run)
            self.world.cloud.tick()
        run = self.world.wait_for_end(sent.run, PATIENCE_S)
        assert run.state is RunState.PASSED, run.reason
        self._one_image(run)
        self._one_deployment()
        assert {notice["state"] for notice in run.tell.values()} == {"told"}
        mails = len(self.world.mails(sent.run))
        # Once; twice only where it died between SES's answer and its own note of it.
        assert mails == 1 or (mails == 2 and is_untold)
        self._nothing_left(run)
        return "while somebody was told" if is_untold else f"while {at_kill.state}", mails

    def _one_image(self, run: Run) -> None:
        image = f"2pisoftware/{CLIENT}" if self.version else IMAGE
        tags = [*((self.version,) if self.version else ("latest", "develop")), f"r-{run.id.lower()}"]
        digest = self.world.digest(tags[-1], image)
        assert digest is not None
        put = Counter(put.tag for put in self.world.puts if put.digest == digest)
        assert put == dict.fromkeys(tags, 1), "each tag was moved to it once"
        assert {self.world.digest(tag, image) for tag in tags} == {digest}

    def _one_deployment(self) -> None:
        new = set(self.world.versions(CLIENT)) - self.versions
        assert len(new) == (1 if self.version else 0)
        assert self.world.updates(CLIENT) - self.updates == dict.fromkeys(new, 1)
        if self.version:
            assert {self.world.environment_of(CLIENT)["VersionLabel"]} == new
            assert f"This is version {self.version}." in self.world.page(CLIENT)

    def _nothing_left(self, run: Run) -> None:
        wait_for(lambda: self.world.containers() <= self.containers, "the dead claim's containers to be removed")
        assert self.world.remains(run.id) == []
        wait_for(lambda: self.world.messages() == 0, "every message to be deleted")
        assert self.world.locks_held() == []
