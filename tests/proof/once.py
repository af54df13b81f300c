"""What must hold of a run whose runner was killed, however it was killed: done, and done once."""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.model import Run, RunState
from tests.whole.world import IMAGE, Sent, World, wait_for

CLIENT = "proof"
PATIENCE_S = 150
_STARTING = "Environment update is starting."


@dataclass(frozen=True)
class Trial:
    """A push, or a tag, that somebody is about to kill the runner of; and what there was before."""

    world: World
    version: str | None
    containers: frozenset[str]
    updates: int
    versions: frozenset[str]

    @classmethod
    def of(cls, world: World, version: str | None) -> Trial:
        """A trial with a push to develop, or with a tag of this name."""
        updates, versions = world.events(CLIENT).count(_STARTING), frozenset(world.versions(CLIENT))
        return cls(world, version, _containers(world), updates, versions)

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
        self.world.runners(1)
        if is_untold:  # the ticker's turn comes a minute later
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
        wait_for(lambda: _containers(self.world) <= self.containers, "the dead claim's containers to be removed")
        assert self.world.remains(sent.run) == []
        return "while somebody was told" if is_untold else f"while {at_kill.state}", mails

    def _one_image(self, run: Run) -> None:
        image = f"2pisoftware/{CLIENT}" if self.version else IMAGE
        tags = (self.version,) if self.version else ("latest", "develop")
        digests = {tag: self.world.digest(tag, image) for tag in (*tags, f"r-{run.id.lower()}")}
        assert len(set(digests.values())) == 1, digests
        assert None not in digests.values()

    def _one_deployment(self) -> None:
        deployments = 1 if self.version else 0
        assert self.world.events(CLIENT).count(_STARTING) == self.updates + deployments
        new = set(self.world.versions(CLIENT)) - self.versions
        assert len(new) == deployments
        if self.version:
            assert {self.world.environment_of(CLIENT)["VersionLabel"]} == new
            assert f"This is version {self.version}." in self.world.page(CLIENT)


def _containers(world: World) -> frozenset[str]:
    """Everything in the engine that is no environment's."""
    found = world.docker.api.containers(all=True)
    return frozenset(one["Id"] for one in found if "tau.environment" not in one["Labels"])
