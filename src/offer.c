/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * offer: the end that offers a flow, or asks for it: FLOWS out, FLOWS_ACK in.
 *
 * Owns the order of steps of its proofs (enum stage) and the packing of many
 * into few datagrams. Each flow goes its own way: a datagram carries
 * whichever are ready. The other end is answer.c.
 */
#include <errno.h>
#include <string.h>

#include "claim_impl.h"

#define FLOW_SIZE (8 + WIRE_PLACE_SIZE + 1 + WIRE_PATH_SIZE + 1)
#define ID_TRIES 4

static void stage_pack(struct claim_work *w, uint64_t now_ms)
{
	w->packed_ms = now_ms;
	proof_stage(w, STAGE_PACK, now_ms + CLAIM_PACK_MS);
}

/* The claim waits for this one, and for no other peer's. */
static bool is_its_own(const struct claim_work *w)
{
	return w->claim->table == w->table;
}

static void deny(struct claim_work *w, uint64_t now_ms)
{
	struct claim_table *t = w->table;

	if (w->tries >= CLAIM_TRIES) {
		proof_free(w);
		return;
	}
	roster_send_end(t, now_ms, w->flow_id);
	proof_stage(w, STAGE_DENY,
		    now_ms + claim_pto(t, ANSWER_MS, w->tries++));
}

void offer_denied(struct claim_table *t, uint64_t flow_id)
{
	struct claim_work *w = proof_find_id(t, flow_id);

	if (w && w->stage == STAGE_DENY)
		proof_free(w);
}

/* `held`: the other end may have confirmed it, and it is not offered again soon
 * under the same id. */
static void fail(struct claim_work *w, uint64_t now_ms, enum reason why,
		 bool held)
{
	struct claim *c = w->claim;
	const bool own = is_its_own(w), mine = w->mine;

	if (held && !MUTANT(deny_skipped)) {
		w->tries = 0;
		deny(w, now_ms);
	} else {
		proof_free(w);
	}
	if (own && (mine ||
		    (c->wanted && !c->confirmed && c->state == CLAIM_IDLE)))
		claim_refuse(c, now_ms, why);
}

void offer_fail(struct claim_work *w, uint64_t now_ms, enum reason why)
{
	fail(w, now_ms, why,
	     w->mine && !is_its_own(w) && w->kind == WIRE_PROOF_RECEIPT);
}

/* ---- our turn --------------------------------------------------------- */

/* One that is this peer's by its own turn keeps it from try to try. */
static int choose_id(struct claim_work *w)
{
	struct claim_table *t = w->table;
	struct claim *c = w->claim;
	int ret = -EEXIST;

	if (is_its_own(w) && c->hashed) {
		w->flow_id = c->flow_id;
		return 0;
	}
	for (int i = 0; i < ID_TRIES && ret == -EEXIST; i++) {
		t->ops.random(t->arg, &w->flow_id, sizeof(w->flow_id));
		if (!w->flow_id)
			continue;
		if (is_its_own(w))
			ret = claim_set_id(c, w->flow_id);
		else
			ret = claim_find(t, w->flow_id) ? -EEXIST : 0;
	}
	return ret;
}

/* A nonce of its own for each try. */
static void try(struct claim_work *w, uint64_t now_ms)
{
	enum reason why;

	if (!proof_pay(w, now_ms)) {
		proof_stage(w, STAGE_PAUSE, now_ms + CLAIM_TOKEN_MS);
		return;
	}
	w->kind = WIRE_PROOF_TAG;
	w->tries = 0;
	proof_draw(w);
	why = proof_want_numbers(w, now_ms);
	if (why != REASON_NONE)
		offer_fail(w, now_ms, why);
	else if (w->known)
		stage_pack(w, now_ms);
	else
		proof_stage(w, STAGE_SAMPLE, UINT64_MAX);
}

/* False: there is no id left. */
static bool begin(struct claim_work *w, uint64_t now_ms)
{
	if (!w->table->offers) {
		w->asks = true;
		stage_pack(w, now_ms);
		return true;
	}
	if (choose_id(w) < 0)
		return false;
	try(w, now_ms);
	return true;
}

/* One that was over already is, now that the flow is proved anew. */
static struct claim_work *under_way(struct claim *c, struct claim_table *t)
{
	struct claim_work *w = proof_find(c, t);

