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

static void stage_pack(struct claim *c, uint64_t now_ms)
{
	c->work->packed_ms = now_ms;
	claim_stage(c, STAGE_PACK, now_ms + CLAIM_PACK_MS);
}

/* ---- our turn --------------------------------------------------------- */

static int choose_id(struct claim *c)
{
	struct claim_table *t = c->table;
	uint64_t id;
	int ret = -EEXIST;

	if (c->hashed)
		return 0;
	for (int i = 0; i < ID_TRIES && ret == -EEXIST; i++) {
		t->ops.random(t->arg, &id, sizeof(id));
		if (id)
			ret = claim_set_id(c, id);
	}
	return ret;
}

static enum reason begin_offer(struct claim *c, uint64_t now_ms)
{
	struct claim_table *t = c->table;
	struct claim_work *w = c->work;
	const uint8_t *key;
	int ret;

	if (choose_id(c) < 0)
		return REASON_LIMIT;
	if (c->tuple->proto == IPPROTO_TCP) {
		w->kind = WIRE_PROOF_TCP;
		ret = proof_watch(c, now_ms);
		if (ret == 0)
			proof_want_sample(c, now_ms, STAGE_SAMPLE);
	} else {
		w->kind = WIRE_PROOF_UDP_RECORDING;
		key = t->ops.proof_key(t->arg);
		if (!key)
			return REASON_NO_PEER;
		ret = proof_record(c, now_ms, key);
		if (ret == 0)
			stage_pack(c, now_ms);
	}
	return ret < 0 ? REASON_SYSTEM : REASON_NONE;
}

bool offer_begin(struct claim *c, uint64_t now_ms)
{
	struct claim_table *t = c->table;
	bool offers = claim_is_offerer(c->tuple);
	enum reason why;

	if (t->n_work >= CLAIM_WORK_MAX || t->n_mine >= CLAIM_WINDOW ||
	    (offers && c->tuple->proto == IPPROTO_UDP &&
	     t->n_recordings >= CLAIM_RECORDINGS_MAX))
		return false;
	c->peer_ended = false;
	why = t->ops.path(t->arg, now_ms, c);
	if (why == REASON_NONE && claim_work_new(c, now_ms, true) < 0)
		why = REASON_LIMIT;
	if (why == REASON_NONE && offers)
		why = begin_offer(c, now_ms);
	else if (why == REASON_NONE)
		stage_pack(c, now_ms);
	if (why != REASON_NONE)
		claim_refuse(c, now_ms, why);
	return true;
}

static void quick_retry(struct claim *c, uint64_t now_ms)
{
	struct claim_work *w = c->work;

	if (w->retries >= QUICK_RETRIES) {
		claim_refuse(c, now_ms, REASON_RETRY);
		return;
	}
	claim_stage(c, STAGE_PAUSE,
		    now_ms + ((uint64_t)QUICK_RETRY_MS << w->retries));
	w->retries++;
}

/* ---- what a sample decides -------------------------------------------- */

/* The offerer has seen the other end's proof. Where the track that it names
 * is elsewhere by now, the flow stays where it is and is offered again. */
static void offer_proved(struct claim *c, uint64_t now_ms)
{
	const struct wire_place peers = c->work->peers;

	if (!c->confirmed && !claim_may_enter(c, now_ms, &peers, true)) {
		claim_refuse(c, now_ms, REASON_LATER);
		return;
	}
	claim_work_free(c);
	c->unknown_ms = 0;
	c->doubted = false;
	if (!c->confirmed)
		claim_confirm(c, now_ms, c->flow_id, peers.track);
	else if (roster_retrack(c, now_ms, &peers, true))
		c->failures = 0;
	else
		claim_refuse(c, now_ms, REASON_LATER);
}

