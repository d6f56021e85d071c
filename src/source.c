/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * source: the addresses from which our tracks may be.
 *
 * Owns the question to the routing table, and policy on our own locators.
 * Never moves a track.
 */
#include "daemon.h"

#include <stdlib.h>
#include <string.h>

#include "handover_impl.h"

const struct addr *source_peer_locator(const struct track *t)
{
	const struct flow *f = LIST_FIRST(&t->group.flows);
	const struct track *theirs = f ? track_of(f, FLOW_THEIRS) : NULL;

	return theirs ? &theirs->follower.sending.addr : &t->remote;
}

/* Remembers where the track is for when its address is gone. By name: a VPN
 * that comes back has the same one and another index. */
static void note_interface(struct track *t)
{
	struct daemon *d = t->assoc->d;
	const struct rtmon_address *own =
		rtmon_find(d->rtmon, &mover_current(&t->mover)->addr);
	const struct rtmon_link *link =
		own ? rtmon_link(d->rtmon, own->ifindex) : NULL;

	if (!link)
		return;
	memcpy(t->ifname, link->name, sizeof(t->ifname));
	t->tunnel = link->tunnel;
}

/* What goes through a tunnel is not sent around it, nor the other way. */
static bool is_link_allowed(struct track *t, const struct rtmon_link *to)
{
	note_interface(t);
	if (t->assoc->d->conf->leave_tunnel || !t->ifname[0])
		return true;
	return (!t->tunnel && !to->tunnel) ||
	       !strncmp(t->ifname, to->name, sizeof(t->ifname));
}

static enum reason check(struct track *t, const struct addr *a)
{
	struct daemon *d = t->assoc->d;
	const struct addr *current = &mover_current(&t->mover)->addr;
	const struct rtmon_address *to = rtmon_find(d->rtmon, a);
	const struct rtmon_link *link =
		to ? rtmon_link(d->rtmon, to->ifindex) : NULL;

	if (!link || !rtmon_usable(d->rtmon, a))
		return REASON_NO_ADDRESS;
	if (!is_link_allowed(t, link))
		return REASON_TUNNEL;
	return conf_locator_check(d->conf, a, current);
}

bool source_is_allowed(struct track *t, const struct addr *a)
{
	return check(t, a) == REASON_NONE;
}

static struct rtmon_query query_of(const struct track *t)
{
	return (struct rtmon_query){
		.dst = *source_peer_locator(t),
		.mark = t->mark,
		.uid = t->uid,
	};
}

static enum way_leads leads(struct track *t, const struct addr *from)
{
	struct rtmon_query query = query_of(t);

	query.src = *from;
	COUNT(t->assoc->d, ROUTE_LOOKUPS);
	switch (rtmon_leads_home(t->assoc->d->rtmon, &query)) {
	case 1:
		return WAY_HOME;
	case 0:
		return WAY_ABROAD;
	default:
		return WAY_NOWHERE;
	}
}

enum migrate_cause source_look(struct track *t, uint64_t now_ms)
{
	const struct addr *current = &mover_current(&t->mover)->addr;
	const struct rtmon_address *own =
		rtmon_find(t->assoc->d->rtmon, current);
	const struct way before = t->way;
	struct way_now now = { .from = *current, .to = *source_peer_locator(t),
			       .ms = now_ms };
	enum migrate_cause cause;

	note_interface(t);
	now.leads = leads(t, current);
	now.deprecated = own && own->deprecated;
	cause = way_look(&t->way, &now);
	if (t->kept && (before.began != t->way.began ||
			before.preferred != t->way.preferred))
		keep_track_later(t);
	return cause;
}

void source_expect(struct track *t, const struct addr *next)
{
	struct way_now now = { .from = *next, .to = *source_peer_locator(t),
			       .leads = leads(t, next) };

	way_expect(&t->way, &now);
}

bool source_leads_home(struct track *t, const struct addr *a)
{
	return leads(t, a) == WAY_HOME;
}

/* The kernel's choice `a` carries none of the flows: where they are they stay,
 * unless that is no better; then any other, and it only where there is none. */
static void choose_fit(struct track *t, struct addr *a)
{
	const struct addr *current = &mover_current(&t->mover)->addr;

	if (rtmon_usable(t->assoc->d->rtmon, current) && !unfit_is(t, current))
		memset(a, 0, sizeof(*a));
	else
		source_unrefused(t, a);
}

/* The source that the kernel would take for a new connection of these
 * flows; unset where there is none that may be used, which is noted. */
void source_choose(struct track *t, struct addr *a)
{
	struct daemon *d = t->assoc->d;
	struct rtmon_query query = query_of(t);
	struct rtmon_route route;

	memset(a, 0, sizeof(*a));
	t->stays = REASON_NONE;
	COUNT(d, ROUTE_LOOKUPS);
	if (rtmon_choose_source(d->rtmon, &query, &route))
		return;
	t->stays = check(t, &route.src);
	if (t->stays != REASON_NONE)
		return;
	*a = route.src;
	if (unfit_is(t, a))
		choose_fit(t, a);
}