	if (!w || (w->stage != STAGE_LINGER && w->stage != STAGE_DENY))
		return w;
	proof_free(w);
	return NULL;
}

bool offer_begin(struct claim *c, uint64_t now_ms)
{
	struct claim_table *t = c->table;
	struct claim_work *w = under_way(c, t);
	enum reason why;

	if (t->n_mine >= CLAIM_WINDOW)
		return false;
	if (w) { /* the peer's, that goes on */
		claim_enter(c, CLAIM_NO_LIST);
		c->state = CLAIM_IDLE;
		return true;
	}
	c->peer_ended = false;
	why = t->ops.path(t->arg, now_ms, c);
	if (why == REASON_NONE && proof_new(t, c, now_ms, true, &w) < 0)
		why = REASON_LIMIT;
	if (why == REASON_NONE) {
		claim_enter(c, CLAIM_NO_LIST);
		c->state = CLAIM_WORKING;
		if (!begin(w, now_ms))
			offer_fail(w, now_ms, REASON_LIMIT);
	} else {
		claim_refuse(c, now_ms, why);
	}
	return true;
}

bool offer_beside(struct claim_table *t, struct claim *c, uint64_t now_ms)
{
	struct claim_work *w = proof_find(c, t);

	/* It has another id, which the peer has to hear of first. */
	if (w && w->stage == STAGE_DENY)
		return false;
	w = under_way(c, t);
	if (w)
		return true;
	if (proof_new(t, c, now_ms, true, &w) < 0)
		return false;
	if (begin(w, now_ms))
		return true;
	proof_free(w);
	return false;
}

static void quick_retry(struct claim_work *w, uint64_t now_ms)
{
	if (w->retries >= QUICK_RETRIES) {
		offer_fail(w, now_ms, REASON_RETRY);
		return;
	}
	proof_stage(w, STAGE_PAUSE,
		    now_ms + ((uint64_t)QUICK_RETRY_MS << w->retries));
	w->retries++;
}

/* ---- what comes ------------------------------------------------------- */

void offer_sampled(struct claim_work *w, uint64_t now_ms)
{
	if (w->stage == STAGE_SAMPLE)
		stage_pack(w, now_ms);
}

void offer_received(struct claim_work *w, uint64_t now_ms)
{
	w->kind = WIRE_PROOF_RECEIPT;
	w->tries = 0;
	stage_pack(w, now_ms);
}

/* The offerer has seen the other end's receipt. Where the track that it names
 * is elsewhere by now, the flow stays where it is and is offered again. */
static void offer_proved(struct claim_work *w, uint64_t now_ms)
{
	const struct wire_place peers = w->peers;
	const uint64_t flow_id = w->flow_id;
	struct claim_table *t = w->table;
	struct claim *c = w->claim;

	if (claim_is_others(c, t)) {
		offer_fail(w, now_ms, REASON_FLOW_OWNED);
		return;
	}
	if (!c->confirmed && !claim_has_room(t, c)) {
		offer_fail(w, now_ms, REASON_LIMIT);
		return;
	}
	if (!c->confirmed && !claim_may_enter(t, c, now_ms, &peers, true)) {
		offer_fail(w, now_ms, REASON_LATER);
		return;
	}
	proof_reward(w);
	proof_free(w);
	c->state = CLAIM_IDLE;
	c->unknown_ms = 0;
	c->doubted = false;
	c->proved_order = t->heard_order;
	if (!c->confirmed)
		claim_confirm(t, c, now_ms, flow_id, peers.track);
	else if (roster_retrack(c, now_ms, &peers, true))
		c->failures = 0;
	else
		claim_refuse(c, now_ms, REASON_LATER);
}

static void receipt_consume(struct claim_work *w, uint64_t now_ms,
			    const struct wire_proof *p)
{
	const enum reason why = proof_check(w, p);

	if (why == REASON_NONE) {
		offer_proved(w, now_ms);
	} else if (why == REASON_REWRITTEN) {
		fail(w, now_ms, why, !is_its_own(w) || !w->claim->confirmed);
	} else {
		claim_count(w->table, COUNTER_PROOFS_WRONG);
		quick_retry(w, now_ms);
	}
}

/* Is what comes taken out, and for long enough from now on? */
static bool is_expected(const struct claim_work *w, uint64_t now_ms)
{
	return w->expected && now_ms + CLAIM_LATE_MS <= w->claim->take_ms;
}

