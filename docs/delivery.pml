/* How a run is brought to its end: a model of the delivery protocol, for the model checker spin (https://spinroot.com).
 *
 *     make model        every order of events within the bounds below; and each planted mistake is found
 *
 * Each block names the function that it stands for. One step is one write to the table, one read of it or one call
 * outside; between two steps anything may happen to anybody.
 *
 * In it: intake, a queue that repeats, delays and loses, two runners that may be killed or frozen at any point, locks,
 * a ticker. Left open is what a step comes to, and whether the runs are pushes of one ref or only share a lock. Not in
 * it: cancelling, a successor that gives way itself, handing back, deployments, the fifth dead claim.
 *
 * Faults are bounded, in any mix: kills (with or without a restart), freezes (a process stands still for longer than a
 * lease, then goes on), lost and repeated messages, ticks that come too early. What only looks and changes nothing is
 * left out, such as a message that comes back because its run is in good hands. So nothing here goes round in circles,
 * which is checked too: every way leads to an end, and an end is accepted only where each run ended and is told.
 *
 * There is no clock: a beat stands still for a lease only where the holder is dead, or frozen, or has not beaten since.
 * Assumed is that an effect comes before the lease is over in which `check` found the beat fresh. LATE_EFFECT drops
 * that, and somebody who has lost the run acts.
 */

#ifndef RUNS
#define RUNS 2                /* up to 3 */
#endif
#ifndef FAULTS
#define FAULTS 2
#endif

/* A mistake can be planted: spin -a -DVARIANT=NO_FENCE … */
#ifndef VARIANT
#define VARIANT 0
#endif
#define NO_FENCE 1            /* a holder's writes are not conditional on its epoch */
#define NO_LOCK 2             /* a claim does not ask who holds the lock */
#define NO_LOOK 3             /* an open intent is not answered by looking outside */
#define NO_CHECK 4            /* nobody asks before an effect whether the beat is fresh */
#define LATE_EFFECT 5         /* an effect may come any time after that */
#define HASTY 6               /* a take-over at first sight, without watching for a lease */
#define NO_WAY 7              /* an older run does not give way to a newer one */
#define FORGOTTEN_HANDOVER 8  /* a superseded run's people are not handed on */
#define HANDED_TO_AN_END 9    /* they are handed to a run that has told its own already */
#define DEAF_END 10           /* an end is not conditional on who was handed to the run meanwhile */
#define SPLIT_END 11          /* the lock is freed by a write of its own, after the end */
#define EARLY_ACK 12          /* the message is deleted at the claim, and the second net is gone */
#define ONE_NET 13            /* no mistake: the second net alone is gone */
/* The second net: the ticker calls for silent runs too, so a message that was deleted too early is sent again.
 * EARLY_ACK shows only without it; ONE_NET shows that messages are enough if none is lost or deleted too early. */
#define TWO_NETS (VARIANT != ONE_NET && VARIANT != EARLY_ACK)

#define NOBODY 255
mtype = { absent, queued, running, waiting, ended };   /* RunState; how a run ended makes no difference here */

/* --- the record ------------------------------------------------------------------------------------------------- */

typedef Run {
	mtype state = absent;
	byte epoch, beat;
	bool intent;         /* the journal: an intent was written */
	bool seen;           /* the journal: and its observation */
	bool retried;        /* the journal: a second try was given */
	byte handed;         /* the runs whose people this one tells too, a bit for each */
	byte tell;           /* the runs whose people are still to be told; written with the end */
	bool in_line;        /* among its lock's waiters. A run that waits, and not for a lock, waits for a second try */
	byte messages        /* in the queue, those that have not done their work */
};
Run record[3];
byte lock[3] = NOBODY;   /* who holds it */
bool one_ref, own_locks;

/* --- what is outside -------------------------------------------------------------------------------------------- */

byte landed[3];          /* how often a run's effect came to be */
byte newest;             /* of one ref's effects, the run of the last one; only a common lock keeps their order */
byte heard;              /* the runs whose people had a mail */

/* --- a runner's memory, and what happens to it ------------------------------------------------------------------ */

typedef Memory {
	byte about = NOBODY; /* the run of the message in hand */
	bool done;           /* that message has done its work */
	bool shown;          /* it is visible again: others may have it too */
	byte epoch, beat;    /* as they were read */
	byte held;           /* the epoch of our claim; 0 = none */
	byte handed;         /* as it was read */
	byte newer;          /* the run that takes this one's place */
	bool late;           /* it was frozen, and has not beaten since */
	bool frozen, killed;
	bool gone            /* killed, and not started again */
};
Memory runner[2];
byte faults = FAULTS;

