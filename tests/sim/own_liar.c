/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * own_liar: a third host with a valid key, who wants what is others'.
 *
 * He has the real claims, which believe that he holds both ends of everything.
 * Owns what he says besides: whatever can be made of what he has heard.
 */
#include <string.h>

#include "own.h"

void liar_know(struct world *w, const uint8_t nonce[WIRE_NONCE_SIZE])
{
	memcpy(w->bytes[w->n_bytes++ % HEARD], nonce, WIRE_NONCE_SIZE);
}

static void know_id(struct world *w, uint64_t id)
{
	if (id)
		w->ids[w->n_ids++ % HEARD] = id;
}

void liar_hear(struct world *w, const struct wire_message *m)
{
	for (int i = 0; m->type == WIRE_FLOWS && i < m->flows.n; i++) {
		know_id(w, m->flows.flow[i].flow_id);
		if (m->flows.flow[i].proof.kind != WIRE_PROOF_NONE)
			liar_know(w, m->flows.flow[i].proof.nonce);
	}
	for (int i = 0; m->type == WIRE_FLOWS_ACK && i < m->flows_ack.n; i++)
		if (m->flows_ack.flow[i].proof.kind != WIRE_PROOF_NONE)
			liar_know(w, m->flows_ack.flow[i].proof.nonce);
}

/* To the other host, in his own session with it. */
bool liar_passes_on(struct link *l, struct wire_message *m)
{
	if (!l->w->passes)
		return false;
	own_send(&l->w->link[LIAR][!l->peer], m);
	return true;
}

/* ---- lies ---------------------------------------------------------------- */

static const uint8_t *any_bytes(struct world *w)
{
	const unsigned int n = w->n_bytes < HEARD ? w->n_bytes : HEARD;

	if (n && own_chance(w, 50))
		return w->bytes[(w->n_bytes - 1) % HEARD];

	return w->bytes[n ? own_pick(w, n) : 0];
}

static uint64_t any_id(struct world *w)
{
	const unsigned int n = w->n_ids < HEARD ? w->n_ids : HEARD;

	if (!n || own_chance(w, 20))
		return own_pick(w, 8);
	return w->ids[own_pick(w, n)];
}

/* What he has heard, what follows from it, or nothing at all. */
static void lie_bytes(struct world *w, unsigned int to,
		      uint8_t nonce[WIRE_NONCE_SIZE])
{
	const struct nonce_ends *ends = &w->link[LIAR][to].ends;
	uint8_t tag[WIRE_NONCE_SIZE];

	random_fill(&w->random, nonce, WIRE_NONCE_SIZE);
	switch (own_pick(w, 5)) {
	case 0:
		memset(nonce, 0, WIRE_NONCE_SIZE);
		break;
	case 1:
		memcpy(nonce, any_bytes(w), WIRE_NONCE_SIZE);
		break;
	case 2:
		nonce_answer(ends, any_bytes(w), nonce);
		break;
	case 3:
		nonce_tag(ends, any_bytes(w), tag);
		memcpy(nonce, tag, sizeof(tag));
		break;
	default:
		liar_know(w, nonce);
	}
}

static void lie_proof(struct world *w, unsigned int to, const struct flow *f,
		      struct wire_proof *p)
{
	p->kind = (uint8_t)(own_chance(w, 50) ? WIRE_PROOF_RECEIPT :
			    own_chance(w, 80) ? WIRE_PROOF_TAG :
						WIRE_PROOF_NONE);
	if (p->kind == WIRE_PROOF_NONE)
		return;
	lie_bytes(w, to, p->nonce);
	if (p->kind != WIRE_PROOF_RECEIPT ||
	    f->real[0].tuple.proto == IPPROTO_UDP)
		return;
	p->seq = f->real[f->host[1] == to].sent;
	p->ack = 7;
	p->tsval = (uint32_t)w->now_ms;
	p->tsecr = 9;
}

/* A flow that this host has, of which he says that he has the other end. */
static struct flow *any_flow(struct world *w, unsigned int to,
			     unsigned int *side)
{
	struct flow *f;

	do {
		f = &w->flow[own_pick(w, FLOWS)];
	} while (f->host[0] != to && f->host[1] != to);
	*side = f->host[0] == to;
	return f;
}

