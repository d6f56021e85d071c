/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * flow: the connection table, accepted sets, tombstones, groups.
 *
 * Owns every struct flow. Never talks to the kernel, never decides a move.
 */
#include "flow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BIT(set) (1u << (unsigned int)(set))
#define PATH_ROOM 2

void flow_table_init(struct flow_table *t, uint32_t max_flows,
		     struct counters *counters)
{
	memset(t, 0, sizeof(*t));
	TAILQ_INIT(&t->tomb_order);
	t->max_flows = max_flows;
	t->next_id = 1;
	t->counters = counters;
}

static void wire_free(struct flow_table *t, struct flow_wire *w)
{
	HASH_DELETE(hh, t->by_wire, w);
	free(w);
}

static void tombstone_free(struct flow_table *t, struct flow_tombstone *tomb)
{
	HASH_DELETE(hh, t->tombs, tomb);
	TAILQ_REMOVE(&t->tomb_order, tomb, entry);
	t->n_tombs--;
	free(tomb);
}

void flow_table_free(struct flow_table *t)
{
	struct flow *f;
	struct flow *next;

	HASH_ITER(hh, t->by_identity, f, next)
		flow_remove(t, f);
	while (!TAILQ_EMPTY(&t->tomb_order))
		tombstone_free(t, TAILQ_FIRST(&t->tomb_order));
}

/* With HASH_NONFATAL_OOM uthash tells a failed insertion by leaving the
 * handle's table pointer NULL. */
struct flow *flow_add(struct flow_table *t, const struct tuple *identity,
		      uint64_t now_ms)
{
	struct flow *f;

	if (t->n_flows >= t->max_flows) {
		t->counters->value[COUNTER_FLOWS_FULL]++;
		return NULL;
	}
	f = calloc(1, sizeof(*f));
	if (!f)
		return NULL;
	f->identity = *identity;
	f->first_seen_ms = now_ms;
	f->id = t->next_id;
	f->reason = REASON_YOUNG;
	SLIST_INIT(&f->wires);
	hold_flow_init(&f->held);
	HASH_ADD(hh, t->by_identity, identity, sizeof(f->identity), f);
	if (!f->hh.tbl) {
		free(f);
		return NULL;
	}
	HASH_ADD(hh_id, t->by_id, id, sizeof(f->id), f);
	if (!f->hh_id.tbl) {
		HASH_DELETE(hh, t->by_identity, f);
		free(f);
		return NULL;
	}
	t->next_id++;
	t->n_flows++;
	return f;
}

void flow_remove(struct flow_table *t, struct flow *f)
{
	struct hold_packet *held;

	while (!SLIST_EMPTY(&f->wires)) {
		struct flow_wire *w = SLIST_FIRST(&f->wires);

		SLIST_REMOVE_HEAD(&f->wires, entry);
		wire_free(t, w);
	}
	flow_group_enter(f, FLOW_OURS, NULL);
	flow_group_enter(f, FLOW_THEIRS, NULL);
	while ((held = STAILQ_FIRST(&f->held.list))) {
		STAILQ_REMOVE_HEAD(&f->held.list, entry);
		free(held);
	}
	HASH_DELETE(hh, t->by_identity, f);
	HASH_DELETE(hh_id, t->by_id, f);
	t->n_flows--;
	free(f->path);
	free(f);
}

struct flow *flow_find(const struct flow_table *t, const struct tuple *id)
{
	struct flow *f;

	HASH_FIND(hh, t->by_identity, id, sizeof(*id), f);
	return f;
}

struct flow *flow_find_id(const struct flow_table *t, uint64_t id)
{
	struct flow *f;

	HASH_FIND(hh_id, t->by_id, &id, sizeof(id), f);
	return f;
}

struct flow *flow_find_wire(const struct flow_table *t,
			    const struct tuple *wire)
{
	struct flow_wire *w;

	HASH_FIND(hh, t->by_wire, wire, sizeof(*wire), w);
	return w ? w->flow : NULL;
}

/* uthash iterates in the order of insertion, which is that of ids. */
struct flow *flow_next_id(const struct flow_table *t, uint64_t id)
{
	struct flow *f = flow_find_id(t, id);

	if (f)
		return f->hh_id.next;
	for (f = t->by_id; f && f->id <= id; f = f->hh_id.next)
		;
	return f;
}

void flow_group_init(struct flow_group *g)
{
	memset(g, 0, sizeof(*g));
	LIST_INIT(&g->flows);
}

void flow_group_enter(struct flow *f, enum flow_side side,
		      struct flow_group *g)
{
	struct flow_group *old = f->group[side];

