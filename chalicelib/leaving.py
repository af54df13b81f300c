"""One of many things to do in; what was in its way in the log, so that the others are done all the same, out."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.errors import BadRecord, TauError

log = logging.getLogger("tau.ticker")


@contextmanager
def left_for_the_next_tick(kind: str, name: str) -> Iterator[None]:
    """Whatever fails in it is said, and done by whoever looks next: it is still due."""
    try:
        yield
    except BadRecord as error:
        log.debug("left to a newer program", extra={"kind": kind, "id": name, "error": str(error)})
    except (TauError, ClientError, BotoCoreError) as error:
        log.warning("left for the next tick", extra={"kind": kind, "id": name, "error": str(error)})
    except Exception as error:  # noqa: BLE001 - around one record: a fault of ours in it must not hold up all the others
        broke(kind, name, error)


def broke(kind: str, name: str, error: Exception) -> None:
    """Say what is a fault of ours, with its place in the code."""
    log.error("broke", exc_info=error, extra={"kind": kind, "id": name})
