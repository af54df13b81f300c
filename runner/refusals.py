"""What a builder says when it gives up in; whose fault that is out, in one sentence for either builder."""

from __future__ import annotations

import re

from chalicelib.errors import StepErrored, StepFailed

# Messages of the engine for which no Dockerfile is to blame.
_OURS = re.compile(
    r"no space left|toomanyrequests|connection (refused|reset)|i/o timeout|TLS handshake|no such host"
    r"|network is unreachable|no route to host"
    r"|temporary failure|server misbehaving|EOF$|context canceled|received unexpected HTTP status: 5"
    # A layer of the cache went while this build was about to use it: an older image was being removed.
    r'|(unable to find image "|no such image: |unknown parent image ID |failed to get (digest|layer) )sha256:'
    # BuildKit's, where the engine went away, or the way to it.
    r"|transport is closing|error reading from server|closing transport|code = Unavailable|no active session"
    r"|Cannot connect to the Docker daemon|unexpected status: 5\d\d|error during connect"
    # The stream of its engine ended, and nothing was said.
    r"|server did not provide an image ID",
    re.IGNORECASE,
)
# What a build says whose engine stops, or whose host has no memory left.
_KILLED = "137"
_COMMAND_FAILED = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"The command '(?P<command>.*)' returned a non-zero code: (?P<code>\d+)",
        # BuildKit of engine 20.10, and of 23 and later.
        r"executor failed running \[(?P<command>.*)\]: exit code: (?P<code>\d+)",
        r'process "(?P<command>.*)" did not complete successfully: exit code: (?P<code>\d+)',
    )
)
# BuildKit's, where a command did not even begin: this machine is to blame, unless the image has no such thing.
_NOT_BEGUN = re.compile(
    r"(executor failed running \[.*\]|process \".*\" did not complete successfully): (?!exit code)", re.DOTALL
)
_NOT_THERE = re.compile(
    r"not found|no such file|unable to find (user|group)|exec format error|permission denied|not a directory"
)
# The ways to say where in itself BuildKit gave up; none of it helps a reader.
_WRAPPING = re.compile(
    r"^(ERROR: )?((failed to (build|solve|create LLB definition)( with frontend [\w.]+)?"
    r"|rpc error: code = Unknown desc =):? )*"
)


def refusal(error: str, tail: tuple[str, ...]) -> StepFailed | StepErrored:
    """Whose fault a failed build is: the Dockerfile's, unless the engine speaks of disk or network.

    Args:
        tail: the last lines that the failed command printed.
    """
    failed = next((found for pattern in _COMMAND_FAILED if (found := pattern.search(error))), None)
    if failed:
        command = " ".join(failed["command"].removeprefix("/bin/sh -c ").split())[:120]
        if failed["code"] == _KILLED:
            return StepErrored(f"the Dockerfile's command `{command}` was killed from outside")
        return StepFailed(f"the Dockerfile's command `{command}` exited with {failed['code']}", tail)
    said = _WRAPPING.sub("", error.strip())
    if _OURS.search(said) or (_NOT_BEGUN.search(said) and not _NOT_THERE.search(said)):
        return StepErrored(f"the build broke: {said}")
    return StepFailed(f"the Dockerfile does not build: {said}", tail)
