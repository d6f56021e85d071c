/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * roster: what both ends hold confirmed, kept the same: tracks that change,
 * complete lists, and ends.
 *
 * Owns FLOWS entries without proof, FLOW_END and FLOW_END_ACK. Never proves
 * anything: where the other end lacks a flow, offer.c starts over.
 */
#include <errno.h>
#include <string.h>

#include "claim_impl.h"

#define ROUND_MAX 8 /* datagrams sent without an answer */
#define ROUND_MS 20 /* added to a PTO */
#define ENDED_LOOKS 2048 /* at claims that ended, in one step */
#define ANNOUNCE_TRIES 8
#define TELL_AGAIN_MS 1000

static bool bit_test(const uint8_t *bits, unsigned int i)
{
	return bits[i / 8] >> i % 8 & 1;
}

static void bit_set(uint8_t *bits, unsigned int i)
{
	bits[i / 8] |= (uint8_t)(1u << i % 8);
}

static void name_flow(struct wire_flows *m, struct claim *c)
{
	struct wire_flow *f = &m->flow[m->n++];

	memset(f, 0, sizeof(*f));
	f->flow_id = c->flow_id;
	claim_place(c->table, c, &f->place);
	f->proto = c->tuple->proto;
	f->src = c->tuple->local;
	f->dst = c->tuple->remote;
}

static void flows_send(struct claim_table *t, uint64_t now_ms,
		       struct wire_message *m)
{
	claim_count(t, COUNTER_FLOWS_TX);
	t->ops.send(t->arg, now_ms, m);
}

/* ---- single flows ----------------------------------------------------- */

bool roster_retrack(struct claim *c, uint64_t now_ms,
		    const struct wire_place *peers, bool proved)
{
	struct claim_table *t = c->table;

	if (c->peer_track == peers->track)
		return true;
	if (!claim_may_enter(t, c, now_ms, peers, proved))
		return false;
	c->peer_track = peers->track;
	if (t->ops.retracked)
		t->ops.retracked(t->arg, now_ms, c);
	return true;
}

static void tell_again(struct claim *c, uint64_t due_ms)
{
	struct claim_table *t = c->table;

	c->due_ms = due_ms;
	claim_enter(c, CLAIM_TELL);
	due_at(&t->tell_ms, due_ms);
}

void roster_tell_step(struct claim_table *t, uint64_t now_ms)
{
	struct wire_message m;
	struct claim *c, *next;
	unsigned int sent = 0;

	if (now_ms < t->tell_ms)
		return;
	t->tell_ms = UINT64_MAX;
	memset(&m, 0, sizeof(m));
	m.type = WIRE_FLOWS;
	m.flows.parts = 1;
	for (c = TAILQ_FIRST(&t->list[CLAIM_TELL]); c; c = next) {
		next = TAILQ_NEXT(c, entry);
		if (c->due_ms > now_ms || sent == ROUND_MAX) {
			due_at(&t->tell_ms, c->due_ms > now_ms ?
						    claim_look_ms(c->due_ms) :
						    now_ms + ROUND_MS);
			continue;
		}
		if (c->failures >= CLAIM_TRIES) {
			claim_enter(c, CLAIM_NO_LIST);
			claim_tell_unanswered(t, now_ms);
			continue;
		}
		name_flow(&m.flows, c);
		c->due_ms = now_ms + claim_pto(t, ROUND_MS, c->failures++);
		due_at(&t->tell_ms, claim_look_ms(c->due_ms));
		if (m.flows.n < WIRE_FLOWS_MAX && next)
			continue;
		m.flows.batch = ++t->batch;
		flows_send(t, now_ms, &m);
		m.flows.n = 0;
		sent++;
	}
	if (m.flows.n) {
		m.flows.batch = ++t->batch;
		flows_send(t, now_ms, &m);
	}
}

void roster_answered(struct claim *c, uint64_t now_ms, enum reason reason,
		     const struct wire_place *peers)
{
	switch (reason) {
	case REASON_NONE:
		c->unknown_ms = 0;
		c->doubted = false;
		c->proved_order = c->table->heard_order;
		if (c->list == CLAIM_TELL) {
			claim_enter(c, CLAIM_NO_LIST);
			c->failures = 0;
		}
		roster_retrack(c, now_ms, peers, false);
		break;
	case REASON_LATER:
		if (c->list == CLAIM_TELL)
			tell_again(c, now_ms + TELL_AGAIN_MS);
		break;
	case REASON_RETRY:
		c->doubted = true;
		if (c->list == CLAIM_TELL)
			claim_enter(c, CLAIM_NO_LIST);
		claim_reprove(c, now_ms);
		break;
	case REASON_UNKNOWN_FLOW:
		/* One that has just restarted may not have looked yet. */
		if (!c->unknown_ms)
			c->unknown_ms = now_ms;
		if (now_ms - c->unknown_ms >= CLAIM_UNKNOWN_MS)
			claim_lose(c, reason);
		else if (c->state == CLAIM_IDLE)
			tell_again(c, now_ms + TELL_AGAIN_MS);
		break;
	case REASON_LIMIT:
	case REASON_SYSTEM:
	case REASON_NAT:
		break; /* late, about a proof that is over */
	default:
		claim_lose(c, reason);
	}
}

