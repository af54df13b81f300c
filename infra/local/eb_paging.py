"""All that was found in; the part that one answer holds, newest first, and where the next one begins, out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from infra.local.eb_protocol import Refused
from infra.local.eb_state import Application, Environment, Event, Version

Numbered = TypeVar("Numbered", Application, Version, Environment, Event)

PAGE = 100  # items of an answer when the request names no MaxRecords
TOKEN = re.compile(r"after-[0-9]{1,18}")


def page(items: Iterable[Numbered], params: Mapping[str, Any]) -> tuple[list[Numbered], str | None]:
    """The items that a request gets at a time, newest first, and the token for those after them.

    What is made meanwhile is newer than every token, so no page repeats or leaves out an item.
    """
    size = int(params.get("MaxRecords", PAGE))
    token = params.get("NextToken")
    if token is not None and not TOKEN.fullmatch(token):
        raise Refused("InvalidParameterValue", f"Invalid NextToken: '{token}'.")
    below = int(token.removeprefix("after-")) if token else float("inf")
    newest = sorted((item for item in items if item.number < below), key=lambda item: -item.number)
    return newest[:size], f"after-{newest[size - 1].number}" if len(newest) > size else None
