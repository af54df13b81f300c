"""A minimal Debian for an image to stand on, made of its packages: no registry has to be there.

It takes about a minute, most of which is spent waiting: it is made beside the tests that do not need it.
"""

import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
from pathlib import Path

from infra.local.processes import need_tool

MIRROR = "http://deb.debian.org/debian"
FIXTURE = "debian"
"""Tests that ask for it come last."""
# As the official images have it: what a build's layer holds need not outlive a loss of power, and nobody reads manuals.
_UNREAD = ("usr/share/doc/", "usr/share/locale/", "usr/share/man/", "usr/share/info/")
_FAST = ("etc/dpkg/dpkg.cfg.d/tau", "".join(["force-unsafe-io\n", *(f"path-exclude=/{one}*\n" for one in _UNREAD)]))
_LEFT_OUT = ("./var/cache/apt/", "./dev/", *(f"./{one}" for one in _UNREAD))
# Thousands of files come and go: in memory they do so at once. Twice what it takes.
_MEMORY, _NEEDED_BYTES = Path("/dev/shm"), 1024**3


class Debian:
    """A root file system that grows in a folder of its own; stop() removes it, finished or not."""

    def __init__(self):
        has_room = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _NEEDED_BYTES
        self._folder = Path(tempfile.mkdtemp(prefix="tau-debian-", dir=_MEMORY if has_room else None))
        self._log = self._folder / "log"
        self._root = self._folder / "root"
        argv = (need_tool("debootstrap", "debootstrap"), "--variant=minbase", "bookworm", self._root, MIRROR)
        with self._log.open("wb") as log:
            self._making = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)

    def imported(self, client, name):
        """Wait for it and make an image of it."""
        if self._making.wait():
            raise AssertionError(f"debootstrap failed: {self._log.read_text(errors='replace')[-2000:]}")
        fast, text = _FAST
        (self._root / fast).parent.mkdir(parents=True, exist_ok=True)
        (self._root / fast).write_text(text)
        archive = self._folder / "root.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(self._root, arcname=".", filter=lambda one: None if one.name.startswith(_LEFT_OUT) else one)
        client.api.import_image_from_file(str(archive), repository=name)
        archive.unlink()

    def stop(self):
        if self._making.poll() is None:
            os.killpg(self._making.pid, signal.SIGTERM)
            self._making.wait()
        shutil.rmtree(self._folder)
