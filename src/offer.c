// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * offer: FLOWS and FLOWS_ACK that prove flows, in both roles.
 *
 * Owns the order of steps of one proof (enum stage) and the packing of many
 * into few datagrams. Each flow goes its own way: a datagram carries
 * whichever are ready, and an answer names whichever are decided.
 */
#include <errno.h>
#include <string.h>

#include "claim_impl.h"

#define FLOWS_ROOM (WIRE_PLAIN_MAX - WIRE_PATH_SIZE - WIRE_FLOWS_FIXED)
#define FLOW_SIZE (8 + 4 + 1 + 1 + WIRE_PATH_SIZE + 1)
#define ACK_SIZE (8 + 4 + 1 + 1)
/* An offerer records for 5 s and then names what it sent. */
#define LISTEN_MS (CLAIM_RECORD_MS + 3000)
#define ID_TRIES 4

static void stage_pack(struct claim *c, uint64_t now_ms)
{
	c->work->packed_ms = now_ms;
	claim_stage(c, STAGE_PACK, now_ms + CLAIM_PACK_MS);
}

static void stage_answer(struct claim *c, uint64_t now_ms,
			 enum reason answer)
{
	c->work->packed_ms = now_ms;
	c->work->answer = answer;
	claim_stage(c, STAGE_ANSWER, now_ms + CLAIM_PACK_MS);
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
	if (c->tuple.proto == IPPROTO_TCP) {
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
	bool offers = claim_is_offerer(&c->tuple);
	enum reason why;

	if (t->n_work >= CLAIM_WORK_MAX || t->n_mine >= CLAIM_WINDOW ||
	    (offers && c->tuple.proto == IPPROTO_UDP &&
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

/* The offerer has seen the other end's proof. */
static void offer_proved(struct claim *c, uint64_t now_ms)
{
	uint32_t peer_track = c->work->peer_track;

	claim_work_free(c);
	c->failures = 0;
	c->unknown_ms = 0;
	if (c->confirmed)
		roster_retrack(c, now_ms, peer_track);
	else
		claim_confirm(c, now_ms, c->flow_id, peer_track);
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

/* The answerer confirms first; the offerer when it has the answer. */
static void answer_proved(struct claim *c, uint64_t now_ms, uint8_t kind)
{
	struct claim_work *w = c->work;

	w->kind = kind;
	stage_answer(c, now_ms, REASON_NONE);
	if (c->confirmed && c->flow_id == w->flow_id)
		return;
	if (claim_find(c->table, w->flow_id))
		w->answer = REASON_FLOW_OWNED;
	else
		claim_confirm(c, now_ms, w->flow_id, w->peer_track);
}

static void verify_sampled(struct claim *c, uint64_t now_ms)
{
	enum verdict v = proof_check_tcp(c, c->work->their_nxt);
	/* It proved that once; this is a late copy. */
	bool again = c->confirmed && c->flow_id == c->work->flow_id;

	if (v == VERDICT_RIGHT)
		answer_proved(c, now_ms, WIRE_PROOF_TCP);
	else if (!again && claim_demerit(c, v))
		stage_answer(c, now_ms, REASON_PROOF_FAILED);
	else
		stage_answer(c, now_ms, REASON_RETRY);
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
		verify_sampled(c, now_ms);
		break;
	default:
		break;
	}
}

/* ---- sending ---------------------------------------------------------- */

static size_t proof_size(const struct wire_proof *p)
{
	if (p->kind == WIRE_PROOF_TCP)
		return 4;
	if (p->kind == WIRE_PROOF_UDP_MACS)
		return 1 + (size_t)p->n_macs * WIRE_PROOF_MAC_SIZE;
	return 0;
}

/* Is one of that stage there whose wait for company is over? */
static bool pack_due(const struct claim_table *t, enum stage stage,
		     unsigned int full, uint64_t now_ms)
{
	const struct claim *c;
	unsigned int n = 0;

	TAILQ_FOREACH(c, &t->working, entry) {
		if (c->work->stage != stage)
			continue;
		if (c->work->packed_ms + CLAIM_PACK_MS <= now_ms ||
		    ++n >= full)
			return true;
	}
	return false;
}

static void flows_add(struct wire_flows *m, const struct claim *c,
		      const struct wire_proof *p)
{
	struct wire_flow *f = &m->flow[m->n++];

	f->flow_id = claim_is_offerer(&c->tuple) ? c->flow_id : 0;
	f->track = c->own_track;
	f->proto = c->tuple.proto;
	f->src = c->tuple.local;
	f->dst = c->tuple.remote;
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
	TAILQ_FOREACH(c, &t->working, entry) {
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

static bool flush_answers(struct claim_table *t, uint64_t now_ms)
{
	struct wire_message m;
	struct claim *c, *next;
	size_t room = FLOWS_ROOM;

	memset(&m, 0, sizeof(m));
	m.type = WIRE_FLOWS_ACK;
	for (c = TAILQ_FIRST(&t->working); c; c = next) {
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
		f->track = c->own_track;
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

void offer_flush(struct claim_table *t, uint64_t now_ms)
{
	if (pack_due(t, STAGE_ANSWER, WIRE_FLOWS_ACK_MAX, now_ms))
		while (flush_answers(t, now_ms))
			;
	if (pack_due(t, STAGE_PACK, WIRE_FLOWS_MAX, now_ms))
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
			stage_answer(c, now_ms, REASON_RETRY);
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
		break; /* offer_flush() */
	}
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

	if (!claim_is_offerer(&c->tuple)) {
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
	if (c->list == &t->backoff) {
		claim_enter(c, NULL);
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
			       struct claim *c, const struct wire_flow *f)
{
	struct claim *other = claim_find(t, f->flow_id);
	enum reason why;

	if (claim_is_offerer(&c->tuple)) {
		claim_count(t, COUNTER_RX_UNEXPECTED);
		return REASON_POLICY;
	}
	if (other && other != c)
		return REASON_FLOW_OWNED;
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
	enum reason why = offer_admit(t, now_ms, c, f);
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
	w->peer_track = f->track;
	w->batch = m->batch;
	w->part = m->part;
	w->parts = m->parts;
	if (c->tuple.proto == IPPROTO_TCP)
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
		roster_retrack(c, now_ms, f->track);
		if (f->proof.kind == WIRE_PROOF_NONE)
			return REPLY(REASON_NONE);
	}
	if (f->proof.kind == WIRE_PROOF_NONE)
		return REPLY(REASON_RETRY);
	return offer_consume(t, now_ms, c, m, f, proof_key);
}

static uint32_t own_track(struct claim_table *t, uint64_t flow_id)
{
	const struct claim *c = flow_id ? claim_find(t, flow_id) : NULL;

	return c ? c->own_track : 0;
}

void offer_receive(struct claim_table *t, uint64_t now_ms,
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
		f->track = own_track(t, f->flow_id);
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

/* ---- FLOWS_ACK -------------------------------------------------------- */

static void offer_answer_consume(struct claim *c, uint64_t now_ms,
				 enum reason reason,
				 const struct wire_flow_ack *f)
{
	struct claim_work *w = c->work;

	w->peer_track = f->track;
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

	TAILQ_FOREACH(c, &t->working, entry)
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
	uint8_t asks = 0;

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
				roster_send_end(t, now_ms, f->flow_id);
		} else if (c->work && c->work->stage == STAGE_SENT &&
			   c->work->kind != WIRE_PROOF_NONE) {
			offer_answer_consume(c, now_ms, reason, f);
		} else if (c->confirmed) {
			roster_answered(c, now_ms, reason, f->track);
		}
	}
	roster_part_answered(t, now_ms, m);
}
