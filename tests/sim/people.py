"""Who pushes, and the forges that tell of it."""

from functools import partial

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.intake import receive
from tests.sim.deployers import Deployers
from tests.sim.forge import OTHER_REPOSITORY
from tests.sim.operators import Operators
from tests.sim.scheduler import Process, SimPace

_DEVELOP, _MASTER = "refs/heads/develop", "refs/heads/master"
_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class People:
    """A few minutes of a team's day.

    `busy` counts what somebody has begun and not finished; `answers` holds what forges were told, with the body that
    they sent; `rewound` the commits that a branch was forced back to.
    """

    def __init__(self, world):
        self._world, self._random = world, world.dice
        self.busy, self.answers = 0, []
        self.operators = Operators(world, self)
        self.deployers = Deployers(world, self.operators)
        self._deadly, self.rewound = set(), set()
        self._ids = 0

    def start(self):
        self.begin(Process("people"), self._day)

    def fate(self, commit):
        """What becomes of it in a build: "good", "red" (its tests fail), "shaky" (we break) or "deadly"."""
        if commit in self._deadly:
            return "deadly"
        roll = int(commit[:4], 16) / 65536
        return "red" if roll < 0.1 else "shaky" if roll < 0.25 else "good"

    def refuses(self, commit):
        """Whether its script exits with 1."""
        return int(commit[4:8], 16) / 65536 < 0.1

    def mend(self, commit):
        """What it did to runners it does no more."""
        self._deadly.discard(commit)

    def begin(self, process, work, after_s=0.0):
        self.busy += 1
        self._world.scheduler.start(process, work, after_s)

    def finished(self):
        self.busy -= 1

    # --- pushes -------------------------------------------------------------------------------------

    def _day(self):
        """A few pushes and a tag or two, close to each other; the forge tells of them in any order."""
        forge, random = self._world.forge, self._random
        news = [self._push(forge, number) for number in range(random.choice([1, 2, 2, 3]))]
        if len(news) > 1 and random.random() < 0.1:
            back = news[0][2]  # thought better of it
            self.rewound.add(back)
            news.append((_DEVELOP, *forge.move(_DEVELOP, back)))
        if random.random() < self._world.faults.odds.released:
            news += [self._release(number) for number in range(random.choice([1, 2]))]
        told = [forge.told(*one) for one in news] + self._elsewhere()
        for number, (headers, body) in enumerate(told):
            self._deliver(number, headers, body, random.random() * 25)
        self._world.scheduler.wait(random.random() * 60)
        for chance, act in (
            (self._world.faults.odds.stopped, self.operators.stop_a_runner),
            (0.15, self.operators.cancel_a_run),
            (0.1, self.operators.redrive_a_run),
        ):
            if random.random() < chance:
                act()
        self.finished()

    def _elsewhere(self):
        """Some days somebody works in another repository too; what is pushed there may well kill its runner."""
        if self._random.random() > self._world.faults.odds.elsewhere:
            return []
        forge, pushes = self._world.forges[OTHER_REPOSITORY], self._random.choice([1, 1, 2])
        return [forge.told(*self._push(forge, number, deadly=0.08)) for number in range(pushes)]

    def _push(self, forge, number, deadly=0.02):
        before, after = forge.commit(_DEVELOP, f"dev{number}@example.com")
        if self._random.random() < deadly:
            self._deadly.add(after)
        return _DEVELOP, before, after

    def _release(self, number):
        _, after = self._world.forge.commit(_MASTER, f"rel{number}@example.com")
        return f"refs/tags/v{number}", *self._world.forge.move(f"refs/tags/v{number}", after)

    # --- deliveries ---------------------------------------------------------------------------------

    def _deliver(self, number, headers, body, after_s):
        """Told once; or twice, where somebody clicks on "redeliver"."""
        self.begin(Process(f"lambda-{number}"), partial(self._receive, headers, body, 3), after_s)
        if self._random.random() < 0.15:
            again_s = after_s + self._random.random() * 30
            self.begin(Process(f"lambda-{number}-copy"), partial(self._receive, headers, body, 3), again_s)

    def _receive(self, headers, body, tries):
        world = self._world
        process = world.scheduler.task.process
        process.again = partial(self._receive_again, headers, body, tries - 1)
        pace = SimPace(world.scheduler, process)
        edge, config = world.edge(pace), world.config
        try:
            answer = receive(headers, body, pinned=None, config=config, edge=edge, now=pace.now(), new_id=self.new_id)
        except (ClientError, BotoCoreError):
            self._receive_again(headers, body, tries - 1)
        else:
            self.answers.append((body, answer))
            self.finished()

    def _receive_again(self, headers, body, tries):
        """Refused, or never answered: whoever looks at the forge's list of deliveries sends it once more."""
        if tries > 0:
            again = partial(self._receive, headers, body, tries)
            self._world.scheduler.start(Process(f"lambda-again-{tries}"), again, 5)
        else:
            self.finished()

    def new_id(self, now):
        """As intake.ulid makes them; the same for a seed."""
        self._ids += 1
        return ulid(int(now.timestamp() * 1000), self._ids)


def ulid(milliseconds, number):
    """A ULID of a time and a number."""
    value, text = milliseconds << 80 | number << 16, ""
    for _ in range(26):
        value, digit = divmod(value, 32)
        text = _DIGITS[digit] + text
    return text
