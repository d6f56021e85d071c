/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * work: what a peer brings about that takes more than one transaction: steps of
 * a handover, and the end of many flows.
 *
 * Owns whose turn it is: in each turn of the loop there is one transaction of a
 * peer's, so that what others say is heard in between, and peers that have more
 * to be done take turns. Of flows that end one part is for all peers. Never knows
 * what is done.
 */
#include "daemon.h"

#include <stdlib.h>

#include "handover_impl.h"

static void enter(struct assoc *a)
{
	if (!work_is_due(a))
		TAILQ_INSERT_TAIL(&a->d->busy, a, in_busy);
}

static void leave(struct assoc *a)
{
	if (!work_is_due(a))
		TAILQ_REMOVE(&a->d->busy, a, in_busy);
}

bool work_keep(struct track *t, const struct work *w)
{
	struct assoc *a = t->assoc;
	struct work *kept = malloc(sizeof(*kept));

	if (!kept)
		return false;
	*kept = *w;
	kept->track = t;
	kept->refuses = t->refusal;
	if (t->refusal)
		kept->refusal = *t->refusal;
	enter(a);
	TAILQ_INSERT_TAIL(&a->works, kept, entry);
	t->work = kept;
	return true;
}

struct work *work_take(struct track *t)
{
	struct assoc *a = t->assoc;
	struct work *w = t->work;

	t->work = NULL;
	TAILQ_REMOVE(&a->works, w, entry);
	leave(a);
	return w;
}

void work_drop(struct track *t)
{
	if (t->work)
		free(work_take(t));
}

unsigned int work_leave(struct assoc *a, unsigned int n)
{
	struct daemon *d = a->d;
	unsigned int most;

	if (d->left_turn != d->turn) {
		d->left_turn = d->turn;
		d->left = 0;
	}
	most = a->leaving ? 0 : TRACK_PART - d->left;
	if (n > most) {
		work_leave_later(a);
		n = most;
	}
	d->left += n;
	return n;
}

void work_leave_later(struct assoc *a)
{
	enter(a);
	a->leaving = true;
}

void work_leave_end(struct assoc *a)
{
	if (!a->leaving)
		return;
	a->leaving = false;
	leave(a);
}

void work_step(struct daemon *d, uint64_t now_ms)
{
	struct assoc *a = TAILQ_FIRST(&d->busy);

	if (!a)
		return;
	TAILQ_REMOVE(&d->busy, a, in_busy);
	TAILQ_INSERT_TAIL(&d->busy, a, in_busy);
	if (a->leaving)
		assoc_go_on(a, now_ms);
	else
		handover_go_on(TAILQ_FIRST(&a->works)->track, false, now_ms);
}
