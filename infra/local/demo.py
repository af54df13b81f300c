"""`make demo`: a push, a broken test and a release, through all of it, on this machine; then nothing of it is left.

KEEP=1 leaves it running until Ctrl-C; `python -m infra.local.demo push "message"` then pushes once more.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from botocore.exceptions import BotoCoreError, ClientError
from docker.errors import DockerException
from requests.exceptions import RequestException

from chalicelib.errors import TauError
from infra.local.alone import alone
from infra.local.cloud import ROOT, CloudError
from infra.local.demo_keep import Kept, addresses, keep_running
from infra.local.demo_story import Story, tau
from infra.local.demo_view import Check, Line, View, seconds
from infra.local.emulator import EmulatorError
from infra.local.engine import Engine, NoEngine, ensure_engine
from infra.local.installation import SYSTEM, Installation, NotSo
from infra.local.package import PackagingError
from infra.local.processes import Child
from infra.local.stacks import StackError
from infra.local.sweep import left

FOLDER = ROOT / ".cache" / "demo"
MAILS, LOGS, WORK = FOLDER / "mails", FOLDER / "logs", FOLDER / "work"
_PATIENCE_S = 30
_READY_S = 30
_MOST = 1500
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What has a reason in its text; anything else is a bug, and shows where.
_NAMED = (TauError, NotSo, CloudError, EmulatorError, StackError, PackagingError)
_STRANGERS = (ClientError, BotoCoreError, DockerException, RequestException, OSError)
_NO_KERNEL = """
In a container without rights, or on a kernel without overlay or iptables, no engine can run: use a virtual machine, or
let DOCKER_HOST name an engine of this host."""

PARTS = {
    "Docker engine": "the one that runs here; if none does, one of our own for as long as this lasts",
    "registry": "for images, asking for a password",
    "git host": "with two sample repositories: an application and a deployment repository",
    "cloud": "API Gateway, Lambda, SQS, DynamoDB, S3, SSM, SES, and Elastic Beanstalk that runs real containers",
    "runner": "a process of its own, as on the code server",
}


class Demo:
    """One telling of the whole story.

    Args:
        keep: leave it running afterwards, until Ctrl-C.
    """

    def __init__(self, view: View, *, keep: bool) -> None:
        self._view = view
        self._keep = keep
        self._began = time.monotonic()
        self._marks: list[tuple[str, float]] = []
        self._checks: list[Check] = []
        self._runner: Child | None = None
        self._logs_are_ours = False

    def run(self) -> int:
        """Tell it, and take everything down; returns the exit code."""
        try:
            with self._view, alone("tau-demo"):
                self._announce()
                _replace(FOLDER)
                self._logs_are_ours = True
                try:
                    self._with_engine()
                finally:
                    _keep_logs(WORK, LOGS)
                    shutil.rmtree(WORK, ignore_errors=True)
        except KeyboardInterrupt:
            self._view.say("\nStopped before its end. Everything is taken down again.")
            return 130
        except NoEngine as error:
            tried = _NO_KERNEL if os.geteuid() == 0 and "DOCKER_HOST" not in os.environ else ""
            return self._failed(f"{error}{tried}\n`make test` runs all that needs no engine.")
        except _NAMED as error:
            return self._failed(str(error))
        except _STRANGERS as error:
            return self._failed(f"{type(error).__name__}: {error}")
        except Exception:  # noqa: BLE001 - the end of the program: a bug shows where it is, and the way to the logs
            return self._failed(f"This is a bug in the demo itself:\n{traceback.format_exc()}")
        return self._summary()

    # --- the way ----------------------------------------------------------------------------------

    def _announce(self) -> None:
        self._view.title("Tau: a git push goes in, a tested image comes out, a tag puts it live")
        self._view.say("This starts, on loopback only, and takes down again at its end:")
        self._view.rows(PARTS)
        self._view.say()

    def _with_engine(self) -> None:
        self._view.busy("engine: looking for one, or starting one")
        with ensure_engine() as engine:
            whose = "started for this demo" if engine.started else "the one that runs here"
            self._view.line(Line("engine", f"{whose}, {engine.host}", self._since("engine")))
            self._view.busy("registry, git host and cloud are starting")
            with Installation(engine, WORK, system=SYSTEM, patience_s=_PATIENCE_S) as installation:
                try:
                    self._tell(installation)
                finally:
                    _cleaning_up()
                    self._since("pushes")
                    self._view.busy("taking everything down")
                    self._collect(installation)
            self._nothing_left(engine)
        self._since("taking down")

    def _tell(self, installation: Installation) -> None:
        self._view.line(Line("cloud", f"registry, git host, AWS at {installation.cloud.url}", self._since("cloud")))
        self._view.busy("runner: starting")
        self._runner = installation.start_runner()
        story = Story(installation, self._runner, self._view, LOGS)
        story.prepare()
        _wait_for_runner(self._runner)
        self._view.line(Line("runner", f"process {self._runner.pid}, ready", self._since("runner")))
        self._checks += story.tell()
        installation.cloud.save_mails(MAILS)
        self._view.title("What `tau runs` says now")
        self._view.ansi(tau(installation, "runs", environ=self._view.environment).rstrip())
        if self._keep:
            self._stay(installation, story, self._runner)

    def _stay(self, installation: Installation, story: Story, runner: Child) -> None:
        kept = Kept(FOLDER)
        kept.write(installation)
        self._since("pushes")
        self._view.title("It goes on running until Ctrl-C. In another terminal, in this folder:")
        self._view.rows(addresses(installation, story.page(), _short(FOLDER)))
        self._view.say()
        self._view.busy("running; Ctrl-C takes everything down")
        try:
            keep_running(installation, runner, self._view, _short(MAILS))
        finally:
            kept.remove()
            self._since("staying")

    # --- the end ----------------------------------------------------------------------------------

    def _collect(self, installation: Installation) -> None:
        """What would be gone with the cloud: mails, and what the Lambda wrote."""
        with suppress(*_STRANGERS):
            installation.cloud.save_mails(MAILS)
            LOGS.joinpath("lambda.log").write_text("\n".join(installation.cloud.logs()))

    def _nothing_left(self, engine: Engine) -> None:
        found = left(engine.client(), SYSTEM)
        self._checks.append(Check("Docker has nothing of it left", not found, ", ".join(found)))

    def _summary(self) -> int:
        wrong = [check for check in self._checks if not check.so]
        view = self._view
        view.title("The end")
        view.checks(self._checks[-1:])
        took = ", ".join(f"{name} {seconds(length_s)}" for name, length_s in self._marks)
        took = f"It took {seconds(time.monotonic() - self._began)}: {took}."
        if wrong:
            view.checks(wrong)
            return self._failed(f"{len(wrong)} of {len(self._checks)} checks are not so. {took}")
        view.say(f"    All {len(self._checks)} checks are so. {took}", "bold green")
        view.say()
        for question, answer in self._answers().items():
            view.say(f"  {question}", "bold")
            view.say(f"      {answer}")
        return 0

    def _answers(self) -> Mapping[str, str]:
        """What somebody asks who has seen it for the first time."""
        return {
            "What happened?": f"{_short(LOGS)}/ has the log of each run, of the runner and of the cloud.",
            "Where is the mail?": f"{_short(_page_to_open())}: open it in a browser.",
            "How do I add my repository?": "README.md answers it, under this very question.",
            "How do I try it myself?": "make demo KEEP=1 leaves all of it running, until Ctrl-C.",
        }

    def _failed(self, reason: str) -> int:
        view = self._view
        view.calm()
        view.line(Line("demo", f"FAILED: {reason}", bad=True))
        if self._logs_are_ours:
            for whose, lines in _telling_lines(LOGS).items():
                view.say(f"\n{whose}:")
                view.say("\n".join(f"  {line}" for line in lines))
            if any(LOGS.iterdir()):
                view.say(f"\nAll logs: {_short(LOGS)}/")
        return 1

    def _since(self, name: str) -> float:
        """The seconds since the last mark, added to this name's."""
        length_s = time.monotonic() - self._began - sum(length for _, length in self._marks)
        self._marks.append((name, length_s))
        return length_s


