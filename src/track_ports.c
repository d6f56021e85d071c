/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * track_ports: the ports of a track's flows on the wire.
 *
 * Owns the choice where a tuple is taken at the new locator, and what MOVE
 * says of it. Never changes a flow: what is chosen waits for the next step.
 */
#include "daemon.h"

#include <errno.h>
#include <string.h>

#define PORT_LOW 32768 /* Linux's default ip_local_port_range */
#define PORT_COUNT 28232
#define PORT_TRIES 64
#define FEW 32 /* flows of a track that are asked for one by one */

static bool is_named(const struct track *t, const struct flow *f)
{
	for (unsigned int i = 0; t->refusal && i < t->refusal->n; i++)
		if (t->refusal->flow_id[i] == f->claim.flow_id)
			return true;
	return false;
}

void track_look(const struct track *t, const struct addr *a)
{
	unsigned int what = 0;
	const struct flow *f;

	if (t->group.digest.count <= FEW)
		return; /* track_end_taken() asks */
	LIST_FOREACH(f, &t->group.flows, in_group[t->side])
		what |= f->identity.proto == IPPROTO_TCP ? SOCKDIAG_TCP :
							   SOCKDIAG_UDP;
	discover_at(t->assoc->d, what, t->side, a);
}

bool track_end_taken(const struct track *t, const struct flow *f,
		     const struct endpoint *at)
{
	struct daemon *d = t->assoc->d;
	struct tuple wire = flow_wire_tuple(f);

	if (flow_end_taken(&d->flows, f, t->side, at))
		return true;
	if (t->group.digest.count > FEW)
		return false;
	/* Sockets that no dump shows, because they are not connected yet. */
	if (t->side == FLOW_OURS)
		wire.local = *at;
	else
		wire.remote = *at;
	return !tuple_equal(&wire, &f->identity) &&
	       !sockdiag_lookup(d->sockdiag, &wire, 0, NULL);
}

static int choose_port(struct daemon *d, struct flow *f,
		       const struct addr *addr, uint16_t *port)
{
	struct endpoint at;

	memset(&at, 0, sizeof(at));
	at.addr = *addr;
	for (unsigned int i = 0; i < PORT_TRIES; i++) {
		at.port = (uint16_t)(PORT_LOW +
				     crypto_random_u32() % PORT_COUNT);
		if (flow_end_taken(&d->flows, f, FLOW_OURS, &at) ||
		    sockdiag_port_taken(f->identity.proto, addr, at.port))
			continue;
		*port = at.port;
		return 0;
	}
	return -EADDRINUSE;
}

int track_choose_ports(struct track *t, const struct addr *addr,
		       uint64_t *ports)
{
	struct daemon *d = t->assoc->d;
	uint64_t keep = 0;
	uint64_t fresh = t->ports + 1;
	struct flow *f;
	int err;

	/* Ports chosen once stay, but a return to the identity's address is
	 * a return to its ports. */
	LIST_FOREACH(f, &t->group.flows, in_group[FLOW_OURS])
		if (!addr_equal(&f->identity.local.addr, addr))
			keep = mover_locator(&t->mover)->ports;
	*ports = keep;
	track_look(t, addr);
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
		err = choose_port(d, f, addr,
				  &f->transit->next[FLOW_OURS].port);
		if (err)
			return err;
		*ports = fresh;
	}
	if (*ports == fresh)
		t->ports = fresh;
	return 0;
}

unsigned int track_list_ports(const struct track *t, uint64_t ports,
			      unsigned int from, struct wire_move *m)
{
	const struct flow *f;
	unsigned int total = 0;

	m->n = 0;
	LIST_FOREACH(f, &t->group.flows, in_group[FLOW_OURS]) {
		uint16_t port = flow_port(f, FLOW_OURS, ports);

		if (port == f->identity.local.port)
			continue;
		if (total++ < from || m->n == WIRE_MOVE_MAX)
			continue;
		m->port[m->n].flow_id = f->claim.flow_id;
		m->port[m->n++].port = port;
	}
	return total;
}
