"""An image and what stands beside it in; both reached from this machine, until one asks for the end, or it ends, out.

It takes its turn as an action does, so that everything around it is what it is around a test.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from chalicelib.errors import StepErrored, StepFailed
from chalicelib.reports.words import limit
from runner import bases, commands, containers, images
from runner.aside import aside, settled
from runner.context import Context, Image
from runner.laptop import ports
from runner.laptop.ports import Chosen

WORD = "up"
"""What it is called where actions have their names: no ci.yml knows it."""
_LOOK_S = 2
_TAKEN = ("port is already allocated", "address already in use")


class Up(commands.Limited):
    """A test's settings, without its command.

    Args:
        fetched: the image of a registry, or of this engine, instead of one that was built.
    """

    fetched: str | None = None


class Standing:
    """Keeps an image up.

    Args:
        called: what it is called for whoever started it.
        wishes: the ports that were chosen for it and its services; see `ports.check`.
    """

    Settings = Up
    NEEDS_IMAGE = True

    def __init__(self, called: str, wishes: Sequence[Chosen]) -> None:
        self._called, self._wishes = called, wishes
        self.stood = threading.Event()
        """It has been up."""

    def run(self, settings: Up, context: Context) -> NoReturn:
        """Start it, say how it is reached, and stay.

        Raises:
            StepFailed: it has ended; or it, or a service, could not be started.
            StepErrored: a chosen port is taken; or the engine or a registry does not do its part.
            Stopped: somebody asks for it.
        """
        image = _fetched(settings.fetched, context) if settings.fetched else context.image(settings.image)
        secrets = commands.secrets_of(settings, context)
        with (
            _naming_ports(self._wishes),
            # The outer one: it hears the last words until the container is gone.
            contextlib.ExitStack() as hearing,
            commands.container(settings, context, None, image, secrets, publish=self._publish) as made,
        ):
            hearing.enter_context(containers.heard(context.docker, made.container, context.log.write, context.pace))
            self._start(made, context)
            self.stood.set()
            how = self._stay(made, settings, context)
        raise StepFailed(how, context.log.tail())

    def _publish(self, name: str, image: Mapping[str, Any]) -> Mapping[str, int | None]:
        return ports.published(name, image, self._wishes)

    def _start(self, made: commands.Made, context: Context) -> None:
        """Start it, and say how it and its services are reached."""
        context.stopping.check()
        containers.start(context.docker, made.container)
        beside = made.services.containers if made.services else {}
        found = [
            line
            for name, container in {self._called: made.container, **beside}.items()
            for line in ports.lines(containers.published(context.docker, container), name)
        ]
        for line in found or (f"{self._called} runs; its image exposes no port, and no --port names one",):
            context.log.line(line)
        context.log.line("Ctrl-C ends it")

    def _stay(self, made: commands.Made, settings: Up, context: Context) -> str:
        """How it ended. A service that ends is said, and no more: who looks on may want to look further."""
        code = aside(lambda: int(context.docker.api.wait(made.container)["StatusCode"]), context.pace)
        gone: str | None = None
        while not settled(code, context.stopping, context.pace, _LOOK_S):
            context.stopping.check()
            now = made.services.ended() if made.services else None
            if now != gone:
                gone = now
                context.log.line(f"{gone}; {self._called} stays up")
        context.stopping.check()
        with images.answering():
            state = context.docker.api.inspect_container(made.container)["State"]
            if state.get("OOMKilled"):
                return f"{self._called} ran out of memory (limit {limit(settings.memory)})"
            return f"{self._called} has ended by itself, with exit code {code.result()}"


def _fetched(name: str, context: Context) -> Image:
    return Image(name, bases.fetch(name, context))


@contextlib.contextmanager
def _naming_ports(wishes: Sequence[Chosen]) -> Iterator[None]:
    """Where a chosen port is taken, the engine's refusal is said as what to do about it."""
    try:
        yield
    except StepErrored as error:
        if not wishes or not any(words in str(error) for words in _TAKEN):
            raise
        named = ", ".join(f"--port {one.text}" for one in wishes)
        raise StepErrored(f"something else on this machine has a port of {named}: choose another, or none") from error
