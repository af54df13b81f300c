"""A Dockerfile in, an image out: by the engine's classic builder, through the SDK."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docker.errors import APIError

from chalicelib.errors import StepErrored, StepFailed
from runner import images, streams
from runner.building import Wanted, step_took
from runner.context import Context
from runner.dockerfiles import marked
from runner.refusals import refusal

_LATE_S = 60
# The line that `labelled` adds is of no use to a reader.
_OUR_LABELS = re.compile(r'^(Step \d+/\d+ : LABEL) "tau\.system"=.*')
_STEP = re.compile(r"Step (?P<number>\d+)/(?P<total>\d+) : (?P<what>.*)", re.DOTALL)
_CACHED = " ---> Using cache"


@dataclass(frozen=True)
class Classic:
    """The classic builder: it keeps every line of the log, and knows no `RUN --mount`."""

    because: str = "it was asked for"
    name: str = "the classic builder"
    takes_secrets: bool = False
    keeps_bases: bool = True

    def build(self, wanted: Wanted, context: Context) -> str:
        """See `Builder`."""
        options = {
            "path": str(wanted.folder),
            "dockerfile": str(_labelled(wanted, context.folder)),
            # The Dockerfile's last line is not the target's: a layer more, for the few that name one.
            "labels": wanted.labels if wanted.target else None,
            "buildargs": wanted.args,
            "target": wanted.target or "",
            "platform": wanted.platform,
        }
        with images.answering():
            try:
                with streams.opened("build", lambda: _begin(options, context), context) as messages:
                    return follow(messages, context)
            except APIError as error:
                if error.is_client_error():
                    raise StepFailed(f"the Dockerfile does not build: {error.explanation}") from error
                raise


def _begin(options: Mapping[str, Any], context: Context) -> Any:
    """Ask the engine to build; its stream of messages. A build that is cut off takes its step's container with it."""
    # A step may be silent for as long as the run has left; our own deadline comes before the connection's.
    timeout_s = max(1, int(context.remaining_s())) + _LATE_S
    return context.docker.api.build(**options, timeout=timeout_s, rm=True, forcerm=True, decode=True)


def _labelled(wanted: Wanted, folder: Path) -> Path:
    """The Dockerfile with all labels in one line at its end, outside the tree.

    The classic builder makes a container and a layer of each label that it is handed apart from the Dockerfile.
    """
    line = " ".join(f'"{name}"="{value}"' for name, value in wanted.labels.items())
    copy = folder / "Dockerfile"
    # A last line that goes on would take ours for its rest.
    whole = marked(wanted.dockerfile.rstrip().rstrip("\\"), layer_label(wanted.labels["tau.system"]))
    copy.write_text(f"{whole}\nLABEL {line}\n", encoding="utf-8")
    return copy


def layer_label(system: str) -> str:
    """The same for every build: a cache that knows it finds it again. What a build that broke leaves is known by it.

    Args:
        system: as a label holds it.
    """
    return f'LABEL "tau.system"="{system}" "tau.kind"="layer"'


def follow(stream: Iterable[Mapping[str, Any]], context: Context) -> str:
    """The engine's build messages into the log, with each step's time; the image's id.

    The SDK's stream does not raise: a failure is a message with `error` in it.
    """
    image_id = error = None
    clock = _Clock(context.log.line, context.pace.monotonic)
    for message in stream:
        if "stream" in message:
            clock.read(message["stream"])
            context.log.write(_OUR_LABELS.sub(r"\1", message["stream"]).encode())
        if "status" in message and "progressDetail" not in message:
            context.log.write(f"{message['status']}\n".encode())
        # Read to its end all the same: a connection that is left in the middle stays open.
        error = error or message.get("error")
        image_id = message.get("aux", {}).get("ID", image_id)
    if error:
        raise refusal(error, context.log.tail())
    clock.ended()
    if not isinstance(image_id, str):
        raise StepErrored("the Docker engine ended the build without an image and without an error")
    return image_id


@dataclass
class _Clock:
    """Says of each step how long it took, once the next one begins. Our own labels are no step of the Dockerfile's."""

    say: Callable[[str], None]
    monotonic: Callable[[], float]
    _step: re.Match[str] | None = None
    _began_at: float = 0
    _cached: bool = field(default=False)

    def read(self, said: str) -> None:
        begun = _STEP.match(said)
        if begun:
            self.ended()
            self._step, self._began_at, self._cached = begun, self.monotonic(), False
        elif said.startswith(_CACHED):
            self._cached = True

    def ended(self) -> None:
        if self._step and not _OUR_LABELS.match(self._step[0]):
            took_s = None if self._cached else self.monotonic() - self._began_at
            self.say(step_took(self._step["number"], self._step["total"], self._step["what"], took_s))
