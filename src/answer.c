/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * answer: the end to which flows are offered: FLOWS in, FLOWS_ACK out.
 *
 * Owns who may offer what (conditions (a) to (d)) and what each entry is
 * answered: at once, or with others, when the socket has told its numbers and the
 * kernel knows what to take out. The other end is offer.c.
 */
#include <errno.h>
#include <string.h>

#include "claim_impl.h"

#define ACK_SIZE (8 + WIRE_PLACE_SIZE + 1 + 1)
static void answer_stage(struct claim_work *w, uint64_t now_ms, uint8_t kind)
{
	w->kind = kind;
	w->answer = REASON_NONE;
	w->packed_ms = now_ms;
	proof_stage(w, STAGE_ANSWER, now_ms + CLAIM_PACK_MS);
}

void answer_sampled(struct claim_work *w, uint64_t now_ms)
{
	if (w->stage == STAGE_SAMPLE)
		answer_stage(w, now_ms, WIRE_PROOF_TAG);
}

void answer_unknown(struct claim_work *w, uint64_t now_ms)
{
	answer_stage(w, now_ms, WIRE_PROOF_TAG);
	w->answer = REASON_RETRY;
}

void answer_emit(struct claim_work *w, uint64_t now_ms)
{
	if (w->sent)
		return;
	if (w->stage == STAGE_EXPECT)
		proof_stage(w, STAGE_EXPECT, now_ms + CLAIM_EXPECT_MS);
	/* Where it cannot be sent the offerer tries again. */
	(void)proof_emit(w, now_ms);
}

void answer_timeout(struct claim_work *w, uint64_t now_ms)
{
	if (w->stage == STAGE_LINGER)
		proof_free(w);
	else
		offer_fail(w, now_ms, REASON_RETRY);
}

/* The answerer confirms first; the offerer when it has the answer. */
static void answer_proved(struct claim_work *w, uint64_t now_ms)
{
	struct claim_table *t = w->table;
	struct claim *c = w->claim;
	const struct claim *other = claim_find(t, w->flow_id);

	answer_stage(w, now_ms, WIRE_PROOF_RECEIPT);
	/* A flow that was lost keeps its id: it may come back under it. */
	if (claim_is_others(c, t) || (other && other != c)) {
		w->answer = REASON_FLOW_OWNED;
		return;
	}
	if (c->confirmed && c->flow_id == w->flow_id) {
		c->doubted = false;
		c->proved_order = t->heard_order;
		proof_reward(w);
		return;
	}
	if (!claim_may_enter(t, c, now_ms, &w->peers, true)) {
		w->answer = REASON_LATER;
		return;
	}
	proof_reward(w);
	/* The event may end the claim, and so the proof. */
	if (claim_confirm(t, c, now_ms, w->flow_id, w->peers.track) < 0)
		w->answer = REASON_LIMIT;
}

/* ---- FLOWS_ACK -------------------------------------------------------- */

/* The answer is out: what the proof does next. */
static void answer_sent(struct claim_work *w, uint64_t now_ms)
{
	if (w->answer != REASON_NONE) {
		offer_fail(w, now_ms, w->answer);
	} else if (w->kind == WIRE_PROOF_RECEIPT) {
		/* It may be lost, and be asked for again. */
		proof_stage(w, STAGE_LINGER, now_ms + LINGER_MS);
	} else {
		proof_stage(w, STAGE_EXPECT, now_ms + CLAIM_EXPECT_MS);
	}
}

static bool answers_send(struct claim_table *t, uint64_t now_ms)
{
	struct wire_message m;
	struct claim_work *w, *next;
	size_t room = FLOWS_ROOM;

	memset(&m, 0, sizeof(m));
	m.type = WIRE_FLOWS_ACK;
	for (w = TAILQ_FIRST(&t->works); w; w = next) {
		struct wire_flow_ack *f = &m.flows_ack.flow[m.flows_ack.n];

		next = TAILQ_NEXT(w, entry);
		if (w->stage != STAGE_ANSWER)
			continue;
		if (m.flows_ack.n == WIRE_FLOWS_ACK_MAX)
			break;
		if (w->answer == REASON_NONE)
			proof_fill(w, &f->proof);
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
		claim_place(t, w->claim, &f->place);
		f->reason = (uint8_t)w->answer;
		answer_sent(w, now_ms);
	}
	if (m.flows_ack.n == 0)
		return false;
	t->ops.send(t->arg, now_ms, &m);
	return true;
}

void answer_flush(struct claim_table *t, uint64_t now_ms)
{
	if (!offer_pack_due(t, STAGE_ANSWER, WIRE_FLOWS_ACK_MAX, now_ms))
		return;
	offer_expect(t, now_ms, STAGE_ANSWER);
	while (answers_send(t, now_ms))
		;
}

/* ---- FLOWS ------------------------------------------------------------ */

/* What an entry of FLOWS leads to: answered now, or by answer_flush(). */
struct reply {
	bool later;
	enum reason reason;
};

#define REPLY_LATER ((struct reply){ .later = true })
#define REPLY(r) ((struct reply){ .reason = (r) })

