"""A deployment that waits for its approval in; its approvers asked by mail, and that written down, out."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime

from chalicelib.edge import Edge
from chalicelib.errors import MailDelayed, TauError
from chalicelib.model import Deployment, DeploymentState
from chalicelib.wishes import APPROVAL_EVERY

log = logging.getLogger("tau.asking")

_MOST_WRITES = 10


def ask(record: Deployment, edge: Edge, now: datetime) -> Deployment:
    """Mail those who were not asked yet; whoever dies over it leaves it to the next look.

    An approver may get a mail twice, and never none: only then is it written down that he got it.
    """
    left = [address for address in record.approvers if address not in record.asked]
    if not left or (record.asking_at and now - record.asking_at < APPROVAL_EVERY):
        return record
    asking = replace(record, asking_at=now)
    if not edge.store.move_deployment(record, asking):
        return edge.store.deployment(record.id) or record
    said: dict[str, str] = {}
    for address in left:
        try:
            edge.ask(edge, asking, address)
        except MailDelayed as error:
            log.warning("not asked yet", extra={"deployment": record.id, "reason": str(error)})
            continue
        except TauError as error:
            said[address] = str(error)
        else:
            said[address] = ""
    log.info("asked for approval", extra={"deployment": record.id, "asked": len(said)})
    return _note(replace(asking, number=record.number + 1), said, edge)


def _note(record: Deployment, said: dict[str, str], edge: Edge) -> Deployment:
    for _ in range(_MOST_WRITES):
        if not said or record.state is not DeploymentState.WAITING_APPROVAL:
            break
        noted = replace(record, asked={**record.asked, **said})
        if edge.store.move_deployment(record, noted):
            return replace(noted, number=record.number + 1)
        record = edge.store.deployment(record.id) or record
    return record
