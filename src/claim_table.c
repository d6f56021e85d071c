/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * claim_table: all claims of one peer, and whose turn it is.
 *
 * No step walks all of them for one: the proofs under way are few
 * (CLAIM_WINDOW, CLAIM_ANSWERS_MAX), the claims lie in lists that are looked at when the
 * first of them is due. What a turn does is in offer.c and roster.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "claim_impl.h"

#define UNANSWERED_MS 1000 /* between two such events */

int claim_table_new(struct claim_table **table, const struct claim_ops *ops,
		    void *arg, const uint8_t own_key[CRYPTO_KEY_SIZE],
		    const uint8_t key[CRYPTO_KEY_SIZE],
		    struct counters *counters)
{
	struct claim_table *t = calloc(1, sizeof(*t));
	uint8_t seed[CRYPTO_SHORT_KEY_SIZE];

	if (!t)
		return -ENOMEM;
	t->ops = *ops;
	t->arg = arg;
	t->counters = counters;
	t->offers = memcmp(own_key, key, CRYPTO_KEY_SIZE) < 0;
	memcpy(t->ends.offers, t->offers ? own_key : key, CRYPTO_KEY_SIZE);
	memcpy(t->ends.answers, t->offers ? key : own_key, CRYPTO_KEY_SIZE);
	TAILQ_INIT(&t->attached);
	TAILQ_INIT(&t->works);
	TAILQ_INIT(&t->lingering);
	for (int i = 0; i < CLAIM_LISTS; i++)
		TAILQ_INIT(&t->list[i]);
	t->turn_ms = t->backoff_ms = t->work_ms = UINT64_MAX;
	t->tell_ms = t->ended_ms = t->ended_next_ms = UINT64_MAX;
	ops->random(arg, seed, sizeof(seed));
	index_init(&t->by_id, offsetof(struct claim, by_id),
		   offsetof(struct claim, flow_id), sizeof(uint64_t), seed);
	/* So that one that restarts does not repeat its last ones. */
	ops->random(arg, &t->batch, sizeof(t->batch));
	*table = t;
	return 0;
}

void claim_table_free(struct claim_table *t)
{
	if (!t)
		return;
	while (!TAILQ_EMPTY(&t->attached))
		claim_detach(TAILQ_FIRST(&t->attached));
	while (!TAILQ_EMPTY(&t->works))
		proof_free(TAILQ_FIRST(&t->works));
	while (!TAILQ_EMPTY(&t->lingering))
		proof_free(TAILQ_FIRST(&t->lingering));
	index_free(&t->by_id);
	free(t);
}

bool claim_table_offers(const struct claim_table *t)
{
	return t->offers;
}

void *claim_table_arg(const struct claim_table *t)
{
	return t->arg;
}

const struct claim_digest *claim_table_digest(const struct claim_table *t)
{
	return &t->digest;
}

struct claim *claim_next(const struct claim_table *t, const struct claim *c)
{
	return c ? TAILQ_NEXT(c, attached) : TAILQ_FIRST(&t->attached);
}

struct claim *claim_find(const struct claim_table *t, uint64_t flow_id)
{
	return index_find(&t->by_id, &flow_id);
}

void claim_table_receive(struct claim_table *t, uint64_t now_ms,
			 const struct wire_message *m)
{
	t->heard_order = m->sent_order;
	switch (m->type) {
	case WIRE_FLOWS:
		claim_count(t, COUNTER_FLOWS_RX);
		answer_receive(t, now_ms, &m->flows);
		break;
	case WIRE_FLOWS_ACK:
		offer_answered(t, now_ms, &m->flows_ack);
		break;
	case WIRE_FLOW_END:
		roster_end_consume(t, now_ms, &m->flow_end);
		break;
	case WIRE_FLOW_END_ACK:
		roster_end_acked(t, now_ms, &m->flow_end);
		break;
	default:
		claim_count(t, COUNTER_RX_UNEXPECTED);
	}
	roster_leave(t, now_ms);
}

uint64_t claim_table_deadline_ms(const struct claim_table *t)
{
	uint64_t due_ms = t->work_ms;

	due_at(&due_ms, t->backoff_ms);
	due_at(&due_ms, t->tell_ms);
	due_at(&due_ms, t->ended_ms);
	due_at(&due_ms, t->turn_ms);
	if (t->announce.active)
		due_at(&due_ms, t->announce.due_ms);
	return due_ms;
}

static void backoff_step(struct claim_table *t, uint64_t now_ms)
{
	struct claim *c, *next;

	if (now_ms < t->backoff_ms)
		return;
	t->backoff_ms = UINT64_MAX;
	for (c = TAILQ_FIRST(&t->list[CLAIM_BACKOFF]); c; c = next) {
		next = TAILQ_NEXT(c, entry);
		if (c->due_ms <= now_ms)
			claim_wait_turn(c, now_ms);
		else
			due_at(&t->backoff_ms, claim_look_ms(c->due_ms));
	}
}

