/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * waiting: why flows that are moving do not get there, and why others stay
 * although their packets leave by another interface by now, or where the peer
 * has refused the move.
 *
 * Owns the reason that `sacipctl list` shows for them, and one line of the log
 * for a track that waits for longer than WAITING_TELL_MS. Never changes a
 * track or a flow.
 */
#include "daemon.h"

#define WAITING_TELL_MS 3000
/* Repetitions of a message before its answer is said to be missing. */
#define WAITING_REPEATS 2

static enum reason reason_ours(const struct track *t)
{
	const struct mover *m = &t->mover;

	if (m->refusals.why != REASON_NONE)
		return m->refusals.why;
	if (m->state == MOVER_HELD && t->stays == REASON_NONE)
		return REASON_NO_ADDRESS;
	if (m->state == MOVER_HELD || m->state == MOVER_STEADY)
		return t->stays;
	if (m->repeats >= WAITING_REPEATS)
		return REASON_NO_ANSWER;
	return REASON_NONE;
}

static enum reason reason_theirs(const struct track *t)
{
	if (t->unheard_ms)
		return REASON_PEER_AWAY;
	if (!follower_holds(&t->follower))
		return REASON_NONE;
	return t->refused != REASON_NONE ? t->refused : REASON_PEER_AWAY;
}

/* Or why one does not go where new connections do. */
enum reason waiting_reason(const struct flow *f)
{
	const struct track *ours = track_of(f, FLOW_OURS);
	const struct track *theirs = track_of(f, FLOW_THEIRS);
	enum reason r = ours ? reason_ours(ours) : REASON_NONE;

	if (r == REASON_NONE && theirs)
		r = reason_theirs(theirs);
	if (r == REASON_NONE && ours && unfit_concerns(ours))
		r = REASON_PATH_BLOCKED;
	return r;
}

/* Once for each reason, until the track moves on. */
static void tell(struct track *t, enum reason r, uint64_t now_ms)
{
	if (r == REASON_NONE || LIST_EMPTY(&t->group.flows)) {
		t->waits_ms = 0;
		t->told = REASON_NONE;
		return;
	}
	if (!t->waits_ms)
		t->waits_ms = now_ms;
	if (now_ms - t->waits_ms < WAITING_TELL_MS || t->told == r)
		return;
	t->told = r;
	assoc_log(t->assoc, LOG_LEVEL_WARN,
		  "%u connections with %s %s, track %u of %s: %s",
		  t->group.digest.count, t->assoc->name,
		  t->side == FLOW_OURS && t->mover.state == MOVER_STEADY ?
			  "stay where they are" : "wait",
		  t->id, t->side == FLOW_OURS ? "ours" : "theirs",
		  reason_text(r));
}

void waiting_step(struct daemon *d, uint64_t now_ms)
{
	struct assoc *a;
	struct track *t;

	LIST_FOREACH(a, &d->assocs, entry) {
		LIST_FOREACH(t, &a->tracks[FLOW_OURS], entry)
			tell(t, reason_ours(t), now_ms);
		LIST_FOREACH(t, &a->tracks[FLOW_THEIRS], entry)
			tell(t, reason_theirs(t), now_ms);
	}
}