/* ---- complete lists --------------------------------------------------- */

static bool is_listed(const struct claim *c)
{
	return c->hashed && c->state != CLAIM_ENDED && !c->peer_ended &&
	       c->confirmed;
}

/* A flow that the other end has confirmed and we have not yet would differ
 * for as long as its proof takes, and where our address is gone that is until
 * the move is over, which waits for this list. It starts anew. */
static void drop_unconfirmed(struct claim_table *t, uint64_t now_ms)
{
	struct claim_work *w, *next;

	for (w = TAILQ_FIRST(&t->works); w; w = next) {
		next = TAILQ_NEXT(w, entry);
		if (!w->claim->confirmed && w->stage != STAGE_DENY)
			offer_fail(w, now_ms, REASON_RETRY);
	}
}

/* The list as it is by now, in the place of one that was sent so often. */
static void announce_begin(struct claim_table *t, uint64_t now_ms,
			   uint8_t tries)
{
	struct announce *a = &t->announce;
	unsigned int n = 0;
	struct claim *c;

	drop_unconfirmed(t, now_ms);
	memset(a, 0, sizeof(*a));
	a->batch = ++t->batch;
	a->tries = tries;
	TAILQ_FOREACH(c, &t->attached, attached) {
		if (!is_listed(c))
			continue;
		c->announce_batch = a->batch;
		c->announce_part = (uint16_t)(n++ / WIRE_FLOWS_MAX);
	}
	/* Nothing at all is a list too. */
	a->parts = n ? (n + WIRE_FLOWS_MAX - 1) / WIRE_FLOWS_MAX : 1;
	a->due_ms = now_ms;
	a->active = true;
}

int claim_table_announce(struct claim_table *t, uint64_t now_ms)
{
	if (t->announce.active)
		return -EALREADY;
	announce_begin(t, now_ms, 0);
	return 0;
}

bool claim_table_announcing(const struct claim_table *t)
{
	return t->announce.active;
}

/* The claims of a part lie side by side in the list of all. */
static struct claim *announce_part(struct claim_table *t, uint64_t now_ms,
				   unsigned int part, struct claim *c)
{
	struct announce *a = &t->announce;
	struct wire_message m;

	memset(&m, 0, sizeof(m));
	m.type = WIRE_FLOWS;
	m.flows.batch = a->batch;
	m.flows.part = (uint16_t)part;
	m.flows.parts = (uint16_t)a->parts;
	m.flows.flags = WIRE_FLOWS_COMPLETE;
	for (; c; c = TAILQ_NEXT(c, attached)) {
		if (c->announce_batch != a->batch)
			continue;
		if (c->announce_part > part)
			break;
		if (c->announce_part == part && is_listed(c))
			name_flow(&m.flows, c);
	}
	if (!bit_test(a->acked, part)) {
		a->in_flight++;
		flows_send(t, now_ms, &m);
	}
	return c;
}

void roster_announce_step(struct claim_table *t, uint64_t now_ms)
{
	struct announce *a = &t->announce;
	struct claim *c = TAILQ_FIRST(&t->attached);

	if (!a->active || now_ms < a->due_ms)
		return;
	if (a->tries >= ANNOUNCE_TRIES) {
		a->active = false;
		claim_tell_unanswered(t, now_ms);
		return;
	}
	if (a->stale)
		announce_begin(t, now_ms, a->tries);
	a->in_flight = 0;
	for (unsigned int part = 0;
	     part < a->parts && a->in_flight < ROUND_MAX; part++)
		c = announce_part(t, now_ms, part, c);
	a->due_ms = now_ms + claim_pto(t, ROUND_MS, a->tries++);
}

void roster_part_answered(struct claim_table *t, uint64_t now_ms,
			  const struct wire_flows_ack *m)
{
	struct announce *a = &t->announce;

	if (!a->active || m->batch != a->batch || m->part >= a->parts ||
	    bit_test(a->acked, m->part))
		return;
	bit_set(a->acked, m->part);
	a->tries = 0;
	if (++a->n_acked == a->parts)
		a->active = false;
	else if (a->in_flight && --a->in_flight == 0)
		a->due_ms = now_ms;
}

