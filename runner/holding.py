"""While a run is held: its beat moves and its message stays hidden, from a thread of their own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Self

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.edge import Edge
from chalicelib.errors import LostClaim
from chalicelib.model import Run
from chalicelib.queue import Received

log = logging.getLogger("tau.holding")

_BEATS_IN_A_LEASE = 3


class Holding:
    """Holds a run for as long as the block lasts; `lost` is set when another epoch has it."""

    def __init__(self, run: Run, received: Received, edge: Edge, now: Callable[[], datetime]) -> None:
        self._run = run
        self._received = received
        self._edge = edge
        self._now = now
        self._over = threading.Event()
        self.lost = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"beat-{run.id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        lease_s = self._edge.settings.lease_s
        while not self._over.wait(lease_s / _BEATS_IN_A_LEASE):
            try:
                self._edge.store.beat(self._run, self._now())
                self._edge.queue.hide(self._received, hidden_s(lease_s))
            except LostClaim:
                self.lost.set()
                return
            except (ClientError, BotoCoreError) as error:
                # The next beat tries again; should none get through for a lease, another runner takes over and
                # our next write fails by its epoch.
                log.warning("sign of life not given", extra={"run": self._run.id, "error": str(error)})


def hidden_s(lease_s: float) -> int:
    """For how long a message stays hidden between two beats: SQS counts whole seconds."""
    return max(1, round(lease_s))
