/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * track_ports: the ports of a track's flows on the wire.
 *
 * Owns the choice where a tuple is taken at the new locator, and what MOVE
 * says of it. Never changes a flow: what is chosen waits for the next step.
 */
#include "daemon.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "index.h"

#define PORT_LOW 32768 /* Linux's default ip_local_port_range */
#define PORT_COUNT 28232
#define PORT_TRIES 64

static bool is_named(const struct track *t, const struct flow *f)
{
	for (unsigned int i = 0; t->refusal && i < t->refusal->n; i++)
		if (t->refusal->flow_id[i] == f->claim.flow_id)
			return true;
	return false;
}

/* Of our own accord any number is asked for: a move that we give up is worse. */
bool track_look(struct track *t, const struct addr *a)
{
	unsigned int what = 0;
	const struct flow *f;

	t->ask_each = true;
	if (t->group.digest.count <= TRACK_FEW)
		return true;
	LIST_FOREACH(f, &t->group.flows, in_group[t->side])
		what |= f->identity.proto == IPPROTO_TCP ? SOCKDIAG_TCP :
							   SOCKDIAG_UDP;
	t->ask_each = !discover_at(t->assoc->d, what, t->side, a);
	return !t->ask_each || t->side == FLOW_OURS ||
	       t->group.digest.count <= TRACK_ASK_MAX;
}

bool track_end_taken(const struct track *t, const struct flow *f,
		     const struct endpoint *at)
{
	struct daemon *d = t->assoc->d;
	struct tuple wire = flow_wire_tuple(f);

	if (flow_end_taken(&d->flows, f, t->side, at))
		return true;
	if (!t->ask_each && !discover_is_unheld(d, &wire.remote.addr))
		return false;
	/* Sockets that no dump shows, because they are not connected yet. */
	if (t->side == FLOW_OURS)
		wire.local = *at;
	else
		wire.remote = *at;
	return !tuple_equal(&wire, &f->identity) &&
	       !sockdiag_lookup(d->sockdiag, &wire, 0, NULL);
}

/* ---- the choice ------------------------------------------------------------ */

/* What the flows of a track will have: no table knows it before it is
 * accepted. */
struct chosen {
	struct index_link link;
	struct tuple wire;
};

struct choice {
	struct index by_wire;
	struct chosen *chosen; /* room for all tuples of the track, and one */
	uint32_t n;
};

static unsigned int count_others(const struct flow *f, enum flow_side side)
{
	return f->path ? f->path->n[side == FLOW_OURS ? FLOW_THEIRS :
							FLOW_OURS] : 1;
}

static int choice_begin(struct choice *c, const struct track *t)
{
	uint8_t seed[CRYPTO_SHORT_KEY_SIZE];
	const struct flow *f;
	size_t n = 0;

	crypto_random(seed, sizeof(seed));
	index_init(&c->by_wire, offsetof(struct chosen, link),
		   offsetof(struct chosen, wire), sizeof(struct tuple), seed);
	c->n = 0;
	LIST_FOREACH(f, &t->group.flows, in_group[t->side])
		n += count_others(f, t->side);
	c->chosen = calloc(n + 1, sizeof(*c->chosen));
	return c->chosen ? 0 : -ENOMEM;
}

static void choice_end(struct choice *c)
{
	index_free(&c->by_wire);
	free(c->chosen);
}

/* With the other side's i-th end: all of them are accepted. */
static struct tuple wire_at(const struct flow *f, enum flow_side side,
			    const struct endpoint *at, unsigned int i)
{
	struct tuple wire = f->identity;

	if (side == FLOW_OURS) {
		wire.local = *at;
		if (f->path)
			wire.remote = f->path->end[FLOW_THEIRS][i].at;
	} else {
		wire.remote = *at;
		if (f->path)
			wire.local = f->path->end[FLOW_OURS][i].at;
	}
	return wire;
}

static bool choice_has(const struct choice *c, const struct flow *f,
		       enum flow_side side, const struct endpoint *at)
{
	for (unsigned int i = 0; i < count_others(f, side); i++) {
		const struct tuple wire = wire_at(f, side, at, i);

		if (index_find(&c->by_wire, &wire))
			return true;
	}
	return false;
}

static int choice_add(struct choice *c, const struct flow *f,
		      enum flow_side side, const struct endpoint *at)
{
	int err = 0;

	for (unsigned int i = 0; i < count_others(f, side) && !err; i++) {
		struct chosen *one = &c->chosen[c->n];

		one->wire = wire_at(f, side, at, i);
		if (index_find(&c->by_wire, &one->wire))
			continue;
		c->n++;
		err = index_add(&c->by_wire, one);
	}
	return err;
}

bool track_may_clash(const struct track *t)
{
	const enum flow_side other = t->side == FLOW_OURS ? FLOW_THEIRS :
							    FLOW_OURS;
	const struct flow *first = LIST_FIRST(&t->group.flows);
	const struct flow *f;

	LIST_FOREACH(f, &t->group.flows, in_group[t->side]) {
		const struct tuple *id = &f->identity;

		if (!addr_equal(t->side == FLOW_OURS ? &id->local.addr :
						       &id->remote.addr,
				t->side == FLOW_OURS ?
					&first->identity.local.addr :
					&first->identity.remote.addr))
			return true;
		if (f->path &&
		    (f->path->n[other] > 1 ||
		     !endpoint_equal(&f->path->end[other][0].at,
				     t->side == FLOW_OURS ? &id->remote :
							    &id->local)))
			return true;
	}
	return false;
}