def _replace(folder: Path) -> None:
    """The folder of the demo before makes place for this one's."""
    shutil.rmtree(folder, ignore_errors=True)
    for path in (MAILS, LOGS, WORK):
        path.mkdir(parents=True)


def _keep_logs(work: Path, logs: Path) -> None:
    """The logs of the parts that ran: they lie at the top of each one's folder."""
    for log in [*work.glob("*.log"), *work.glob("*/*.log")]:
        shutil.copy(log, logs / log.name)


def _telling_lines(logs: Path) -> Mapping[str, Sequence[str]]:
    """What is most likely to say why: the runner's last lines, and where the Lambda complained."""
    runner, function = (
        path.read_text(errors="replace").splitlines() if path.exists() else []
        for path in (logs / "runner-0.log", logs / "lambda.log")
    )
    complaints = [line[:_MOST] for line in function if '"level":"ERROR"' in line or "Traceback" in line]
    found = {"The runner's last lines": runner[-8:], "The Lambda complained": complaints[-3:]}
    return {whose: lines for whose, lines in found.items() if lines}


def _wait_for_runner(runner: Child) -> None:
    until = time.monotonic() + _READY_S
    while '"ready"' not in runner.tail():
        if not runner.running or time.monotonic() > until:
            raise NotSo("the runner did not become ready")
        time.sleep(0.02)


def _page_to_open() -> Path:
    """The mail of the failed push: the one that says the most."""
    pages = sorted(MAILS.glob("*.html"))
    return next((path for path in pages if "failed" in path.name), MAILS)


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _interrupted(number: int, frame: FrameType | None) -> None:
    del number, frame
    _cleaning_up()
    raise KeyboardInterrupt


def _cleaning_up() -> None:
    """From here on no signal cuts the cleaning up short."""
    for one in _SIGNALS:
        signal.signal(one, lambda _number, _frame: None)


def main(argv: Sequence[str] = tuple(sys.argv[1:])) -> int:
    """The command line; returns the exit code."""
    if argv[:1] == ("push",) or argv[:1] == ["push"]:
        try:
            print(Kept(FOLDER).push(" ".join(argv[1:]) or "One more push"))
        except _NAMED as error:
            print(error, file=sys.stderr)
            return 1
        return 0
    if argv:
        print('usage: make demo [KEEP=1], or beside a demo that was kept: python -m infra.local.demo push "message"')
        return 0 if argv[0] in {"-h", "--help"} else 2
    for one in _SIGNALS:
        signal.signal(one, _interrupted)
    return Demo(View(), keep=os.environ.get("KEEP", "") not in {"", "0"}).run()


if __name__ == "__main__":
    sys.exit(main())
