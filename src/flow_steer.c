/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * flow_steer: from what the kernel has of a flow to what the flow needs.
 *
 * Owns accepted wire tuples, tombstones, and what is prepared and not settled
 * yet. Never talks to the kernel: changes are named to the caller.
 */
#include "flow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BIT(set) (1u << (unsigned int)(set))

static void wire_free(struct flow_table *t, struct flow_wire *w)
{
	if (w->quiet_ms)
		TAILQ_REMOVE(&t->quiet, w, in_quiet);
	index_remove(&t->wires, w);
	free(w);
}

static void tombstone_free(struct flow_table *t, struct flow_tombstone *tomb)
{
	share_give(&t->tomb_pool, tomb->share, 1);
	index_remove(&t->tombs, tomb);
	TAILQ_REMOVE(&t->tomb_order, tomb, entry);
	free(tomb);
}

static struct flow_tombstone *tombstone_find(const struct flow_table *t,
					     const struct tuple *tuple)
{
	return index_find(&t->tombs, tuple);
}

struct flow *flow_find_wire(const struct flow_table *t,
			    const struct tuple *wire)
{
	const struct flow_wire *w = index_find(&t->wires, wire);

	return w && !w->quiet_ms ? w->flow : NULL;
}

struct flow *flow_find_steered(const struct flow_table *t,
			       const struct tuple *wire)
{
	const struct flow_wire *w = index_find(&t->wires, wire);

	return w ? w->flow : NULL;
}

bool flow_wire_is_quiet(const struct flow_table *t, const struct tuple *wire)
{
	const struct flow_wire *w = index_find(&t->wires, wire);

	return w && w->quiet_ms;
}

uint64_t flow_quiet_due_ms(const struct flow_table *t)
{
	const struct flow_wire *w = TAILQ_FIRST(&t->quiet);

	return w ? w->quiet_ms : 0;
}

bool flow_tuple_taken(const struct flow_table *t, const struct flow *f,
		      const struct tuple *wire)
{
	const struct flow *other = flow_find(t, wire);
	const struct flow_tombstone *tomb = tombstone_find(t, wire);
	const struct flow_wire *w = index_find(&t->wires, wire);

	if (other && other != f)
		return true;
	if (w && w->flow != f)
		return true;
	return tomb && tomb->flow_id && tomb->flow_id != f->id;
}

/* `f`: whose it is; NULL of a tombstone. */
static int tell(flow_change_cb *cb, void *ctx, const struct flow *f, bool add,
		enum flow_steer set, const struct tuple *tuple,
		uint32_t timeout_ms)
{
	struct flow_change c = {
		.flow = f,
		.add = add,
		.set = set,
		.timeout_ms = timeout_ms,
		.tuple = *tuple,
	};

	return cb(ctx, &c);
}

static struct flow_wire *wire_of(struct flow *f, const struct tuple *tuple)
{
	struct flow_wire *w;

	SLIST_FOREACH(w, &f->wires, entry)
		if (tuple_equal(&w->tuple, tuple))
			return w;
	return NULL;
}

static int tell_map(flow_change_cb *cb, void *ctx, bool add,
		    enum flow_side side, const struct flow *f,
		    const struct flow_wire *w)
{
	bool ours = side == FLOW_OURS;
	struct flow_change c = {
		.flow = f,
		.add = add,
		.set = ours ? FLOW_STEER_SEND : FLOW_STEER_RECV,
		.tuple = ours ? f->identity : w->tuple,
		.to = ours ? w->tuple : f->identity,
	};

	return cb(ctx, &c);
}

/* What goes first: one key leads to one place. */
static int tell_maps(struct flow *f, flow_change_cb *cb, void *ctx)
{
	struct flow_wire *w;
	int err = 0;

	for (int add = 0; add <= 1; add++)
		for (int side = 0; side < FLOW_SIDES; side++)
			SLIST_FOREACH(w, &f->wires, entry) {
				uint8_t from = add ? w->mapped : w->map_next;
				uint8_t to = add ? w->map_next : w->mapped;

				if (!err && to & ~from & BIT(side))
					err = tell_map(cb, ctx, add,
						       (enum flow_side)side,
						       f, w);
			}
	return err;
}