static int choose_port(struct daemon *d, struct choice *c, struct flow *f,
		       const struct addr *addr)
{
	struct endpoint at;

	memset(&at, 0, sizeof(at));
	at.addr = *addr;
	for (unsigned int i = 0; i < PORT_TRIES; i++) {
		at.port = (uint16_t)(PORT_LOW +
				     crypto_random_u32() % PORT_COUNT);
		if (choice_has(c, f, FLOW_OURS, &at) ||
		    flow_end_taken(&d->flows, f, FLOW_OURS, &at) ||
		    sockdiag_port_taken(f->identity.proto, addr, at.port))
			continue;
		f->transit->next[FLOW_OURS].port = at.port;
		return choice_add(c, f, FLOW_OURS, &at);
	}
	return -EADDRINUSE;
}

/* Those that may keep theirs do, under the new name as well; the others have
 * none (0) yet. How many, or -ENOMEM. */
static int keep_ports(struct track *t, struct choice *c,
		      const struct addr *addr, uint64_t keep, uint64_t fresh)
{
	const bool may_clash = track_may_clash(t);
	struct flow *f;
	int without = 0;

	LIST_FOREACH(f, &t->group.flows, in_group[FLOW_OURS]) {
		struct endpoint at;

		memset(&at, 0, sizeof(at));
		at.addr = *addr;
		at.port = flow_port(f, FLOW_OURS, keep);
		if (!flow_transit(f))
			return -ENOMEM;
		f->transit->next[FLOW_OURS].ports = fresh;
		f->transit->next[FLOW_OURS].port = at.port;
		if (!is_named(t, f) && !track_end_taken(t, f, &at) &&
		    !(may_clash && choice_has(c, f, FLOW_OURS, &at))) {
			if (may_clash && choice_add(c, f, FLOW_OURS, &at))
				return -ENOMEM;
			continue;
		}
		f->transit->next[FLOW_OURS].port = 0;
		without++;
	}
	return without;
}

static int choose_ports(struct track *t, struct choice *c,
			const struct addr *addr)
{
	struct flow *f;
	int err = 0;

	LIST_FOREACH(f, &t->group.flows, in_group[FLOW_OURS]) {
		struct endpoint at;

		memset(&at, 0, sizeof(at));
		at.addr = *addr;
		at.port = f->transit->next[FLOW_OURS].port;
		if (!err && at.port)
			err = choice_add(c, f, FLOW_OURS, &at);
	}
	LIST_FOREACH(f, &t->group.flows, in_group[FLOW_OURS])
		if (!err && !f->transit->next[FLOW_OURS].port)
			err = choose_port(t->assoc->d, c, f, addr);
	return err;
}

int track_clashes(const struct track *t, const struct locator *to,
		  struct wire_refuse *clash)
{
	struct choice choice;
	const struct flow *f;
	int err = choice_begin(&choice, t);

	LIST_FOREACH(f, &t->group.flows, in_group[t->side]) {
		struct endpoint at;

		if (err || clash->n == WIRE_REFUSE_MAX)
			break;
		memset(&at, 0, sizeof(at));
		at.addr = to->addr;
		at.port = flow_port(f, t->side, to->ports);
		if (choice_has(&choice, f, t->side, &at))
			clash->flow_id[clash->n++] = f->claim.flow_id;
		else
			err = choice_add(&choice, f, t->side, &at);
	}
	choice_end(&choice);
	return err;
}

int track_choose_ports(struct track *t, const struct addr *addr,
		       uint64_t *ports)
{
	uint64_t keep = 0;
	uint64_t fresh = t->ports + 1;
	struct choice choice;
	struct flow *f;
	int without;
	int err;

	/* Ports chosen once stay, but a return to the identity's address is
	 * a return to its ports. */
	LIST_FOREACH(f, &t->group.flows, in_group[FLOW_OURS])
		if (!addr_equal(&f->identity.local.addr, addr))
			keep = mover_locator(&t->mover)->ports;
	*ports = keep;
	track_look(t, addr);
	err = choice_begin(&choice, t);
	without = err ? err : keep_ports(t, &choice, addr, keep, fresh);
	err = without;
	if (without > 0)
		err = choose_ports(t, &choice, addr);
	choice_end(&choice);
	if (without > 0 && !err)
		*ports = t->ports = fresh;
	return err;
}

/* ---- what is said of it ---------------------------------------------------- */

unsigned int track_count_ports(const struct track *t, uint64_t ports)
{
	const struct flow *f;
	unsigned int n = 0;

	LIST_FOREACH(f, &t->group.flows, in_group[FLOW_OURS])
		n += flow_port(f, FLOW_OURS, ports) != f->identity.local.port;
	return n;
}

const struct flow *track_list_ports(uint64_t ports, const struct flow *f,
				    struct wire_move *m)
{
	m->n = 0;
	for (; f && m->n < WIRE_MOVE_MAX; f = LIST_NEXT(f, in_group[FLOW_OURS])) {
		uint16_t port = flow_port(f, FLOW_OURS, ports);

		if (port == f->identity.local.port)
			continue;
		m->port[m->n].flow_id = f->claim.flow_id;
		m->port[m->n++].port = port;
	}
	return f;
}
