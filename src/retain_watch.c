/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * retain_watch: what others take away of what retain has put there.
 *
 * Owns the events that tell it, and the putting back. Never asks for anything
 * by itself, never decides what is needed.
 */
#include "retain.h"

#include "netlink.h"
#include "retain_impl.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>

static int restore_entry(struct retain *r, const struct route_entry *lost)
{
	struct peer *p = retain_find_peer(r, &lost->to);
	struct old *o = retain_find_old(r, &lost->to);
	struct route_entry entry;

	if (lost->table != r->conf.table && !lost->local) {
		int err = retain_write_reverse(r, p);

		/* Its interface is down: nobody took it, nor is it back. */
		return !err && p->lacks_hop ? -ENETDOWN : err;
	}
	entry = lost->local ? retain_delivery_to(r, o) : retain_guard_to(r, p);
	return route_put_entry(r->nl, &entry);
}

static int restore(struct retain *r, const struct route_object *lost)
{
	switch (lost->kind) {
	case ROUTE_RULE:
		return route_put_rule(r->nl, &lost->rule);
	case ROUTE_ENTRY:
		return restore_entry(r, &lost->entry);
	case ROUTE_COPY:
		return route_put_copy(r->nl, &lost->copy);
	}
	return 0;
}

/* The guard's routes went with the device that they end in. */
static int restore_sink(struct retain *r)
{
	struct peer *p, *next;
	int err = 0;

	if (route_put_sink(r->nl, &r->sink))
		r->sink = ROUTE_LO_IFINDEX;
	HASH_ITER(hh, r->peers, p, next) {
		struct route_entry entry = retain_guard_to(r, p);

		if (p->uses)
			err = route_put_entry(r->nl, &entry);
	}
	return err;
}

/* Everything, where it is not known what is gone. */
static void restore_all(struct retain *r)
{
	struct old *o, *next_old;
	struct peer *p, *next_peer;

	r->lost->unknown = r->displaced = true;
	(void)retain_put_mark_rules(r);
	(void)restore_sink(r);
	HASH_ITER(hh, r->peers, p, next_peer)
		if (p->hops)
			(void)retain_write_reverse(r, p);
	HASH_ITER(hh, r->olds, o, next_old) {
		struct route_rule rule = retain_rule_of(r, o, RETAIN_PREF_LAST);
		struct route_entry entry = retain_delivery_to(r, o);

		(void)route_put_rule(r->nl, &rule);
		if (!o->uses)
			continue;
		if (o->copied)
			(void)route_put_copy(r->nl, &o->addr);
		(void)route_put_entry(r->nl, &entry);
		rule = retain_gone_rule(r, o);
		if (o->gone)
			(void)route_put_rule(r->nl, &rule);
	}
}

static void count(struct retain_lost *to, const struct route_object *lost)
{
	switch (lost->kind) {
	case ROUTE_RULE:
		to->rules++;
		to->last = lost->rule.from;
		return;
	case ROUTE_ENTRY:
		to->routes++;
		to->last = lost->entry.to;
		return;
	case ROUTE_COPY:
		to->addresses++;
		to->last = lost->copy;
		return;
	}
}

static int on_event(const struct nlmsghdr *nlh, void *arg)
{
	struct retain *r = arg;
	struct route_object lost;

	/* A way back over an interface that is down fails: retain_link_up(). */
	if (route_read_lost_link(nlh) == r->sink &&
	    r->sink != ROUTE_LO_IFINDEX)
		r->lost->devices += !restore_sink(r);
	else if (route_read_lost(nlh, &lost) && retain_uses(&lost, r) &&
		 !restore(r, &lost))
		count(r->lost, &lost);
	else
		r->displaced |= retain_displaces(r, nlh);
	return 0;
}

int retain_watch_fd(const struct retain *r)
{
	return netlink_fd(r->events);
}

int retain_watch(struct retain *r, struct retain_lost *lost)
{
	int err;

	memset(lost, 0, sizeof(*lost));
	r->lost = lost;
	err = netlink_receive(r->events, on_event, r);
	if (err == -ENOBUFS) {
		restore_all(r);
		err = 0;
	}
	r->lost = NULL;
	lost->displaced = r->displaced;
	return err ? err : (int)(lost->rules + lost->routes + lost->addresses +
				 lost->devices + lost->unknown);
}

int retain_hear_losses(struct retain *r)
{
	static const unsigned groups[] = {
		RTNLGRP_LINK,	    RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE,
		RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE,	 RTNLGRP_IPV6_RULE,
	};
	int err = netlink_open(&r->events, NETLINK_ROUTE, groups,
			       sizeof(groups) / sizeof(groups[0]));

	return err ? err : route_hear_losses(r->events, netlink_port(r->nl));
}