	if (old == g && f->group_id[side] == f->claim.flow_id)
		return;
	if (old) {
		LIST_REMOVE(f, in_group[side]);
		claim_digest_remove(&old->digest, f->group_id[side]);
	}
	f->group[side] = g;
	if (g) {
		f->group_id[side] = f->claim.flow_id;
		LIST_INSERT_HEAD(&g->flows, f, in_group[side]);
		claim_digest_add(&g->digest, f->group_id[side]);
	}
}

/* Identity end of a side. */
static const struct endpoint *identity_end(const struct flow *f,
					   enum flow_side side)
{
	return side == FLOW_OURS ? &f->identity.local : &f->identity.remote;
}

static struct flow_path *path_new(uint8_t room)
{
	struct flow_path *p = calloc(1, sizeof(*p) + (size_t)room *
					FLOW_SIDES * sizeof(*p->store));

	if (!p)
		return NULL;
	p->room = room;
	for (int side = 0; side < FLOW_SIDES; side++)
		p->end[side] = p->store + side * room;
	return p;
}

/* Makes room for one more end. */
static int path_grow(struct flow *f, enum flow_side side)
{
	struct flow_path *old = f->path;
	struct flow_path *p;

	if (old->n[side] < old->room)
		return 0;
	if (old->room == FLOW_ENDS_MAX)
		return -ENOSPC;
	p = path_new(old->room * 2 < FLOW_ENDS_MAX ?
			     (uint8_t)(old->room * 2) : FLOW_ENDS_MAX);
	if (!p)
		return -ENOMEM;
	for (int s = 0; s < FLOW_SIDES; s++) {
		memcpy(p->end[s], old->end[s],
		       old->n[s] * sizeof(*old->end[s]));
		p->n[s] = old->n[s];
		p->send[s] = old->send[s];
	}
	free(old);
	f->path = p;
	return 0;
}

static int path_make(struct flow *f)
{
	struct flow_path *p;

	if (f->path)
		return 0;
	p = path_new(PATH_ROOM);
	if (!p)
		return -ENOMEM;
	for (int side = 0; side < FLOW_SIDES; side++) {
		p->end[side][0].at = *identity_end(f, (enum flow_side)side);
		p->n[side] = 1;
		p->send[side] = p->end[side][0].at;
	}
	f->path = p;
	return 0;
}

static bool side_is_plain(const struct flow *f, enum flow_side side)
{
	const struct flow_path *p = f->path;
	const struct endpoint *id = identity_end(f, side);

	if (!endpoint_equal(&p->send[side], id))
		return false;
	for (unsigned int i = 0; i < p->n[side]; i++)
		if (!endpoint_equal(&p->end[side][i].at, id))
			return false;
	return true;
}

bool flow_is_plain(const struct flow *f)
{
	return !f->path || (side_is_plain(f, FLOW_OURS) &&
			    side_is_plain(f, FLOW_THEIRS));
}

struct tuple flow_wire_tuple(const struct flow *f)
{
	struct tuple t = f->identity;

	if (f->path) {
		t.local = f->path->send[FLOW_OURS];
		t.remote = f->path->send[FLOW_THEIRS];
	}
	return t;
}

bool flow_is_moved(const struct flow *f)
{
	struct tuple wire = flow_wire_tuple(f);

	return !tuple_equal(&wire, &f->identity);
}

static bool side_accepts(const struct flow *f, enum flow_side side,
			 const struct endpoint *at)
{
	const struct flow_path *p = f->path;

	if (!p)
		return endpoint_equal(identity_end(f, side), at);
	for (unsigned int i = 0; i < p->n[side]; i++)
		if (endpoint_equal(&p->end[side][i].at, at))
			return true;
	return false;
}

bool flow_accepts(const struct flow *f, const struct tuple *wire)
{
	return wire->proto == f->identity.proto &&
	       side_accepts(f, FLOW_OURS, &wire->local) &&
	       side_accepts(f, FLOW_THEIRS, &wire->remote);
}

uint16_t flow_port(const struct flow *f, enum flow_side side, uint64_t ports)
{
	const struct flow_path *p = f->path;

	for (unsigned int i = 0; p && i < p->n[side]; i++)
		if (p->end[side][i].ports == ports)
			return p->end[side][i].at.port;
	if (ports && f->next[side].ports == ports)
		return f->next[side].port;
	if (!ports || !p)
		return identity_end(f, side)->port;
	return p->send[side].port;
}

struct flow_end *flow_end_find(const struct flow *f, enum flow_side side,
			       const struct addr *addr, uint64_t ports)
{
	struct flow_path *p = f->path;

	for (unsigned int i = 0; p && i < p->n[side]; i++)
		if (p->end[side][i].ports == ports &&
		    addr_equal(&p->end[side][i].at.addr, addr))
			return &p->end[side][i];
	return NULL;
}

