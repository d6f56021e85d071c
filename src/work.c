/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * work: steps of a handover that take more than one transaction.
 *
 * Owns whose turn it is: in each turn of the loop there is one transaction of a
 * peer's, so that what others say is heard in between, and peers that have more
 * to be done take turns. Never knows what is done.
 */
#include "daemon.h"

#include <stdlib.h>

#include "handover_impl.h"

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
	if (TAILQ_EMPTY(&a->works))
		TAILQ_INSERT_TAIL(&a->d->busy, a, in_busy);
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
	if (TAILQ_EMPTY(&a->works))
		TAILQ_REMOVE(&a->d->busy, a, in_busy);
	return w;
}

void work_drop(struct track *t)
{
	if (t->work)
		free(work_take(t));
}

void work_step(struct daemon *d, uint64_t now_ms)
{
	struct assoc *a = TAILQ_FIRST(&d->busy);

	if (!a)
		return;
	TAILQ_REMOVE(&d->busy, a, in_busy);
	TAILQ_INSERT_TAIL(&d->busy, a, in_busy);
	handover_go_on(TAILQ_FIRST(&a->works)->track, false, now_ms);
}
