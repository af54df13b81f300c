"""The edge of a machine that is all of the installation: one run in memory, secrets from the environment, no AWS."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Never

from chalicelib.edge import Edge
from chalicelib.errors import MissingSecret, StepErrored
from chalicelib.graph import Known
from chalicelib.model import Json, Run, StepResult
from chalicelib.objects import Objects
from chalicelib.queue import Queue
from chalicelib.records.configs import InForce
from chalicelib.records.images import Made
from chalicelib.records.table import Table
from chalicelib.secrets import Secrets
from chalicelib.settings import Settings
from chalicelib.store import Store

_PART_BYTES = 1024**2


class Nowhere:
    """Stands where a client of AWS would: whatever is asked of it has no answer here."""

    def __getattr__(self, name: str) -> Never:
        # Python's own questions, such as how to copy it, are none to AWS.
        if name.startswith("__"):
            raise AttributeError(name)
        raise StepErrored(f"this needs an installation at AWS ({name}): a pipeline that runs on its own has none")


class OneRun(Store):
    """The records of one run that nobody else knows of. It is held to its end, so every write of it holds."""

    def __init__(self) -> None:
        nowhere: Any = Nowhere()
        super().__init__(Table(nowhere, ""))

    def in_force(self) -> InForce | None:
        return None

    def runs_of_ref(self, *_: object, **__: object) -> Any:
        return iter(())

    def pin(self, run: Run, line: Mapping[str, Json], commit: str) -> None:
        """Nothing to keep: no other claim of the run comes."""

    def note(self, run: Run, entry: Mapping[str, Json]) -> None:
        """The same; what the claim itself has noted, its journal keeps."""

    def finish_step(self, run: Run, index: int, result: StepResult) -> None:
        """The same."""

    def known_image(self, name: str, tag: str) -> Known | None:
        del name, tag
        return None

    def put_known_image(self, image: Known) -> bool:
        """Not kept: an installation knows the images of its own runs."""
        del image
        return True

    def made_image(self, name: str, commit: str) -> Made | None:
        del name, commit
        return None

    def put_made_image(self, made: Made) -> bool:
        """The same."""
        del made
        return True


class Given(Secrets):
    """The secrets that the environment gives, each in a variable of its own."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def get(self, name: str) -> str:
        """The value of a secret.

        Raises:
            MissingSecret: its variable is not set, or empty.
        """
        value = self._environ.get(variable(name), "").rstrip("\r\n")
        if not value.strip():
            raise MissingSecret(f"the secret {name} is not given: put its value into the variable {variable(name)}")
        return value

    def has(self, name: str) -> bool:
        return bool(self._environ.get(variable(name), "").strip())


def variable(secret: str) -> str:
    """Which variable gives a secret: `cmfive-db-password` is TAU_SECRET_CMFIVE_DB_PASSWORD."""
    return f"TAU_SECRET_{re.sub('[^A-Z0-9]', '_', secret.upper())}"


class Here(Objects):
    """What a run stores in the bucket, in a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put_file_once(self, key: str, file: IO[bytes], content_type: str, *, shown: bool) -> None:
        """Keep a copy; no browser asks for its type."""
        del content_type, shown
        file.seek(0)
        (self.folder / key).parent.mkdir(parents=True, exist_ok=True)
        with (self.folder / key).open("wb") as copy:
            shutil.copyfileobj(file, copy)

    def parts(self, key: str) -> Iterator[bytes]:
        with (self.folder / key).open("rb") as file:
            while part := file.read(_PART_BYTES):
                yield part


@dataclass(frozen=True)
class Alone(Edge):
    """An edge behind which there is nothing but this machine.

    Args:
        here: stands where the bucket would.
    """

    here: Here = field(kw_only=True)

    @cached_property
    def objects(self) -> Objects:
        return self.here


def edge(system: str, environ: Mapping[str, str], folder: Path) -> Alone:
    """An edge behind which there is nothing but this machine.

    Args:
        system: value of the label `tau.system`.
        folder: where a run's artifacts wait for its end.
    """
    nowhere: Any = Nowhere()
    return Alone(
        settings=Settings("laptop", "", "", "", "", system, lease_s=30),
        store=OneRun(),
        queue=Queue(nowhere, ""),
        secrets=Given(environ),
        region="",
        client=lambda *_: nowhere,
        now=lambda: datetime.now(UTC),
        here=Here(folder),
    )
