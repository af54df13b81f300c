"""An attached container's socket in, what it prints out, in large chunks and in the order of its writing.

The engine sends frames of a header and at most 32 KB. Read one by one, as the SDK does, they cost four calls of the
kernel each; read in large pieces, many come with one.

Source: https://docs.docker.com/reference/api/engine/version/v1.43/#tag/Container/operation/ContainerAttach
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

_HEADER = struct.Struct(">BxxxL")
_MOST_BYTES = 256 * 1024


class Attached:
    """What a container prints, from its first word on. `close` ends it, from any thread.

    Args:
        output: the SDK's stream, of which nothing was read.
    """

    def __init__(self, docker: Any, output: Any) -> None:
        self._output = output
        # The SDK has no other handle on them, and its own streams read by them too.
        self._response = output._response  # noqa: SLF001
        self._socket = docker.api._get_raw_response_socket(self._response)  # noqa: SLF001
        # A suite may be silent for as long as it likes.
        docker.api._disable_socket_timeout(self._socket)  # noqa: SLF001

    def __iter__(self) -> Iterator[bytes]:
        room = memoryview(bytearray(_MOST_BYTES))

        def read() -> bytes:
            try:
                return bytes(room[: self._socket.readinto(room)])
            except (OSError, ValueError):
                # Closed, by the engine or by us.
                return b""

        return payloads(read)

    def close(self) -> None:
        """Nobody reads any more: whoever waits for more has its end."""
        self._output.close()

    def release(self) -> None:
        """The stream's own close() ends the conversation and keeps the socket."""
        self._response.close()


def payloads(read: Callable[[], bytes]) -> Iterator[bytes]:
    """The contents of frames, of stdout and stderr alike, however they come in pieces.

    Args:
        read: the next bytes; none at the end.
    """
    rest, left = b"", 0
    while piece := read():
        found, rest, left = _split(rest + piece if rest else piece, left)
        if found:
            yield found


def _split(text: bytes, left: int) -> tuple[bytes, bytes, int]:
    """What of it is content, the header that has only begun, and how much is still to come of the last frame.

    Args:
        left: how much of it belongs to a frame that began before.
    """
    found, at = [text[:left]], min(left, len(text))
    left -= at
    while len(text) - at >= _HEADER.size:
        _, length = _HEADER.unpack_from(text, at)
        at += _HEADER.size
        found.append(text[at : at + length])
        left = length - len(found[-1])
        at += len(found[-1])
    return b"".join(found), text[at:], left