/* It is taken out there: now the nonce may go on the flow, where what answers
 * it is taken out here. */
static void tag_consume(struct claim_work *w, uint64_t now_ms)
{
	struct claim_table *t = w->table;
	uint64_t wait_ms = 2 * (uint64_t)t->ops.pto_ms(t->arg) +
			   CLAIM_ANSWER_MS;

	if (!is_expected(w, now_ms) &&
	    t->ops.expect(t->arg, now_ms, &w->claim, 1) < 0) {
		offer_fail(w, now_ms, REASON_SYSTEM);
		return;
	}
	proof_stage(w, STAGE_AWAIT, now_ms + (wait_ms << w->unanswered));
	/* Where it cannot be sent it stays unanswered. */
	(void)proof_emit(w, now_ms);
}

/* ---- sending ---------------------------------------------------------- */

bool offer_pack_due(const struct claim_table *t, enum stage stage,
		    unsigned int full, uint64_t now_ms)
{
	const struct claim_work *w;
	unsigned int n = 0;

	TAILQ_FOREACH(w, &t->works, entry) {
		if (w->stage != stage)
			continue;
		if (w->packed_ms + CLAIM_PACK_MS <= now_ms || ++n >= full)
			return true;
	}
	return false;
}

void offer_expect(struct claim_table *t, uint64_t now_ms, enum stage stage)
{
	struct claim_work *w, *of[CLAIM_ANSWERS_MAX];
	struct claim *c[CLAIM_ANSWERS_MAX];
	unsigned int n = 0;
	int err;

	TAILQ_FOREACH(w, &t->works, entry) {
		if (w->stage != stage || is_expected(w, now_ms) ||
		    w->kind != WIRE_PROOF_TAG || n == CLAIM_ANSWERS_MAX)
			continue;
		of[n] = w;
		c[n++] = w->claim;
	}
	if (n == 0)
		return;
	err = MUTANT(expect_skipped) ? 0 :
				       t->ops.expect(t->arg, now_ms, c, n);
	while (n-- > 0) {
		of[n]->expected = !err;
		if (err && of[n]->mine)
			offer_fail(of[n], now_ms, REASON_SYSTEM);
		else if (err)
			of[n]->answer = REASON_SYSTEM;
	}
}

static void flows_add(struct wire_flows *m, struct claim_work *w,
		      const struct wire_proof *p)
{
	struct wire_flow *f = &m->flow[m->n++];
	struct claim *c = w->claim;

	f->flow_id = w->flow_id;
	claim_place(w->table, c, &f->place);
	f->proto = c->tuple->proto;
	f->src = c->tuple->local;
	f->dst = c->tuple->remote;
	f->proof = *p;
}

/* What went together waits together, so that it goes together again. */
struct flush {
	uint32_t batch;
	uint8_t asks;
	uint64_t due_ms[CLAIM_TRIES + 1]; /* by tries; 0 not chosen yet */
};

static void flows_sent(struct claim_work *w, uint64_t now_ms,
		       struct flush *fl)
{
	struct claim_table *t = w->table;
	uint64_t *due_ms = &fl->due_ms[w->tries];

	w->batch = fl->batch;
	if (w->asks)
		w->ask_at = fl->asks++;
	if (*due_ms == 0)
		*due_ms = now_ms + claim_pto(t, ANSWER_MS, w->tries);
	proof_stage(w, STAGE_SENT, *due_ms);
	if (w->tries < CLAIM_TRIES)
		w->tries++;
}

/* One datagram; false where nothing was left to say. */
static bool flush_flows(struct claim_table *t, uint64_t now_ms)
{
	struct wire_message m;
	struct wire_proof p;
	struct claim_work *w;
	size_t room = FLOWS_ROOM;
	struct flush fl = { .batch = t->batch + 1 };

	memset(&m, 0, sizeof(m));
	m.type = WIRE_FLOWS;
	m.flows.batch = fl.batch;
	m.flows.parts = 1;
	TAILQ_FOREACH(w, &t->works, entry) {
		if (w->stage != STAGE_PACK)
			continue;
		memset(&p, 0, sizeof(p));
		proof_fill(w, &p);
		if (m.flows.n == WIRE_FLOWS_MAX ||
		    FLOW_SIZE + proof_size(&p) > room)
			break;
		room -= FLOW_SIZE + proof_size(&p);
		flows_add(&m.flows, w, &p);
		flows_sent(w, now_ms, &fl);
	}
	if (m.flows.n == 0)
		return false;
	t->batch++;
	claim_count(t, COUNTER_FLOWS_TX);
	t->ops.send(t->arg, now_ms, &m);
	return true;
}

