"""One schedule: a cloud, a forge, runners, a ticker and people, and all that befalls them; everything from one seed."""

import contextlib
from collections import Counter
from dataclasses import replace
from functools import partial
from random import Random
from types import SimpleNamespace

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.errors import MailDelayed, TauError
from chalicelib.firing import fire
from chalicelib.records.table import Put
from chalicelib.settings import Settings
from chalicelib.ticker import tick
from runner.agent import Agent
from runner.helping import Helper
from runner.tools import Tools
from tests.sim.actions import Actions
from tests.sim.edges.cloud import MemoryCloud
from tests.sim.edges.eb_fates import Fates
from tests.sim.errors import Broken, nothing_is_only_logged
from tests.sim.fates import fate_of, probed
from tests.sim.faults import Faults, Odds
from tests.sim.forge import OTHER_REPOSITORY, REPOSITORY, SECRET, Forge, Workspace
from tests.sim.invariants import Watch, all_over, check, runs_of
from tests.sim.nightly import CRON, Nightly
from tests.sim.people import People
from tests.sim.pipelines import ENVIRONMENT, HOST, IMAGE, config, form, in_force
from tests.sim.scheduler import Flag, Process, Scheduler, SimPace
from tests.sim.scripts import Commands
from tests.sim.storage import Storage

SETTINGS = Settings("sim", "tau-sim", "tau-sim", "tau-sim", "tau@example.com", "tau-sim", lease_s=12, retry_s=5)
LONGEST_S = 24 * 3600.0
"""So long after the last fault something is wrong: nothing in here waits for longer."""
_LAGGING_S = 300


class Quiet:
    """runner.runlog.StepLog: what a step prints decides nothing."""

    printed = ()

    def __init__(self, *where, **how):
        pass

    def _nothing(self, *what, **how):
        pass

    line = write = finish = close = _nothing

    def tail(self, most=20):  # noqa: ARG002 - the real one's argument
        return ()