static void check_sampled(struct claim *c, uint64_t now_ms)
{
	struct claim_table *t = c->table;
	enum verdict v = proof_check_tcp(c, c->work->their_nxt);

	if (v == VERDICT_RIGHT) {
		offer_proved(c, now_ms);
	} else if (claim_demerit(c, v) && !c->confirmed) {
		/* The other end counts it as confirmed: not so. */
		roster_send_end(t, now_ms, c->flow_id);
		claim_bar(c, now_ms);
	} else {
		quick_retry(c, now_ms);
	}
}

void offer_sampled(struct claim *c, uint64_t now_ms)
{
	switch (c->work->stage) {
	case STAGE_SAMPLE:
		stage_pack(c, now_ms);
		break;
	case STAGE_CHECK:
		check_sampled(c, now_ms);
		break;
	case STAGE_VERIFY:
		answer_sampled(c, now_ms);
		break;
	default:
		break;
	}
}

/* ---- sending ---------------------------------------------------------- */

bool offer_pack_due(const struct claim_table *t, enum stage stage,
		     unsigned int full, uint64_t now_ms)
{
	const struct claim *c;
	unsigned int n = 0;

	TAILQ_FOREACH(c, &t->list[CLAIM_WORK], entry) {
		if (c->work->stage != stage)
			continue;
		if (c->work->packed_ms + CLAIM_PACK_MS <= now_ms ||
		    ++n >= full)
			return true;
	}
	return false;
}

