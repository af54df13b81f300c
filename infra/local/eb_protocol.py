"""A form in, a checked request out; a result in, XML out: AWS's query protocol as botocore's own model writes it.

Nothing here knows Elastic Beanstalk: names, required members, limits and the form of every answer come from the model.

Source: https://smithy.io/2.0/aws/protocols/aws-query-protocol.html
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from botocore.loaders import Loader
from botocore.model import ListShape, ServiceModel, Shape, StringShape, StructureShape

Params = Mapping[str, Any]  # values are str, int, bool, datetime, lists and dicts of these: what the model says

# Characters that XML 1.0 cannot hold, not even escaped: a container's log is full of them. https://www.w3.org/TR/xml/#charsets
NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Refused(Exception):
    """A request that the service does not grant, as it tells its caller."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


@dataclass(frozen=True)
class Request:
    """One operation that somebody asked for; its members are checked against the model."""

    operation: str
    params: Params


class Protocol:
    """Requests and answers of one service."""

    def __init__(self, model: ServiceModel) -> None:
        self._model = model
        self._namespace = str(model.metadata["xmlNamespace"])

    @classmethod
    def of(cls, service: str) -> Protocol:
        return cls(ServiceModel(Loader().load_service_model(service, "service-2"), service))

    def read(self, text: str) -> Request:
        """The request that a form (or a query string) says.

        Raises:
            Refused: an operation that the model does not know, a missing member, a value outside its limits.
        """
        form = dict(parse_qsl(text, keep_blank_values=True))
        name = form.get("Action")
        if not name:
            raise Refused("MissingAction", "The request is missing an Action parameter.")
        if name not in self._model.operation_names:
            version = self._model.api_version
            raise Refused("InvalidAction", f"Could not find operation {name} for version {version}")
        shape = self._model.operation_model(name).input_shape
        params = _decode(shape, "", form) if shape else {}
        complaints = list(_complaints(shape, "", params)) if shape else []
        if complaints:
            found = f"{len(complaints)} validation error{'s' if len(complaints) > 1 else ''} detected: "
            raise Refused("ValidationError", found + "; ".join(complaints))
        return Request(name, params)

    def answer(self, operation: str, result: Params, request_id: str) -> bytes:
        """The XML of a granted request.

        Raises:
            KeyError: the result has a member that the model does not know.
        """
        root = ET.Element(f"{operation}Response", xmlns=self._namespace)
        shape = self._model.operation_model(operation).output_shape
        if shape is not None:
            _encode(shape, ET.SubElement(root, str(shape.serialization["resultWrapper"])), result)
        metadata = ET.SubElement(root, "ResponseMetadata")
        ET.SubElement(metadata, "RequestId").text = request_id
        return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))

    def refusal(self, refused: Refused, request_id: str) -> bytes:
        """The XML of a request that was not granted."""
        root = ET.Element("ErrorResponse", xmlns=self._namespace)
        error = ET.SubElement(root, "Error")
        ET.SubElement(error, "Type").text = "Sender" if refused.status < 500 else "Receiver"
        ET.SubElement(error, "Code").text = refused.code
        ET.SubElement(error, "Message").text = NOT_XML.sub("\N{REPLACEMENT CHARACTER}", refused.message)
        ET.SubElement(root, "RequestId").text = request_id
        return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _decode(shape: Shape, path: str, form: Mapping[str, str]) -> Any:
    """The value at a dotted path of the form; None where nothing was sent."""
    if isinstance(shape, StructureShape):
        prefix = f"{path}." if path else ""
        if path and not any(key.startswith(prefix) for key in form):
            return None
        values = {name: _decode(member, f"{prefix}{name}", form) for name, member in shape.members.items()}
        return {name: value for name, value in values.items() if value is not None}
    if isinstance(shape, ListShape):
        items = list(_decode_items(shape, path, form))
        return items if items or path in form else None
    text = form.get(path)
    return None if text is None else _decode_scalar(shape, path, text)


def _decode_items(shape: ListShape, path: str, form: Mapping[str, str]) -> Iterator[Any]:
    number = 1
    while (item := _decode(shape.member, f"{path}.member.{number}", form)) is not None:
        yield item
        number += 1


def _decode_scalar(shape: Shape, path: str, text: str) -> Any:
    try:
        if shape.type_name in {"integer", "long"}:
            return int(text)
        if shape.type_name == "boolean":
            return {"true": True, "false": False}[text.lower()]
        if shape.type_name == "timestamp":
            moment = datetime.fromisoformat(text)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, KeyError) as error:
        raise Refused("MalformedInput", f"{path} is no {shape.type_name}: {text!r}") from error
    return text


def _complaints(shape: Shape, path: str, value: Any) -> Iterator[str]:
    """What the model says against a value, in AWS's words."""
    if isinstance(shape, StructureShape):
        for name in shape.required_members:
            if name not in value:
                yield _complaint(None, f"{path}{_lower(name)}", "Member must not be null")
        for name, member in value.items():
            yield from _complaints(shape.members[name], f"{path}{_lower(name)}", member)
    elif isinstance(shape, ListShape):
        for number, item in enumerate(value, start=1):
            yield from _complaints(shape.member, f"{path}.{number}.member", item)
    elif isinstance(shape, StringShape) and shape.enum and value not in shape.enum:
        yield _complaint(value, path, f"Member must satisfy enum value set: [{', '.join(shape.enum)}]")
    elif shape.type_name in {"string", "integer", "long"}:
        yield from _limits(shape, path, value)


def _limits(shape: Shape, path: str, value: str | int) -> Iterator[str]:
    size, noun = (len(value), "length") if isinstance(value, str) else (value, "value")
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and size < int(least):
        yield _complaint(value, path, f"Member must have {noun} greater than or equal to {least}")
    if most is not None and size > int(most):
        yield _complaint(value, path, f"Member must have {noun} less than or equal to {most}")


def _complaint(value: object, path: str, constraint: str) -> str:
    said = "null" if value is None else f"'{value}'"
    return f"Value {said} at '{path}' failed to satisfy constraint: {constraint}"


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]


def _encode(shape: Shape, element: ET.Element, value: Any) -> None:
    """Write a value into its element; members that are None are left out."""
    if isinstance(shape, StructureShape):
        for name, member in value.items():
            if member is not None:
                _encode(shape.members[name], ET.SubElement(element, name), member)
    elif isinstance(shape, ListShape):
        for item in value:
            _encode(shape.member, ET.SubElement(element, "member"), item)
    else:
        element.text = NOT_XML.sub("\N{REPLACEMENT CHARACTER}", _text(value))


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return str(value)