struct flow_wire *flow_mapped(const struct flow *f)
{
	struct tuple wire = flow_wire_tuple(f);
	struct flow_wire *w;

	SLIST_FOREACH(w, &f->wires, entry)
		if (w->mapped && tuple_equal(&w->tuple, &wire))
			return w;
	return NULL;
}

/* What comes by a wire tuple that is not sent by any more is not put on the
 * queue either: what comes by the new one would overtake it there. Nor what
 * comes by one that the peer offers. To one of our own that the peer has not
 * agreed to yet nobody has anything to send. */
static uint8_t wire_map_next(const struct flow *f, const struct flow_wire *w,
			     const struct tuple *wire)
{
	bool sent_by = tuple_equal(&w->tuple, wire);
	uint8_t next = 0;

	if (w->stale || w->quieten || !f->protected)
		return 0;
	if (sent_by && !f->hold)
		next = f->promoted & BIT(FLOW_OURS);
	if (sent_by || w->mapped & BIT(FLOW_THEIRS) ||
	    endpoint_equal(&w->tuple.local, &wire->local))
		next |= f->promoted & BIT(FLOW_THEIRS);
	return next;
}

static int wire_want(struct flow_table *t, struct flow *f,
		     const struct tuple *tuple, bool proved)
{
	struct flow_wire *w = wire_of(f, tuple);

	if (w) {
		w->stale = false;
		w->proved = w->proved || proved;
		return 0;
	}
	/* Whoever checks before has missed it. */
	if (index_find(&t->wires, tuple))
		return -EADDRINUSE;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->flow = f;
	w->tuple = *tuple;
	w->fresh = true;
	w->proved = proved;
	if (index_add(&t->wires, w)) {
		free(w);
		return -ENOMEM;
	}
	SLIST_INSERT_HEAD(&f->wires, w, entry);
	return 0;
}

static void wire_quieten(struct flow_table *t, struct flow_wire *w,
			 uint64_t now_ms)
{
	const struct flow_wire *o;
	unsigned int n = 0;

	if (w->fresh || w->proved || (w->quiet_ms && w->quiet_ms <= now_ms))
		return;
	SLIST_FOREACH(o, &w->flow->wires, entry)
		n += o != w && (o->quiet_ms || o->quieten);
	if (!w->quiet_ms && n >= FLOW_QUIET_MAX) {
		t->counters->value[COUNTER_TOMBSTONES_FULL]++;
		return;
	}
	w->stale = false;
	w->quieten = true;
}

/* What others have: not translated, where it was never proved. */
static bool is_ceded(struct flow_table *t, struct flow *f,
		     const struct flow_end *ours,
		     const struct flow_end *theirs,
		     const struct tuple *tuple, uint64_t now_ms)
{
	struct flow_wire *w;

	if (!ours->ceded && !theirs->ceded &&
	    !tuple_equal(&f->transit->clash, tuple))
		return false;
	w = wire_of(f, tuple);
	if (w)
		wire_quieten(t, w, now_ms);
	return true;
}

/* Marks what the flow needs: nodes of accepted wire tuples, bits of the
 * sets that hold its identity. */
