/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * flow: the connection table, groups, and where packets may bear a flow.
 *
 * Owns every struct flow. Never decides a move; what the kernel needs for one
 * is flow_steer.c's.
 */
#include "flow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PATH_ROOM 2

void flow_table_init(struct flow_table *t, uint32_t max_flows,
		     const uint8_t seed[CRYPTO_SHORT_KEY_SIZE],
		     struct counters *counters)
{
	memset(t, 0, sizeof(*t));
	index_init(&t->by_identity, offsetof(struct flow, by_identity),
		   offsetof(struct flow, identity), sizeof(struct tuple),
		   seed);
	index_init(&t->by_id, offsetof(struct flow, by_id),
		   offsetof(struct flow, id), sizeof(uint64_t), seed);
	index_init(&t->wires, offsetof(struct flow_wire, by_tuple),
		   offsetof(struct flow_wire, tuple), sizeof(struct tuple),
		   seed);
	index_init(&t->tombs, offsetof(struct flow_tombstone, by_tuple),
		   offsetof(struct flow_tombstone, tuple),
		   sizeof(struct tuple), seed);
	TAILQ_INIT(&t->all);
	TAILQ_INIT(&t->tomb_order);
	TAILQ_INIT(&t->quiet);
	share_pool_init(&t->tomb_pool, FLOW_TOMBSTONES_MAX);
	t->max_flows = max_flows;
	t->next_id = 1;
	t->counters = counters;
}

void flow_table_free(struct flow_table *t)
{
	struct flow *f;

	while ((f = flow_first(t)))
		flow_remove(t, f);
	flow_tombstones_expire(t, UINT64_MAX);
	index_free(&t->by_identity);
	index_free(&t->by_id);
	index_free(&t->wires);
	index_free(&t->tombs);
}

