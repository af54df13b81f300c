"""A seed in, the random life of a few runs, locks, deliveries and deployments out: operations for any store."""

import random
from dataclasses import replace
from datetime import timedelta

from chalicelib.beanstalk import live
from chalicelib.graph import Known
from chalicelib.model import (
    ENDS,
    Delivery,
    Deployment,
    DeploymentState,
    Handed,
    Provider,
    RunState,
    StepResult,
    StepStatus,
    Stop,
    WaitingFor,
)
from chalicelib.records.deliveries import Accepted
from chalicelib.records.images import Made
from chalicelib.records.runs import new_run
from tests.installation import NOW, event, job, run

_RUNS = 12
_FIT = {
    RunState.QUEUED: ("claim", "claim", "claim", "park_for_lock", "park_queued", "call_again", "end_unclaimed"),
    RunState.RUNNING: (
        *("beat", "note", "finish_step", "park", "end", "supersede", "take_over", "ask_to_stop", "obey_no_more", "pin"),
        *("call_again", "follow"),
    ),
    RunState.WAITING: ("wake", "wake", "wake_for", "end_unclaimed"),
    **dict.fromkeys(ENDS, ("take_telling", "told", "all_told")),
}
_OF_RUNS = sorted({name for names in _FIT.values() for name in names})
_OTHERS = (
    *("create", "create", "create", "create", "run", "due", "runs_of_day", "runs_of_ref", "runs_of_commit"),
    *("acquire_lock", "release_lock", "waiters", "record", "finish_planning", "delivery"),
    *("create_deployment", "move_deployment", "deployment", "put_runner", "put_config"),
    *("put_known_image", "put_made_image", "put_last_look"),
)
_ENDS = sorted(ENDS)


