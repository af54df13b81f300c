"""A local Elastic Beanstalk without an engine, in a time that a test moves: pages instead of containers."""

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler

from infra.local.eb_background import Background
from infra.local.eb_container import Running
from infra.local.eb_images import DeployFailed
from infra.local.eb_proxy import Server

PATIENCE_S = 30
"""Nobody waits longer, by the real clock, for work that does not come to a pause."""


class Stepped(Background):
    """Time stands still while anybody works, and passes when a test says so: in the order of what falls due."""

    def __init__(self, start=datetime(2026, 11, 23, 12, 0, tzinfo=UTC)):
        super().__init__()
        self._now = start
        self._state = threading.Condition()
        self._at_work = 0
        self._sleepers = []

    def now(self):
        return self._now

    def start(self, do):
        with self._state:
            self._at_work += 1

        def counted(work):
            try:
                do(work)
            finally:
                with self._state:
                    self._at_work -= 1
                    self._state.notify_all()

        return super().start(counted)

    def sleep(self, seconds):
        with self._state:
            sleeper = [self._now + timedelta(seconds=seconds), False]
            self._sleepers.append(sleeper)
            self._at_work -= 1
            self._state.notify_all()
            self._state.wait_for(lambda: sleeper[1] or self.closing)
            if not sleeper[1]:
                self._at_work += 1

    def pass_(self, seconds):
        """Let so much time pass, and return when everything is done that fell due."""
        until = self._now + timedelta(seconds=seconds)
        with self._state:
            while True:
                assert self._state.wait_for(lambda: self._at_work == 0, PATIENCE_S), "somebody works for ever"
                due = [sleeper for sleeper in self._sleepers if sleeper[0] <= until]
                if not due:
                    break
                first = min(due, key=lambda sleeper: sleeper[0])
                self._sleepers.remove(first)
                self._now, first[1] = max(self._now, first[0]), True
                self._at_work += 1
                self._state.notify_all()
            self._now = until

    def close(self, patience_s=60):
        self._closing.set()
        with self._state:
            self._state.notify_all()
        super().close(patience_s)


class Page:
    """What stands in for a container: it answers with its image and a variable; as told, with another status."""

    def __init__(self, image, variables):
        self.image, self.status, self.lines = image, 200, [f"serving {image}"]
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                body = f"{image} {variables.get('GREETING', '')}".strip().encode()
                self.send_response(page.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = Server(Handler)


@dataclass
class Pages:
    """Brings bundles up as pages.

    Args:
        broken: what an image prints before it quits, by a part of the image's name.
        statuses: what an image answers with, where that is not 200; by the same.
    """

    broken: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    up_now: list[Page] = field(default_factory=list)

    def up(self, services, login, variables, labels):
        del labels
        (service,) = services
        assert service.bundle.image, "these bundles name an image"
        login(service.bundle.image)
        page = Page(service.bundle.image, dict(variables))
        page.status = next((status for part, status in self.statuses.items() if part in page.image), 200)
        self.up_now.append(page)
        return Running(page, 80, page.server.port)

    def wait_for_answer(self, running, go_on):
        go_on()
        for part, printed in self.broken.items():
            if part in running.container.image:
                raise DeployFailed(f"Docker container quit unexpectedly after launch: {printed}.")

    def answers(self, running):
        return running.container.status < 500

    def printed(self, running, lines):
        return "\n".join(running.container.lines[-lines:])

    def remove(self, running):
        running.container.server.close()
        self.up_now.remove(running.container)

    def clean(self):
        while self.up_now:
            self.up_now.pop().server.close()