int flow_accept(struct flow *f, enum flow_side side, const struct addr *addr,
		uint64_t ports)
{
	uint16_t port = flow_port(f, side, ports);
	struct flow_end *e;
	int err;

	if (path_make(f))
		return -ENOMEM;
	if (flow_end_find(f, side, addr, ports))
		return 0;
	err = path_grow(f, side);
	if (err)
		return err;
	e = &f->path->end[side][f->path->n[side]++];
	memset(e, 0, sizeof(*e));
	e->at.addr = *addr;
	e->at.port = port;
	e->ports = ports;
	return 0;
}

void flow_unaccept(struct flow *f, enum flow_side side,
		   const struct addr *addr, uint64_t ports)
{
	struct flow_end *e = flow_end_find(f, side, addr, ports);

	if (e)
		*e = f->path->end[side][--f->path->n[side]];
}

int flow_send_by(struct flow *f, enum flow_side side, const struct addr *addr,
		 uint64_t ports)
{
	uint16_t port = flow_port(f, side, ports);

	if (path_make(f))
		return -ENOMEM;
	f->path->send[side].addr = *addr;
	f->path->send[side].port = port;
	return 0;
}

bool flow_tuple_taken(const struct flow_table *t, const struct flow *f,
		      const struct tuple *wire)
{
	const struct flow *other = flow_find(t, wire);
	const struct flow_tombstone *tomb;

	if (other && other != f)
		return true;
	other = flow_find_wire(t, wire);
	if (other && other != f)
		return true;
	HASH_FIND(hh, t->tombs, wire, sizeof(*wire), tomb);
	return tomb && tomb->flow_id && tomb->flow_id != f->id;
}

bool flow_end_taken(const struct flow_table *t, const struct flow *f,
		    enum flow_side side, const struct endpoint *at)
{
	enum flow_side other = side == FLOW_OURS ? FLOW_THEIRS : FLOW_OURS;
	struct tuple wire = f->identity;
	unsigned int n = f->path ? f->path->n[other] : 1;

	for (unsigned int i = 0; i < n; i++) {
		const struct endpoint *o = f->path ?
			&f->path->end[other][i].at : identity_end(f, other);

		wire.local = side == FLOW_OURS ? *at : *o;
		wire.remote = side == FLOW_OURS ? *o : *at;
		if (flow_tuple_taken(t, f, &wire))
			return true;
	}
	return false;
}

/* ---- steering ------------------------------------------------------- */

