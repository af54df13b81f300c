"""Virtual time and cooperating tasks: what threads, clocks and processes are to the real programs.

A task is a greenlet of one process. It runs until it waits for something: a flag, a moment, an answer from outside. Who
goes on next follows from virtual time alone, so one seed gives one schedule, step by step.
"""

import heapq
from datetime import UTC, datetime, timedelta
from itertools import count

from greenlet import getcurrent, greenlet

_ASKED_EVERY = 8
BEGAN = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


class Killed(BaseException):
    """The process of this task is dead: nothing that it still does has any effect."""


class Stuck(AssertionError):
    """Time passed and passed, and it never came to an end."""


class Process:
    """What is killed and frozen as one.

    Args:
        error_s: how far its time of day is off.
    """

    def __init__(self, name, error_s=0.0):
        self.name, self.error_s = name, error_s
        self.alive, self.frozen_until = True, 0.0
        self.thawed_at = 0.0
        self.tasks = []


class Task(greenlet):
    """One thread of a process."""

    def __init__(self, process, work, scheduler):
        super().__init__(work, parent=scheduler.hub)
        self.process, self.turn = process, 0
        self.over = Flag(scheduler)
        process.tasks.append(self)

    def join(self, timeout=None):
        self.over.wait(timeout)

    def is_alive(self):
        return not self.over.is_set()


class Flag:
    """threading.Event."""

    def __init__(self, scheduler):
        self._scheduler, self._set, self._waiting = scheduler, False, []

    def is_set(self):
        return self._set

    def set(self):
        self._set = True
        waiting, self._waiting = self._waiting, []
        for task, turn in waiting:
            if task.turn == turn:
                self._scheduler.go_on(task, 0.0)

    def wake(self, *, all_of_them):
        """Let who waits go on, though nothing is set: all, or one who still waits."""
        random = self._scheduler.random
        while self._waiting:
            task, turn = self._waiting.pop(int(random() * len(self._waiting)))
            if task.turn == turn and task.process.alive:
                self._scheduler.go_on(task, 0.0)
                if not all_of_them:
                    return

    def clear(self):
        self._set = False

    def wait(self, timeout=None):
        if not self._set and (timeout is None or timeout > 0):
            task = self._scheduler.task
            self._waiting.append((task, task.turn))
            self._scheduler.wait(timeout)
        return self._set


class Scheduler:
    """All that happens, in the order of virtual time; what happens at one moment, in an order that `random` chooses."""

    def __init__(self, random):
        self.random = random
        self.hub = getcurrent()
        self.time, self.steps = 0.0, 0
        self._processes = set()
        self._heap, self._numbers = [], count()

    @property
    def task(self):
        task = getcurrent()
        if not task.process.alive:
            raise Killed
        return task

    def now(self):
        return BEGAN + timedelta(seconds=self.time)

    def monotonic(self):
        return self.time

    # --- tasks ------------------------------------------------------------------------------------

    def start(self, process, work, after_s=0.0):
        task = Task(process, lambda: self._run(work), self)
        self._processes.add(process)
        self.go_on(task, after_s)
        return task

    def _run(self, work):
        task = getcurrent()
        try:
            work()
        except Killed:
            return
        finally:
            if task.process.alive:
                task.process.tasks.remove(task)
                task.over.set()

    def go_on(self, task, after_s):
        """This task's turn comes after so long; whatever it waited for before is forgotten."""
        task.turn += 1
        heapq.heappush(self._heap, (self.time + after_s, self.random(), next(self._numbers), task, task.turn))

    def wait(self, seconds):
        """The task at hand goes on after `seconds`, or when somebody says so; None = only then."""
        task = self.task
        if seconds is not None:
            heapq.heappush(self._heap, (self.time + seconds, self.random(), next(self._numbers), task, task.turn))
        # From one to the other without the loop in between, which is asked often enough whether it is over.
        following = self._next() if self.steps % _ASKED_EVERY else self.hub
        if following is not task:
            # A greenlet that has not begun counts as false.
            (self.hub if following is None else following).switch()
        task.turn += 1
        if not task.process.alive:
            raise Killed

    def _next(self):
        """Whose turn it is now, time having gone on to it; None where nobody has anything to do."""
        heap, pop = self._heap, heapq.heappop
        while heap:
            at, order, number, task, turn = pop(heap)
            process = task.process
            if task.turn != turn or not process.alive:
                continue
            if process.frozen_until > at:
                heapq.heappush(heap, (process.frozen_until, order, number, task, turn))
                continue
            self.time = max(self.time, at)
            self.steps += 1
            return task
        return None

    def kill(self, process):
        """Its tasks unwind at once: what they still call has no effect, and nothing of it is ever heard of again."""
        process.alive = False
        here = getcurrent()
        for task in process.tasks:
            if task is not here and task:
                # From here, not from the hub: a task that is killed comes back to who killed it.
                task.parent = here
                task.throw(Killed)
        process.tasks = []
        if getattr(here, "process", None) is process:
            raise Killed

    def kill_all(self):
        """Nobody is left: a task that waits for ever keeps everything that it has in hand in memory."""
        for process in self._processes:
            if process.alive:
                self.kill(process)
        self._processes.clear()

    def freeze(self, process, seconds):
        """Nothing of it goes on for so long; its clocks do."""
        process.frozen_until = self.time + seconds
        process.thawed_at = process.frozen_until
        if getattr(getcurrent(), "process", None) is process:
            self.wait(seconds)

    # --- the loop ---------------------------------------------------------------------------------

    def run(self, over, until):
        """Go on until `over()`, which is asked now and then.

        Raises:
            Stuck: it is not over when `until` has come, or nobody has anything to do.
        """
        asked = self.steps
        while (task := self._next()) is not None:
            task.switch()
            if self.steps - asked >= _ASKED_EVERY:
                asked = self.steps
                if over():
                    return
            if self.time > until:
                break
        if not over():
            raise Stuck(f"not over after {self.time:.0f} s")


class SimPace:
    """runner.pace.Pace of one process."""

    def __init__(self, scheduler, process):
        self._scheduler, self._process = scheduler, process
        self._asked_at, self._answer = -1.0, BEGAN

    def now(self):
        time = self._scheduler.time
        if time != self._asked_at:
            self._asked_at = time
            self._answer = BEGAN + timedelta(milliseconds=int((time + self._process.error_s) * 1000))
        return self._answer

    def monotonic(self):
        return self._scheduler.time

    def sleep(self, seconds):
        self._scheduler.wait(seconds)

    def flag(self):
        return Flag(self._scheduler)

    def start(self, work, name):  # noqa: ARG002 - as threads are named
        return self._scheduler.start(self._process, work)
