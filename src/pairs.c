/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pairs: between which addresses there are flows that the hooks look up.
 *
 * steer lets packets of a pair into its sets as soon as one of its flows is in
 * them. Owns the count of these, by which a pair is closed again when nothing
 * of it is left in the kernel, its tombstones included.
 */
#include "daemon.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The kernel's tombstones are gone by then. */
#define LINGER_MS (FLOW_TOMBSTONE_MS + 2000)

static struct pair_use *get(struct daemon *d, const struct tuple *t,
			    const struct flow *f)
{
	struct pair_key key;
	struct share *share;
	struct assoc *a;
	struct pair_use *p;

	memset(&key, 0, sizeof(key));
	key.local = t->local.addr;
	key.remote = t->remote.addr;
	HASH_FIND(hh, d->pairs.all, &key, sizeof(key), p);
	if (p)
		return p;
	a = f ? track_assoc(f) : NULL;
	share = a ? &a->pairs : NULL;
	if (share_take(&d->pairs.pool, share, 1) != SHARE_TAKEN) {
		COUNT(d, PAIRS_FULL);
		return NULL;
	}
	p = calloc(1, sizeof(*p));
	if (p) {
		p->key = key;
		p->share = share;
		HASH_ADD(hh, d->pairs.all, key, sizeof(p->key), p);
		if (p->hh.tbl)
			return p;
	}
	free(p);
	share_give(&d->pairs.pool, share, 1);
	return NULL;
}

static void put(struct daemon *d, struct pair_use *p)
{
	share_give(&d->pairs.pool, p->share, 1);
	HASH_DELETE(hh, d->pairs.all, p);
	free(p);
}

int pairs_change(struct daemon *d, const struct flow_change *c)
{
	struct pair_use *p;

	if (c->set != FLOW_STEER_OUT && c->set != FLOW_STEER_IN &&
	    c->set != FLOW_STEER_DROP)
		return 0;
	p = get(d, &c->tuple, c->flow);
	if (!p)
		return -ENOSPC;
	if (!p->touched) {
		p->touched = true;
		LIST_INSERT_HEAD(&d->pairs.touched, p, in_touched);
	}
	/* What the kernel forgets by itself is not told: LINGER_MS. */
	if (!c->timeout_ms)
		p->delta += c->add ? 1 : -1;
	return 0;
}

void pairs_recount(struct daemon *d)
{
	for (struct pair_use *p = d->pairs.all; p; p = p->hh.next) {
		if (!p->touched)
			LIST_INSERT_HEAD(&d->pairs.touched, p, in_touched);
		p->touched = true;
		p->delta = -(int32_t)p->uses;
	}
}

/* Where no route leads any more, what is sent between the two ends silently.
 * (Of the identity's addresses this is so already.) Past retain's bounds
 * senders are told. */
static void set_wired(struct daemon *d, struct pair_use *p, bool wired)
{
	if (p->wired == wired)
		return;
	p->wired = false;
	if (wired)
		p->wired = !retain_wire(d->retain, &p->key.local,
					&p->key.remote);
	else
		(void)retain_unwire(d->retain, &p->key.local, &p->key.remote);
}

static void linger(struct daemon *d, struct pair_use *p, uint64_t now_ms)
{
	if (p->until_ms)
		TAILQ_REMOVE(&d->pairs.lingering, p, in_lingering);
	p->until_ms = p->uses ? 0 : now_ms + LINGER_MS;
	if (p->until_ms)
		TAILQ_INSERT_TAIL(&d->pairs.lingering, p, in_lingering);
}

void pairs_settle(struct daemon *d, int err, uint64_t now_ms)
{
	struct pair_use *p;

	while ((p = LIST_FIRST(&d->pairs.touched))) {
		LIST_REMOVE(p, in_touched);
		p->touched = false;
		if (!err)
			p->uses = (uint32_t)((int64_t)p->uses + p->delta);
		p->delta = 0;
		set_wired(d, p, p->uses);
		linger(d, p, now_ms);
	}
}

uint64_t pairs_deadline_ms(const struct daemon *d)
{
	const struct pair_use *p = TAILQ_FIRST(&d->pairs.lingering);

	return p ? p->until_ms : 0;
}

void pairs_step(struct daemon *d, uint64_t now_ms)
{
	struct pair_use *p = TAILQ_FIRST(&d->pairs.lingering);
	unsigned int n = 0;

	if (!p || p->until_ms > now_ms)
		return;
	steer_begin(d->steer);
	for (; p && p->until_ms <= now_ms && n < TRACK_PART;
	     p = TAILQ_NEXT(p, in_lingering), n++)
		steer_del_pair(d->steer, &p->key.local, &p->key.remote);
	if (steer_commit(d->steer)) {
		/* It costs time only. */
		COUNT(d, NFT_ERRORS);
	}
	while (n--) {
		p = TAILQ_FIRST(&d->pairs.lingering);
		TAILQ_REMOVE(&d->pairs.lingering, p, in_lingering);
		put(d, p);
	}
}

void pairs_forget_share(struct daemon *d, const struct share *share)
{
	for (struct pair_use *p = d->pairs.all; p; p = p->hh.next)
		if (p->share == share)
			p->share = NULL;
}

void pairs_init(struct daemon *d)
{
	d->pairs.all = NULL;
	share_pool_init(&d->pairs.pool, PAIRS_MAX);
	LIST_INIT(&d->pairs.touched);
	TAILQ_INIT(&d->pairs.lingering);
}

void pairs_free(struct daemon *d)
{
	struct pair_use *p;
	struct pair_use *next;

	HASH_ITER(hh, d->pairs.all, p, next)
		put(d, p);
	pairs_init(d);
}