#define ME runner[_pid]
#define RUN record[ME.about]
#define KEY(i) (own_locks -> i : 0)
#define LOCK lock[KEY(ME.about)]
#define MAY_LOCK (LOCK == NOBODY || LOCK == ME.about || VARIANT == NO_LOCK)
#define LOCKED(i) (record[i].state != running || lock[KEY(i)] == i)
#define QUEUED_AS_READ (RUN.state == queued && RUN.epoch == ME.epoch)
#define RUNNING_AS_READ (RUN.state == running && RUN.epoch == ME.epoch && RUN.beat == ME.beat)
#define HELD (RUN.state == running && (RUN.epoch == ME.held || VARIANT == NO_FENCE))   /* records/runs.py held_by */
#define HELD_AS_READ (HELD && (RUN.handed == ME.handed || VARIANT == DEAF_END))        /* records/ends.py */
#define PEOPLE (ME.handed | 1 << ME.about)
#define TAKES_OVER(i) (record[i].state != ended || VARIANT == HANDED_TO_AN_END)
#define HOLDS(r, i) (runner[r].about == i && runner[r].held && runner[r].held == record[i].epoch)
#define BEATS(r, i) (HOLDS(r, i) && !runner[r].late)
#define SILENT(i) (record[i].state == running && !BEATS(0, i) && !BEATS(1, i))
#define STOOD_STILL(i) (SILENT(i) || VARIANT == HASTY && record[i].state == running)
#define IN_HAND(r, i) (runner[r].about == i && !runner[r].done && !runner[r].shown)
#define NO_MESSAGE(i) (!record[i].messages && !IN_HAND(0, i) && !IN_HAND(1, i))
#define IN_LINE(i) (record[i].in_line && record[i].state == waiting)
#define OVER(i) (i >= RUNS || record[i].state == ended && !record[i].tell && lock[KEY(i)] == NOBODY)
#define BUSY(r) (runner[r].about != NOBODY && !runner[r].frozen)
#define MY_TURN (_pid == 0 || runner[0].about != NOBODY || runner[0].killed)   /* which of two idle ones is no matter */

/* chalicelib/superseding.py: the newest run of this ref takes this one's place, unless an effect was begun. The index
 * may lag behind, by less than a run takes. */
#define NEWEST (record[2].state != absent -> 2 : (record[1].state != absent -> 1 : 0))
#define GIVES_WAY (one_ref && !RUN.intent && NEWEST != ME.about && VARIANT != NO_WAY)
#define GOES_ON (!GIVES_WAY || record[2].state != ended && (ME.about == 1 || record[1].state != ended))

/* A message of this run has done its work: whoever has it, or meets it, deletes it. None is kept here. */
inline answered(i) {
	record[i].messages = 0;
	runner[0].done = runner[0].done || runner[0].about == i;
	runner[1].done = runner[1].done || runner[1].about == i
}
/* records/runs.py, `add={"send": 1}`, and queue.py send: what was sent before is old now. */
inline send(i) { answered(i); record[i].messages = 1 }
/* records/runs.py wake: waiting -> queued. */
inline wake(i) { record[i].state = queued; send(i) }
/* Agent._receive, with the one consistent read of Agent.answer, or the second one of Agent._watch. */
inline take(i) { record[i].messages--; ME.about = i; ME.epoch = RUN.epoch; ME.beat = RUN.beat }
/* The message becomes visible to others, if it is not yet. */
inline reveal(r) { if :: !runner[r].done && !runner[r].shown -> record[runner[r].about].messages++ :: else fi }
inline forget(r) {
	runner[r].about = NOBODY; runner[r].done = false; runner[r].shown = false; runner[r].epoch = 0; runner[r].beat = 0;
	runner[r].held = 0; runner[r].handed = 0; runner[r].newer = 0; runner[r].late = false
}
/* Nothing was written: the message comes back. */
inline put_back(r) { reveal(r); forget(r) }
/* records/runs.py _take, _held: the next epoch is ours, and so is the lock. Epoch and beat are compared together. */
inline hold() {
	LOCK = ME.about;
	RUN.state = running; RUN.epoch++; RUN.beat = 0; RUN.in_line = false;
	ME.held = RUN.epoch; ME.handed = RUN.handed; ME.epoch = 0; ME.beat = 0; ME.done = (VARIANT == EARLY_ACK);
	assert(LOCKED(0) && LOCKED(1) && LOCKED(2))   /* never two holders */
}
/* records/runs.py _parked. */
inline park() { RUN.state = waiting; answered(ME.about); forget(_pid) }

