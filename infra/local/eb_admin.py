"""The one route of the local Elastic Beanstalk that AWS does not have: faults are ordered, and calls are counted.

POST   /_elasticbeanstalk/environments/NAME/faults   {"fault": "red", "after_s": 30}
GET    /_elasticbeanstalk/environments/NAME/faults   what is still to come, and what was asked so far
DELETE /_elasticbeanstalk/environments/NAME/faults   nothing more is to come
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, fields
from typing import Any

from infra.local.eb_faults import Fault, Faults, Order

PREFIX = "/_elasticbeanstalk/"
_PLACE = re.compile(r"/_elasticbeanstalk/environments/([A-Za-z0-9-]+)/faults")
_TYPES: dict[str, type | tuple[type, ...]] = {
    "times": int,
    "after_s": (int, float),
    "operation": str,
    "same_bundle": bool,
}


class Unclear(ValueError):
    """An order that cannot be followed; says why."""


def answer(faults: Faults, method: str, path: str, body: bytes) -> tuple[int, bytes]:
    """Status and JSON of one request to the route."""
    place = _PLACE.fullmatch(path)
    if place is None:
        return _json(404, {"error": f"nothing is here but {PREFIX}environments/NAME/faults"})
    name = place[1]
    if method == "POST":
        try:
            faults.order(read(name, body))
        except Unclear as error:
            return _json(400, {"error": str(error)})
    elif method == "DELETE":
        faults.clear(name)
    elif method != "GET":
        return _json(405, {"error": f"{method} is not known here: POST, GET or DELETE"})
    orders = [{**asdict(order), "fault": order.fault.value} for order in faults.orders(name)]
    return _json(200, {"faults": orders, "asked": faults.asked(name)})


def read(environment: str, body: bytes) -> Order:
    """The order that a body says.

    Raises:
        Unclear: it says none.
    """
    try:
        said = json.loads(body)
    except ValueError as error:
        raise Unclear(f"the body is no JSON: {error}") from error
    if not isinstance(said, dict) or said.get("fault") not in set(Fault):
        raise Unclear(f"the body names no fault; there are: {', '.join(Fault)}")
    known = {field.name for field in fields(Order)} - {"environment", "fault"}
    for name, value in said.items():
        if name != "fault" and (name not in known or not isinstance(value, _TYPES[name])):
            raise Unclear(f"{name}: {value!r} is not understood; there are: {', '.join(sorted(known))}")
    return Order(environment, Fault(said.pop("fault")), **said)


def _json(status: int, said: Any) -> tuple[int, bytes]:
    return status, json.dumps(said).encode() + b"\n"