/* Conditions (a) and (b) ask the kernel. What is good goes on to what costs a
 * try; what is not costs here. */
static enum reason path_look(struct claim_table *t, uint64_t now_ms,
			     struct claim *c)
{
	if (MUTANT(path_unchecked))
		return REASON_NONE;
	return proof_look(t, now_ms) ?
		       proof_looked(t, t->ops.path(t->arg, now_ms, c)) :
		       REASON_RETRY;
}

/* An offer of ours is under way, or will be in its turn. */
static bool will_offer(const struct claim_table *t, const struct claim *c)
{
	const struct claim_work *w = proof_find(c, t);

	return (w && w->mine && w->stage != STAGE_DENY) ||
	       (c->table == t && c->list == CLAIM_TURN);
}

/* The other end asks us to offer. */
static struct reply ask_consume(struct claim_table *t, uint64_t now_ms,
				struct claim *c)
{
	enum reason why;

	if (!t->offers) {
		claim_count(t, COUNTER_RX_UNEXPECTED);
		return REPLY(REASON_POLICY);
	}
	if (will_offer(t, c))
		return REPLY(REASON_NONE);
	if (t->n_mine >= CLAIM_WINDOW && c->table && c->table != t)
		return REPLY(REASON_RETRY);
	why = path_look(t, now_ms, c);
	if (why != REASON_NONE)
		return REPLY(why);
	if (c->table && c->table != t && c->wanted)
		return REPLY(offer_beside(t, c, now_ms) ? REASON_NONE :
							  REASON_RETRY);
	/* That was found out, and asking does not change it. */
	if (c->table == t && c->list == CLAIM_BACKOFF &&
	    claim_reason_is_path(c->reason))
		return REPLY(c->reason);
	switch (claim_start(t, now_ms, c)) {
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

static bool is_copy(const struct claim_work *w, const struct wire_flow *f)
{
	return !w->mine && w->tokens && w->flow_id == f->flow_id &&
	       crypto_equal(w->tag, f->proof.nonce, sizeof(w->tag));
}

/* A copy of what was offered is answered as it was. */
static struct reply tag_consume(struct claim_work *w, uint64_t now_ms,
				const struct wire_flow *f)
{
	enum reason why;

	if (is_copy(w, f)) {
		if (w->stage != STAGE_ANSWER && w->stage != STAGE_SAMPLE)
			answer_stage(w, now_ms, WIRE_PROOF_TAG);
		return REPLY_LATER;
	}
	if (!proof_pay(w, now_ms))
		return REPLY(REASON_LIMIT);
	memcpy(w->tag, f->proof.nonce, sizeof(w->tag));
	w->flow_id = f->flow_id;
	w->sent = w->received = w->expected = false;
	why = proof_want_numbers(w, now_ms);
	if (why != REASON_NONE)
		return REPLY(why);
	/* What comes is answered at once then, or it would look unanswered. */
	if (w->known)
		answer_stage(w, now_ms, WIRE_PROOF_TAG);
	else
		proof_stage(w, STAGE_SAMPLE, UINT64_MAX);
	return REPLY_LATER;
}

static struct reply receipt_consume(struct claim_work *w, uint64_t now_ms,
				    const struct wire_flow *f)
{
	enum reason why = w->flow_id == f->flow_id ?
				  proof_check(w, &f->proof) : REASON_RETRY;

	if (why == REASON_NONE) {
		answer_proved(w, now_ms);
		return REPLY_LATER;
	}
	claim_count(w->table, COUNTER_PROOFS_WRONG);
	return REPLY(why);
}

/* Is it something new, or the end of a proof? Else it is answered without a
 * look at the path. */
static bool is_news(const struct claim_work *w, const struct wire_flow *f)
{
	if (f->proof.kind == WIRE_PROOF_TAG)
		return !w || !is_copy(w, f);
	return w && !w->mine && w->flow_id == f->flow_id &&
	       proof_check(w, &f->proof) != REASON_RETRY;
}

/* May this offer be looked at? */
static enum reason offer_admit(struct claim_table *t, uint64_t now_ms,
			       struct claim *c, const struct claim_work *w,
			       const struct wire_flow *f)
{
	const struct claim *other;

	if (t->offers) {
		claim_count(t, COUNTER_RX_UNEXPECTED);
		return REASON_POLICY;
	}
	other = claim_find(t, f->flow_id);
	if (other && other != c)
		return REASON_FLOW_OWNED;
	if (!claim_has_room(t, c))
		return REASON_LIMIT;
	if (!is_news(w, f))
		return REASON_NONE;
	if (f->proof.kind == WIRE_PROOF_TAG && !proof_can_answer(t, now_ms))
		return REASON_LIMIT;
	return path_look(t, now_ms, c);
}

static struct reply offer_consume(struct claim_table *t, uint64_t now_ms,
				  struct claim *c, const struct wire_flows *m,
				  const struct wire_flow *f)
{
	struct claim_work *w = proof_find(c, t);
	enum reason why = offer_admit(t, now_ms, c, w, f);
	struct reply r;
	bool fresh;

	if (why != REASON_NONE)
		return REPLY(why);
	if (w && w->mine) {
		/* It was our ask; here is the offer. */
		proof_free(w);
		w = NULL;
		if (c->table == t)
			c->state = CLAIM_IDLE;
	}
	fresh = !w;
	r = REPLY(REASON_RETRY);
	if (fresh && f->proof.kind == WIRE_PROOF_TAG &&
	    proof_new(t, c, now_ms, false, &w) < 0)
		r = REPLY(REASON_LIMIT);
	if (w) {
		w->peers = f->place;
		w->batch = m->batch;
		w->part = m->part;
		w->parts = m->parts;
		r = f->proof.kind == WIRE_PROOF_TAG ?
			    tag_consume(w, now_ms, f) :
			    receipt_consume(w, now_ms, f);
	}
	if (r.later)
		return r;
	if (w && (fresh || claim_reason_is_path(r.reason)))
		offer_fail(w, now_ms, r.reason);
	else if (!w && c->table == t && c->wanted && !c->confirmed &&
		 c->state == CLAIM_IDLE)
		claim_refuse(c, now_ms, r.reason);
	return r;
}

/* May the peer hear what we know of that flow? */
static bool may_hear(const struct claim_table *t, uint64_t now_ms,
		     const struct wire_flow *f, const struct tuple *tuple)
{
	const struct claim *c = f->flow_id ? claim_find(t, f->flow_id) : NULL;

	return !t->ops.met || t->ops.met(t->arg, now_ms, &f->src.addr) ||
	       MUTANT(met_unchecked) ||
	       (c && c->confirmed && tuple_equal(c->tuple, tuple));
}

/* Whatever there is at that tuple, it is told the same. But it may be about to
 * prove itself there. */
static struct reply unmet_consume(struct claim_table *t, uint64_t now_ms,
				  const struct tuple *tuple)
{
	struct claim *c = NULL;

	t->ops.lookup(t->arg, now_ms, tuple, &c);
	if (c && !c->confirmed && c->state != CLAIM_ENDED &&
	    proof_look(t, now_ms))
		(void)t->ops.path(t->arg, now_ms, c);
	return REPLY(REASON_RETRY);
}

/* Only as a fault: who sees what goes on a flow would keep its end from owning
 * it, by naming what this has asked for. */
static void word_take(const struct claim_table *t, uint64_t now_ms,
		      const struct claim *c, const struct wire_proof *p)
{
	struct claim_work *w;

	LIST_FOREACH(w, &c->works, of_claim)
		if (w->table != t && p->kind == WIRE_PROOF_RECEIPT &&
		    proof_check(w, p) != REASON_RETRY)
			break;
	if (w)
		offer_fail(w, now_ms, REASON_RETRY);
}

static struct reply flow_consume(struct claim_table *t, uint64_t now_ms,
				 const struct wire_flows *m,
				 const struct wire_flow *f)
{
	struct tuple tuple;
	struct claim *c = NULL;
	enum reason why;

	memset(&tuple, 0, sizeof(tuple));
	tuple.local = f->dst;
	tuple.remote = f->src;
	tuple.proto = f->proto;
	if (!may_hear(t, now_ms, f, &tuple))
		return unmet_consume(t, now_ms, &tuple);
	why = t->ops.lookup(t->arg, now_ms, &tuple, &c);
	if (why != REASON_NONE)
		return REPLY(why);
	if (!c || c->state == CLAIM_ENDED)
		return REPLY(REASON_UNKNOWN_FLOW);
	if (claim_is_others(c, t))
		return REPLY(REASON_FLOW_OWNED);
	if (MUTANT(word_taken))
		word_take(t, now_ms, c, &f->proof);
	/* Until it is nobody's. */
	if (c->table == t && c->list == CLAIM_LEAVES)
		return REPLY(REASON_RETRY);
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
	return offer_consume(t, now_ms, c, m, f);
}

static void own_place(struct claim_table *t, const struct wire_flow *f,
		      struct wire_place *own)
{
	struct claim *c = f->flow_id ? claim_find(t, f->flow_id) : NULL;

	if (c)
		claim_place(t, c, own);
	else
		own->at = f->dst.addr;
}

void answer_receive(struct claim_table *t, uint64_t now_ms,
		    const struct wire_flows *m)
{
	struct wire_message ack;
	bool complete = m->flags & WIRE_FLOWS_COMPLETE;

	memset(&ack, 0, sizeof(ack));
	ack.type = WIRE_FLOWS_ACK;
	ack.flows_ack.batch = m->batch;
	ack.flows_ack.part = m->part;
	ack.flows_ack.parts = m->parts;
	for (uint8_t i = 0; i < m->n; i++) {
		struct reply r = flow_consume(t, now_ms, m, &m->flow[i]);
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
	/* What follows the list may name what it has left over. */
	if (complete && !roster_consume_part(t, now_ms, m))
		return;
	if (complete || ack.flows_ack.n)
		t->ops.send(t->arg, now_ms, &ack);
}