/* records/ends.py _ending. What nobody can ask an ended run for is forgotten. */
inline end(people) {
	RUN.state = ended; RUN.tell = people;
	RUN.epoch = 0; RUN.beat = 0; RUN.intent = false; RUN.seen = false; RUN.retried = false; RUN.handed = 0;
	landed[ME.about] = 0; ME.held = 0; ME.handed = 0; ME.newer = 0; ME.late = false;
	answered(ME.about);
	LOCK = (VARIANT == SPLIT_END -> ME.about : NOBODY)
}

/* --- a runner: runner/agent.py, runner/claim.py ----------------------------------------------------------------- */

#define TO_CLAIM(i) d_step { MY_TURN && record[i].messages && record[i].state == queued -> take(i) }
#define TO_TAKE_OVER(i) d_step { MY_TURN && record[i].messages && STOOD_STILL(i) -> take(i) }; goto take_over
#define LOST d_step { !HELD -> put_back(_pid) }; goto end_idle

active [2] proctype Runner() provided (!runner[_pid].frozen)
{
end_idle: {
	if
	:: TO_CLAIM(0) :: TO_CLAIM(1) :: TO_CLAIM(2)
	:: TO_TAKE_OVER(0) :: TO_TAKE_OVER(1) :: TO_TAKE_OVER(2)
	fi;

	/* records/runs.py claim: {queued -> running, epoch + 1, lock free -> held}. */
	if
	:: d_step { QUEUED_AS_READ && MAY_LOCK -> hold() }; goto claimed
	:: QUEUED_AS_READ && !MAY_LOCK
	:: d_step { !QUEUED_AS_READ -> put_back(_pid) }; goto end_idle
	fi;
	/* records/runs.py park_for_lock, locks.py awaited: only while another holds it. */
	if
	:: d_step { QUEUED_AS_READ && !MAY_LOCK -> RUN.in_line = true; park() }
	:: d_step { !(QUEUED_AS_READ && !MAY_LOCK) -> put_back(_pid) }
	fi;
	goto end_idle;

take_over: /* records/runs.py take_over: epoch and beat are still what we read. */
	if
	:: d_step { RUNNING_AS_READ && MAY_LOCK -> hold() }
	:: d_step { !(RUNNING_AS_READ && MAY_LOCK) -> put_back(_pid) }; goto end_idle
	fi;

claimed: /* run.py enact, _unwanted: a newer run takes our place; or the steps up to the effect pass; or the code says
	  * no, or nothing is left to do; or we break. */
	if
	:: d_step { GIVES_WAY -> ME.newer = NEWEST }
	:: GOES_ON && !RUN.seen -> goto intend
	:: GOES_ON -> goto settle
	:: GOES_ON -> goto broken
	fi;

give_way: /* Claim._give_way, records/ends.py supersede: {the end, our people to the newer run, the lock free}. If the
	   * newer run has ended, we tell our people ourselves. Claim._anew: if we were handed more meanwhile, again. */
	if
	:: d_step { HELD_AS_READ && TAKES_OVER(ME.newer) ->
		record[ME.newer].handed = record[ME.newer].handed | (VARIANT == FORGOTTEN_HANDOVER -> 0 : PEOPLE); end(0) }
	:: d_step { HELD_AS_READ && !TAKES_OVER(ME.newer) -> end(PEOPLE) }
	:: d_step { HELD && !HELD_AS_READ -> ME.handed = RUN.handed }; goto give_way
	:: LOST
	fi;
	goto after_the_end;

intend: /* runner/journal.py intend, records/runs.py note. */
	if
	:: d_step { HELD && (!RUN.intent || VARIANT == NO_LOOK) -> RUN.intent = true }; goto check
	:: HELD && RUN.intent
	:: LOST
	fi;
	/* actions/push.py: an intent that an earlier claim left open is answered by looking outside. */
	if
	:: landed[ME.about] -> goto observe
	:: !landed[ME.about]
	:: goto broken
	fi;

check: /* Stopping.check, Holding._fresh: a beat came through within the last lease, or comes through now. */
	if
	:: !ME.late || VARIANT == NO_CHECK
	:: d_step { ME.late && HELD -> RUN.beat++; ME.late = false }
	:: d_step { ME.late && !HELD -> put_back(_pid) }; goto end_idle
	fi;

act:	atomic {
		landed[ME.about]++;
		assert(landed[ME.about] == 1);                           /* nothing twice */
		assert(RUN.state == running && HOLDS(_pid, ME.about));   /* nor by somebody who has lost the run */
		assert(ME.about >= newest);                              /* nor over a newer one */
		newest = (one_ref && !own_locks -> ME.about : 0)
	};

observe: /* runner/journal.py observe; or the effect's answer was lost. */
	if
	:: d_step { HELD -> RUN.seen = true }; goto settle
	:: LOST
	:: goto broken
	fi;

broken: /* run.py _broken, records/runs.py park: a first failure of ours parks the run, with its lock; not a second. */
	if
	:: RUN.retried
	:: d_step { !RUN.retried && HELD -> RUN.retried = true; park() }; goto end_idle
	:: d_step { !RUN.retried && !HELD -> put_back(_pid) }; goto end_idle
	fi;

settle: /* Claim._end, records/ends.py end: {the end, whom to tell, the lock free}. */
	if
	:: d_step { HELD_AS_READ -> end(PEOPLE) }
	:: d_step { HELD && !HELD_AS_READ -> ME.handed = RUN.handed }; goto settle
	:: LOST
	fi;

after_the_end: /* cancelling.py after_the_end: wake the first in line; tell. What is left undone the ticker does. */
#if VARIANT == SPLIT_END
	LOCK = NOBODY;
#endif
	if
	:: d_step { IN_LINE(0) -> wake(0) }
	:: d_step { !IN_LINE(0) && IN_LINE(1) -> wake(1) }
	:: d_step { !IN_LINE(0) && !IN_LINE(1) && IN_LINE(2) -> wake(2) }
	:: else
	fi;
	heard = heard | RUN.tell;
	atomic { RUN.tell = 0; forget(_pid) };
	goto end_idle
	} unless { runner[_pid].killed };
end_gone:
	d_step { !runner[_pid].gone -> runner[_pid].killed = false };
	goto end_idle
}

