/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Random but valid transport messages, for property tests and corpora. */
#ifndef SACIPED_TEST_WIRE_RANDOM_H
#define SACIPED_TEST_WIRE_RANDOM_H

#include <netinet/in.h>
#include <string.h>

#include "random.h"
#include "wire.h"

enum wire_random_fill { WIRE_RANDOM_ANY, WIRE_RANDOM_FULL, WIRE_RANDOM_EMPTY };

struct wire_random {
	uint64_t *seed;
	enum wire_random_fill fill;
};

static inline uint8_t wire_random_count(struct wire_random *x, uint8_t max)
{
	if (x->fill == WIRE_RANDOM_EMPTY)
		return 0;
	if (x->fill == WIRE_RANDOM_FULL)
		return max;
	/* none, one, all and in between, each often */
	switch (random_below(x->seed, 4)) {
	case 0:
		return 0;
	case 1:
		return 1;
	case 2:
		return max;
	default:
		return (uint8_t)random_below(x->seed, max + 1u);
	}
}

static inline uint32_t wire_random_u32(struct wire_random *x)
{
	return (uint32_t)random_next(x->seed);
}

static inline uint16_t wire_random_port(struct wire_random *x)
{
	return (uint16_t)(1 + random_below(x->seed, 65535));
}

static inline void wire_random_addr(struct wire_random *x, struct addr *a)
{
	a->family = random_next(x->seed) & 1 ? 4 : 6;
	random_fill(x->seed, a->byte, addr_size(a));
	a->byte[0] |= 1; /* never unspecified */
}

static inline void wire_random_endpoint(struct wire_random *x,
					struct endpoint *e)
{
	wire_random_addr(x, &e->addr);
	e->port = wire_random_port(x);
}

static inline void wire_random_part(struct wire_random *x, uint16_t *part,
				    uint16_t *parts)
{
	*parts = (uint16_t)(1 + random_below(x->seed, WIRE_PARTS_MAX));
	*part = (uint16_t)random_below(x->seed, *parts);
}

static inline void wire_random_proof(struct wire_random *x,
				     struct wire_proof *p)
{
	p->kind = (uint8_t)random_below(x->seed, WIRE_PROOF_RECEIPT + 1);
	if (p->kind != WIRE_PROOF_NONE)
		random_fill(x->seed, p->nonce, sizeof p->nonce);
	if (p->kind != WIRE_PROOF_RECEIPT)
		return;
	p->seq = wire_random_u32(x);
	p->ack = wire_random_u32(x);
	p->tsval = wire_random_u32(x);
	p->tsecr = wire_random_u32(x);
}

static inline void wire_random_place(struct wire_random *x,
				     struct wire_place *p)
{
	p->track = wire_random_u32(x);
	p->seq = random_next(x->seed);
	wire_random_addr(x, &p->at);
	p->ports = random_next(x->seed) & 1;
}

static inline void wire_random_flows(struct wire_random *x,
				     struct wire_flows *m)
{
	m->batch = wire_random_u32(x);
	wire_random_part(x, &m->part, &m->parts);
	m->flags = random_next(x->seed) & WIRE_FLOWS_COMPLETE;
	m->n = wire_random_count(x, WIRE_FLOWS_FIT);
	for (uint8_t i = 0; i < m->n; i++) {
		struct wire_flow *f = &m->flow[i];

		f->flow_id = random_next(x->seed);
		wire_random_place(x, &f->place);
		f->proto = random_next(x->seed) & 1 ? IPPROTO_TCP :
						      IPPROTO_UDP;
		wire_random_endpoint(x, &f->src);
		wire_random_endpoint(x, &f->dst);
		wire_random_proof(x, &f->proof);
	}
}

static inline void wire_random_flows_ack(struct wire_random *x,
					 struct wire_flows_ack *m)
{
	m->batch = wire_random_u32(x);
	wire_random_part(x, &m->part, &m->parts);
	m->n = wire_random_count(x, WIRE_FLOWS_ACK_FIT);
	for (uint8_t i = 0; i < m->n; i++) {
		m->flow[i].flow_id = random_next(x->seed);
		wire_random_place(x, &m->flow[i].place);
		m->flow[i].reason = (uint8_t)random_next(x->seed);
		wire_random_proof(x, &m->flow[i].proof);
	}
}

static inline void wire_random_move(struct wire_random *x, struct wire_move *m)
{
	m->track = wire_random_u32(x);
	m->seq = random_next(x->seed);
	wire_random_addr(x, &m->from);
	wire_random_addr(x, &m->to);
	m->flags = random_next(x->seed) & WIRE_MOVE_FROM_GONE;
	m->count = wire_random_u32(x);
	random_fill(x->seed, m->digest, sizeof m->digest);
	wire_random_part(x, &m->part, &m->parts);
	m->n = wire_random_count(x, WIRE_MOVE_MAX);
	for (uint8_t i = 0; i < m->n; i++) {
		m->port[i].flow_id = random_next(x->seed);
		m->port[i].port = wire_random_port(x);
	}
}

