"""A demo that was left running, reached from another terminal: its addresses in files, and one more push."""

from __future__ import annotations

import json
import shlex
import sys
import time
import urllib.error
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from chalicelib.errors import TauError
from chalicelib.reports.words import commit
from infra.local import samples
from infra.local.demo_view import Line, View
from infra.local.githost import MAIN, GitHost
from infra.local.installation import Installation, deliver
from infra.local.processes import Child
from infra.local.samples import HELLO, HELLO_FORGE

ENVIRONMENT, STATE = "environment", "running.json"


class NotRunning(TauError):
    """There is no demo to push to."""


@dataclass(frozen=True)
class Kept:
    """Where a demo that was left running is written down.

    Args:
        folder: the demo's own, `.cache/demo`.
    """

    folder: Path

    def write(self, installation: Installation) -> None:
        """The files; both hold secrets of this demo, so nobody else may read them."""
        self._write(ENVIRONMENT, exports(installation.environment))
        state = {
            "api": installation.api,
            "secret": installation.hook_secret,
            "git": str(installation.githost.folder),
        }
        self._write(STATE, json.dumps(state))

    def remove(self) -> None:
        for name in (ENVIRONMENT, STATE):
            self.folder.joinpath(name).unlink(missing_ok=True)

    def push(self, message: str) -> str:
        """Commit to the sample application and deliver the webhook, as `git push` and GitHub would; what came of it.

        Raises:
            NotRunning: no demo is running.
        """
        try:
            state = json.loads(self.folder.joinpath(STATE).read_text())
            return self._push(message, state)
        except (FileNotFoundError, urllib.error.URLError) as error:
            raise NotRunning("No demo is running here. Start one in another terminal: make demo KEEP=1") from error

    def _push(self, message: str, state: Mapping[str, str]) -> str:
        githost = GitHost(Path(state["git"]))
        before = githost.git(githost.path(HELLO_FORGE, HELLO), "rev-parse", MAIN)
        # It mends what the demo's second push broke: this one passes.
        files = {**samples.hello(), "NOTES": f"{message}\n"}
        sha = githost.commit(HELLO_FORGE, HELLO, MAIN, files, message)
        head = githost.describe(HELLO_FORGE, HELLO, sha)
        answered = deliver(state["api"], samples.github_push(HELLO, [head], state["secret"], before=before))
        run = json.loads(answered.body).get("runs", [""])[0]
        return f"pushed {commit(sha)} to {HELLO} {MAIN}: answered {answered.status}. Follow it: tau log -f {run}"

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text)


def exports(environment: Mapping[str, str]) -> str:
    """Lines for a shell; `tau` is found too."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted(environment.items())]
    return "\n".join([*lines, f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"', ""])


def addresses(installation: Installation, page: str, folder: Path) -> Mapping[str, str]:
    """What there is to look at while it runs, by what it is."""
    at = installation
    return {
        "hook": f"{at.api}/hooks",
        "registry": f"{at.registry.host} (docker login, user tau, password {at.password})",
        "git host": at.githost.url(HELLO_FORGE, HELLO),
        "live page": page,
        "AWS": at.cloud.url,
        "try": f". {folder / ENVIRONMENT}",
        "": "tau runs",
        " ": 'python -m infra.local.demo push "My first push"',
    }


def keep_running(installation: Installation, runner: Child, view: View, mails: Path) -> None:
    """Stay, and tell of every mail, until Ctrl-C."""
    told = len(installation.cloud.mails())
    try:
        while runner.running:
            time.sleep(0.5)
            sent = installation.cloud.mails()[told:]
            if sent:
                written = installation.cloud.save_mails(mails)[told:]
                for mail, path in zip(sent, written, strict=True):
                    view.line(Line("mail", f"to {', '.join(mail.to)}: {mail.subject} ({path})"))
                told += len(sent)
    except KeyboardInterrupt:
        return
    view.line(Line("runner", f"it ended by itself: {runner.tail(3)}", bad=True))