class Story:
    """Each `next` is (what it is, a function of a store).

    Args:
        store: one of those that live through it, to see what would fit.
    """

    def __init__(self, seed, store):
        self._random, self._store = random.Random(seed), store
        self._now, self._read, self._accepted, self._looks = NOW, [], [], []

    def next(self):
        choice = self._random
        self._now += timedelta(milliseconds=choice.randrange(90_000))
        if choice.random() < 0.3:
            name = choice.choice(_OTHERS)
            return name, getattr(self, f"_{name}")()
        some = self._some_run()
        name = choice.choice(_FIT[some.state] if choice.random() < 0.8 else _OF_RUNS)
        return name, getattr(self, f"_{name}")(some)

    def _some_run(self):
        """A run as it stands, or as somebody read it a while ago."""
        known = [one for one in map(self._now_of, range(1, _RUNS)) if one] or [self._made(1)]
        living = [one for one in known if not one.ended] or known
        some = self._random.choice(living if self._random.random() < 0.8 else known)
        self._read.append(some)
        return self._random.choice(self._read) if self._random.random() < 0.2 else some

    def _now_of(self, number):
        made = self._made(number)
        return self._store.run(made.id) if (f"run#{made.id}", "run") in self._store.table.items else None

    def _made(self, number):
        told = event(ref=f"refs/heads/b{number % 3}", commit=f"{number:040}")
        return run(number, job=job(event=told, lock=f"lock {number % 2}"), created_at=NOW + timedelta(hours=number * 5))

    def _number(self):
        return self._random.randrange(1, _RUNS)

    def _end_state(self):
        return self._random.choice(_ENDS)

    def _tell(self):
        return {f"email:{name}@x.org": {"state": "due", "attempts": 0} for name in "ab"[: self._random.randrange(3)]}

    # --- a run ------------------------------------------------------------------------------------

    def _create(self):
        made = self._made(self._number())
        return lambda store: store.table.write(new_run(made))

    def _claim(self, some):
        now, runner = self._now, f"r{self._number()}"
        return lambda store: store.claim(some, runner, now)

    def _take_over(self, some):
        now = self._now
        return lambda store: store.take_over(some, "r9", now)

    def _beat(self, some):
        now = self._now
        return lambda store: store.beat(some, now)

    def _note(self, some):
        entry = {"kind": "seen", "key": f"tag {self._number()}", "x": self._random.random(), "n": None}
        return lambda store: store.note(some, entry)

    def _finish_step(self, some):
        status = self._random.choice(list(StepStatus))
        result = StepResult("build", status, NOW, self._now, facts={"image": {"id": "sha256:1"}})
        index = self._number()
        return lambda store: store.finish_step(some, index, result)

    def _park(self, some):
        due_at, entries = (
            self._now + timedelta(seconds=self._random.random()),
            [{"key": "x"}] * self._random.randrange(3),
        )
        return lambda store: store.park(some, WaitingFor.ENVIRONMENT, due_at, "waits", entries)

    def _park_queued(self, some):
        now = self._now
        return lambda store: store.park_queued(some, WaitingFor.RETRY, now, "later")

    def _park_for_lock(self, some):
        now = self._now
        return lambda store: store.park_for_lock(some, now)

    def _wake(self, some):
        now = self._now
        return lambda store: store.wake(some.id, None, now)

    def _wake_for(self, some):
        now, what = self._now, self._random.choice(list(WaitingFor))
        return lambda store: store.wake(some.id, what, now)

    def _call_again(self, some):
        now = self._now
        return lambda store: store.call_again(some, now)

    def _ask_to_stop(self, some):
        stop = Stop(RunState.CANCELLED, "sam@laptop", self._now)
        return lambda store: store.ask_to_stop(some, stop)

    def _obey_no_more(self, some):
        return lambda store: store.obey_no_more(some)

    def _follow(self, some):
        now = self._now
        return lambda store: store.follow(some.id, now)

    def _end(self, some):
        now, state, tell, reason = self._now, self._end_state(), self._tell(), self._random.choice([None, "because"])
        return lambda store: store.end(some, state, reason=reason, tell=tell, now=now)

    def _end_unclaimed(self, some):
        now, state, tell = self._now, self._end_state(), self._tell()
        return lambda store: store.end_unclaimed(some, state, reason="because", tell=tell, now=now)

    def _supersede(self, some):
        now, number = self._now, self._number()
        successor = self._made(number if self._made(number).id != some.id else _RUNS)
        handed = {some.id: Handed("c" * 40, to="a@x.org", by="A", message="Work")}
        return lambda store: store.supersede(some, successor, handed=handed, reason="a newer push", now=now)

    def _take_telling(self, some):
        now, due = self._now, replace(some, due_at=some.due_at or self._now)
        return lambda store: store.take_telling(due, now)

    def _told(self, some):
        due_at = self._random.choice([None, self._now])
        return lambda store: store.told(some.id, "email:a@x.org", {"state": "told", "attempts": 1}, due_at)

    def _all_told(self, some):
        return lambda store: store.all_told(some.id)

    # --- reading ----------------------------------------------------------------------------------

    def _run(self):
        made = self._made(self._number())
        return lambda store: store.run(made.id)

    def _due(self):
        now = self._now
        return lambda store: sorted(store.due(now), key=lambda one: (one.at, one.kind, one.id))

    def _runs_of_day(self):
        return lambda store: list(store.runs_of_day("2026-11-23", 3))

    def _runs_of_ref(self):
        ref = f"refs/heads/b{self._number() % 3}"
        return lambda store: list(store.runs_of_ref("github.com", "2pisoftware/cmfive", ref, 9))

    def _runs_of_commit(self):
        commit = f"{self._number():040}"
        return lambda store: list(store.runs_of_commit(commit, 9))

    # --- locks, deliveries, the rest --------------------------------------------------------------

    def _acquire_lock(self):
        name, holder = f"eb/{self._number() % 2}", f"h{self._number()}"
        return lambda store: store.acquire_lock(name, holder, 0)

    def _release_lock(self):
        name, holder = f"eb/{self._number() % 2}", f"h{self._number()}"
        return lambda store: store.release_lock(name, holder)

    def _waiters(self):
        name = f"lock {self._number() % 2}"
        return lambda store: (store.waiters(name), store.lock_holder(name))

    def _new_delivery(self):
        """One of a few bodies; what it says of its ref follows upon what was said before, or not."""
        number, count = self._number(), len(self._accepted) + 1
        new = replace(self._made(number), id=f"01KAR{count:021}", delivery=f"01KAQ{count:021}")
        told = event(ref=f"refs/heads/b{number % 3}", before=f"{number % 4:040}", after=f"{self._number() % 4:040}")
        delivery = Delivery("github.com", Provider.GITHUB, {"x-github-event": ("push",)}, f"body {number}".encode())
        self._accepted.append(Accepted(new.delivery, delivery, self._now, "c" * 64, (told,), ((),), (new,)))
        return self._accepted[-1]

    def _record(self):
        accepted = self._new_delivery()
        return lambda store: store.record(accepted)

    def _finish_planning(self):
        accepted = self._random.choice(self._accepted) if self._accepted else self._new_delivery()
        return lambda store: store.finish_planning(accepted)

    def _delivery(self):
        delivery_id = f"01KAQ{self._number():021}"
        return lambda store: store.delivery(delivery_id)

    def _deployment_made(self):
        number, states = self._number(), list(DeploymentState)
        due_at = self._random.choice([None, self._now.replace(microsecond=0)])
        return Deployment(
            id=f"01RUN{number}.3",
            run=f"01RUN{number}",
            region="ap-southeast-2",
            application="crm",
            environment="crm-production",
            label="v2",
            state=self._random.choice(states),
            number=self._number(),
            created_at=NOW,
            deadline_at=NOW + timedelta(seconds=1800),
            due_at=due_at,
        )

    def _create_deployment(self):
        made = self._deployment_made()
        return lambda store: store.create_deployment(made)

    def _move_deployment(self):
        made = self._deployment_made()
        old = self._store.deployment(made.id) or made
        left = live(made, made.good_label, self._now) if self._random.random() < 0.5 else None
        return lambda store: store.move_deployment(old, made, live=left)

    def _deployment(self):
        made = self._deployment_made()
        return lambda store: store.deployment(made.id)

    def _digests(self):
        hosts = ["docker.io", "code.example:5000"][: self._random.randrange(1, 3)]
        return {host: f"sha256:{self._number()}" for host in hosts}

    def _put_known_image(self):
        number, before = self._number(), timedelta(seconds=self._random.choice([0, 10**6]))
        known = Known(
            name="2pi/x",
            tag=f"v{number % 2}",
            digests=self._digests(),
            id=f"sha256:{number}",
            run=f"01RUN{number}",
            pipeline="x",
            pushed_at=self._now - before,
            forge="github.com",
            provider="github",
            repository="2pi/x",
            version=self._random.choice([None, "1.0.0"]),
        )
        return lambda store: [store.put_known_image(known), store.known_image(known.name, known.tag)]

    def _put_made_image(self):
        number, before = self._number(), timedelta(seconds=self._random.choice([0, 10**6]))
        made = Made("2pi/x", f"{number % 2:040}", f"01RUN{number}", self._digests(), "sha256:1", self._now - before)
        return lambda store: [store.put_made_image(made), store.made_image(made.name, made.commit)]

    def _put_last_look(self):
        old, now, known = self._store.last_look(), self._now, ["a", "b"][: self._number() % 3]
        self._looks.append(old)
        old = self._random.choice(self._looks)
        return lambda store: store.put_last_look(old, now, known)

    def _pin(self, some):
        line = {"step": -1, "kind": "seen", "key": "source x", "epoch": some.epoch, "at": "", "commit": "c" * 40}
        return lambda store: store.pin(some, line, "c" * 40)

    def _put_runner(self):
        now, name = self._now, f"r{self._number()}"
        return lambda store: store.put_runner(name, {"host": "h", "runs": ["a"]}, now)

    def _put_config(self):
        return lambda store: store.put_config("c" * 64, b'{"pipelines": []}')