/* Each that waits at the beginning gets one turn: refusals come back. */
static void turn_step(struct claim_table *t, uint64_t now_ms)
{
	struct claim *c;

	if (now_ms < t->turn_ms)
		return;
	t->turn_ms = UINT64_MAX;
	while ((c = TAILQ_FIRST(&t->list[CLAIM_TURN])) != NULL &&
	       offer_begin(c, now_ms))
		;
}

static struct claim_work *next_due(struct claim_table *t, uint64_t now_ms)
{
	struct claim_work *w;

	TAILQ_FOREACH(w, &t->works, entry)
		if (w->due_ms <= now_ms && w->stage != STAGE_PACK &&
		    w->stage != STAGE_ANSWER)
			return w;
	w = TAILQ_FIRST(&t->lingering);
	return w && w->due_ms <= now_ms ? w : NULL;
}

static struct claim_work *next_poked(struct claim_table *t, uint64_t now_ms)
{
	struct claim_work *w;

	TAILQ_FOREACH(w, &t->works, entry)
		if (w->poke_ms <= now_ms)
			return w;
	return NULL;
}

/* Events may take claims away, the next one of this list too. */
static void work_step(struct claim_table *t, uint64_t now_ms)
{
	struct claim_work *w;

	if (now_ms < t->work_ms)
		return;
	while ((w = next_due(t, now_ms)) != NULL)
		if (w->mine)
			offer_timeout(w, now_ms);
		else
			answer_timeout(w, now_ms);
	while ((w = next_poked(t, now_ms)) != NULL) {
		if (!proof_poke(w, now_ms) || w->stage != STAGE_SAMPLE)
			continue;
		if (w->mine)
			offer_fail(w, now_ms, REASON_RETRY);
		else
			answer_unknown(w, now_ms);
	}
	answer_flush(t, now_ms);
	offer_flush(t, now_ms);
	t->work_ms = UINT64_MAX;
	w = TAILQ_FIRST(&t->lingering);
	if (w)
		due_at(&t->work_ms, w->due_ms);
	TAILQ_FOREACH(w, &t->works, entry) {
		due_at(&t->work_ms, w->due_ms);
		due_at(&t->work_ms, w->poke_ms);
	}
}

void claim_table_step(struct claim_table *t, uint64_t now_ms)
{
	backoff_step(t, now_ms);
	turn_step(t, now_ms);
	work_step(t, now_ms);
	roster_tell_step(t, now_ms);
	roster_announce_step(t, now_ms);
	roster_ended_step(t, now_ms);
	roster_leave(t, now_ms);
}

void claim_table_settled(struct claim_table *t, uint64_t now_ms)
{
	struct claim *c, *next;

	for (c = TAILQ_FIRST(&t->list[CLAIM_BACKOFF]); c; c = next) {
		next = TAILQ_NEXT(c, entry);
		if (c->reason == REASON_LATER)
			claim_wait_turn(c, now_ms);
	}
}

void claim_table_kick(struct claim_table *t, uint64_t now_ms)
{
	struct claim *c, *next;
	struct claim_work *w;

	for (c = TAILQ_FIRST(&t->list[CLAIM_BACKOFF]); c; c = next) {
		next = TAILQ_NEXT(c, entry);
		if (!claim_reason_passes(c->reason) &&
		    c->reason != REASON_UNKNOWN_FLOW &&
		    c->reason != REASON_NONE)
			continue;
		c->failures = 0;
		claim_wait_turn(c, now_ms);
	}
	TAILQ_FOREACH(w, &t->works, entry) {
		w->tries = 0;
		if (w->stage == STAGE_SENT || w->stage == STAGE_DENY)
			proof_stage(w, w->stage, now_ms);
	}
	TAILQ_FOREACH(c, &t->list[CLAIM_TELL], entry) {
		c->failures = 0;
		c->due_ms = now_ms;
		due_at(&t->tell_ms, now_ms);
	}
	TAILQ_FOREACH(c, &t->list[CLAIM_END], entry) {
		if (c->end_acked)
			continue;
		c->failures = 0;
		c->due_ms = now_ms;
		ended_due(t, now_ms);
	}
	t->announce.tries = 0;
	t->announce.due_ms = now_ms;
	t->unanswered_ms = 0;
}

void claim_tell_unanswered(struct claim_table *t, uint64_t now_ms)
{
	if (t->unanswered_ms && now_ms - t->unanswered_ms < UNANSWERED_MS)
		return;
	t->unanswered_ms = now_ms;
	if (t->ops.unanswered)
		t->ops.unanswered(t->arg, now_ms);
}
