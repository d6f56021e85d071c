/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * unfit: paths that carry control messages and no packets of flows.
 *
 * Owns, for each peer, the pairs of an own address and a locator of the peer's
 * over which no nonce has come, for UNFIT_MS or until something changes on the
 * path. Never decides a move, never looks at a packet.
 */
#include "daemon.h"

#include <string.h>

#include "handover_impl.h"

static bool is_over(const struct unfit_path *p, const struct addr *own,
		    const struct addr *remote)
{
	return addr_equal(&p->own, own) && addr_equal(&p->remote, remote);
}

static void take_out(struct assoc *a, unsigned int i)
{
	a->unfit[i] = a->unfit[--a->n_unfit];
	agenda_touch(&a->d->agenda[AGENDA_MOVES], a);
}

bool unfit_is(const struct track *t, const struct addr *own)
{
	const struct assoc *a = t->assoc;

	for (unsigned int i = 0; i < a->n_unfit; i++)
		if (is_over(&a->unfit[i], own, source_peer_locator(t)))
			return true;
	return false;
}

bool unfit_concerns(const struct track *t)
{
	const struct assoc *a = t->assoc;

	for (unsigned int i = 0; i < a->n_unfit; i++)
		if (addr_equal(&a->unfit[i].remote, source_peer_locator(t)))
			return true;
	return false;
}

/* At the bound the one that ends first goes. */
void unfit_note(struct track *t, const struct addr *own, uint64_t now_ms)
{
	struct assoc *a = t->assoc;
	const struct rtmon_address *at = rtmon_find(a->d->rtmon, own);
	unsigned int first = 0;

	for (unsigned int i = 0; i < a->n_unfit; i++) {
		if (is_over(&a->unfit[i], own, source_peer_locator(t))) {
			first = i;
			break;
		}
		if (a->unfit[i].until_ms < a->unfit[first].until_ms)
			first = i;
	}
	if ((first == a->n_unfit ||
	     !is_over(&a->unfit[first], own, source_peer_locator(t))) &&
	    a->n_unfit < UNFIT_MAX)
		first = a->n_unfit++;
	a->unfit[first] = (struct unfit_path){
		.own = *own,
		.remote = *source_peer_locator(t),
		.ifindex = at ? at->ifindex : 0,
		.until_ms = now_ms + UNFIT_MS,
	};
	agenda_touch(&a->d->agenda[AGENDA_MOVES], a);
}

/* No nonce is sent there again: what is known of it is what flows leave for. */
static bool is_in_use(const struct assoc *a, const struct unfit_path *p)
{
	const struct track *t;

	LIST_FOREACH(t, &a->tracks[FLOW_OURS], entry)
		if (is_over(p, &mover_current(&t->mover)->addr,
			    source_peer_locator(t)))
			return true;
	return false;
}

/* May the path be another one now? */
static bool changes(const struct rtmon_event *e, const struct assoc *a,
		    const struct unfit_path *p)
{
	switch (e->kind) {
	case RTMON_ADDR_ADDED:
	case RTMON_ADDR_REMOVED:
		return addr_equal(&e->address.addr, &p->own);
	case RTMON_LINK_UP:
	case RTMON_LINK_DOWN:
		return e->link.ifindex == p->ifindex;
	case RTMON_ROUTE_CHANGED:
	case RTMON_RULE_CHANGED:
	case RTMON_RESYNCED:
		return !is_in_use(a, p);
	default:
		return false;
	}
}

void unfit_hear(struct daemon *d, const struct rtmon_event *e)
{
	struct assoc *a;

	LIST_FOREACH(a, &d->assocs, entry)
		for (unsigned int i = a->n_unfit; i-- > 0;)
			if (changes(e, a, &a->unfit[i]))
				take_out(a, i);
}

bool unfit_step(struct assoc *a, uint64_t now_ms)
{
	bool over = false;

	for (unsigned int i = a->n_unfit; i-- > 0;)
		if (now_ms >= a->unfit[i].until_ms) {
			take_out(a, i);
			over = true;
		}
	return over;
}

uint64_t unfit_due_ms(const struct assoc *a)
{
	uint64_t ms = UINT64_MAX;

	for (unsigned int i = 0; i < a->n_unfit; i++)
		if (a->unfit[i].until_ms < ms)
			ms = a->unfit[i].until_ms;
	return ms;
}