static int tell(flow_change_cb *cb, void *ctx, bool add, enum flow_steer set,
		const struct tuple *tuple, uint32_t timeout_ms)
{
	struct flow_change c = {
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

	if (w->stale || !f->protected)
		return 0;
	if (sent_by && !f->hold)
		next = f->promoted & BIT(FLOW_OURS);
	if (sent_by || w->mapped & BIT(FLOW_THEIRS) ||
	    endpoint_equal(&w->tuple.local, &wire->local))
		next |= f->promoted & BIT(FLOW_THEIRS);
	return next;
}

static int wire_want(struct flow_table *t, struct flow *f,
		     const struct tuple *tuple)
{
	struct flow_wire *w = wire_of(f, tuple);

	if (w) {
		w->stale = false;
		return 0;
	}
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->flow = f;
	w->tuple = *tuple;
	w->fresh = true;
	HASH_ADD(hh, t->by_wire, tuple, sizeof(w->tuple), w);
	if (!w->hh.tbl) {
		free(w);
		return -ENOMEM;
	}
	SLIST_INSERT_HEAD(&f->wires, w, entry);
	return 0;
}

/* Marks what the flow needs: nodes of accepted wire tuples, bits of the
 * sets that hold its identity. */
static int want(struct flow_table *t, struct flow *f)
{
	const struct flow_path *p = f->path;
	bool identity_accepted = !p;
	struct tuple wire = f->identity;
	struct flow_wire *w;
	int err;

	SLIST_FOREACH(w, &f->wires, entry)
		w->stale = true;
	f->wanted = f->protected ? BIT(FLOW_STEER_PROT) : 0;
	for (unsigned int i = 0; p && i < p->n[FLOW_OURS]; i++) {
		wire.local = p->end[FLOW_OURS][i].at;
		for (unsigned int j = 0; j < p->n[FLOW_THEIRS]; j++) {
			wire.remote = p->end[FLOW_THEIRS][j].at;
			if (tuple_equal(&wire, &f->identity)) {
				identity_accepted = true;
				continue;
			}
			err = wire_want(t, f, &wire);
			if (err)
				return err;
		}
	}
	wire = flow_wire_tuple(f);
	if (f->hold || f->stay_queued || flow_is_moved(f))
		f->wanted |= (uint8_t)BIT(FLOW_STEER_OUT);
	if (!identity_accepted)
		f->wanted |= (uint8_t)BIT(FLOW_STEER_DROP);
	SLIST_FOREACH(w, &f->wires, entry)
		w->map_next = wire_map_next(f, w, &wire);
	return 0;
}

static struct flow_tombstone *tombstone_find(const struct flow_table *t,
					     const struct tuple *tuple)
{
	struct flow_tombstone *tomb;

	HASH_FIND(hh, t->tombs, tuple, sizeof(*tuple), tomb);
	return tomb;
}

/* No other socket of ours lives on that tuple: it must not be deafened. */
static bool is_free(const struct flow_table *t, const struct flow *f,
		    const struct tuple *tuple)
{
	const struct flow *other = flow_find(t, tuple);

	return !other || other == f;
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
			err = tell(cb, ctx, true, FLOW_STEER_IN, &w->tuple, 0);
			if (!err && tombstone_find(t, &w->tuple))
				err = tell(cb, ctx, false, FLOW_STEER_DROP,
					   &w->tuple, FLOW_TOMBSTONE_MS);
		} else if (w->stale && !w->fresh) {
			err = 0;
			if (tombstone && is_free(t, f, &w->tuple))
				err = tell(cb, ctx, true, FLOW_STEER_DROP,
					   &w->tuple, FLOW_TOMBSTONE_MS);
			if (!err)
				err = tell(cb, ctx, false, FLOW_STEER_IN,
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
			err = tell(cb, ctx, f->wanted & BIT(sets[i]), sets[i],
				   &f->identity, 0);
	return err;
}

int flow_steer_prepare(struct flow_table *t, struct flow *f, bool tombstone,
		       uint64_t now_ms, flow_change_cb *cb, void *ctx)
{
	int err;

	flow_tombstones_expire(t, now_ms);
	err = want(t, f);
	if (!err)
		err = tell_wires(t, f, tombstone, cb, ctx);
	if (!err)
		err = tell_identity(f, cb, ctx);
	return err;
}

/* At the bound the oldest goes: in the kernel it lives out its time. */
static void tombstone_put(struct flow_table *t, uint64_t flow_id,
			  const struct tuple *tuple, uint64_t until_ms)
{
	struct flow_tombstone *tomb = tombstone_find(t, tuple);

	if (tomb)
		tombstone_free(t, tomb);
	if (t->n_tombs >= FLOW_TOMBSTONES_MAX) {
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
	HASH_ADD(hh, t->tombs, tuple, sizeof(tomb->tuple), tomb);
	if (!tomb->hh.tbl) {
		t->counters->value[COUNTER_TOMBSTONES_FULL]++;
		free(tomb);
		return;
	}
	TAILQ_INSERT_TAIL(&t->tomb_order, tomb, entry);
	t->n_tombs++;
}

static void tombstone_add(struct flow_table *t, const struct flow *f,
			  const struct tuple *tuple, uint64_t now_ms)
{
	tombstone_put(t, f->id, tuple, now_ms + FLOW_TOMBSTONE_MS);
	t->counters->value[COUNTER_TOMBSTONES]++;
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
			if (commit && tombstone && !w->fresh &&
			    is_free(t, f, &w->tuple))
				tombstone_add(t, f, &w->tuple, now_ms);
			SLIST_REMOVE(&f->wires, w, flow_wire, entry);
			wire_free(t, w);
		} else {
			w->fresh = false;
			w->stale = false;
			if (commit) {
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

void flow_steer_commit(struct flow_table *t, struct flow *f, bool tombstone,
		       uint64_t now_ms)
{
	wires_settle(t, f, true, tombstone, now_ms);
	f->steered = f->wanted;
	if (f->path && flow_is_plain(f) && path_is_identity(f->path)) {
		free(f->path);
		f->path = NULL;
	}
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
	for (struct flow *f = t->by_identity; f && !err; f = f->hh.next) {
		struct flow_wire *w;

		for (size_t i = 0; i < sizeof(sets) / sizeof(*sets); i++)
			if (!err && f->steered & BIT(sets[i]))
				err = tell(cb, ctx, true, sets[i],
					   &f->identity, 0);
		SLIST_FOREACH(w, &f->wires, entry)
			if (!err)
				err = tell(cb, ctx, true, FLOW_STEER_IN,
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
			err = tell(cb, ctx, true, FLOW_STEER_DROP, &tomb->tuple,
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
	tombstone_put(t, 0, tuple, until_ms);
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