static void roll_begin(struct roll *r, uint64_t now_ms,
		       const struct wire_flows *m)
{
	uint32_t before = r->batch;

	memset(r, 0, sizeof(*r));
	r->active = true;
	r->before = before;
	r->batch = m->batch;
	r->parts = m->parts;
	r->since_ms = now_ms;
	r->sent_order = UINT64_MAX;
}

/* What was confirmed since is not in the list, rightly; nor is what its sender
 * has proved since, where the list was under way for longer than the proof. */
static void roll_over(struct claim_table *t, const struct roll *r)
{
	struct claim *c;

	TAILQ_FOREACH(c, &t->attached, attached)
		if (c->confirmed && c->named_batch != r->batch &&
		    c->confirmed_ms < r->since_ms &&
		    c->proved_order <= r->sent_order)
			claim_lose(c, REASON_ENDED);
}

bool roster_consume_part(struct claim_table *t, uint64_t now_ms,
			 const struct wire_flows *m)
{
	struct roll *r = &t->roll;

	if (m->parts == 0 || m->part >= m->parts)
		return true;
	if (!r->active || (m->batch != r->batch && m->batch != r->before))
		roll_begin(r, now_ms, m);
	if (m->batch != r->batch || m->parts != r->parts)
		return true;
	if (!bit_test(r->seen, m->part)) {
		bit_set(r->seen, m->part);
		if (t->heard_order < r->sent_order)
			r->sent_order = t->heard_order;
		if (++r->n_seen == r->parts) {
			roll_over(t, r);
			roster_leave(t, now_ms);
		}
	}
	return r->n_seen < r->parts || !t->n_leaving;
}

/* ---- ends ------------------------------------------------------------- */

static void end_message(struct wire_message *m, uint8_t type)
{
	memset(m, 0, sizeof(*m));
	m->type = type;
}

void roster_send_over(struct claim_table *t, uint64_t now_ms,
		      struct wire_message *over)
{
	over->type = WIRE_FLOW_END;
	if (over->flow_end.n)
		t->ops.send(t->arg, now_ms, over);
}

void roster_send_end(struct claim_table *t, uint64_t now_ms,
		     uint64_t flow_id)
{
	struct wire_message m;

	end_message(&m, WIRE_FLOW_END);
	m.flow_end.flow_id[m.flow_end.n++] = flow_id;
	roster_send_over(t, now_ms, &m);
}

static void ended_step_one(struct claim *c, uint64_t now_ms)
{
	struct claim_table *t = c->table;

	if ((c->peer_ended && c->end_acked) ||
	    now_ms - c->confirmed_ms >= CLAIM_RELEASE_MS) {
		claim_leave(c);
		return;
	}
	ended_due(t, claim_look_ms(c->confirmed_ms + CLAIM_RELEASE_MS));
	if (!c->end_acked)
		ended_due(t, claim_look_ms(c->due_ms));
}

/* In turn: the first goes to the end. */
static void ended_look(struct claim *c, uint64_t now_ms,
		       struct wire_flow_end *m)
{
	struct claim_table *t = c->table;

	claim_enter(c, CLAIM_END);
	if (!c->end_acked && c->due_ms <= now_ms) {
		m->flow_id[m->n++] = c->flow_id;
		c->due_ms = now_ms + claim_pto(t, ROUND_MS, c->failures);
		if (c->failures < UINT8_MAX)
			c->failures++;
	}
	ended_step_one(c, now_ms);
}

/* A peer's flows may all end at once. */
void roster_ended_step(struct claim_table *t, uint64_t now_ms)
{
	struct wire_message m;
	struct claim *c;
	unsigned int sent = 0;

	if (now_ms < t->ended_ms)
		return;
	if (!t->ended_left || t->ended_left > t->n_ended) {
		t->ended_left = t->n_ended;
		t->ended_next_ms = UINT64_MAX;
	}
	end_message(&m, WIRE_FLOW_END);
	for (unsigned int i = 0; i < ENDED_LOOKS && sent < ROUND_MAX &&
				 t->ended_left; i++) {
		c = TAILQ_FIRST(&t->list[CLAIM_END]);
		t->ended_left--;
		ended_look(c, now_ms, &m.flow_end);
		if (m.flow_end.n == WIRE_FLOW_END_MAX) {
			t->ops.send(t->arg, now_ms, &m);
			end_message(&m, WIRE_FLOW_END);
			sent++;
		}
	}
	if (m.flow_end.n)
		t->ops.send(t->arg, now_ms, &m);
	t->ended_ms = t->ended_left ? now_ms + ROUND_MS : t->ended_next_ms;
}