enum source_way source_way(struct track *t, const struct addr *from,
			   uint64_t now_ms)
{
	struct daemon *d = t->assoc->d;
	struct rtmon_query query = {
		.src = *from,
		.dst = *source_peer_locator(t),
		.mark = t->mark,
		.uid = t->uid,
	};
	const struct addr *hop = &query.dst;
	struct rtmon_route route;

	COUNT(d, ROUTE_LOOKUPS);
	if (rtmon_lookup(d->rtmon, &query, &route) ||
	    route.table == d->conf->table)
		return SOURCE_WAY_NONE;
	if (addr_is_set(&route.gateway))
		hop = &route.gateway;
	if (route.tunnel || retain_is_known(d->retain, hop, route.ifindex))
		return SOURCE_WAY_OPEN;
	(void)peer_validate_path(t->assoc->peer, now_ms, from, &query.dst);
	return SOURCE_WAY_UNRESOLVED;
}

static bool is_held_back(const struct track *t, const struct addr *a)
{
	return mover_was_refused(&t->mover, a) || unfit_is(t, a);
}

static bool reaches_peer(struct track *t, const struct rtmon_address *own)
{
	return !own->on_lo && !own->deprecated &&
	       own->addr.family == source_peer_locator(t)->family &&
	       !is_held_back(t, &own->addr) &&
	       source_is_allowed(t, &own->addr) &&
	       leads(t, &own->addr) == WAY_HOME;
}

/* ---- one source after the other ----------------------------------------- */

/* Where an address stands in the kernel's order. */
struct standing {
	const struct rtmon_address *own;
	uint64_t rank; /* of its interface */
	bool chosen; /* of its interface, by the kernel */
};

static int by_interface(const void *a, const void *b)
{
	const struct rtmon_address *x = ((const struct standing *)a)->own;
	const struct rtmon_address *y = ((const struct standing *)b)->own;

	if (x->ifindex != y->ifindex)
		return x->ifindex < y->ifindex ? -1 : 1;
	return x < y ? -1 : x > y;
}

static int by_rank(const void *a, const void *b)
{
	const struct standing *x = a, *y = b;

	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	if (x->own->ifindex != y->own->ifindex || x->chosen == y->chosen)
		return by_interface(a, b);
	return x->chosen ? -1 : 1;
}

/* All `n` are of one interface. Last are those without a way for new
 * connections; rules for their sources may have one. */
static void rank(struct track *t, struct standing *s, size_t n)
{
	struct rtmon *rt = t->assoc->d->rtmon;
	struct rtmon_query query = query_of(t);
	uint64_t rank = UINT64_MAX;
	struct rtmon_route route;
	bool any;

	query.oif = s->own->ifindex;
	COUNT(t->assoc->d, ROUTE_LOOKUPS);
	any = !rtmon_rank(rt, &query, &rank) && n > 1 &&
	      !rtmon_choose_source(rt, &query, &route);
	for (size_t i = 0; i < n; i++) {
		s[i].rank = rank;
		s[i].chosen = any && addr_equal(&route.src, &s[i].own->addr);
	}
}

/* Our addresses of the peer's family in the kernel's order, but for those that
 * are held back: `target` is one, and marks the place. NULL where there are
 * none; the caller frees it. */
static struct standing *in_order(struct track *t, const struct addr *target,
				 size_t *n)
{
	const struct rtmon_address *list;
	struct standing *s;
	size_t n_list, end;

	list = rtmon_addresses(t->assoc->d->rtmon, &n_list);
	s = n_list ? calloc(n_list, sizeof(*s)) : NULL;
	*n = 0;
	for (size_t i = 0; s && i < n_list; i++)
		if (addr_equal(&list[i].addr, target) ||
		    (list[i].addr.family == target->family &&
		     !list[i].on_lo && !is_held_back(t, &list[i].addr) &&
		     source_is_allowed(t, &list[i].addr)))
			s[(*n)++].own = &list[i];
	if (*n)
		qsort(s, *n, sizeof(*s), by_interface);
	for (size_t i = 0; i < *n; i = end) {
		for (end = i + 1; end < *n; end++)
			if (s[end].own->ifindex != s[i].own->ifindex)
				break;
		rank(t, &s[i], end - i);
	}
	if (*n)
		qsort(s, *n, sizeof(*s), by_rank);
	return s;
}

void source_next(struct track *t, const struct addr *target, struct addr *a)
{
	size_t n, first = 0;
	struct standing *s = in_order(t, target, &n);

	memset(a, 0, sizeof(*a));
	for (size_t i = 0; i < n; i++)
		if (addr_equal(&s[i].own->addr, target))
			first = i + 1;
	for (size_t i = 0; i < n && !addr_is_set(a); i++) {
		const struct rtmon_address *own = s[(first + i) % n].own;

		if (!addr_equal(&own->addr, target) && reaches_peer(t, own))
			*a = own->addr;
	}
	free(s);
}

void source_unrefused(struct track *t, struct addr *a)
{
	struct addr next;

	if (!addr_is_set(a) || !is_held_back(t, a))
		return;
	source_next(t, a, &next);
	if (addr_is_set(&next))
		*a = next;
}

/* With its choice of ports; unset where no port is free. */
struct locator source_locator(struct track *t, const struct addr *a)
{
	struct locator l;

	memset(&l, 0, sizeof(l));
	if (addr_is_set(a) && !track_choose_ports(t, a, &l.ports))
		l.addr = *a;
	return l;
}