/* --- chalicelib/intake.py: the record, then the message. Whoever dies in between has lost a message. ------------ */

active proctype Intake()
{
	byte next;
	if
	:: one_ref = true
	:: atomic { one_ref = true; own_locks = true }   /* ci.yml changed the lock's name between the pushes */
	:: skip
	fi;
	do
	:: d_step { next < RUNS -> record[next].state = queued; send(next); next++ }
	:: next == RUNS -> break
	od
}

/* --- chalicelib/ticker.py _do_run: what is due, and nobody has done --------------------------------------------- */

inline look_after(i) {
	if
	:: record[i].state == queued && NO_MESSAGE(i) -> send(i)   /* records/runs.py call_again */
	:: SILENT(i) && NO_MESSAGE(i) && TWO_NETS -> send(i)
	:: record[i].state == waiting && (!record[i].in_line || lock[KEY(i)] == NOBODY) -> wake(i)
	/* Too early: the message is there, or the lock is not free. */
	:: record[i].state == queued && !NO_MESSAGE(i) && faults -> faults--; send(i)
	:: IN_LINE(i) && lock[KEY(i)] != NOBODY && faults -> faults--; wake(i)
	:: record[i].state == ended && record[i].tell -> heard = heard | record[i].tell; record[i].tell = 0  /* telling.py */
	fi
}

active proctype Ticker()
{
	do
	:: atomic { look_after(0) } :: atomic { look_after(1) } :: atomic { look_after(2) }
	:: OVER(0) && OVER(1) && OVER(2) -> break
	od;
	assert(heard == (1 << RUNS) - 1)   /* nobody left guessing */
}

/* --- what goes wrong, for as long as it may --------------------------------------------------------------------- */

inline harm(r) {
	if
	:: faults && BUSY(r) -> faults--; put_back(r); runner[r].killed = true
	:: faults && BUSY(r) && !runner[1 - r].gone -> faults--; put_back(r); runner[r].killed = true; runner[r].gone = true
	:: faults && BUSY(r) && (!Runner[r]@act || VARIANT == LATE_EFFECT) ->
		faults--; reveal(r); runner[r].shown = true; runner[r].frozen = true; runner[r].late = (runner[r].held != 0)
	/* It goes on; its beat moves at once (runner/holding.py), later or never. */
	:: runner[r].frozen -> runner[r].frozen = false
	:: runner[r].late && !runner[r].frozen && HOLDS(r, runner[r].about) ->
		record[runner[r].about].beat++; runner[r].late = false
	fi
}
inline mislay(i) {
	if
	:: faults && record[i].messages && TWO_NETS -> faults--; record[i].messages--
	:: faults && record[i].messages -> faults--; record[i].messages++
	fi
}

active proctype Chaos()
{
end_chaos: do
	:: atomic { harm(0) } :: atomic { harm(1) }
	:: atomic { mislay(0) } :: atomic { mislay(1) } :: atomic { mislay(2) }
	:: d_step { faults && !runner[0].frozen && !runner[1].frozen -> faults = 0 }   /* no more of it */
	od
}
