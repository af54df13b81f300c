"""Everybody outside: who pushes, the forge that tells of it, and who cancels a run or stops a runner."""

from functools import partial

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.cancelling import Unsteady, cancel
from chalicelib.errors import NotThere
from chalicelib.intake import receive
from tests.sim.scheduler import Process, SimPace

_DEVELOP, _MASTER = "refs/heads/develop", "refs/heads/master"
_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class People:
    """A few minutes of a team's day.

    `busy` counts what somebody has begun and not finished; `answers` holds what forges were told, with the body that
    they sent; `cancelled` what became of each wish to cancel, by run; `rewound` the commits that a branch was forced
    back to.
    """

    def __init__(self, world):
        self._world, self._random = world, world.dice
        self.busy, self.answers, self.cancelled = 0, [], {}
        self._deadly, self.rewound = set(), set()
        self._ids = 0

    def start(self):
        self._begin(Process("people"), self._day)

    def fate(self, commit):
        """What becomes of it in a build: "good", "red" (its tests fail), "shaky" (we break) or "deadly"."""
        if commit in self._deadly:
            return "deadly"
        roll = int(commit[:4], 16) / 65536
        return "red" if roll < 0.1 else "shaky" if roll < 0.25 else "good"

    def _begin(self, process, work, after_s=0.0):
        self.busy += 1
        self._world.scheduler.start(process, work, after_s)

    def _finished(self):
        self.busy -= 1

    # --- pushes -------------------------------------------------------------------------------------

    def _day(self):
        """A few pushes and a tag or two, close to each other; the forge tells of them in any order."""
        forge, random = self._world.forge, self._random
        news = [self._push(number) for number in range(random.choice([1, 2, 2, 3]))]
        if len(news) > 1 and random.random() < 0.1:
            back = news[0][2]  # thought better of it
            self.rewound.add(back)
            news.append((_DEVELOP, *forge.move(_DEVELOP, back)))
        if random.random() < 0.25:
            news += [self._release(number) for number in range(random.choice([1, 2]))]
        for number, (ref, before, after) in enumerate(news):
            self._deliver(number, *forge.told(ref, before, after), random.random() * 25)
        self._world.scheduler.wait(random.random() * 60)
        if random.random() < 0.15:
            self._stop_a_runner()
        if random.random() < 0.15:
            self._cancel_a_run()
        self._finished()

    def _push(self, number):
        before, after = self._world.forge.commit(_DEVELOP, f"dev{number}@example.com")
        if self._random.random() < 0.02:
            self._deadly.add(after)
        return _DEVELOP, before, after

    def _release(self, number):
        _, after = self._world.forge.commit(_MASTER, f"rel{number}@example.com")
        return f"refs/tags/v{number}", *self._world.forge.move(f"refs/tags/v{number}", after)

    # --- deliveries ---------------------------------------------------------------------------------

    def _deliver(self, number, headers, body, after_s):
        """Told once; or twice, where somebody clicks on "redeliver"."""
        self._begin(Process(f"lambda-{number}"), partial(self._receive, headers, body, 3), after_s)
        if self._random.random() < 0.15:
            again_s = after_s + self._random.random() * 30
            self._begin(Process(f"lambda-{number}-copy"), partial(self._receive, headers, body, 3), again_s)

    def _receive(self, headers, body, tries):
        world = self._world
        process = world.scheduler.task.process
        process.again = partial(self._receive_again, headers, body, tries - 1)
        pace = SimPace(world.scheduler, process)
        edge, config = world.edge(pace), world.config
        try:
            answer = receive(headers, body, pinned=None, config=config, edge=edge, now=pace.now(), new_id=self._new_id)
        except (ClientError, BotoCoreError):
            self._receive_again(headers, body, tries - 1)
        else:
            self.answers.append((body, answer))
            self._finished()

    def _receive_again(self, headers, body, tries):
        """Refused, or never answered: whoever looks at the forge's list of deliveries sends it once more."""
        if tries > 0:
            again = partial(self._receive, headers, body, tries)
            self._world.scheduler.start(Process(f"lambda-again-{tries}"), again, 5)
        else:
            self._finished()

    def _new_id(self, now):
        self._ids += 1
        return ulid(int(now.timestamp() * 1000), self._ids)

    # --- the operator -------------------------------------------------------------------------------

    def _stop_a_runner(self):
        agents = [process.agent for process in self._world.runners.values() if process.alive]
        if agents:
            agent = self._random.choice(agents)
            (agent.hand_back if self._random.random() < 0.7 else agent.drain)()

    def _cancel_a_run(self):
        runs = [place[0].removeprefix("run#") for place in self._world.cloud.table.items if place[1] == "run"]
        if runs:
            process = Process("operator")
            process.again = self._finished
            pace = SimPace(self._world.scheduler, process)
            self._begin(process, partial(self._cancel, self._random.choice(runs), self._world.edge(pace), pace))

    def _cancel(self, run, edge, pace):
        try:
            self.cancelled[run] = cancel(run, "sam@laptop", edge, pace.now())
        except (ClientError, BotoCoreError, NotThere, Unsteady):
            self.cancelled[run] = None
        self._finished()


def ulid(milliseconds, number):
    """A ULID of a time and a number."""
    value, text = milliseconds << 80 | number << 16, ""
    for _ in range(26):
        value, digit = divmod(value, 32)
        text = _DIGITS[digit] + text
    return text
