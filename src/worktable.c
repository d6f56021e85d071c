/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * worktable: what becomes of a packet, by the tuple that it bears. See
 * worktable.h.
 */
#include "worktable.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_FIRST 64

void worktable_init(struct worktable *t, uint64_t seed)
{
	*t = (struct worktable){ .seed = seed };
}

void worktable_free(struct worktable *t)
{
	free(t->slot);
	*t = (struct worktable){ .seed = t->seed };
}

static uint64_t mix(uint64_t h, uint64_t word)
{
	h = (h ^ word) * 0x9fb21c651e98df25u; /* odd, half of its bits set */
	return h ^ h >> 32;
}

static uint64_t hash_endpoint(uint64_t h, const struct endpoint *e)
{
	uint64_t word[2];

	memcpy(word, e->addr.byte, sizeof(word));
	return mix(mix(mix(h, word[0]), word[1]),
		   (uint64_t)e->addr.family << 16 | e->port);
}

static uint32_t hash(const struct worktable *t, const struct tuple *tuple,
		     bool outbound)
{
	uint64_t h = mix(t->seed, (uint64_t)tuple->proto << 1 | outbound);

	h = hash_endpoint(h, &tuple->local);
	return (uint32_t)mix(hash_endpoint(h, &tuple->remote), t->seed);
}

/* The slot of that route, or the free one where it would be. */
static uint32_t seek(const struct worktable *t, uint32_t h,
		     const struct tuple *tuple, bool outbound)
{
	uint32_t i = h & t->mask;

	for (; t->slot[i].route; i = (i + 1) & t->mask) {
		const struct work_route *r = t->slot[i].route;

		if (t->slot[i].hash == h && r->outbound == outbound &&
		    tuple_equal(&r->tuple, tuple))
			break;
	}
	return i;
}

struct work_route *worktable_find(const struct worktable *t,
				  const struct tuple *tuple, bool outbound)
{
	if (!t->n)
		return NULL;
	return t->slot[seek(t, hash(t, tuple, outbound), tuple, outbound)]
		.route;
}

static int grow(struct worktable *t)
{
	uint32_t slots = t->slot ? 2 * (t->mask + 1) : SLOTS_FIRST;
	struct worktable old = *t;

	t->slot = calloc(slots, sizeof(*t->slot));
	if (!t->slot) {
		t->slot = old.slot;
		return -ENOMEM;
	}
	t->mask = slots - 1;
	for (uint32_t i = 0; old.slot && i <= old.mask; i++) {
		uint32_t at = old.slot[i].hash & t->mask;

		if (!old.slot[i].route)
			continue;
		while (t->slot[at].route)
			at = (at + 1) & t->mask;
		t->slot[at] = old.slot[i];
	}
	free(old.slot);
	return 0;
}

int worktable_add(struct worktable *t, struct work_route *r)
{
	uint32_t h = hash(t, &r->tuple, r->outbound), i;

	if (t->n == WORKTABLE_ROUTES_MAX)
		return -ENOSPC;
	if ((!t->slot || 2 * (t->n + 1) > t->mask + 1) && grow(t))
		return -ENOMEM;
	i = seek(t, h, &r->tuple, r->outbound);
	if (t->slot[i].route)
		return -EEXIST;
	t->slot[i] = (struct worktable_slot){ .route = r, .hash = h };
	t->n++;
	return 0;
}

/* What follows the gap, up to the next free slot, goes back into it unless
 * that is before where it belongs. */
static void close_gap(struct worktable *t, uint32_t gap)
{
	for (uint32_t i = (gap + 1) & t->mask; t->slot[i].route;
	     i = (i + 1) & t->mask) {
		uint32_t home = t->slot[i].hash & t->mask;

		if (((i - home) & t->mask) < ((i - gap) & t->mask))
			continue;
		t->slot[gap] = t->slot[i];
		gap = i;
	}
	t->slot[gap].route = NULL;
}

bool worktable_remove(struct worktable *t, const struct work_route *r)
{
	uint32_t i;

	if (!t->n)
		return false;
	i = seek(t, hash(t, &r->tuple, r->outbound), &r->tuple, r->outbound);
	if (t->slot[i].route != r)
		return false;
	close_gap(t, i);
	t->n--;
	return true;
}
