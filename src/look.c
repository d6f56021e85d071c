/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * look: when all tracks are looked at, for moves that can wait.
 *
 * Owns the times: once events have been quiet, or have gone on for too long;
 * after that a few times more, ever later, as that look may have come before
 * the network was as it will be (a router that does not answer yet, IPv4 and
 * IPv6 alike); and when a router answers. Never looks by itself at what is
 * gone, which cannot wait.
 */
#include "daemon.h"

#define AGAIN_MS 5000ULL /* doubled each time */
#define AGAIN_TIMES 4
#define ROUTER_PAUSE_MS 1000 /* from one look to one that a router causes */

/* Of what can wait: those that are still to be had are asked for anew. */
static void forget_refusals(struct daemon *d)
{
	struct assoc *a;
	struct track *t;

	LIST_FOREACH(a, &d->assocs, entry)
		LIST_FOREACH(t, &a->tracks[FLOW_OURS], entry)
			mover_forget_refusal(&t->mover);
}

static void look(struct daemon *d, uint64_t now_ms)
{
	struct looks *l = &d->looks;

	l->last_ms = now_ms;
	l->again_ms = 0;
	pace_note(&l->pace, now_ms);
	if (l->n < AGAIN_TIMES)
		l->again_ms = now_ms + (AGAIN_MS << l->n++);
	unfit_look(d, now_ms);
	handover_evaluate(d, now_ms, true);
	unheard_ask_all(d, now_ms);
}

/* Each look asks for the route of every track. Where events never end that is
 * once in UNQUIET_MAX_MS; where they cease and come back, as often as they do,
 * but not for ever: look_due_ms(). */
void look_after_events(struct daemon *d, uint64_t now_ms)
{
	struct looks *l = &d->looks;

	if (!d->quiet_ms)
		l->events_ms = now_ms;
	d->quiet_ms = now_ms + QUIET_MS;
	if (d->quiet_ms > l->events_ms + UNQUIET_MAX_MS)
		d->quiet_ms = l->events_ms + UNQUIET_MAX_MS;
	l->n = 0;
}

void look_for_router(struct daemon *d, uint64_t now_ms)
{
	struct looks *l = &d->looks;
	uint64_t at_ms = now_ms + QUIET_MS;

	if (l->last_ms && at_ms < l->last_ms + ROUTER_PAUSE_MS)
		at_ms = l->last_ms + ROUTER_PAUSE_MS;
	if (!l->again_ms || at_ms < l->again_ms)
		l->again_ms = at_ms;
}

uint64_t look_due_ms(const struct daemon *d)
{
	return d->quiet_ms ? pace_next_ms(&d->looks.pace, d->quiet_ms) :
			     d->looks.again_ms;
}

void look_step(struct daemon *d, uint64_t now_ms)
{
	uint64_t due_ms = look_due_ms(d);

	if (!due_ms || now_ms < due_ms)
		return;
	if (d->quiet_ms)
		forget_refusals(d);
	d->quiet_ms = 0;
	look(d, now_ms);
}
