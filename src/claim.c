/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * claim: one flow's claim: what it waits for, how a proof ends, and the
 * digest over the confirmed ones. Never reads a message (offer.c, answer.c,
 * roster.c), never makes or judges a proof (proof.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "claim_impl.h"

#define BACKOFF_RETRY_MS 250
#define BACKOFF_RETRY_MAX_MS 30000
#define BACKOFF_UNKNOWN_MS 100
#define BACKOFF_UNKNOWN_MAX_MS 60000
#define BACKOFF_REFUSED_MS 30000
#define BACKOFF_REFUSED_MAX_MS 600000

/* ---- digest ----------------------------------------------------------- */

static void digest_toggle(struct claim_digest *d, uint64_t flow_id)
{
	uint8_t be[8], hash[WIRE_DIGEST_SIZE];
	struct crypto_part part = { be, sizeof(be) };

	for (int i = 0; i < 8; i++)
		be[i] = (uint8_t)(flow_id >> (56 - 8 * i));
	crypto_blake2b(hash, sizeof(hash), NULL, 0, &part, 1);
	for (size_t i = 0; i < sizeof(hash); i++)
		d->sum[i] ^= hash[i];
}

void claim_digest_add(struct claim_digest *d, uint64_t flow_id)
{
	digest_toggle(d, flow_id);
	d->count++;
}

void claim_digest_remove(struct claim_digest *d, uint64_t flow_id)
{
	digest_toggle(d, flow_id);
	d->count--;
}

bool claim_digest_equal(const struct claim_digest *d, uint32_t count,
			const uint8_t sum[WIRE_DIGEST_SIZE])
{
	return d->count == count && memcmp(d->sum, sum, sizeof(d->sum)) == 0;
}

/* ---- lists and ids ---------------------------------------------------- */

void claim_enter(struct claim *c, enum claim_list_name list)
{
	if (c->list != CLAIM_NO_LIST) {
		TAILQ_REMOVE(&c->table->list[c->list], c, entry);
		c->table->n_ended -= c->list == CLAIM_END;
		c->table->n_leaving -= c->list == CLAIM_LEAVES;
	}
	c->list = list;
	if (list != CLAIM_NO_LIST) {
		TAILQ_INSERT_TAIL(&c->table->list[list], c, entry);
		c->table->n_ended += list == CLAIM_END;
		c->table->n_leaving += list == CLAIM_LEAVES;
	}
}

void claim_wait_turn(struct claim *c, uint64_t now_ms)
{
	struct claim_table *t = c->table;

	c->state = CLAIM_WAITING;
	claim_enter(c, CLAIM_TURN);
	due_at(&t->turn_ms, now_ms);
}

static void claim_wait_until(struct claim *c, uint64_t due_ms)
{
	struct claim_table *t = c->table;

	c->state = CLAIM_WAITING;
	c->due_ms = due_ms;
	claim_enter(c, CLAIM_BACKOFF);
	due_at(&t->backoff_ms, claim_look_ms(due_ms));
}

void claim_attach(struct claim_table *t, struct claim *c)
{
	if (c->table == t)
		return;
	if (c->table)
		claim_detach(c);
	c->table = t;
	c->state = CLAIM_IDLE;
	c->failures = 0;
	TAILQ_INSERT_TAIL(&t->attached, c, attached);
	t->n_attached++;
}

bool claim_has_room(const struct claim_table *t, const struct claim *c)
{
	return c->table == t || t->n_attached < CLAIM_FLOWS_MAX;
}

static void claim_unhash(struct claim *c)
{
	if (!c->hashed)
		return;
	index_remove(&c->table->by_id, c);
	c->hashed = false;
}

/* -EEXIST: another flow has it. */
int claim_set_id(struct claim *c, uint64_t flow_id)
{
	struct claim *other = claim_find(c->table, flow_id);

	if (other)
		return other == c ? 0 : -EEXIST;
	claim_unhash(c);
	c->flow_id = flow_id;
	c->hashed = index_add(&c->table->by_id, c) == 0;
	return c->hashed ? 0 : -ENOMEM;
}

static void claim_disown(struct claim *c)
{
	if (!c->confirmed)
		return;
	c->confirmed = false;
	c->doubted = false;
	c->unknown_ms = 0;
	claim_digest_remove(&c->table->digest, c->flow_id);
}

void claim_detach(struct claim *c)
{
	struct claim_table *t = c->table;

	struct claim_work *w;

	if (!t)
		return;
	w = proof_find(c, t);
	if (w)
		proof_free(w);
	claim_disown(c);
	claim_unhash(c);
	claim_enter(c, CLAIM_NO_LIST);
	TAILQ_REMOVE(&t->attached, c, attached);
	t->n_attached--;
	c->table = NULL;
	c->flow_id = 0;
	c->state = CLAIM_IDLE;
	c->announce_batch = 0;
	c->peer_ended = false;
	c->end_heard = false;
	c->end_acked = false;
}

uint64_t claim_pto(struct claim_table *t, uint64_t base_ms,
		   unsigned int tries)
{
	uint64_t ms = (base_ms + t->ops.pto_ms(t->arg))
		      << (tries < 10 ? tries : 10);
	uint16_t jitter;

	if (ms > PTO_BACKOFF_MAX_MS)
		ms = PTO_BACKOFF_MAX_MS;
	t->ops.random(t->arg, &jitter, sizeof(jitter));
	return ms - ms / 4 + jitter % (ms / 2 + 1);
}

/* ---- outcomes --------------------------------------------------------- */

static uint64_t backoff_ms(enum reason why, unsigned int failures)
{
	uint64_t ms, max_ms;

	switch (why) {
	case REASON_RETRY:
	case REASON_LIMIT:
	case REASON_LATER:
		ms = BACKOFF_RETRY_MS;
		max_ms = BACKOFF_RETRY_MAX_MS;
		break;
	case REASON_UNKNOWN_FLOW:
	case REASON_NO_PEER:
	case REASON_YOUNG:
		ms = BACKOFF_UNKNOWN_MS;
		max_ms = BACKOFF_UNKNOWN_MAX_MS;
		break;
	case REASON_PROXY:
	case REASON_REWRITTEN:
		return CLAIM_PROXY_MS;
	default:
		ms = BACKOFF_REFUSED_MS;
		max_ms = BACKOFF_REFUSED_MAX_MS;
	}
	ms <<= failures < 12 ? failures : 12;
	return ms < max_ms ? ms : max_ms;
}

/* A reason that time may mend, or one that says it is not theirs to own? */
bool claim_reason_passes(enum reason why)
{
	return why == REASON_RETRY || why == REASON_NO_PEER ||
	       why == REASON_LIMIT || why == REASON_SYSTEM ||
	       why == REASON_NAT || why == REASON_YOUNG ||
	       why == REASON_LATER;
}

bool claim_reason_is_path(enum reason why)
{
	return why == REASON_PROXY || why == REASON_REWRITTEN;
}

void claim_refuse(struct claim *c, uint64_t now_ms, enum reason why)
{
	struct claim_table *t = c->table;

	claim_enter(c, CLAIM_NO_LIST);
	c->state = CLAIM_IDLE;
	if (c->confirmed && why == REASON_UNKNOWN_FLOW) {
		if (!c->unknown_ms)
			c->unknown_ms = now_ms;
		if (now_ms - c->unknown_ms >= CLAIM_UNKNOWN_MS) {
			claim_lose(c, why);
			return;
		}
	} else if (c->confirmed && !claim_reason_passes(why)) {
		claim_lose(c, why);
		return;
	}
	if (c->confirmed || c->wanted)
		claim_wait_until(c, now_ms + backoff_ms(why, c->failures));
	if (c->failures < UINT8_MAX)
		c->failures++;
	if (!c->confirmed) {
		c->reason = why;
		if (t->ops.refused)
			t->ops.refused(t->arg, now_ms, c);
	}
	if (why == REASON_NO_PEER)
		claim_tell_unanswered(t, now_ms);
}

void claim_leave(struct claim *c)
{
	proof_free_all(c, NULL);
	if (c->state != CLAIM_ENDED)
		c->state = CLAIM_IDLE;
	if (c->list != CLAIM_LEAVES)
		claim_enter(c, CLAIM_LEAVES);
}

void claim_lose(struct claim *c, enum reason why)
{
	claim_leave(c);
	c->reason = why;
	c->peer_ended = true;
}

void claim_lost(struct claim *c, uint64_t now_ms)
{
	struct claim_table *t = c->table;

	claim_disown(c);
	claim_enter(c, CLAIM_NO_LIST);
	claim_count(t, COUNTER_FLOWS_ENDED);
	if (t->ops.ended_by_peer)
		t->ops.ended_by_peer(t->arg, now_ms, c);
}

int claim_confirm(struct claim_table *t, struct claim *c, uint64_t now_ms,
		  uint64_t flow_id, uint32_t peer_track)
{
	struct claim *other = claim_find(t, flow_id);
	struct wire_place own;
	int ret;

	if (other && other != c)
		return -EEXIST;
	if (!claim_has_room(t, c))
		return -ENOSPC;
	/* Whoever else was at it hears that it is owned. */
	proof_free_all(c, t);
	claim_attach(t, c);
	claim_disown(c);
	ret = claim_set_id(c, flow_id);
	if (ret < 0)
		return ret;
	claim_place(t, c, &own);
	claim_enter(c, CLAIM_NO_LIST);
	c->state = CLAIM_IDLE;
	c->confirmed = true;
	c->confirmed_ms = now_ms;
	c->proved_order = t->heard_order;
	/* What a list of ours would still say of it is not true any more. */
	t->announce.stale = t->announce.active;
	c->peer_track = peer_track;
	c->peer_ended = false;
	c->end_heard = false;
	c->reason = REASON_NONE;
	c->failures = 0;
	claim_digest_add(&t->digest, flow_id);
	claim_count(t, COUNTER_FLOWS_CONFIRMED);
	if (t->ops.confirmed)
		t->ops.confirmed(t->arg, now_ms, c);
	return 0;
}

void claim_reprove(struct claim *c, uint64_t now_ms)
{
	if (c->state == CLAIM_WORKING || c->state == CLAIM_WAITING)
		return;
	c->failures = 0;
	claim_wait_turn(c, now_ms);
}

/* ---- tracks ----------------------------------------------------------- */

void claim_place(struct claim_table *t, struct claim *c,
		 struct wire_place *own)
{
	memset(own, 0, sizeof(*own));
	own->track = c->own_track;
	own->at = c->tuple->local.addr;
	if (t->ops.place)
		t->ops.place(t->arg, c, own);
	/* Numbers are of one peer. */
	if (c->table == t)
		c->own_track = own->track;
}

bool claim_may_enter(struct claim_table *t, struct claim *c, uint64_t now_ms,
		     const struct wire_place *peers, bool proved)
{
	enum place_answer answer = t->ops.judge ?
		t->ops.judge(t->arg, now_ms, c, peers, proved) : PLACE_AGREED;

	if (answer == PLACE_LATER)
		t->counters->refused[REASON_LATER]++;
	else if (answer == PLACE_REFUSED)
		claim_count(t, COUNTER_RETRACKS_IGNORED);
	c->home = answer == PLACE_HOME;
	return answer == PLACE_AGREED || answer == PLACE_HOME;
}

/* ---- the caller's verbs ----------------------------------------------- */

void claim_init(struct claim *c, const struct tuple *tuple,
		uint32_t own_track)
{
	memset(c, 0, sizeof(*c));
	LIST_INIT(&c->works);
	c->tuple = tuple;
	c->own_track = own_track;
	c->reason = REASON_NO_PEER;
}

int claim_start(struct claim_table *t, uint64_t now_ms, struct claim *c)
{
	if (c->table && c->table != t && c->confirmed)
		return -EBUSY;
	if (!claim_has_room(t, c))
		return -ENOSPC;
	claim_attach(t, c);
	c->wanted = true;
	if (c->state == CLAIM_ENDED)
		return -EBUSY;
	if (c->confirmed || c->state != CLAIM_IDLE)
		return -EALREADY;
	claim_wait_turn(c, now_ms);
	return 0;
}

int claim_start_beside(struct claim_table *t, uint64_t now_ms,
		       struct claim *c)
{
	if (!c->table || c->table == t || c->confirmed ||
	    c->state == CLAIM_ENDED)
		return -EBUSY;
	if (t->n_mine >= CLAIM_WINDOW)
		return -ENOSPC;
	if (t->ops.path(t->arg, now_ms, c) != REASON_NONE)
		return -EAGAIN;
	return offer_beside(t, c, now_ms) ? 0 : -ENOSPC;
}

int claim_restore(struct claim_table *t, struct claim *c, uint64_t flow_id,
		  uint32_t peer_track)
{
	int ret;

	if (c->confirmed || flow_id == 0)
		return -EBUSY;
	if (t->n_attached >= CLAIM_FLOWS_MAX)
		return -ENOSPC;
	claim_attach(t, c);
	ret = claim_set_id(c, flow_id);
	if (ret < 0) {
		claim_detach(c);
		return ret;
	}
	c->wanted = true;
	c->confirmed = true;
	c->proved_order = 0;
	c->peer_track = peer_track;
	c->reason = REASON_NONE;
	claim_digest_add(&t->digest, flow_id);
	return 0;
}

bool claim_end(struct claim *c, uint64_t now_ms)
{
	struct claim_table *t = c->table;

	proof_free_all(c, NULL);
	if (!t)
		return true;
	/* With an id the other end may have confirmed it, whether we heard
	 * so or not. */
	if (!c->hashed) {
		claim_detach(c);
		return true;
	}
	if (c->state == CLAIM_ENDED)
		return false;
	if (c->confirmed)
		claim_count(t, COUNTER_FLOWS_ENDED);
	claim_disown(c);
	c->wanted = false;
	c->state = CLAIM_ENDED;
	c->reason = REASON_ENDED;
	c->failures = 0;
	c->due_ms = now_ms;
	c->confirmed_ms = now_ms; /* of its end: when to release it */
	claim_enter(c, CLAIM_END);
	ended_due(t, now_ms);
	return false;
}

void claim_end_there(struct claim *c)
{
	if (c->confirmed)
		claim_lose(c, REASON_ENDED);
}

void claim_drop(struct claim *c)
{
	proof_free_all(c, NULL);
	claim_detach(c);
}

void claim_set_track(struct claim *c, uint64_t now_ms, uint32_t track)
{
	if (c->own_track == track)
		return;
	c->own_track = track;
	/* Whatever else is under way names the track anyway. */
	if (!c->table || !claim_is_held(c) || c->state != CLAIM_IDLE)
		return;
	c->failures = 0;
	c->due_ms = now_ms;
	claim_enter(c, CLAIM_TELL);
	due_at(&c->table->tell_ms, now_ms);
}
