/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * unfit: paths that carry control messages and no packets of flows.
 *
 * Owns, for each peer, the pairs of an own address and a locator of the peer's
 * over which no nonce has come, for UNFIT_MS or until something changes on the
 * path; one in use is tried again then, and stays unfit until a nonce has come.
 * And which of them people were told of.
 * Never decides a move, never looks at a packet.
 */
#include "daemon.h"

#include <string.h>

#include "handover_impl.h"

#define PAUSE_MS 10000 /* between trials of one in use, whatever changes */

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

static struct unfit_path *find(struct assoc *a, const struct addr *own,
			       const struct addr *remote)
{
	for (unsigned int i = 0; i < a->n_unfit; i++)
		if (is_over(&a->unfit[i], own, remote))
			return &a->unfit[i];
	return NULL;
}

bool unfit_is(const struct track *t, const struct addr *own)
{
	const struct unfit_path *p = find(t->assoc, own,
					  source_peer_locator(t));

	return p && !p->over;
}

bool unfit_concerns(const struct track *t)
{
	const struct assoc *a = t->assoc;

	for (unsigned int i = 0; i < a->n_unfit; i++)
		if (!a->unfit[i].over &&
		    addr_equal(&a->unfit[i].remote, source_peer_locator(t)))
			return true;
	return false;
}

bool unfit_is_due(const struct track *t, const struct addr *own)
{
	const struct unfit_path *p = find(t->assoc, own,
					  source_peer_locator(t));

	return p && p->due;
}

static void renew(struct unfit_path *p, uint64_t now_ms)
{
	p->noted_ms = now_ms;
	p->until_ms = now_ms + UNFIT_MS;
	p->due = false;
}

void unfit_tried(struct track *t, const struct addr *own, uint64_t now_ms)
{
	struct unfit_path *p = find(t->assoc, own, source_peer_locator(t));

	if (p)
		renew(p, now_ms);
	agenda_touch(&t->assoc->d->agenda[AGENDA_MOVES], t->assoc);
}

void unfit_forget(struct track *t, const struct addr *own)
{
	const struct unfit_path *p = find(t->assoc, own,
					  source_peer_locator(t));

	if (p)
		take_out(t->assoc, (unsigned int)(p - t->assoc->unfit));
}

static bool same_way(const struct unfit_way *x, const struct unfit_way *y)
{
	return x->ifindex == y->ifindex &&
	       addr_equal(&x->gateway, &y->gateway);
}

/* False where none is known: nothing leaves. */
static bool ask_way(struct daemon *d, const struct rtmon_query *q,
		    struct unfit_way *way)
{
	struct rtmon_route route;

	*way = (struct unfit_way){ 0 };
	COUNT(d, ROUTE_LOOKUPS);
	if (rtmon_lookup(d->rtmon, q, &route))
		return false;
	way->ifindex = route.ifindex;
	way->gateway = route.gateway;
	return true;
}

/* Before the first one leaves: the route may change before the trial ends. */
void unfit_begin(struct track *t, const struct addr *own, uint64_t seq)
{
	const struct rtmon_query q = {
		.dst = *source_peer_locator(t),
		.src = *own,
		.mark = t->mark,
		.uid = t->uid,
	};

	if (t->tried_seq == seq)
		return;
	t->tried_seq = seq;
	(void)ask_way(t->assoc->d, &q, &t->tried_way);
}

bool unfit_may_try(const struct track *t)
{
	const struct addr *current = &mover_current(&t->mover)->addr;
	const struct flow *f;

	if (!mover_was_proved(&t->mover))
		return false;
	LIST_FOREACH(f, &t->group.flows, in_group[FLOW_OURS])
		if (addr_equal(&f->identity.local.addr, current))
			return false;
	return true;
}

/* Where flows are that can ask by nonces; others are none of its business. */
static bool is_in_use(const struct assoc *a, const struct unfit_path *p)
{
	const struct track *t;

	LIST_FOREACH(t, &a->tracks[FLOW_OURS], entry)
		if (!LIST_EMPTY(&t->group.flows) && unfit_may_try(t) &&
		    is_over(p, &mover_current(&t->mover)->addr,
			    source_peer_locator(t)))
			return true;
	return false;
}

/* Or has ended. Flows that are on one in use would have no reason to leave it
 * any more: those in use come last. */
static struct unfit_path *first_to_go(struct assoc *a)
{
	struct unfit_path *first = &a->unfit[0];
	bool first_is = is_in_use(a, first);

