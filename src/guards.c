/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * guards: whose flows need the guard of an address.
 *
 * Owns how many protected flows there are at each identity address, of ours and
 * of peers, and for which peer the guard of each counts: the one that needed it
 * first. Never knows what stands in the kernel for it (retain).
 */
#include "daemon.h"

#include <errno.h>
#include <stdlib.h>

static const struct addr *identity(const struct flow *f, int side)
{
	return side == FLOW_OURS ? &f->identity.local.addr :
				   &f->identity.remote.addr;
}

/* What an earlier run has moved cannot live without. */
static bool take(struct daemon *d, struct guards_of *g,
		 struct guard_share *share)
{
	if (share_take(&g->pool, share ? &share->used : NULL, 1) ==
	    SHARE_TAKEN)
		return true;
	if (!d->adopt || g->pool.used >= g->pool.bound)
		return false;
	share_force(&g->pool, share ? &share->used : NULL, 1);
	return true;
}

static int add(struct daemon *d, int side, const struct addr *at,
	       struct guard_share *share)
{
	struct guards_of *g = &d->guards.of[side];
	struct guard *guard = index_find(&g->by_addr, at);

	if (guard) {
		guard->flows++;
		return 0;
	}
	if (!take(d, g, share))
		return -ENOSPC;
	guard = calloc(1, sizeof(*guard));
	if (guard) {
		guard->addr = *at;
		guard->flows = 1;
		if (!index_add(&g->by_addr, guard)) {
			guard->share = share;
			if (share)
				LIST_INSERT_HEAD(&share->all, guard, in_share);
			return 0;
		}
	}
	free(guard);
	share_give(&g->pool, share ? &share->used : NULL, 1);
	return -ENOMEM;
}

static void put(struct daemon *d, int side, const struct addr *at)
{
	struct guards_of *g = &d->guards.of[side];
	struct guard *guard = index_find(&g->by_addr, at);

	if (!guard || --guard->flows)
		return;
	if (guard->share)
		LIST_REMOVE(guard, in_share);
	share_give(&g->pool, guard->share ? &guard->share->used : NULL, 1);
	index_remove(&g->by_addr, guard);
	free(guard);
}

int guards_add(struct daemon *d, const struct flow *f, uint32_t mtu)
{
	struct assoc *a = track_assoc(f);
	int side, err = 0;

	for (side = 0; side < FLOW_SIDES && !err; side++)
		err = add(d, side, identity(f, side),
			  a ? &a->guards[side] : NULL);
	if (err)
		side--; /* that one was not added */
	else
		err = retain_protect(d->retain, identity(f, FLOW_OURS),
				     identity(f, FLOW_THEIRS), mtu);
	while (err && side--)
		put(d, side, identity(f, side));
	return err;
}

void guards_remove(struct daemon *d, const struct flow *f)
{
	(void)retain_unprotect(d->retain, identity(f, FLOW_OURS),
			       identity(f, FLOW_THEIRS));
	for (int side = 0; side < FLOW_SIDES; side++)
		put(d, side, identity(f, side));
}

void guards_forget_share(struct guard_share *share)
{
	struct guard *guard;

	while ((guard = LIST_FIRST(&share->all))) {
		LIST_REMOVE(guard, in_share);
		guard->share = NULL;
	}
}

void guards_init(struct daemon *d, const uint8_t seed[CRYPTO_SHORT_KEY_SIZE])
{
	static const uint32_t bound[] = {
		[FLOW_OURS] = GUARDED_OURS_MAX,
		[FLOW_THEIRS] = GUARDED_THEIRS_MAX,
	};

	for (int side = 0; side < FLOW_SIDES; side++) {
		struct guards_of *g = &d->guards.of[side];

		index_init(&g->by_addr, offsetof(struct guard, by_addr),
			   offsetof(struct guard, addr), sizeof(struct addr),
			   seed);
		share_pool_init(&g->pool, bound[side]);
	}
}

void guards_free(struct daemon *d)
{
	for (struct flow *f = flow_first(&d->flows); f; f = flow_next(f))
		for (int side = 0; f->protected && side < FLOW_SIDES; side++)
			put(d, side, identity(f, side));
	for (int side = 0; side < FLOW_SIDES; side++)
		index_free(&d->guards.of[side].by_addr);
}