static void flows_add(struct wire_flows *m, struct claim *c,
		      const struct wire_proof *p)
{
	struct wire_flow *f = &m->flow[m->n++];

	f->flow_id = claim_is_offerer(c->tuple) ? c->flow_id : 0;
	claim_place(c, &f->place);
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

static void flows_sent(struct claim *c, uint64_t now_ms, struct flush *fl)
{
	struct claim_table *t = c->table;
	struct claim_work *w = c->work;
	uint64_t *due_ms = &fl->due_ms[w->tries];

	w->batch = fl->batch;
	if (w->kind == WIRE_PROOF_NONE)
		w->ask_at = fl->asks++;
	else if (w->kind != WIRE_PROOF_UDP_RECORDING)
		claim_count(t, COUNTER_PROOFS_SENT);
	if (*due_ms == 0)
		*due_ms = now_ms + claim_pto(t, ANSWER_MS, w->tries);
	claim_stage(c, STAGE_SENT, *due_ms);
	if (w->tries < CLAIM_TRIES)
		w->tries++;
}

/* One datagram; false where nothing was left to say. */
static bool flush_flows(struct claim_table *t, uint64_t now_ms)
{
	struct wire_message m;
	struct wire_proof p;
	struct claim *c;
	size_t room = FLOWS_ROOM;
	struct flush fl = { .batch = t->batch + 1 };

	memset(&m, 0, sizeof(m));
	m.type = WIRE_FLOWS;
	m.flows.batch = fl.batch;
	m.flows.parts = 1;
	TAILQ_FOREACH(c, &t->list[CLAIM_WORK], entry) {
		if (c->work->stage != STAGE_PACK)
			continue;
		memset(&p, 0, sizeof(p));
		proof_fill(c, &p);
		if (m.flows.n == WIRE_FLOWS_MAX ||
		    FLOW_SIZE + proof_size(&p) > room)
			break;
		room -= FLOW_SIZE + proof_size(&p);
		flows_add(&m.flows, c, &p);
		flows_sent(c, now_ms, &fl);
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
	if (offer_pack_due(t, STAGE_PACK, WIRE_FLOWS_MAX, now_ms))
		while (flush_flows(t, now_ms))
			;
}

void offer_timeout(struct claim *c, uint64_t now_ms)
{
	struct claim_work *w = c->work;

	switch (w->stage) {
	case STAGE_SAMPLE:
	case STAGE_CHECK:
		if (proof_wait(c, now_ms) < 0)
			claim_refuse(c, now_ms, REASON_RETRY);
		break;
	case STAGE_VERIFY:
		if (proof_wait(c, now_ms) < 0)
			answer_stage(c, now_ms, REASON_RETRY);
		break;
	case STAGE_SENT:
		if (w->tries >= CLAIM_TRIES)
			claim_refuse(c, now_ms, REASON_NO_PEER);
		else
			stage_pack(c, now_ms);
		break;
	case STAGE_RECORD:
		/* Both sides must have something to name. */
		w->kind = WIRE_PROOF_UDP_MACS;
		if (w->n_own && w->n_seen)
			stage_pack(c, now_ms);
		else
			claim_refuse(c, now_ms, REASON_RECORDING);
		break;
	case STAGE_PAUSE:
		if (w->kind == WIRE_PROOF_TCP)
			proof_want_sample(c, now_ms, STAGE_SAMPLE);
		else
			stage_pack(c, now_ms);
		break;
	case STAGE_ASKED:
	case STAGE_LISTEN:
	case STAGE_LINGER:
		if (c->confirmed)
			claim_work_free(c);
		else
			claim_refuse(c, now_ms, REASON_RETRY);
		break;
	case STAGE_PACK:
	case STAGE_ANSWER:
		break; /* when they are packed */
	}
}

/* ---- FLOWS_ACK -------------------------------------------------------- */

static void offer_answer_consume(struct claim *c, uint64_t now_ms,
				 enum reason reason,
				 const struct wire_flow_ack *f)
{
	struct claim_work *w = c->work;

	w->peers = f->place;
	switch (reason) {
	case REASON_NONE:
		if (f->proof.kind != w->kind)
			return; /* the answer to a list: our proof is due */
		if (w->kind == WIRE_PROOF_TCP) {
			w->their_nxt = f->proof.snd_nxt;
			proof_want_sample(c, now_ms, STAGE_CHECK);
		} else if (proof_check_udp(c, &f->proof)) {
			offer_proved(c, now_ms);
		} else {
			quick_retry(c, now_ms);
		}
		break;
	case REASON_RECORDING:
		if (w->kind != WIRE_PROOF_UDP_RECORDING)
			return;
		/* What it did not record proves nothing to it. */
		w->n_own = 0;
		w->tries = 0;
		claim_stage(c, STAGE_RECORD, now_ms + CLAIM_RECORD_MS);
		break;
	case REASON_RETRY:
		w->tries = 0;
		quick_retry(c, now_ms);
		break;
	default:
		claim_refuse(c, now_ms, reason);
	}
}

static void ask_answered(struct claim_table *t, uint64_t now_ms,
			 uint32_t batch, uint8_t at, enum reason reason)
{
	struct claim *c;

	TAILQ_FOREACH(c, &t->list[CLAIM_WORK], entry)
		if (c->work->stage == STAGE_SENT &&
		    c->work->kind == WIRE_PROOF_NONE &&
		    c->work->batch == batch && c->work->ask_at == at)
			break;
	if (!c)
		return;
	if (reason == REASON_NONE)
		claim_stage(c, STAGE_ASKED, now_ms + ASKED_MS);
	else
		claim_refuse(c, now_ms, reason);
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
		struct claim *c;

		if (f->flow_id == 0) {
			ask_answered(t, now_ms, m->batch, asks++, reason);
			continue;
		}
		c = claim_find(t, f->flow_id);
		if (!c || c->state == CLAIM_ENDED) {
			claim_count(t, COUNTER_RX_STALE);
			/* It holds what is no more. */
			if (reason == REASON_NONE)
				over.flow_end.flow_id[over.flow_end.n++] =
					f->flow_id;
		} else if (c->work && c->work->stage == STAGE_SENT &&
			   c->work->kind != WIRE_PROOF_NONE) {
			offer_answer_consume(c, now_ms, reason, f);
		} else if (c->confirmed) {
			roster_answered(c, now_ms, reason, &f->place);
		}
	}
	roster_send_over(t, now_ms, &over);
	roster_part_answered(t, now_ms, m);
}