static int want(struct flow_table *t, struct flow *f, bool tombstone,
		uint64_t now_ms)
{
	const struct flow_path *p = f->path;
	bool identity_accepted = !p;
	bool clash = false;
	struct tuple wire = f->identity;
	struct flow_wire *w;
	int err;

	SLIST_FOREACH(w, &f->wires, entry) {
		w->stale = true;
		w->quieten = false;
	}
	f->wanted = f->protected ? BIT(FLOW_STEER_PROT) : 0;
	for (unsigned int i = 0; p && i < p->n[FLOW_OURS]; i++) {
		const struct flow_end *ours = &p->end[FLOW_OURS][i];

		wire.local = ours->at;
		for (unsigned int j = 0; j < p->n[FLOW_THEIRS]; j++) {
			const struct flow_end *theirs = &p->end[FLOW_THEIRS][j];

			wire.remote = theirs->at;
			if (tuple_equal(&wire, &f->identity)) {
				identity_accepted = true;
				continue;
			}
			clash = clash || tuple_equal(&f->transit->clash, &wire);
			if (is_ceded(t, f, ours, theirs, &wire, now_ms))
				continue;
			err = wire_want(t, f, &wire,
					ours->proved && theirs->proved);
			if (err)
				return err;
		}
	}
	SLIST_FOREACH(w, &f->wires, entry)
		if (w->stale && f->protected && (tombstone || w->quiet_ms))
			wire_quieten(t, w, now_ms);
	if (f->transit && !clash)
		memset(&f->transit->clash, 0, sizeof(f->transit->clash));
	wire = flow_wire_tuple(f);
	if (f->hold || f->stay_queued || flow_is_moved(f))
		f->wanted |= (uint8_t)BIT(FLOW_STEER_OUT);
	if (f->wanted & BIT(FLOW_STEER_OUT) && !flow_transit(f))
		return -ENOMEM;
	if (!identity_accepted)
		f->wanted |= (uint8_t)BIT(FLOW_STEER_DROP);
	SLIST_FOREACH(w, &f->wires, entry)
		w->map_next = wire_map_next(f, w, &wire);
	return 0;
}

/* No other socket of ours lives on that tuple: it must not be deafened. */
static bool is_free(const struct flow_table *t, const struct flow *f,
		    const struct tuple *tuple)
{
	const struct flow *other = flow_find(t, tuple);

	return !other || other == f;
}

static struct share *tomb_share(const struct flow *f)
{
	for (int side = 0; side < FLOW_SIDES; side++)
		if (f->group[side])
			return f->group[side]->tombs;
	return NULL;
}

static bool tombs_fit(const struct flow_table *t, const struct share *s,
		      uint32_t n)
{
	return share_ask(&t->tomb_pool, s, n) == SHARE_TAKEN;
}

bool flow_tombstones_fit(const struct flow_table *t,
			 const struct flow_group *g)
{
	return tombs_fit(t, g->tombs, g->digest.count);
}

void flow_tombstones_forget_share(struct flow_table *t,
				  const struct share *share)
{
	struct flow_tombstone *tomb;

	if (!share->used)
		return;
	TAILQ_FOREACH(tomb, &t->tomb_order, entry)
		if (tomb->share == share)
			tomb->share = NULL;
}

/* Past its share a peer's flow leaves none: the kernel's set is all peers'. */
static bool is_to_bury(struct flow_table *t, const struct flow *f,
		       const struct flow_wire *w)
{
	if (!w->proved || !is_free(t, f, &w->tuple))
		return false;
	if (tombs_fit(t, tomb_share(f), 1))
		return true;
	t->counters->value[COUNTER_TOMBSTONES_FULL]++;
	return false;
}

static int tell_wires(struct flow_table *t, struct flow *f, bool tombstone,
		      flow_change_cb *cb, void *ctx)
{
	struct flow_wire *w;
	int err = tell_maps(f, cb, ctx);

	if (err)
		return err;
	SLIST_FOREACH(w, &f->wires, entry) {
		if (w->fresh && !w->stale) {
			err = tell(cb, ctx, f, true, FLOW_STEER_IN, &w->tuple,
				   0);
			if (!err && tombstone_find(t, &w->tuple))
				err = tell(cb, ctx, f, false, FLOW_STEER_DROP,
					   &w->tuple, FLOW_TOMBSTONE_MS);
		} else if (w->stale && !w->fresh) {
			err = 0;
			w->bury = tombstone && is_to_bury(t, f, w);
			if (w->bury)
				err = tell(cb, ctx, f, true, FLOW_STEER_DROP,
					   &w->tuple, FLOW_TOMBSTONE_MS);
			if (!err)
				err = tell(cb, ctx, f, false, FLOW_STEER_IN,
					   &w->tuple, 0);
		} else {
			err = 0;
		}
		if (err)
			return err;
	}
	return 0;
}