struct flow *flow_add(struct flow_table *t, const struct tuple *identity,
		      uint64_t now_ms)
{
	struct flow *f;

	if (t->by_identity.n >= t->max_flows) {
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
	if (index_add(&t->by_identity, f)) {
		free(f);
		return NULL;
	}
	if (index_add(&t->by_id, f)) {
		index_remove(&t->by_identity, f);
		free(f);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&t->all, f, in_all);
	t->next_id++;
	return f;
}

static void transit_free(struct flow_transit *t)
{
	struct hold_packet *held;

	if (!t)
		return;
	while ((held = STAILQ_FIRST(&t->held.list))) {
		STAILQ_REMOVE_HEAD(&t->held.list, entry);
		if (hold_flow_empty(&t->held))
			LIST_REMOVE(&t->held, in_waiting);
		free(held);
	}
	free(t);
}

void flow_remove(struct flow_table *t, struct flow *f)
{
	flow_steer_forget(t, f);
	flow_group_enter(f, FLOW_OURS, NULL);
	flow_group_enter(f, FLOW_THEIRS, NULL);
	transit_free(f->transit);
	index_remove(&t->by_identity, f);
	index_remove(&t->by_id, f);
	TAILQ_REMOVE(&t->all, f, in_all);
	free(f->path);
	free(f);
}

struct flow *flow_find(const struct flow_table *t, const struct tuple *id)
{
	return index_find(&t->by_identity, id);
}

struct flow *flow_find_id(const struct flow_table *t, uint64_t id)
{
	return index_find(&t->by_id, &id);
}

struct flow *flow_next_id(const struct flow_table *t, uint64_t id)
{
	struct flow *f = flow_find_id(t, id);

	if (f)
		return flow_next(f);
	for (f = flow_first(t); f && f->id <= id; f = flow_next(f))
		;
	return f;
}

struct flow *flow_first(const struct flow_table *t)
{
	return TAILQ_FIRST(&t->all);
}

struct flow *flow_next(const struct flow *f)
{
	return TAILQ_NEXT(f, in_all);
}

void flow_group_init(struct flow_group *g)
{
	memset(g, 0, sizeof(*g));
	LIST_INIT(&g->flows);
}

/* In both, so that there is one id to remember. */
static void group_rename(struct flow *f)
{
	for (int side = 0; side < FLOW_SIDES; side++) {
		if (!f->group[side])
			continue;
		claim_digest_remove(&f->group[side]->digest, f->group_id);
		claim_digest_add(&f->group[side]->digest, f->claim.flow_id);
	}
	f->group_id = f->claim.flow_id;
}

void flow_group_enter(struct flow *f, enum flow_side side,
		      struct flow_group *g)
{
	struct flow_group *old = f->group[side];

	if (g && f->group_id != f->claim.flow_id)
		group_rename(f);
	if (old == g)
		return;
	if (old) {
		if (old->at == f)
			old->at = LIST_NEXT(f, in_group[side]);
		LIST_REMOVE(f, in_group[side]);
		claim_digest_remove(&old->digest, f->group_id);
	}
	f->group[side] = g;
	if (g) {
		LIST_INSERT_HEAD(&g->flows, f, in_group[side]);
		claim_digest_add(&g->digest, f->group_id);
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

struct flow_transit *flow_transit(struct flow *f)
{
	if (!f->transit) {
		f->transit = calloc(1, sizeof(*f->transit));
		if (f->transit)
			hold_flow_init(&f->transit->held, f);
	}
	return f->transit;
}

bool flow_is_waiting(const struct flow *f)
{
	return f->transit && !hold_flow_empty(&f->transit->held);
}

static int path_make(struct flow *f)
{
	struct flow_path *p;

	if (f->path)
		return 0;
	if (!flow_transit(f))
		return -ENOMEM;
	p = path_new(PATH_ROOM);
	if (!p)
		return -ENOMEM;
	for (int side = 0; side < FLOW_SIDES; side++) {
		p->end[side][0].at = *identity_end(f, (enum flow_side)side);
		p->end[side][0].proved = true;
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
	if (ports && f->transit && f->transit->next[side].ports == ports)
		return f->transit->next[side].port;
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
	struct flow_end *e;

	if (path_make(f))
		return -ENOMEM;
	f->path->send[side].addr = *addr;
	f->path->send[side].port = port;
	e = flow_end_find(f, side, addr, ports);
	if (e)
		e->proved = true;
	return 0;
}

static const struct endpoint *end_of(const struct tuple *t, int side)
{
	return side == FLOW_OURS ? &t->local : &t->remote;
}

static bool cede(struct flow *f, const struct tuple *wire, bool to)
{
	bool any = false;

	for (int side = 0; f->path && side < FLOW_SIDES; side++)
		for (unsigned int i = 0; i < f->path->n[side]; i++) {
			struct flow_end *e = &f->path->end[side][i];

			if (!endpoint_equal(&e->at, end_of(wire, side)) ||
			    (to ? e->proved : !e->ceded))
				continue;
			e->ceded = to;
			any = true;
		}
	return any;
}

bool flow_cede(struct flow *f, const struct tuple *wire)
{
	return cede(f, wire, true);
}

bool flow_is_ceded(const struct flow *f)
{
	const struct tuple wire = flow_wire_tuple(f);

	if (f->transit && tuple_equal(&f->transit->clash, &wire))
		return true;
	for (int side = 0; f->path && side < FLOW_SIDES; side++)
		for (unsigned int i = 0; i < f->path->n[side]; i++)
			if (f->path->end[side][i].ceded &&
			    endpoint_equal(&f->path->end[side][i].at,
					   end_of(&wire, side)))
				return true;
	return false;
}

void flow_take_back(struct flow *f, bool gone)
{
	const struct tuple wire = flow_wire_tuple(f);

	(void)cede(f, &wire, false);
	memset(&f->transit->clash, 0, sizeof(f->transit->clash));
	if (!gone)
		f->transit->clash = wire;
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