static inline void wire_random_accept(struct wire_random *x,
				      struct wire_accept *m)
{
	m->track = wire_random_u32(x);
	m->seq = random_next(x->seed);
	random_fill(x->seed, m->challenge, sizeof m->challenge);
	m->lease_s = (uint16_t)random_next(x->seed);
	m->n = wire_random_count(x, WIRE_ACCEPT_MAX);
	for (uint8_t i = 0; i < m->n; i++) {
		m->refused[i].flow_id = random_next(x->seed);
		m->refused[i].reason = (uint8_t)random_next(x->seed);
	}
}

static inline void wire_random_refuse(struct wire_random *x,
				      struct wire_refuse *m)
{
	m->track = wire_random_u32(x);
	m->seq = random_next(x->seed);
	m->reason = (uint8_t)random_next(x->seed);
	m->n = wire_random_count(x, WIRE_REFUSE_MAX);
	random_fill(x->seed, m->flow_id, m->n * sizeof m->flow_id[0]);
}

static inline void wire_random_prove(struct wire_random *x,
				     struct wire_prove *m)
{
	m->track = wire_random_u32(x);
	m->seq = random_next(x->seed);
	random_fill(x->seed, m->challenge, sizeof m->challenge);
	wire_random_addr(x, &m->to);
	m->n = wire_random_count(x, WIRE_PROVE_MAX);
	for (uint8_t i = 0; i < m->n; i++) {
		m->flow[i].flow_id = random_next(x->seed);
		m->flow[i].rcv_nxt = wire_random_u32(x);
	}
}

static inline void wire_random_sync(struct wire_random *x, struct wire_sync *m)
{
	m->n_own = wire_random_count(x, WIRE_SYNC_MAX);
	for (uint8_t i = 0; i < m->n_own; i++) {
		m->own[i].track = wire_random_u32(x);
		m->own[i].seq = random_next(x->seed);
		wire_random_addr(x, &m->own[i].locator);
	}
	m->n_theirs = wire_random_count(x, WIRE_SYNC_MAX);
	for (uint8_t i = 0; i < m->n_theirs; i++) {
		m->theirs[i].track = wire_random_u32(x);
		m->theirs[i].committed = random_next(x->seed);
	}
	m->flow_count = wire_random_u32(x);
	random_fill(x->seed, m->digest, sizeof m->digest);
}

static inline void wire_random_make(struct wire_random *x, uint8_t type,
				    struct wire_message *m)
{
	memset(m, 0, sizeof *m);
	m->type = type;
	wire_random_endpoint(x, &m->src);
	wire_random_endpoint(x, &m->dst);
	switch (type) {
	case WIRE_FLOWS:
		wire_random_flows(x, &m->flows);
		break;
	case WIRE_FLOWS_ACK:
		wire_random_flows_ack(x, &m->flows_ack);
		break;
	case WIRE_FLOW_END:
	case WIRE_FLOW_END_ACK:
		m->flow_end.n = wire_random_count(x, WIRE_FLOW_END_MAX);
		random_fill(x->seed, m->flow_end.flow_id,
			    m->flow_end.n * sizeof m->flow_end.flow_id[0]);
		break;
	case WIRE_PROBE:
	case WIRE_PROBE_ACK:
		random_fill(x->seed, m->probe.token, sizeof m->probe.token);
		break;
	case WIRE_MOVE:
		wire_random_move(x, &m->move);
		break;
	case WIRE_ACCEPT:
		wire_random_accept(x, &m->accept);
		break;
	case WIRE_REFUSE:
		wire_random_refuse(x, &m->refuse);
		break;
	case WIRE_PROVE:
		wire_random_prove(x, &m->prove);
		break;
	case WIRE_DONE:
		m->done.track = wire_random_u32(x);
		m->done.seq = random_next(x->seed);
		break;
	case WIRE_SYNC:
	case WIRE_SYNC_ACK:
		wire_random_sync(x, &m->sync);
		break;
	case WIRE_BYE:
		m->bye.reason = (uint8_t)random_next(x->seed);
		break;
	default:
		break;
	}
}

static inline void wire_random_message(uint64_t *seed, uint8_t type,
				       struct wire_message *m)
{
	struct wire_random x = { seed, WIRE_RANDOM_ANY };

	wire_random_make(&x, type, m);
}

/* As many entries as always fit. */
static inline void wire_random_full(uint64_t *seed, uint8_t type,
				    struct wire_message *m)
{
	struct wire_random x = { seed, WIRE_RANDOM_FULL };

	wire_random_make(&x, type, m);
}

/* No entries. */
static inline void wire_random_empty(uint64_t *seed, uint8_t type,
				     struct wire_message *m)
{
	struct wire_random x = { seed, WIRE_RANDOM_EMPTY };

	wire_random_make(&x, type, m);
}

#endif