static int tell_identity(struct flow *f, flow_change_cb *cb, void *ctx)
{
	static const enum flow_steer sets[] = {
		FLOW_STEER_PROT, FLOW_STEER_OUT, FLOW_STEER_DROP,
	};
	uint8_t differ = f->steered ^ f->wanted;
	int err = 0;

	for (size_t i = 0; i < sizeof(sets) / sizeof(*sets) && !err; i++)
		if (differ & BIT(sets[i]))
			err = tell(cb, ctx, f, f->wanted & BIT(sets[i]),
				   sets[i], &f->identity, 0);
	return err;
}

int flow_steer_prepare(struct flow_table *t, struct flow *f, bool tombstone,
		       uint64_t now_ms, flow_change_cb *cb, void *ctx)
{
	int err;

	flow_tombstones_expire(t, now_ms);
	err = want(t, f, tombstone, now_ms);
	if (!err)
		err = tell_wires(t, f, tombstone, cb, ctx);
	if (!err)
		err = tell_identity(f, cb, ctx);
	return err;
}

/* At the bound the oldest goes: in the kernel it lives out its time. Whose it is
 * was asked before (is_to_bury()), but not of how many at a time. */
static void tombstone_put(struct flow_table *t, uint64_t flow_id,
			  const struct tuple *tuple, uint64_t until_ms,
			  struct share *share)
{
	struct flow_tombstone *tomb = tombstone_find(t, tuple);

	if (tomb)
		tombstone_free(t, tomb);
	if (t->tombs.n >= FLOW_TOMBSTONES_MAX) {
		t->counters->value[COUNTER_TOMBSTONES_FULL]++;
		tombstone_free(t, TAILQ_FIRST(&t->tomb_order));
	}
	tomb = calloc(1, sizeof(*tomb));
	if (!tomb) {
		t->counters->value[COUNTER_TOMBSTONES_FULL]++;
		return;
	}
	tomb->tuple = *tuple;
	tomb->flow_id = flow_id;
	tomb->until_ms = until_ms;
	tomb->share = share;
	if (index_add(&t->tombs, tomb)) {
		t->counters->value[COUNTER_TOMBSTONES_FULL]++;
		free(tomb);
		return;
	}
	TAILQ_INSERT_TAIL(&t->tomb_order, tomb, entry);
	share_force(&t->tomb_pool, share, 1);
}

static void tombstone_add(struct flow_table *t, const struct flow *f,
			  const struct tuple *tuple, uint64_t now_ms)
{
	tombstone_put(t, f->id, tuple, now_ms + FLOW_TOMBSTONE_MS,
		      tomb_share(f));
	t->counters->value[COUNTER_TOMBSTONES]++;
}

static void quiet_settle(struct flow_table *t, struct flow_wire *w,
			 uint64_t now_ms)
{
	if (w->quieten == (w->quiet_ms != 0))
		return;
	if (w->quieten) {
		w->quiet_ms = now_ms + FLOW_QUIET_MS;
		TAILQ_INSERT_TAIL(&t->quiet, w, in_quiet);
	} else {
		w->quiet_ms = 0;
		TAILQ_REMOVE(&t->quiet, w, in_quiet);
	}
}

/* Ends a preparation: nodes with `drop` set go, the others are settled. */
static void wires_settle(struct flow_table *t, struct flow *f, bool commit,
			 bool tombstone, uint64_t now_ms)
{
	struct flow_wire *w = SLIST_FIRST(&f->wires);

	while (w) {
		struct flow_wire *next = SLIST_NEXT(w, entry);
		bool leaves = commit ? w->stale : w->fresh;

		if (commit && !w->stale && w->fresh) {
			struct flow_tombstone *tomb =
				tombstone_find(t, &w->tuple);

			if (tomb)
				tombstone_free(t, tomb);
		}
		if (leaves) {
			if (commit && tombstone && !w->fresh && w->bury)
				tombstone_add(t, f, &w->tuple, now_ms);
			SLIST_REMOVE(&f->wires, w, flow_wire, entry);
			wire_free(t, w);
		} else {
			w->fresh = false;
			w->stale = w->bury = false;
			if (commit) {
				quiet_settle(t, w, now_ms);
				if (w->map_next != w->mapped)
					w->counted = false;
				w->mapped = w->map_next;
			}
			w->map_next = w->mapped;
		}
		w = next;
	}
	f->promoted = 0;
	SLIST_FOREACH(w, &f->wires, entry)
		f->promoted |= w->mapped;
}

