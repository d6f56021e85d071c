/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * answer: the end to which flows are offered: FLOWS in, FLOWS_ACK out.
 *
 * Owns who may offer what (conditions (a) to (d)) and what each entry is
 * answered: at once where nothing must be looked at, else when a sample has
 * decided it. The other end is offer.c.
 */
#include <errno.h>
#include <string.h>

#include "claim_impl.h"

#define ACK_SIZE (8 + WIRE_PLACE_SIZE + 1 + 1)
/* An offerer records for 5 s and then names what it sent. */
#define LISTEN_MS (CLAIM_RECORD_MS + 3000)

void answer_stage(struct claim *c, uint64_t now_ms,
			 enum reason answer)
{
	c->work->packed_ms = now_ms;
	c->work->answer = answer;
	claim_stage(c, STAGE_ANSWER, now_ms + CLAIM_PACK_MS);
}

/* The answerer confirms first; the offerer when it has the answer. */
static void answer_proved(struct claim *c, uint64_t now_ms, uint8_t kind)
{
	struct claim_work *w = c->work;
	const struct claim *other = claim_find(c->table, w->flow_id);

	w->kind = kind;
	answer_stage(c, now_ms, REASON_NONE);
	c->doubted = false;
	if (c->confirmed && c->flow_id == w->flow_id)
		return;
	/* A flow that was lost keeps its id: it may come back under it. */
	if (other && other != c)
		w->answer = REASON_FLOW_OWNED;
	else if (!claim_may_enter(c, now_ms, &w->peers, true))
		w->answer = REASON_LATER;
	else
		claim_confirm(c, now_ms, w->flow_id, w->peers.track);
}

void answer_sampled(struct claim *c, uint64_t now_ms)
{
	enum verdict v = proof_check_tcp(c, c->work->their_nxt);
	/* It proved that once; this is a late copy. */
	bool again = c->confirmed && c->flow_id == c->work->flow_id;

	if (v == VERDICT_RIGHT)
		answer_proved(c, now_ms, WIRE_PROOF_TCP);
	else if (!again && claim_demerit(c, v))
		answer_stage(c, now_ms, REASON_PROOF_FAILED);
	else
		answer_stage(c, now_ms, REASON_RETRY);
}

/* ---- FLOWS_ACK -------------------------------------------------------- */

/* The answer is out: what the claim does next. */
static void answer_sent(struct claim *c, uint64_t now_ms)
{
	struct claim_work *w = c->work;

	if (w->recording) {
		/* The answer may be lost, and be asked for again. */
		claim_stage(c, STAGE_LISTEN, now_ms + LISTEN_MS);
	} else if (w->answer == REASON_RETRY) {
		claim_stage(c, STAGE_LINGER, now_ms + LINGER_MS);
	} else if (w->answer == REASON_PROOF_FAILED && !c->confirmed) {
		claim_bar(c, now_ms);
	} else {
		claim_work_free(c);
	}
}

static bool answers_send(struct claim_table *t, uint64_t now_ms)
{
	struct wire_message m;
	struct claim *c, *next;
	size_t room = FLOWS_ROOM;

	memset(&m, 0, sizeof(m));
	m.type = WIRE_FLOWS_ACK;
	for (c = TAILQ_FIRST(&t->list[CLAIM_WORK]); c; c = next) {
		struct wire_flow_ack *f = &m.flows_ack.flow[m.flows_ack.n];
		struct claim_work *w = c->work;

		next = TAILQ_NEXT(c, entry);
		if (w->stage != STAGE_ANSWER)
			continue;
		if (m.flows_ack.n == WIRE_FLOWS_ACK_MAX)
			break;
		if (w->answer == REASON_NONE)
			proof_fill(c, &f->proof);
		if (ACK_SIZE + proof_size(&f->proof) > room) {
			memset(f, 0, sizeof(*f));
			break;
		}
		room -= ACK_SIZE + proof_size(&f->proof);
		if (m.flows_ack.n++ == 0) {
			m.flows_ack.batch = w->batch;
			m.flows_ack.part = w->part;
			m.flows_ack.parts = w->parts;
		}
		f->flow_id = w->flow_id;
		claim_place(c, &f->place);
		f->reason = (uint8_t)w->answer;
		if (w->answer == REASON_NONE)
			claim_count(t, COUNTER_PROOFS_SENT);
		answer_sent(c, now_ms);
	}
	if (m.flows_ack.n == 0)
		return false;
	t->ops.send(t->arg, now_ms, &m);
	return true;
}

