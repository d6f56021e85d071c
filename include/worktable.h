/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * worktable: what becomes of a packet, by the tuple that it bears.
 *
 * Owns an open hash table over routes that are its user's; the routes of one
 * worker, so there is no lock. Never counts, never looks at a packet.
 *
 * Linear probing, at most half full, and removal moves what follows back, so
 * there are no graves to walk over: a look-up touches one or two slots. The
 * hash is keyed: peers choose tuples, and shall not choose who collides.
 */
#ifndef SACIPED_WORKTABLE_H
#define SACIPED_WORKTABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "addr.h"
#include "rewrite.h"

/* Both ways of every flow that there can be, and some that drain. */
#define WORKTABLE_ROUTES_MAX 524288

/* One way of one flow. Whoever rewrites by it adds to the numbers, alone;
 * anybody may read them. */
struct work_route {
	SLIST_ENTRY(work_route) entry; /* its user's */
	struct tuple tuple; /* as the packets bear it, our end first */
	bool outbound;
	struct rewrite_target to;
	_Atomic uint64_t packets;
	_Atomic uint64_t bytes;
};

struct worktable_slot {
	struct work_route *route; /* NULL: free */
	uint32_t hash;
};

struct worktable {
	struct worktable_slot *slot;
	uint32_t mask; /* slots less one; 0: no slots yet */
	uint32_t n;
	uint64_t seed;
};

/* `seed` is random. Nothing is allocated yet. */
void worktable_init(struct worktable *t, uint64_t seed);
/* The routes stay as they are. */
void worktable_free(struct worktable *t);
/* The route stays the caller's and must not change while it is in. 0,
 * -EEXIST, -ENOSPC (WORKTABLE_ROUTES_MAX) or -ENOMEM. */
int worktable_add(struct worktable *t, struct work_route *r);
/* False where it was not in. */
bool worktable_remove(struct worktable *t, const struct work_route *r);
/* NULL where there is none. */
struct work_route *worktable_find(const struct worktable *t,
				  const struct tuple *tuple, bool outbound);

#endif
