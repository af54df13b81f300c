"""What images expose and what somebody wants of it in; which ports are published, and how they are reached, out.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.errors import BadInput
from runner.services import COMMANDS_NAME

_HIGHEST = 65535
_WISH = re.compile(r"(?P<here>[0-9]{1,5}):(?:(?P<of>[a-z][a-z0-9-]*):)?(?P<there>[0-9]{1,5})")
# What usually answers at a port, so that a terminal makes a link of it. https://www.iana.org/assignments/service-names-port-numbers
_SCHEMES = {
    **dict.fromkeys(("80", "3000", "4444", "5000", "7900", "8000", "8080", "8888"), "http"),
    **dict.fromkeys(("443", "8443"), "https"),
    **dict.fromkeys(("5900", "5901"), "vnc"),
}


@dataclass(frozen=True)
class Chosen:
    """A port that somebody has chosen: `8080:80`, or `3307:db:3306` of a service.

    Args:
        of: the service's name, or `main`.
    """

    here: int
    of: str
    there: int

    @property
    def text(self) -> str:
        of = "" if self.of == COMMANDS_NAME else f"{self.of}:"
        return f"{self.here}:{of}{self.there}"


def chosen(text: str) -> Chosen:
    """What `--port` says.

    Raises:
        BadInput: it says something else.
    """
    found = _WISH.fullmatch(text)
    if not found or not all(0 < int(found[name]) <= _HIGHEST for name in ("here", "there")):
        raise BadInput(
            f"--port says {text}; write this machine's port and the image's, such as 8080:80, or 3307:db:3306"
        )
    return Chosen(int(found["here"]), found["of"] or COMMANDS_NAME, int(found["there"]))


def check(wishes: Iterable[Chosen], services: Iterable[str]) -> None:
    """Each is of something that is there, and no two are of one port.

    Raises:
        BadInput: one is not, or two are.
    """
    services, taken = tuple(services), set[tuple[str, int] | int]()
    for one in wishes:
        if one.of not in {COMMANDS_NAME, *services}:
            there = ", ".join(services) or "none"
            raise BadInput(f"--port {one.text}: there is no service {one.of} (there are: {there})")
        for place in ((one.of, one.there), one.here):
            if place in taken:
                raise BadInput(f"--port {one.text}: another --port has one of these two; name each port once")
            taken.add(place)


def published(name: str, image: Mapping[str, Any], wishes: Iterable[Chosen]) -> dict[str, int | None]:
    """The ports of a container that are to be reached, and by which port here; None = by one that is free.

    Args:
        name: the service's, or `main`.
        image: its image's configuration.
    """
    exposed = dict.fromkeys(sorted(image.get("ExposedPorts") or {}, key=_number))
    return {**exposed, **{f"{one.there}/tcp": one.here for one in wishes if one.of == name}}


def lines(reached: Mapping[str, int], called: str) -> list[str]:
    """How the ports of a container are reached, a line each.

    Args:
        reached: by port (`80/tcp`), the one of this machine's loopback.
        called: what the container is called.
    """
    return [
        f"{_address(port, reached[port])}  port {port.removesuffix('/tcp')} of {called}"
        for port in sorted(reached, key=_number)
    ]


def _address(port: str, here: int) -> str:
    number, _, protocol = port.partition("/")
    scheme = _SCHEMES.get(number) if protocol == "tcp" else None
    return f"{scheme}://127.0.0.1:{here}" if scheme else f"127.0.0.1:{here}"


def _number(port: str) -> tuple[int, str]:
    number, _, protocol = port.partition("/")
    return int(number), protocol
