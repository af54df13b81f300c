"""ministack as a child process that cannot outlive us, on loopback, with all that it writes in one folder."""

from __future__ import annotations

import contextlib
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

REGION = "ap-southeast-2"
_READY_S = 30.0


class EmulatorError(RuntimeError):
    """The emulator did not come up; names the log to read."""


class Emulator:
    """One ministack.

    Args:
        folder: gets `ministack.log` (kept) and `tmp/` (removed by `stop`).
        endpoint: the address that functions inside it use for AWS.
    """

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.port = _free_port()
        self.log = folder / "ministack.log"
        self._tmp = folder / "tmp"
        self._tmp.mkdir(parents=True)
        with self.log.open("wb") as log:
            # -P: this folder's modules (registry, engine …) must not hide the emulator's own.
            self._child = subprocess.Popen(
                (sys.executable, "-P", __file__),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=_environment(self.port, self._tmp, endpoint),
                start_new_session=True,
            )

    def wait(self) -> None:
        """Return when it answers.

        Raises:
            EmulatorError: it ended, or did not answer in time.
        """
        deadline = time.monotonic() + _READY_S
        while self._child.poll() is None and time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/_ministack/health", timeout=5):
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.02)
        raise EmulatorError(f"the local cloud's emulator did not start: read {self.log}")

    def stop(self) -> None:
        """End it and the functions it runs, at once: nothing in it is meant to stay."""
        with contextlib.suppress(ProcessLookupError):  # it had ended by itself
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        if self._child.stdin is not None:
            self._child.stdin.close()
        shutil.rmtree(self._tmp, ignore_errors=True)


def _environment(port: int, tmp: Path, endpoint: str) -> dict[str, str]:
    """Nothing of ours but PATH: its functions inherit it, and must see what they would see at AWS."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(tmp),
        "TMPDIR": str(tmp),
        "STATE_DIR": str(tmp / "state"),
        "LANG": "C.UTF-8",
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "MINISTACK_HOST": "127.0.0.1",
        "MINISTACK_REGION": REGION,
        "AWS_ENDPOINT_URL": endpoint,
        # Rights are checked: each function has those of its policy, the runner those of infra/stack.yml.
        "AUTH": "true",
        # It would look for containers of an earlier life of its own; and open ports for MQTT and SFTP.
        "DOCKER_HOST": "unix:///nonexistent",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
    }


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _end_with_parent() -> None:
    """Kill our whole group when the pipe from our parent closes: it does, however the parent ended."""
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)


def _main() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    runpy.run_module("ministack")


if __name__ == "__main__":
    _main()
