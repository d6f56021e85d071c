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
	if (!t->ask_each)
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
	struct chosen *chosen; /* room for all flows of the track */
	uint32_t n;
};

static int choice_begin(struct choice *c, uint32_t flows)
{
	uint8_t seed[CRYPTO_SHORT_KEY_SIZE];

	crypto_random(seed, sizeof(seed));
	index_init(&c->by_wire, offsetof(struct chosen, link),
		   offsetof(struct chosen, wire), sizeof(struct tuple), seed);
	c->n = 0;
	c->chosen = calloc(flows, sizeof(*c->chosen));
	return c->chosen ? 0 : -ENOMEM;
}

static void choice_end(struct choice *c)
{
	index_free(&c->by_wire);
	free(c->chosen);
}

static struct tuple wire_at(const struct flow *f, enum flow_side side,
			    const struct endpoint *at)
{
	struct tuple wire = flow_wire_tuple(f);

	if (side == FLOW_OURS)
		wire.local = *at;
	else
		wire.remote = *at;
	return wire;
}

static int choice_add(struct choice *c, const struct tuple *wire)
{
	struct chosen *one = &c->chosen[c->n];

	one->wire = *wire;
	if (index_find(&c->by_wire, &one->wire))
		return 0;
	c->n++;
	return index_add(&c->by_wire, one);
}

static int choose_port(struct daemon *d, struct choice *c, struct flow *f,
		       const struct addr *addr)
{
	struct endpoint at;
	struct tuple wire;

	memset(&at, 0, sizeof(at));
	at.addr = *addr;
	for (unsigned int i = 0; i < PORT_TRIES; i++) {
		at.port = (uint16_t)(PORT_LOW +
				     crypto_random_u32() % PORT_COUNT);
		wire = wire_at(f, FLOW_OURS, &at);
		if (index_find(&c->by_wire, &wire) ||
		    flow_end_taken(&d->flows, f, FLOW_OURS, &at) ||
		    sockdiag_port_taken(f->identity.proto, addr, at.port))
			continue;
		f->transit->next[FLOW_OURS].port = at.port;
		return choice_add(c, &wire);
	}
	return -EADDRINUSE;
}

/* Those that may keep theirs do, under the new name as well; the others have
 * none (0) yet. How many, or -ENOMEM. */
static int keep_ports(struct track *t, const struct addr *addr, uint64_t keep,
		      uint64_t fresh)
{
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
		if (!is_named(t, f) && !track_end_taken(t, f, &at))
			continue;
		f->transit->next[FLOW_OURS].port = 0;
		without++;
	}
	return without;
}

static int choose_ports(struct track *t, const struct addr *addr)
{
	struct choice choice;
	struct flow *f;
	int err = choice_begin(&choice, t->group.digest.count);

	LIST_FOREACH(f, &t->group.flows, in_group[FLOW_OURS]) {
		struct endpoint at;
		struct tuple wire;

		memset(&at, 0, sizeof(at));
		at.addr = *addr;
		at.port = f->transit->next[FLOW_OURS].port;
		wire = wire_at(f, FLOW_OURS, &at);
		if (!err && at.port)
			err = choice_add(&choice, &wire);
	}
	LIST_FOREACH(f, &t->group.flows, in_group[FLOW_OURS])
		if (!err && !f->transit->next[FLOW_OURS].port)
			err = choose_port(t->assoc->d, &choice, f, addr);
	choice_end(&choice);
	return err;
}

int track_clashes(const struct track *t, const struct locator *to,
		  struct wire_refuse *clash)
{
	struct choice choice;
	const struct flow *f;
	int err = choice_begin(&choice, t->group.digest.count);

	LIST_FOREACH(f, &t->group.flows, in_group[t->side]) {
		struct endpoint at;
		struct tuple wire;

		if (err || clash->n == WIRE_REFUSE_MAX)
			break;
		memset(&at, 0, sizeof(at));
		at.addr = to->addr;
		at.port = flow_port(f, t->side, to->ports);
		wire = wire_at(f, t->side, &at);
		if (index_find(&choice.by_wire, &wire))
			clash->flow_id[clash->n++] = f->claim.flow_id;
		else
			err = choice_add(&choice, &wire);
	}
	choice_end(&choice);
	return err;
}

int track_choose_ports(struct track *t, const struct addr *addr,
		       uint64_t *ports)
{
	uint64_t keep = 0;
	uint64_t fresh = t->ports + 1;
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
	without = keep_ports(t, addr, keep, fresh);
	if (without <= 0)
		return without;
	err = choose_ports(t, addr);
	if (!err)
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