void answer_flush(struct claim_table *t, uint64_t now_ms)
{
	if (offer_pack_due(t, STAGE_ANSWER, WIRE_FLOWS_ACK_MAX, now_ms))
		while (answers_send(t, now_ms))
			;
}

/* ---- FLOWS ------------------------------------------------------------ */

/* What an entry of FLOWS leads to: answered now, or by offer_flush(). */
struct reply {
	bool later;
	enum reason reason;
};

#define REPLY_LATER ((struct reply){ .later = true })
#define REPLY(r) ((struct reply){ .reason = (r) })

/* The other end asks us to offer. */
static struct reply ask_consume(struct claim_table *t, uint64_t now_ms,
				struct claim *c)
{
	enum reason why;

	if (!claim_is_offerer(c->tuple)) {
		claim_count(t, COUNTER_RX_UNEXPECTED);
		return REPLY(REASON_POLICY);
	}
	why = t->ops.path(t->arg, now_ms, c);
	if (why != REASON_NONE)
		return REPLY(why);
	switch (claim_start(t, now_ms, c)) {
	case -EACCES:
		return REPLY(REASON_PROOF_FAILED);
	case -ENOSPC:
		return REPLY(REASON_LIMIT);
	case -EBUSY:
		return REPLY(REASON_FLOW_OWNED);
	default:
		break;
	}
	/* It is ready now, whatever it said before. */
	if (c->list == CLAIM_BACKOFF) {
		claim_enter(c, CLAIM_NO_LIST);
		c->state = CLAIM_IDLE;
	}
	claim_reprove(c, now_ms);
	return REPLY(REASON_NONE);
}

static struct reply tcp_consume(struct claim *c, uint64_t now_ms,
				const struct wire_flow *f)
{
	struct claim_work *w = c->work;

	if (f->proof.kind != WIRE_PROOF_TCP)
		return REPLY(REASON_POLICY);
	/* The first number stands until it is judged. */
	if (w->stage == STAGE_VERIFY || w->stage == STAGE_ANSWER)
		return REPLY_LATER;
	if (proof_watch(c, now_ms) < 0)
		return REPLY(REASON_SYSTEM);
	w->flow_id = f->flow_id;
	w->their_nxt = f->proof.snd_nxt;
	proof_want_sample(c, now_ms, STAGE_VERIFY);
	return REPLY_LATER;
}

static struct reply udp_consume(struct claim *c, uint64_t now_ms,
				const struct wire_flow *f,
				const uint8_t *proof_key)
{
	struct claim_work *w = c->work;

	if (w->stage == STAGE_ANSWER)
		return REPLY_LATER;
	w->flow_id = f->flow_id;
	if (f->proof.kind == WIRE_PROOF_UDP_RECORDING) {
		if (proof_record(c, now_ms, proof_key) < 0)
			return REPLY(REASON_LIMIT);
		claim_stage(c, STAGE_LISTEN, now_ms + LISTEN_MS);
		return REPLY(REASON_RECORDING);
	}
	if (f->proof.kind != WIRE_PROOF_UDP_MACS)
		return REPLY(REASON_POLICY);
	/* Nothing to name, or not seen: it tries again. */
	if (!w->recording || w->n_own == 0 || !proof_check_udp(c, &f->proof))
		return REPLY(REASON_RETRY);
	answer_proved(c, now_ms, WIRE_PROOF_UDP_MACS);
	return REPLY_LATER;
}

/* May this offer be looked at? Attaches the claim. */
static enum reason offer_admit(struct claim_table *t, uint64_t now_ms,
			       struct claim *c)
{
	enum reason why;

	if (claim_is_offerer(c->tuple)) {
		claim_count(t, COUNTER_RX_UNEXPECTED);
		return REASON_POLICY;
	}
	why = t->ops.path(t->arg, now_ms, c);
	if (why != REASON_NONE)
		return why;
	if (c->table != t && t->n_attached >= CLAIM_FLOWS_MAX)
		return REASON_LIMIT;
	claim_attach(t, c);
	return REASON_NONE;
}

