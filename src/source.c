/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * source: the addresses from which our tracks may be.
 *
 * Owns the question to the routing table, and policy on our own locators.
 * Never moves a track.
 */
#include "daemon.h"

#include <string.h>

#include "handover_impl.h"

static const struct addr *peer_locator(const struct track *t)
{
	const struct flow *f = LIST_FIRST(&t->group.flows);
	const struct track *theirs = f ? track_of(f, FLOW_THEIRS) : NULL;

	return theirs ? &theirs->follower.sending.addr : &t->remote;
}

/* May our side of this track be at `a`? */
bool source_is_allowed(struct track *t, const struct addr *a,
			      bool tunnel)
{
	struct daemon *d = t->assoc->d;
	const struct addr *current = &mover_current(&t->mover)->addr;
	const struct rtmon_address *own = rtmon_find(d->rtmon, current);
	const struct rtmon_link *link =
		own ? rtmon_link(d->rtmon, own->ifindex) : NULL;
	const struct rtmon_address *to = rtmon_find(d->rtmon, a);

	if (!to || !rtmon_usable(d->rtmon, a))
		return false;
	if (link && link->tunnel && tunnel && to->ifindex != own->ifindex &&
	    !d->conf->leave_tunnel)
		return false;
	return conf_locator_check(d->conf, a, current) == REASON_NONE;
}

/* The source that the kernel would take for a new connection of these
 * flows; unset where there is none that may be used. */
uint32_t source_choose(struct track *t, struct addr *a)
{
	struct daemon *d = t->assoc->d;
	struct rtmon_query query = {
		.dst = *peer_locator(t),
		.mark = t->mark,
		.uid = t->uid,
	};
	struct rtmon_route route;

	memset(a, 0, sizeof(*a));
	COUNT(d, ROUTE_LOOKUPS);
	if (rtmon_choose_source(d->rtmon, &query, &route) ||
	    !source_is_allowed(t, &route.src, route.tunnel))
		return 0;
	*a = route.src;
	return route.ifindex;
}

/* Another usable source that reaches the peer, for when `target` fails. */
void source_next(struct track *t, const struct addr *target,
			struct addr *a)
{
	struct daemon *d = t->assoc->d;
	const struct rtmon_address *list;
	struct rtmon_query query = {
		.dst = *peer_locator(t),
		.mark = t->mark,
		.uid = t->uid,
	};
	struct rtmon_route route;
	size_t n;

	memset(a, 0, sizeof(*a));
	list = rtmon_addresses(d->rtmon, &n);
	for (size_t i = 0; i < n; i++) {
		if (list[i].on_lo || list[i].deprecated ||
		    list[i].addr.family != query.dst.family ||
		    addr_equal(&list[i].addr, target) ||
		    !source_is_allowed(t, &list[i].addr, false))
			continue;
		query.src = list[i].addr;
		COUNT(d, ROUTE_LOOKUPS);
		if (rtmon_lookup(d->rtmon, &query, &route) || route.local ||
		    route.ifindex != list[i].ifindex)
			continue;
		*a = list[i].addr;
		return;
	}
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