class World:
    """One schedule.

    Args:
        trace: `trace(who, what)` is told of every step, where somebody reads along.
    """

    def __init__(self, seed, *, trace=None, odds=None):
        self.seed = seed
        self.dice = Random(seed)
        self.random = self.dice.random
        self.settings = SETTINGS
        self.scheduler = Scheduler(self.random)
        self.faults = Faults(self.scheduler, self.random, odds or _odds(self.random), self._restart)
        if trace:
            self.faults.trace = lambda who, what: trace(self.scheduler.time, who, what)
        self.cloud = MemoryCloud(
            SETTINGS,
            self.scheduler.now,
            self.scheduler.monotonic,
            self._idle,
            changed=self._changed,
            point=self.faults.point,
            nasty=self.dice,
            lag=self._lag if self.dice.random() < 0.5 else None,
        )
        self.cloud.put_secret("hook-test", SECRET)
        self.cloud.beanstalk.add_environment(ENVIRONMENT, "app", takes_s=5 + self.random() * 30)
        self.cloud.beanstalk.fates = Fates(fate_of)
        self.forges = {name: Forge(name, seed) for name in (REPOSITORY, OTHER_REPOSITORY)}
        self.forge = self.forges[REPOSITORY]
        self.hosts = [self.cloud.engine() for _ in range(1 + (self.random() < 0.5))]
        self.runners, self.broke, self.died = {}, {}, set()
        self.commands = Commands(self)
        self.outbox, self.image_runs = [], _ImageRuns()
        self.place_of_images = HOST, IMAGE
        self._ids = 0
        self._news = Flag(self.scheduler)
        self.jobs = self.dice.choice([1, 2, 4])
        self.supersede = self.dice.choice(["queued", "queued", "running", "never"])
        self.nightly = Nightly(self) if self.dice.random() < 0.12 else None
        retry, approve = self.dice.choice(["never", "never", "safe"]), self.dice.random() < 0.3
        probe = self.dice.random() < 0.5
        chosen = self.supersede, retry, CRON if self.nightly else None, approve, probe
        self.config = config(*chosen)
        for item in in_force(form(*chosen)):
            self.cloud.table._write(Put(item))
        self.branch_tags = {} if self.supersede == "never" else {"refs/heads/develop": "develop"}
        self.people = People(self)
        self.watch = Watch(self)

    @property
    def troubles(self):
        return len(self.faults.happened)

    def scheduler_flag(self):
        return Flag(self.scheduler)

    def _lag(self, index, waiting):
        """How many of an index's newest updates are not seen yet: few, and not for long."""
        del index
        return min(waiting, int(self.random() * 3)) if self.scheduler.time < _LAGGING_S else 0

    # --- the queue's long polls -------------------------------------------------------------------

    def _idle(self, until):
        self._news.wait(min(until - self.scheduler.time, 60))

    def _changed(self):
        """One of those who poll looks; now and then all of them do."""
        self._news.wake(all_of_them=self.random() < 0.2)

    # --- processes --------------------------------------------------------------------------------

    def start_all(self):
        for number in range(2):
            self._start_runner(number % len(self.hosts), f"runner-{number}")
        for _ in range(2 if self.nightly else 1):
            self._start_ticker()
        if self.nightly:
            self.nightly.start()
        self.people.start()

    def _start_runner(self, host, name):
        self._ids += 1
        process = Process(f"{name}.{self._ids}", error_s=self.dice.uniform(-1.5, 1.5))
        process.again = partial(self._start_runner, host, name)
        pace = SimPace(self.scheduler, process)
        edge = self.edge(pace)
        engine = self.hosts[host]
        actions = Actions(engine, self, process, self.people.fate)
        tools = Tools(
            edge=edge,
            workspace=Workspace(self.forges, self.scheduler),
            docker=engine,
            runner=process.name,
            pace=pace,
            action=actions,
            registry=self.cloud.registries.open,
            open_log=Quiet,
            storage=Storage(engine, edge, pace),
        )
        agent = process.agent = Agent(tools, "default", jobs=self.jobs)
        helper = Helper(edge, process.name, dict, agent.parked, agent.stopping, pace)
        self.runners[process.name] = process
        self.scheduler.start(process, partial(self._serve, process, agent))
        self.scheduler.start(process, helper.run)

    def _serve(self, process, agent):
        """Until it was told to stop; then the next version of it starts."""
        # No engine, or a table that throttles its first look: the process ends, and systemd starts the next.
        with contextlib.suppress(TauError, ClientError, BotoCoreError):
            agent.serve()
        self._restart(process)
        self.scheduler.kill(process)

    def _restart(self, process):
        """systemd's part, and Lambda's."""
        again = getattr(process, "again", None)
        if again:
            systemd = Process("systemd")
            self.scheduler.start(systemd, again, 1 + self.random() * 10)

    def dies(self, process, why):
        self.died.add(process.name)
        if self.faults.trace:
            self.faults.trace(process.name, f"*** {why}")
        self._restart(process)
        self.scheduler.kill(process)

    def edge(self, pace):
        return replace(self.cloud.edge(now=pace.now), post=self._post, ask=self._ask, probe=partial(probed, self))

    def _ask(self, edge, deployment, address):
        """A mail that asks for an approval, without its text."""
        del edge
        try:
            return self.faults.point("ses.send_email", partial(self.people.deployers.ask, deployment.run, address))
        except (ClientError, BotoCoreError) as error:
            raise MailDelayed("SES does not take it now") from error

    def _post(self, edge, result, address):
        """A mail without its text: telling is checked here, what it says elsewhere."""
        del edge
        try:
            return self.faults.point("ses.send_email", partial(self._mailed, address, result.run))
        except (ClientError, BotoCoreError) as error:
            raise MailDelayed("SES does not take it now") from error

    def _mailed(self, address, run):
        self.outbox.append(SimpleNamespace(to=address, run=run))
        return f"message-{len(self.outbox)}"

    def _start_ticker(self):
        process = Process("ticker")
        process.again = self._start_ticker
        pace = SimPace(self.scheduler, process)
        self.scheduler.start(process, partial(self._tick, self.edge(pace), pace))

    def _tick(self, edge, pace):
        while True:
            pace.sleep(60)
            try:
                tick(edge, pace.now())
                if self.nightly:
                    fire(edge, self.config, pace.now(), self.people.new_id)
            except (ClientError, BotoCoreError, TauError):
                continue  # the schedule comes again

    # --- the schedule -----------------------------------------------------------------------------

    def over(self):
        return self.people.busy <= 0 and all_over(self) and (self.nightly is None or self.nightly.is_over())

    def run(self):
        """The whole schedule; raises what does not hold."""
        self.start_all()
        try:
            with nothing_is_only_logged():
                self.scheduler.run(self.over, LONGEST_S)
                self.faults.calm = True
                # Who is frozen wakes up now, with everything that he was about to do.
                self.scheduler.run(self._still, LONGEST_S + 3600)
            self.cloud.beanstalk.settle()
            check(self)
        except (AssertionError, Broken) as error:
            raise type(error)(f"seed {self.seed}: {error}") from error
        finally:
            self._end()
        return self

    def counted(self):
        """What happened in it."""
        counted = Counter({"steps": self.scheduler.steps, "virtual seconds": int(self.scheduler.time)})
        counted.update(f"fault: {what}" for _, what, _, _ in self.faults.happened)
        counted.update(f"run: {item['state']}" for item in runs_of(self).values())
        counted.update({"taken over": self.watch.takings, "mails": len(self.outbox)})
        counted.update({"deployments begun": sum(self.cloud.beanstalk.updates.values())})
        items = self.cloud.table.items
        deployments = [item for place, item in items.items() if place[1] == "deployment"]
        said = ("stopped_by", "approved_by", "refused_by", "instead_of")
        counted.update(f"deployment {name}" for item in deployments for name in said if name in item)
        counted.update(f"deployment: {item['state']}" for item in deployments)
        counted.update(f"eb: {what}" for what, _ in self.cloud.beanstalk.fates.met)
        counted.update({"scripts begun": sum(self.commands.begun.values())})
        counted.update({"schedules fired": sum(item["pipeline"] == "nightly" for item in runs_of(self).values())})
        counted.update({"redriven": len(self.people.operators.redriven)})
        return counted

    def _still(self):
        thawed = all(process.frozen_until <= self.scheduler.time for process in self.runners.values() if process.alive)
        return thawed and self.over() and not any(self.cloud.sqs.queues.values())

    def _end(self):
        """Nobody is left, so that nothing of this schedule reaches into the next."""
        self.scheduler.kill_all()


class _ImageRuns(dict):
    """Digest -> the run that built it."""

    def __missing__(self, digest):
        raise Broken(f"nobody built {digest}")


def _odds(random):
    """Each schedule has troubles of its own kind: most of them of all kinds, some of one."""
    roll = random()
    if roll < 0.5:
        return Odds()
    if roll < 0.65:
        return Odds(kill=15, freeze=0, throttle=0, lost=0, repeat=0, slow=0)
    if roll < 0.8:
        return Odds(kill=0, freeze=10, throttle=0, lost=0, repeat=0, slow=10)
    return Odds(kill=2, freeze=0, throttle=10, lost=15, repeat=10, slow=0)