static struct reply offer_consume(struct claim_table *t, uint64_t now_ms,
				  struct claim *c, const struct wire_flows *m,
				  const struct wire_flow *f,
				  const uint8_t *proof_key)
{
	enum reason why = offer_admit(t, now_ms, c);
	struct claim_work *w;
	struct reply r;
	bool fresh;

	if (why != REASON_NONE)
		return REPLY(why);
	fresh = !c->work;
	if (fresh && claim_work_new(c, now_ms, false) < 0)
		return REPLY(REASON_RETRY);
	w = c->work;
	if (w->mine) {
		/* It was our ask; here is the offer. */
		w->mine = false;
		t->n_mine--;
		claim_stage(c, STAGE_LINGER, now_ms + LINGER_MS);
	}
	w->peers = f->place;
	w->batch = m->batch;
	w->part = m->part;
	w->parts = m->parts;
	if (c->tuple->proto == IPPROTO_TCP)
		r = tcp_consume(c, now_ms, f);
	else
		r = udp_consume(c, now_ms, f, proof_key);
	if (!fresh || r.later || r.reason == REASON_RECORDING)
		return r;
	if (c->wanted && !c->confirmed)
		claim_refuse(c, now_ms, r.reason);
	else
		claim_work_free(c);
	return r;
}

/* May the peer hear what we know of that flow? */
static bool may_hear(const struct claim_table *t, const struct wire_flow *f,
		     const struct tuple *tuple)
{
	const struct claim *c = f->flow_id ? claim_find(t, f->flow_id) : NULL;

	return !t->ops.met || t->ops.met(t->arg, &f->src.addr) ||
	       (c && c->confirmed && tuple_equal(c->tuple, tuple));
}

static struct reply flow_consume(struct claim_table *t, uint64_t now_ms,
				 const struct wire_flows *m,
				 const struct wire_flow *f,
				 const uint8_t *proof_key)
{
	struct tuple tuple;
	struct claim *c = NULL;
	enum reason why;

	memset(&tuple, 0, sizeof(tuple));
	tuple.local = f->dst;
	tuple.remote = f->src;
	tuple.proto = f->proto;
	why = t->ops.lookup(t->arg, now_ms, &tuple, &c);
	if (!may_hear(t, f, &tuple)) {
		/* But it may be about to prove itself there. */
		if (c && !c->confirmed && c->state != CLAIM_ENDED)
			t->ops.path(t->arg, now_ms, c);
		return REPLY(REASON_RETRY);
	}
	if (why != REASON_NONE)
		return REPLY(why);
	if (!c || c->state == CLAIM_ENDED)
		return REPLY(REASON_UNKNOWN_FLOW);
	if (c->table != t && c->confirmed)
		return REPLY(REASON_FLOW_OWNED);
	if (!c->confirmed && claim_is_barred(c, t))
		return REPLY(REASON_PROOF_FAILED);
	if (m->flags & WIRE_FLOWS_COMPLETE)
		c->named_batch = m->batch;
	if (f->flow_id == 0)
		return ask_consume(t, now_ms, c);
	if (c->confirmed && c->flow_id == f->flow_id) {
		if (!roster_retrack(c, now_ms, &f->place, false))
			return REPLY(REASON_LATER);
		if (f->proof.kind == WIRE_PROOF_NONE)
			return REPLY(REASON_NONE);
	}
	if (f->proof.kind == WIRE_PROOF_NONE)
		return REPLY(REASON_RETRY);
	return offer_consume(t, now_ms, c, m, f, proof_key);
}

static void own_place(struct claim_table *t, const struct wire_flow *f,
		      struct wire_place *own)
{
	struct claim *c = f->flow_id ? claim_find(t, f->flow_id) : NULL;

	if (c)
		claim_place(c, own);
	else
		own->at = f->dst.addr;
}

void answer_receive(struct claim_table *t, uint64_t now_ms,
		   const struct wire_flows *m, const uint8_t *proof_key)
{
	struct wire_message ack;

	memset(&ack, 0, sizeof(ack));
	ack.type = WIRE_FLOWS_ACK;
	ack.flows_ack.batch = m->batch;
	ack.flows_ack.part = m->part;
	ack.flows_ack.parts = m->parts;
	for (uint8_t i = 0; i < m->n; i++) {
		struct reply r = flow_consume(t, now_ms, m, &m->flow[i],
					      proof_key);
		struct wire_flow_ack *f =
			&ack.flows_ack.flow[ack.flows_ack.n];

		if (r.later)
			continue;
		f->flow_id = m->flow[i].flow_id;
		own_place(t, &m->flow[i], &f->place);
		f->reason = (uint8_t)r.reason;
		ack.flows_ack.n++;
		if (r.reason != REASON_NONE)
			t->counters->refused[r.reason]++;
	}
	if (m->flags & WIRE_FLOWS_COMPLETE)
		roster_consume_part(t, now_ms, m);
	if (ack.flows_ack.n || (m->flags & WIRE_FLOWS_COMPLETE))
		t->ops.send(t->arg, now_ms, &ack);
}
