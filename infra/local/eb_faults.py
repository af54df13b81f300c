"""Faults ordered for an environment in; met by its next requests, versions, updates and deployments, out.

Each fault is one that Elastic Beanstalk is known for. An order counts down: once, unless it says how often.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from infra.local.eb_protocol import Refused
from infra.local.eb_state import Health


class Fault(StrEnum):
    """What can be ordered, by where it is met."""

    # A request. Those of a version meet the application's next CreateApplicationVersion.
    THROTTLE = "throttle"
    REFUSE = "refuse"
    DENY = "deny"
    QUOTA = "quota"
    OTHER_REGION = "other region"
    LABEL_EXISTS = "label exists"
    LOSE_ANSWER = "lose answer"
    # What becomes of a new version.
    CANNOT_PROCESS = "cannot process"
    NEVER_PROCESS = "never process"
    # What becomes of an update.
    STUCK = "stuck"
    STUCK_FOR_GOOD = "stuck for good"
    SILENT_ROLLBACK = "silent rollback"
    TERMINATE = "terminate"
    MIXED = "mixed"
    # The health of a version, once it is deployed.
    YELLOW = "yellow"
    RED = "red"
    GREY = "grey"


REFUSALS: Mapping[Fault, Refused] = {
    Fault.THROTTLE: Refused("Throttling", "Rate exceeded"),
    # As an environment refuses that became busy in the last moment.
    Fault.REFUSE: Refused(
        "InvalidParameterValue",
        "Environment named {environment} is in an invalid state for this operation. Must be Ready.",
    ),
    Fault.DENY: Refused("InsufficientPrivilegesException", "Access Denied", 403),
    # https://github.com/boto/boto3/issues/920
    Fault.QUOTA: Refused(
        "TooManyApplicationVersionsException",
        "You cannot have more than 1000 Application Versions. "
        "Either remove some Application Versions or request a limit increase.",
    ),
    Fault.OTHER_REGION: Refused(
        "S3LocationNotInServiceRegionException", "The specified S3 bucket is not in the region of the service."
    ),
    Fault.LOSE_ANSWER: Refused("ServiceUnavailable", "The answer was lost, as it was ordered.", 503),
}
"""What refuses a request; an answer is lost after what it answers was done."""
OPERATIONS: Mapping[Fault, str] = {
    Fault.REFUSE: "UpdateEnvironment",
    Fault.DENY: "UpdateEnvironment",
    Fault.LOSE_ANSWER: "UpdateEnvironment",
    Fault.QUOTA: "CreateApplicationVersion",
    Fault.OTHER_REGION: "CreateApplicationVersion",
}
"""The operation that meets a fault where the order names none; a throttle then meets all."""
OF_PROCESSING = frozenset({Fault.CANNOT_PROCESS, Fault.NEVER_PROCESS})
OF_UPDATES = frozenset({Fault.STUCK, Fault.STUCK_FOR_GOOD, Fault.SILENT_ROLLBACK, Fault.TERMINATE})
OF_LAUNCHES = frozenset({Fault.STUCK_FOR_GOOD})
"""What a new environment meets: it is Launching for good, and cannot be aborted."""
HEALTHS: Mapping[Fault, Health] = {
    Fault.YELLOW: Health.WARNING,
    Fault.RED: Health.SEVERE,
    Fault.GREY: Health.NO_DATA,
}


@dataclass(frozen=True)
class Order:
    """A fault that somebody wants to see.

    Args:
        times: how often it is still met.
        after_s: how long after an update began (`terminate`), or a version was deployed (a health).
        operation: of `throttle`, `refuse`, `deny` and `lose answer`.
        same_bundle: of `label exists`: the version that is suddenly there is of our bundle, not of another.
    """

    environment: str
    fault: Fault
    times: int = 1
    after_s: float = 0
    operation: str | None = None
    same_bundle: bool = False


class Faults:
    """The orders that stand, and how often each operation was asked for an environment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: list[Order] = []
        self._asked: Counter[tuple[str, str]] = Counter()

    def order(self, order: Order) -> None:
        with self._lock:
            self._orders.append(order)

    def orders(self, environment: str) -> list[Order]:
        """What is still to come, in the order in which it was ordered."""
        with self._lock:
            return [one for one in self._orders if one.environment == environment]

    def clear(self, environment: str) -> None:
        with self._lock:
            self._orders = [one for one in self._orders if one.environment != environment]

    def asked(self, environment: str) -> dict[str, int]:
        """How many requests of each operation came, whatever they were answered."""
        with self._lock:
            return {name: count for (one, name), count in self._asked.items() if one == environment}

    def take(self, environments: Iterable[str], faults: Collection[Fault]) -> Order | None:
        """The first order of these faults for one of the environments; it is met by that."""
        with self._lock:
            return self._take(environments, faults, None)

    def meet(self, operation: str, environments: Collection[str]) -> Refused | None:
        """Count a request; the refusal that its answer is to be replaced with once it was done.

        Raises:
            Refused: as it was ordered, and nothing is done.
        """
        with self._lock:
            self._asked.update((one, operation) for one in environments)
            order = self._take(environments, REFUSALS, operation)
        if order is None:
            return None
        refusal = REFUSALS[order.fault]
        if order.fault is Fault.LOSE_ANSWER:
            return refusal
        raise Refused(refusal.code, refusal.message.format(environment=order.environment), refusal.status)

    def _take(self, environments: Iterable[str], faults: Collection[Fault], operation: str | None) -> Order | None:
        names = set(environments)
        for at, order in enumerate(self._orders):
            meant = order.operation or OPERATIONS.get(order.fault)
            if order.environment in names and order.fault in faults and meant in {None, operation}:
                left = replace(order, times=order.times - 1)
                self._orders[at : at + 1] = [left] if left.times > 0 else []
                return order
        return None