static struct wire_flow *name_flow(struct world *w, struct wire_message *m,
				   const struct flow_end *e)
{
	struct wire_flow *entry = &m->flows.flow[0];

	m->type = WIRE_FLOWS;
	m->flows.batch = own_pick(w, 1000);
	m->flows.parts = 1;
	m->flows.n = 1;
	entry->flow_id = own_chance(w, 20) ? 0 : any_id(w);
	/* Of the very proof that goes on there. */
	if (own_chance(w, 50) && e->claim.flow_id)
		entry->flow_id = e->claim.flow_id;
	entry->place.track = 1;
	entry->place.at = e->tuple.local.addr;
	entry->proto = e->tuple.proto;
	entry->src = e->tuple.local;
	entry->dst = e->tuple.remote;
	return entry;
}

void liar_sees(struct world *w, const struct parcel *p)
{
	const struct flow_end *e = &p->flow->posed[p->to];
	const unsigned int to = p->flow->host[!p->to];
	struct wire_message m = { 0 };
	struct wire_proof *proof = &name_flow(w, &m, e)->proof;
	const unsigned int n = w->n_letters;

	liar_know(w, p->nonce);
	if (w->near && !m.flows.flow[0].flow_id)
		m.flows.flow[0].flow_id = 1;
	if (!m.flows.flow[0].flow_id || to == LIAR)
		return;
	proof->kind = WIRE_PROOF_RECEIPT;
	memcpy(proof->nonce, p->nonce, sizeof(proof->nonce));
	if (e->tuple.proto == IPPROTO_TCP) {
		proof->seq = p->n.seq;
		proof->ack = p->n.ack;
		proof->tsval = p->n.tsval;
		proof->tsecr = p->n.tsecr;
	}
	own_send(&w->link[LIAR][to], &m);
	for (unsigned int i = n; w->near && i < w->n_letters; i++)
		w->letter[i].at_ms = w->now_ms + 1;
}

static void lie_flows(struct world *w, unsigned int to)
{
	struct wire_message m = { 0 };
	unsigned int side;
	const struct flow *f = any_flow(w, to, &side);
	struct wire_flow *entry = name_flow(w, &m, &f->posed[side]);

	if (entry->flow_id)
		lie_proof(w, to, f, &entry->proof);
	if (entry->proof.kind == WIRE_PROOF_NONE && own_chance(w, 10))
		m.flows.flags = WIRE_FLOWS_COMPLETE;
	own_send(&w->link[LIAR][to], &m);
}

static void lie_answer(struct world *w, unsigned int to)
{
	struct wire_message m = { .type = WIRE_FLOWS_ACK };
	struct wire_flow_ack *entry = &m.flows_ack.flow[0];
	unsigned int side;
	const struct flow *f = any_flow(w, to, &side);

	m.flows_ack.batch = own_pick(w, 1000);
	m.flows_ack.parts = 1;
	m.flows_ack.n = 1;
	entry->flow_id = any_id(w);
	entry->place.track = 1;
	entry->place.at = f->posed[side].tuple.local.addr;
	if (own_chance(w, 80))
		lie_proof(w, to, f, &entry->proof);
	else
		entry->reason = (uint8_t)own_pick(w, REASON_MAX);
	own_send(&w->link[LIAR][to], &m);
}

static void lie_end(struct world *w, unsigned int to)
{
	struct wire_message m = { .type = (uint8_t)(own_chance(w, 50) ?
				  WIRE_FLOW_END : WIRE_FLOW_END_ACK) };

	m.flow_end.n = 1;
	m.flow_end.flow_id[0] = any_id(w);
	own_send(&w->link[LIAR][to], &m);
}

/* On a flow of others, in the name of one of its ends. */
static void lie_nonce(struct world *w, unsigned int to)
{
	unsigned int side;
	struct flow *f = any_flow(w, to, &side);
	struct parcel p = {
		.at_ms = w->now_ms + 5, .sent_ms = w->now_ms, .flow = f,
		.to = !side,
		.n = { .seq = f->real[side].sent, .ack = 7, .stamped = true,
		       .tsval = (uint32_t)w->now_ms, .tsecr = 9 },
	};

	if (w->power != POWER_SENDS && w->power != POWER_ALL)
		return;
	lie_bytes(w, to, p.nonce);
	own_post(w, &p);
}

void liar_act(struct world *w)
{
	const unsigned int to = own_pick(w, LIAR);
	unsigned int side;
	struct flow *f = any_flow(w, to, &side);
	struct flow_end *e = f->host[side] == LIAR ? &f->real[side] :
						     &f->posed[side];

	w->stats.lies++;
	switch (own_pick(w, 6)) {
	case 0:
	case 1:
		claim_start(w->link[LIAR][to].table, w->now_ms, &e->claim);
		break;
	case 2:
		lie_flows(w, to);
		break;
	case 3:
		lie_answer(w, to);
		break;
	case 4:
		lie_nonce(w, to);
		break;
	default:
		lie_end(w, to);
	}
}