/* A plain path that also goes by the identity's choice of ports is what no
 * path means. */
static bool path_is_identity(const struct flow_path *p)
{
	for (int side = 0; side < FLOW_SIDES; side++)
		if (p->n[side] != 1 || p->end[side][0].ports ||
		    p->end[side][0].ifindex)
			return false;
	return true;
}

void flow_forget_plain(struct flow *f)
{
	if (!f->path || !flow_is_plain(f) || !path_is_identity(f->path))
		return;
	free(f->path);
	f->path = NULL;
}

void flow_steer_commit(struct flow_table *t, struct flow *f, bool tombstone,
		       uint64_t now_ms)
{
	wires_settle(t, f, true, tombstone, now_ms);
	f->steered = f->wanted;
	flow_forget_plain(f);
}

void flow_steer_abort(struct flow_table *t, struct flow *f)
{
	wires_settle(t, f, false, false, 0);
	f->wanted = f->steered;
}

void flow_steer_forget(struct flow_table *t, struct flow *f)
{
	while (!SLIST_EMPTY(&f->wires)) {
		struct flow_wire *w = SLIST_FIRST(&f->wires);

		SLIST_REMOVE_HEAD(&f->wires, entry);
		wire_free(t, w);
	}
	f->steered = f->wanted = 0;
	f->promoted = 0;
}

int flow_steer_all(struct flow_table *t, uint64_t now_ms, flow_change_cb *cb,
		   void *ctx)
{
	static const enum flow_steer sets[] = {
		FLOW_STEER_PROT, FLOW_STEER_OUT, FLOW_STEER_DROP,
	};
	struct flow_tombstone *tomb;
	int err = 0;

	flow_tombstones_expire(t, now_ms);
	for (struct flow *f = flow_first(t); f && !err; f = flow_next(f)) {
		struct flow_wire *w;

		for (size_t i = 0; i < sizeof(sets) / sizeof(*sets); i++)
			if (!err && f->steered & BIT(sets[i]))
				err = tell(cb, ctx, f, true, sets[i],
					   &f->identity, 0);
		SLIST_FOREACH(w, &f->wires, entry)
			if (!err)
				err = tell(cb, ctx, f, true, FLOW_STEER_IN,
					   &w->tuple, 0);
		SLIST_FOREACH(w, &f->wires, entry)
			for (int side = 0; side < FLOW_SIDES; side++)
				if (!err && w->mapped & BIT(side))
					err = tell_map(cb, ctx, true,
						       (enum flow_side)side,
						       f, w);
	}
	TAILQ_FOREACH(tomb, &t->tomb_order, entry)
		if (!err)
			err = tell(cb, ctx, NULL, true, FLOW_STEER_DROP,
				   &tomb->tuple,
				   (uint32_t)(tomb->until_ms - now_ms));
	return err;
}

void flow_tombstone_restore(struct flow_table *t, const struct tuple *tuple,
			    uint64_t until_ms)
{
	const struct flow_tombstone *last =
		TAILQ_LAST(&t->tomb_order, flow_tombstones);

	if (flow_find(t, tuple) || flow_find_wire(t, tuple))
		return;
	if (last && last->until_ms > until_ms)
		until_ms = last->until_ms;
	tombstone_put(t, 0, tuple, until_ms, NULL);
}

bool flow_tombstone_is(const struct flow_table *t, const struct tuple *tuple)
{
	return tombstone_find(t, tuple);
}

bool flow_tombstone_lift(struct flow_table *t, const struct tuple *tuple)
{
	struct flow_tombstone *tomb = tombstone_find(t, tuple);

	if (tomb)
		tombstone_free(t, tomb);
	return tomb;
}

void flow_tombstones_expire(struct flow_table *t, uint64_t now_ms)
{
	struct flow_tombstone *tomb;

	while ((tomb = TAILQ_FIRST(&t->tomb_order)) &&
	       tomb->until_ms <= now_ms)
		tombstone_free(t, tomb);
}