	for (unsigned int i = 1; i < a->n_unfit; i++) {
		struct unfit_path *p = &a->unfit[i];
		const bool is = is_in_use(a, p);

		if (is != first_is ? is : p->until_ms >= first->until_ms)
			continue;
		first = p;
		first_is = is;
	}
	return first;
}

bool unfit_note(struct track *t, const struct addr *own, uint64_t now_ms)
{
	struct assoc *a = t->assoc;
	const struct rtmon_address *at = rtmon_find(a->d->rtmon, own);
	struct unfit_path *p = find(a, own, source_peer_locator(t));
	const bool told = p && p->told && same_way(&p->way, &t->tried_way);

	if (!p)
		p = a->n_unfit < UNFIT_MAX ? &a->unfit[a->n_unfit++] :
					     first_to_go(a);
	*p = (struct unfit_path){
		.own = *own,
		.remote = *source_peer_locator(t),
		.ifindex = at ? at->ifindex : 0,
		.way = t->tried_way,
		.mark = t->mark,
		.uid = t->uid,
		.told = true,
	};
	renew(p, now_ms);
	agenda_touch(&a->d->agenda[AGENDA_MOVES], a);
	return !told;
}

/* May the path be another one now? */
static bool changes(const struct rtmon_event *e, const struct unfit_path *p)
{
	switch (e->kind) {
	case RTMON_ADDR_ADDED:
	case RTMON_ADDR_REMOVED:
		return addr_equal(&e->address.addr, &p->own);
	case RTMON_LINK_UP:
	case RTMON_LINK_DOWN:
		return e->link.ifindex == p->ifindex;
	default:
		return false;
	}
}

/* Once events have been quiet, and not with each of many. */
static void bring_forward(struct unfit_path *p, uint64_t now_ms)
{
	uint64_t at_ms = now_ms + QUIET_MS;

	if (at_ms < p->noted_ms + PAUSE_MS)
		at_ms = p->noted_ms + PAUSE_MS;
	if (at_ms < p->noted_ms + UNFIT_MS)
		p->until_ms = at_ms;
}

static void is_another(struct assoc *a, unsigned int i, uint64_t now_ms)
{
	if (a->unfit[i].over || !is_in_use(a, &a->unfit[i])) {
		take_out(a, i);
		return;
	}
	a->unfit[i].told = false;
	bring_forward(&a->unfit[i], now_ms);
	agenda_touch(&a->d->agenda[AGENDA_MOVES], a);
}

void unfit_hear(struct daemon *d, const struct rtmon_event *e)
{
	struct assoc *a;

	LIST_FOREACH(a, &d->assocs, entry)
		for (unsigned int i = a->n_unfit; i-- > 0;)
			if (changes(e, &a->unfit[i]))
				is_another(a, i, loop_now_ms());
}

/* By another hop? Where there is none now, the one that was may come back. */
static bool leaves_elsewhere(struct daemon *d, struct unfit_path *p)
{
	const struct rtmon_query q = {
		.dst = p->remote,
		.src = p->own,
		.mark = p->mark,
		.uid = p->uid,
	};
	struct unfit_way way;

	if (!ask_way(d, &q, &way) || same_way(&way, &p->way))
		return false;
	p->way = way;
	return true;
}

void unfit_look(struct daemon *d, uint64_t now_ms)
{
	struct assoc *a;

	LIST_FOREACH(a, &d->assocs, entry)
		for (unsigned int i = a->n_unfit; i-- > 0;)
			if (leaves_elsewhere(d, &a->unfit[i]))
				is_another(a, i, now_ms);
}

bool unfit_step(struct assoc *a, uint64_t now_ms)
{
	bool over = false;

	for (unsigned int i = a->n_unfit; i-- > 0;) {
		struct unfit_path *p = &a->unfit[i];

		if (p->over || now_ms < p->until_ms)
			continue;
		over = true;
		if (!is_in_use(a, p)) {
			p->over = true;
			continue;
		}
		renew(p, now_ms);
		p->due = true;
	}
	return over;
}

uint64_t unfit_due_ms(const struct assoc *a)
{
	uint64_t ms = UINT64_MAX;

	for (unsigned int i = 0; i < a->n_unfit; i++)
		if (!a->unfit[i].over && a->unfit[i].until_ms < ms)
			ms = a->unfit[i].until_ms;
	return ms;
}
