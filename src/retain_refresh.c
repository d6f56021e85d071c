/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * retain_refresh: has sockets forget the guard's routes, and asks for the ways
 * back again.
 *
 * Owns nothing. Never decides when (repair does).
 */
#include "retain.h"

#include "retain_impl.h"

/* Through all peers of IPv6. */
struct refresh {
	struct retain *r;
	struct peer *p;
};

static bool next_guard(struct route_entry *entry, void *arg)
{
	struct refresh *all = arg;
	struct peer *p = all->p;

	while (p && (!p->uses || p->addr.family != 6))
		p = p->hh.next;
	all->p = p ? p->hh.next : NULL;
	if (p)
		*entry = retain_guard_to(all->r, p);
	return p;
}

int retain_refresh(struct retain *r)
{
	struct refresh all = { .r = r, .p = r->peers };
	struct peer *p, *next;
	int err = route_put_entries(r->nl, next_guard, &all);

	HASH_ITER(hh, r->peers, p, next)
		if (p->hops)
			err = retain_first_of(err, retain_follow_reverse(r, p));
	return err;
}
