"""What ci.yml says of the services of a step, and the question that shows that one can be used. Pure.

A service is any image: a database, a browser. It is reached by its name, in a network that only this step has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self, TypeAlias

import pydantic
from pydantic import AfterValidator

from runner.fields import (
    Duration,
    ImageReference,
    PositiveInt,
    SecretName,
    Size,
    VariableName,
    Words,
    complaint,
    shape,
)

COMMANDS_NAME = "main"
"""By which services reach the container of the command itself."""
MOST = 10
_MOST_PORT = 65535
# What answers the question for a port where the image has no tool of its own: the kernel's list of sockets.
# https://www.kernel.org/doc/html/latest/networking/proc_net_tcp.html; 0A is LISTEN, 7F at an address' end loopback.
_SOCKETS = ("/proc/net/tcp", "/proc/net/tcp6")
_OPEN_TO_OTHERS = (
    r": (0{{32}}|(0{{16}}FFFF0{{4}})?[0-9A-F]{{6}}([0-689A-F][0-9A-F]|7[0-9A-E])):{port:04X} [0-9A-F]+:0000 0A"
)


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?", text):
        raise complaint(f"expected a name of small letters, digits and inner hyphens, such as db, got {shape(text)}")
    if text in {COMMANDS_NAME, "localhost"}:
        raise complaint(f"{shape(text)} is taken: it is the container of the command itself; choose another name")
    return text


ServiceName: TypeAlias = Annotated[str, AfterValidator(_name)]


class Ready(pydantic.BaseModel):
    """`{command: [mysqladmin, ping], within: 2m}`: how it is seen that a service can be used."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    command: Words | None = None
    port: PositiveInt | None = None
    within: Duration = 60

    @pydantic.model_validator(mode="after")
    def _asks_one_thing(self) -> Self:
        if self.command and self.port:
            raise complaint("`command` or `port`, not both: a command can look at the port, too")
        if self.port and self.port > _MOST_PORT:
            raise complaint(f"expected a port up to {_MOST_PORT}, got {self.port}")
        return self


class Service(pydantic.BaseModel):
    """`db: {image: docker.io/library/mariadb:11, ready: {port: 3306}}`."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    image: ImageReference
    command: Words | None = None
    environment: Mapping[VariableName, str] = pydantic.Field(default_factory=dict)
    secrets: Mapping[VariableName, SecretName] = pydantic.Field(default_factory=dict)
    memory: Size = 1024**3
    ready: Ready = Ready()


def _not_too_many(services: Mapping[str, Service]) -> Mapping[str, Service]:
    if len(services) > MOST:
        raise complaint(f"expected {MOST} services at most, got {len(services)}")
    return services


Services: TypeAlias = Annotated[Mapping[ServiceName, Service], AfterValidator(_not_too_many)]


def question(ready: Ready, image: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The command that exits with 0 once a service can be used: ci.yml's, or its image's HEALTHCHECK.

    Args:
        image: the image's configuration.

    Source: https://github.com/moby/moby/blob/v20.10.24/daemon/health.go (CMD, CMD-SHELL)
    """
    if ready.command:
        return ready.command
    if ready.port:
        return ("grep", "-qE", _OPEN_TO_OTHERS.format(port=ready.port), *_SOCKETS)
    kind, *words = (image.get("Healthcheck") or {}).get("Test") or ("NONE",)
    if kind == "CMD-SHELL":
        return (*(image.get("Shell") or ("/bin/sh", "-c")), *words)
    return tuple(words) if kind == "CMD" and words else None
