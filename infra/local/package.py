"""An app's folder in, its deployable package out: kept by the hash of what went in, so that it is made once."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import io
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_KEPT = 5


class PackagingError(RuntimeError):
    """`chalice package` refused; carries what it said."""


@dataclass(frozen=True)
class Package:
    """What `chalice package` made.

    Args:
        template: SAM, as JSON; its CodeUri is `./deployment.zip`.
        key: sha256 over everything that went in.
    """

    template: Path
    zip: Path
    key: str

    def with_files(self, files: Mapping[str, bytes]) -> bytes:
        """The zip's bytes, with other contents at some paths."""
        made = io.BytesIO()
        with zipfile.ZipFile(self.zip) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new:
            for entry in old.infolist():
                new.writestr(entry, files.get(entry.filename, old.read(entry)))
        return made.getvalue()


def package(app: Path, stage: str, region: str) -> Package:
    """The package of the Chalice app in folder `app`, from `app/.cache` where its inputs have not changed.

    Raises:
        PackagingError: with the last lines that chalice wrote.
    """
    key = _key(app, stage)
    folder = app / ".cache" / f"package-{key[:16]}"
    with _one_at_a_time(app / ".cache"):
        if not folder.exists():
            made = folder.with_suffix(".new")
            shutil.rmtree(made, ignore_errors=True)
            _chalice(app, stage, region, made)
            made.rename(folder)
        folder.touch()
        _drop_old(folder.parent)
    return Package(template=folder / "sam.json", zip=folder / "deployment.zip", key=key)


def _key(app: Path, stage: str) -> str:
    versions = f"{importlib.metadata.version('chalice')} {sys.version} {stage}"
    digest = hashlib.sha256(versions.encode())
    for path in _inputs(app):
        content = path.read_bytes()
        digest.update(f"\0{path.relative_to(app)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _inputs(app: Path) -> list[Path]:
    """Every file that chalice reads, sorted."""
    folders = [path for name in ("chalicelib", "vendor") for path in (app / name).rglob("*") if path.is_file()]
    files = [app / "app.py", app / "requirements.txt", *(app / ".chalice").glob("*.json"), *folders]
    return sorted(path for path in files if path.exists() and "__pycache__" not in path.parts)


def _chalice(app: Path, stage: str, region: str, made: Path) -> None:
    # Chalice takes every file of chalicelib/, also what Python has kept there for itself.
    for kept in (app / "chalicelib").rglob("__pycache__"):
        shutil.rmtree(kept, ignore_errors=True)
    done = subprocess.run(
        (
            str(Path(sys.executable).with_name("chalice")),
            *("--project-dir", str(app)),
            *("package", "--stage", stage, "--template-format", "json", str(made)),
        ),
        capture_output=True,
        text=True,
        check=False,
        cwd=app,
        # Chalice imports app.py; the region is all that it asks of AWS for a package.
        env={**os.environ, "AWS_DEFAULT_REGION": region, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise PackagingError(f"chalice cannot package {app}:\n{said}")


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Chalice keeps half-made packages in the app's folder: two at once would mix them up."""
    folder.mkdir(exist_ok=True)
    with (folder / "package.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _drop_old(folder: Path) -> None:
    """Keep the newest few packages."""
    made = sorted(folder.glob("package-*/"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in made[_KEPT:]:
        shutil.rmtree(path, ignore_errors=True)
