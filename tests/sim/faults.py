"""What goes wrong at the edges: the hook through which every call to the outside goes."""

from dataclasses import dataclass, field

from tests.sim.edges.point import no_answer, server_error, throttled
from tests.sim.scheduler import Flag, Killed, Process

# Nobody can be kept from being frozen between his last look and the packet that leaves his machine, and no other side
# of ours takes a fence: what of the promise depends on that is said in docs/promise.md. Everywhere else, anything goes.
_UNFENCED = frozenset(
    {"registry.tag", "docker.push", "eb.update_environment", "eb.abort_environment_update", "ses.send_email"}
)
_MAILS = frozenset({"ses.send_email"})
# One that the network holds up: longer, and docs/promise.md says what may come of it.
_UNDER_WAY_S = {"eb.update_environment": 20.0, "eb.abort_environment_update": 20.0}
# What others do right before a read, they might as well do right before the write that follows: a turn for them in
# every third place finds as much, and is a third of the work. A long poll gives them turns enough while it waits.
_READS = frozenset(
    {
        "table.get",
        "table.get_many",
        "table.query",
        "table.partition",
        "registry.digest",
        "ssm.get_parameter",
        "queue.url",
    }
)
_POLL = "queue.receive"


@dataclass
class Odds:
    """How often what happens at a call: of a thousand.

    Args:
        most: faults in one schedule; then everything works.
        stopped: of one, how often somebody stops a runner.
        elsewhere: of one, how often somebody pushes to another repository too.
        released: of one, how often a tag or two are to go live.
        abort: of one, how often somebody takes a deployment back that comes to another state.
    """

    kill: float = 4
    freeze: float = 2
    throttle: float = 4
    lost: float = 6
    repeat: float = 3
    slow: float = 10
    most: int = 6
    stopped: float = 0.25
    elsewhere: float = 0.35
    released: float = 0.35
    abort: float = 0.06


@dataclass
class Faults:
    """The hook of one schedule.

    Args:
        trace: told of every call and of every fault, where somebody reads along.
        restart: called with a process that was killed.
    """

    scheduler: object
    random: object
    odds: Odds
    restart: object
    trace: object = None
    happened: list = field(default_factory=list)
    calm: bool = False

    def point(self, name, do):
        """One call: it takes a while, and may go wrong in any of the ways that calls do."""
        scheduler, random = self.scheduler, self.random
        process = scheduler.task.process
        if self.trace:
            self.trace(process.name, name)
        # What no other side can fence leaves at once: the network takes its time, and a frozen sender does not hold it.
        if not (name == _POLL or name in _UNFENCED or (name in _READS and random() < 0.67)):
            scheduler.wait(random() * 0.05)
        roll = random() * 1000
        odds = self.odds
        if self.calm or roll >= 60 or len(self.happened) >= odds.most:
            return do()
        return self._fault(name, do, process, roll)

    def _fault(self, name, do, process, roll):
        odds = self.odds
        for kind in ("kill", "freeze", "throttle", "lost", "repeat", "slow"):
            roll -= getattr(odds, kind)
            if roll < 0:
                return getattr(self, f"_{kind}")(name, do, process)
        return do()

    def _note(self, what, name, process):
        self.happened.append((round(self.scheduler.time, 2), what, process.name, name))
        if self.trace:
            self.trace(process.name, f"*** {what} at {name}")

    def _kill(self, name, do, process):
        before = self.random() < 0.5
        self._note("killed before" if before else "killed after", name, process)
        if not before:
            do()
        self.restart(process)
        self.scheduler.kill(process)
        raise Killed

    def _freeze(self, name, do, process):
        # The answer came, and nobody was there to read it.
        before = self.random() < 0.5 and name not in _UNFENCED
        self._note("frozen before" if before else "frozen after", name, process)
        seconds = 5 + self.random() * 60
        if before:
            self.scheduler.freeze(process, seconds)
            return do()
        result = do()
        self.scheduler.freeze(process, seconds)
        return result

    def _throttle(self, name, do, process):
        del do
        self._note("throttled", name, process)
        raise throttled(name)

    def _lost(self, name, do, process):
        self._note("answer lost", name, process)
        if self.random() < 0.7:
            do()
        raise no_answer(name) if self.random() < 0.5 else server_error(name)

    def _repeat(self, name, do, process):
        """As botocore does when an answer was lost."""
        if name in _MAILS or name in _UNDER_WAY_S:
            return do()  # these clients do not repeat: chalicelib/edge.py
        self._note("sent twice", name, process)
        do()
        return do()

    def _slow(self, name, do, process):
        self._note("slow", name, process)
        if name in _UNFENCED:
            return self._under_way(do, self.random() * _UNDER_WAY_S.get(name, 3.0))
        self.scheduler.wait(self.random() * 20)
        return do()

    def _under_way(self, do, seconds):
        """The network has it: whoever sent it may be frozen or die, and it arrives no later, and no less."""
        arrived, answers = Flag(self.scheduler), []

        def arrive():
            try:
                answers.append((do(), None))
            except Exception as error:  # noqa: BLE001 - whatever it is, whoever sent it is told
                answers.append((None, error))
            arrived.set()

        self.scheduler.start(Process("network"), arrive, seconds)
        arrived.wait()
        answer, error = answers[0]
        if error:
            raise error
        return answer