void offer_flush(struct claim_table *t, uint64_t now_ms)
{
	if (!offer_pack_due(t, STAGE_PACK, WIRE_FLOWS_MAX, now_ms))
		return;
	offer_expect(t, now_ms, STAGE_PACK);
	while (flush_flows(t, now_ms))
		;
}

/* A flow that is owned already stays so: its packets may take another way just
 * now. */
static void await_over(struct claim_work *w, uint64_t now_ms)
{
	if (++w->unanswered < CLAIM_NONCES)
		try(w, now_ms);
	else
		offer_fail(w, now_ms, w->claim->confirmed ? REASON_RETRY :
							    REASON_PROXY);
}

void offer_timeout(struct claim_work *w, uint64_t now_ms)
{
	switch (w->stage) {
	case STAGE_SENT:
		if (w->tries >= CLAIM_TRIES)
			offer_fail(w, now_ms, REASON_NO_PEER);
		else
			stage_pack(w, now_ms);
		break;
	case STAGE_AWAIT:
		await_over(w, now_ms);
		break;
	case STAGE_PAUSE:
		try(w, now_ms);
		break;
	case STAGE_DENY:
		deny(w, now_ms);
		break;
	default: /* STAGE_ASKED */
		offer_fail(w, now_ms, REASON_RETRY);
	}
}

/* ---- FLOWS_ACK -------------------------------------------------------- */

static void offer_answer_consume(struct claim_work *w, uint64_t now_ms,
				 enum reason reason,
				 const struct wire_flow_ack *f)
{
	w->peers = f->place;
	if (reason == REASON_RETRY) {
		quick_retry(w, now_ms);
		return;
	}
	if (reason != REASON_NONE) {
		offer_fail(w, now_ms, reason);
		return;
	}
	if (f->proof.kind != w->kind)
		return; /* the answer to a list: that to our proof is due */
	if (w->kind == WIRE_PROOF_RECEIPT)
		receipt_consume(w, now_ms, &f->proof);
	else if (crypto_equal(f->proof.nonce, w->tag, sizeof(w->tag)))
		tag_consume(w, now_ms);
}

static void ask_answered(struct claim_table *t, uint64_t now_ms,
			 uint32_t batch, uint8_t at, enum reason reason)
{
	struct claim_work *w;

	TAILQ_FOREACH(w, &t->works, entry)
		if (w->stage == STAGE_SENT && w->asks && w->batch == batch &&
		    w->ask_at == at)
			break;
	if (!w)
		return;
	if (reason == REASON_NONE)
		proof_stage(w, STAGE_ASKED, now_ms + ASKED_MS);
	else
		offer_fail(w, now_ms, reason);
}

void offer_answered(struct claim_table *t, uint64_t now_ms,
		    const struct wire_flows_ack *m)
{
	struct wire_message over;
	uint8_t asks = 0;

	memset(&over, 0, sizeof(over));
	for (uint8_t i = 0; i < m->n; i++) {
		const struct wire_flow_ack *f = &m->flow[i];
		enum reason reason = f->reason < REASON_MAX ?
					     (enum reason)f->reason :
					     REASON_POLICY;
		struct claim_work *w;
		struct claim *c;

		if (f->flow_id == 0) {
			ask_answered(t, now_ms, m->batch, asks++, reason);
			continue;
		}
		c = claim_find(t, f->flow_id);
		w = proof_find_id(t, f->flow_id);
		if (!w && (!c || c->state == CLAIM_ENDED)) {
			claim_count(t, COUNTER_RX_STALE);
			/* It holds what is no more. */
			if (reason == REASON_NONE &&
			    f->proof.kind != WIRE_PROOF_TAG)
				over.flow_end.flow_id[over.flow_end.n++] =
					f->flow_id;
		} else if (w && w->stage == STAGE_SENT) {
			offer_answer_consume(w, now_ms, reason, f);
		} else if (c && claim_is_held(c) &&
			   f->proof.kind == WIRE_PROOF_NONE) {
			roster_answered(c, now_ms, reason, &f->place);
		}
	}
	roster_send_over(t, now_ms, &over);
	roster_part_answered(t, now_ms, m);
}