/* Its socket is gone; ours may not be yet. */
static void end_consume_one(struct claim *c, uint64_t now_ms)
{
	struct claim_table *t = c->table;
	struct claim_work *w;

	/* It answers ours: what was found out stays. */
	if (!c->confirmed && c->list == CLAIM_BACKOFF &&
	    claim_reason_is_path(c->reason))
		return;
	c->peer_ended = true;
	if (c->state == CLAIM_ENDED) {
		ended_step_one(c, now_ms);
	} else if (c->confirmed) {
		c->end_heard = true;
		claim_lose(c, REASON_ENDED);
	} else {
		w = proof_find(c, t);
		if (w)
			proof_free(w);
		claim_enter(c, CLAIM_NO_LIST);
		c->state = CLAIM_IDLE;
		c->wanted = false;
		c->reason = REASON_ENDED;
		if (t->ops.refused)
			t->ops.refused(t->arg, now_ms, c);
	}
}

void roster_end_consume(struct claim_table *t, uint64_t now_ms,
			const struct wire_flow_end *m)
{
	struct wire_message ack;

	end_message(&ack, WIRE_FLOW_END_ACK);
	ack.flow_end = *m;
	for (uint8_t i = 0; i < m->n; i++) {
		struct claim *c = claim_find(t, m->flow_id[i]);

		if (c)
			end_consume_one(c, now_ms);
	}
	/* Also for one that we do not know (any more). */
	t->ops.send(t->arg, now_ms, &ack);
}

void roster_end_acked(struct claim_table *t, uint64_t now_ms,
		      const struct wire_flow_end *m)
{
	for (uint8_t i = 0; i < m->n; i++) {
		struct claim *c = claim_find(t, m->flow_id[i]);

		offer_denied(t, m->flow_id[i]);
		if (!c || c->state != CLAIM_ENDED)
			continue;
		c->end_acked = true;
		ended_step_one(c, now_ms);
	}
}

/* ---- what leaves ------------------------------------------------------ */

static void release(struct claim *c, uint64_t now_ms)
{
	struct claim_table *t = c->table;

	claim_detach(c);
	c->reason = REASON_ENDED;
	if (t->ops.released)
		t->ops.released(t->arg, now_ms, c);
}

/* Where the flow is nobody's from now on, nothing will be told of its end: that
 * goes into `over`. */
static void lose(struct claim *c, uint64_t now_ms, struct wire_message *over)
{
	struct claim_table *t = c->table;
	const uint64_t flow_id = c->flow_id;
	const bool heard = c->end_heard;

	claim_lost(c, now_ms);
	if (!heard || c->table)
		return;
	over->flow_end.flow_id[over->flow_end.n++] = flow_id;
	if (over->flow_end.n < WIRE_FLOW_END_MAX)
		return;
	roster_send_over(t, now_ms, over);
	end_message(over, WIRE_FLOW_END);
}

static void leave(struct claim *c, uint64_t now_ms, struct wire_message *over)
{
	struct claim_table *t = c->table;

	if (c->state == CLAIM_ENDED) {
		release(c, now_ms);
	} else if (c->confirmed && c->peer_ended) {
		lose(c, now_ms, over);
	} else {
		claim_enter(c, CLAIM_NO_LIST);
		if (t->ops.left)
			t->ops.left(t->arg, now_ms, c);
	}
}

static void leave_together(struct claim_table *t, uint64_t now_ms,
			   unsigned int most, struct wire_message *over)
{
	struct claim *c, *part[CLAIM_PART];
	unsigned int n = 0;

	TAILQ_FOREACH(c, &t->list[CLAIM_LEAVES], entry) {
		if (n == most || n == CLAIM_PART)
			break;
		part[n++] = c;
	}
	if (n && t->ops.together)
		t->ops.together(t->arg, now_ms, part, n);
	while (n-- && (c = TAILQ_FIRST(&t->list[CLAIM_LEAVES])))
		leave(c, now_ms, over);
}

void claim_table_leave(struct claim_table *t, uint64_t now_ms, unsigned int n)
{
	struct wire_message over;

	end_message(&over, WIRE_FLOW_END);
	if (n > t->n_leaving)
		n = t->n_leaving;
	for (; n > CLAIM_PART; n -= CLAIM_PART)
		leave_together(t, now_ms, CLAIM_PART, &over);
	if (n)
		leave_together(t, now_ms, n, &over);
	roster_send_over(t, now_ms, &over);
}

unsigned int claim_table_leaving(const struct claim_table *t)
{
	return t->n_leaving;
}

void roster_leave(struct claim_table *t, uint64_t now_ms)
{
	if (!t->n_leaving)
		return;
	if (t->ops.leaving)
		t->ops.leaving(t->arg, now_ms, t->n_leaving);
	else
		claim_table_leave(t, now_ms, t->n_leaving);
}
