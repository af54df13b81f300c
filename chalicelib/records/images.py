"""Images that were pushed: what lies under each tag and what it stands on, and the image of each commit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from boto3.dynamodb.conditions import Attr

from chalicelib import wire
from chalicelib.graph import Base, Known
from chalicelib.model import VERSION, Json
from chalicelib.records.table import Change, Place, Table

KEPT_FOR = timedelta(days=400)
"""Longer than anybody leaves an image that is in use without a push."""
_KNOWN = "images"


@dataclass(frozen=True)
class Made:
    """The newest image of a commit, in the registries where a run has pushed it."""

    name: str
    commit: str
    run: str
    digests: Mapping[str, str]
    id: str
    pushed_at: datetime
    commits: Mapping[str, str] = field(default_factory=dict)
    bases: tuple[Base, ...] = ()


class ImageRecords:
    """Reads and writes of images by their tags, and by their commits."""

    table: Table

    def put_known_image(self, image: Known) -> bool:
        """Write down what lies under a tag now; False where a push that came later is known already."""
        at = wire.time_text(image.pushed_at)
        older = Attr("pk").not_exists() | Attr("pushed_at").lte(at)
        return (
            self.table.write(Change((_KNOWN, image.named), when=older, values=_values(image, image.pushed_at)))
            is not None
        )

    def known_images(self) -> list[Known]:
        """What lies under every tag, by name; a newer program's are passed over."""
        return [wire.from_json(Known, item) for item in self.table.partition(_KNOWN) if item["v"] <= VERSION]

    def known_image(self, name: str, tag: str) -> Known | None:
        item = self.table.get((_KNOWN, f"{name}:{tag}"))
        return wire.from_json(Known, item) if item and item["v"] <= VERSION else None

    def put_made_image(self, made: Made) -> bool:
        """Write down which image a commit's is; False where a later push of the same commit is known already."""
        older = Attr("pk").not_exists() | Attr("pushed_at").lte(wire.time_text(made.pushed_at))
        change = Change(_made_place(made.name, made.commit), when=older, values=_values(made, made.pushed_at))
        return self.table.write(change) is not None

    def made_image(self, name: str, commit: str) -> Made | None:
        """The image of that name that was built from a commit and pushed; None where none is known."""
        item = self.table.get(_made_place(name, commit))
        return wire.from_json(Made, item) if item and item["v"] <= VERSION else None


def _made_place(name: str, commit: str) -> Place:
    return f"made#{hashlib.sha256(name.encode()).hexdigest()}", commit


def _values(noun: Known | Made, pushed_at: datetime) -> dict[str, Json]:
    expires_at = int((pushed_at + KEPT_FOR).timestamp())
    return {**wire.to_json(noun), "v": VERSION, "expires_at": expires_at}
