/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * proof: what shows that an end holds a flow: nonces that went on it.
 *
 * Owns the proofs under way, the numbers of the sockets that they are about,
 * what was sent and what has come (claim.h says how that proves). Never sends a
 * message, never decides what follows from a proof.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "claim_impl.h"

static const struct bucket_kind tries = {
	.burst = CLAIM_TOKENS, .token_ms = CLAIM_TOKEN_MS,
};

/* ---- proofs under way ------------------------------------------------- */

/* What the claim waits for stays. Not whose nonce has come: who can send on the
 * flow, as from any address, sends what he has named himself. */
static bool may_give_way(const struct claim_work *w)
{
	return !(w->mine && w->claim->table == w->table);
}

static bool gives_way_before(const struct claim_work *a,
			     const struct claim_work *b)
{
	const unsigned int x = a->table->gave_way, y = b->table->gave_way;

	return x != y ? x > y : a->began_ms < b->began_ms;
}

/* Who is the end of the flow needs two round trips: at the bound one goes, of
 * the peer that had to most often, or else the one that has waited longest. So
 * who comes again and again only drives out others who do. */
static bool make_room(struct claim *c)
{
	struct claim_work *w, *last = NULL;
	unsigned int n = 0;

	LIST_FOREACH(w, &c->works, of_claim) {
		n++;
		if (may_give_way(w) && (!last || gives_way_before(w, last)))
			last = w;
	}
	if (n < CLAIM_KEYS_MAX)
		return true;
	if (!last)
		return false;
	last->table->gave_way++;
	proof_free(last);
	return true;
}

static void forget_oldest(struct claim_table *t)
{
	if (t->n_lingering >= CLAIM_LINGER_MAX)
		proof_free(TAILQ_FIRST(&t->lingering));
}

int proof_new(struct claim_table *t, struct claim *c, uint64_t now_ms,
	      bool mine, struct claim_work **out)
{
	struct claim_work *w;

	if (mine ? t->n_mine >= CLAIM_WINDOW :
		   t->n_theirs >= CLAIM_ANSWERS_MAX)
		return -ENOSPC;
	if (!make_room(c))
		return -ENOSPC;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->table = t;
	w->claim = c;
	w->mine = mine;
	w->began_ms = now_ms;
	w->poke_ms = UINT64_MAX;
	t->n_mine += mine;
	t->n_theirs += !mine;
	TAILQ_INSERT_TAIL(&t->works, w, entry);
	LIST_INSERT_HEAD(&c->works, w, of_claim);
	*out = w;
	return 0;
}

static void unwatch(struct claim_work *w)
{
	struct claim_table *t = w->table;

	if (!w->watching)
		return;
	w->watching = false;
	t->ops.watch(t->arg, w->claim, false, &w->copies);
}

void proof_free(struct claim_work *w)
{
	struct claim_table *t = w->table;

	unwatch(w);
	if (w->stage == STAGE_LINGER) {
		TAILQ_REMOVE(&t->lingering, w, entry);
		t->n_lingering--;
	} else {
		TAILQ_REMOVE(&t->works, w, entry);
		t->n_mine -= w->mine;
		t->n_theirs -= !w->mine;
	}
	LIST_REMOVE(w, of_claim);
	crypto_wipe(w, sizeof(*w));
	free(w);
	/* There is room for the next one. */
	if (!TAILQ_EMPTY(&t->list[CLAIM_TURN]))
		due_at(&t->turn_ms, 0);
}

void proof_free_all(struct claim *c, const struct claim_table *but)
{
	struct claim_work *w, *next;

	for (w = LIST_FIRST(&c->works); w; w = next) {
		next = LIST_NEXT(w, of_claim);
		if (w->table != but)
			proof_free(w);
	}
}

struct claim_work *proof_find(const struct claim *c,
			      const struct claim_table *t)
{
	struct claim_work *w;

	LIST_FOREACH(w, &c->works, of_claim)
		if (w->table == t)
			return w;
	return NULL;
}

struct claim_work *proof_find_id(const struct claim_table *t,
				 uint64_t flow_id)
{
	struct claim_work *w;

	TAILQ_FOREACH(w, &t->works, entry)
		if (w->mine && !w->asks && w->flow_id == flow_id)
			return w;
	return NULL;
}

static void linger(struct claim_work *w)
{
	struct claim_table *t = w->table;

	if (w->stage == STAGE_LINGER)
		return;
	unwatch(w);
	forget_oldest(t);
	TAILQ_REMOVE(&t->works, w, entry);
	t->n_theirs--;
	TAILQ_INSERT_TAIL(&t->lingering, w, entry);
	t->n_lingering++;
	w->poke_ms = UINT64_MAX;
}

static void resume(struct claim_work *w)
{
	struct claim_table *t = w->table;

	if (w->stage != STAGE_LINGER)
		return;
	TAILQ_REMOVE(&t->lingering, w, entry);
	t->n_lingering--;
	TAILQ_INSERT_TAIL(&t->works, w, entry);
	t->n_theirs++;
}

void proof_stage(struct claim_work *w, enum stage stage, uint64_t due_ms)
{
	if (stage == STAGE_LINGER)
		linger(w);
	else
		resume(w);
	if (stage == STAGE_DENY) {
		unwatch(w);
		w->poke_ms = UINT64_MAX;
	}
	w->stage = stage;
	w->due_ms = due_ms;
	due_at(&w->table->work_ms, due_ms);
}

bool proof_pay(struct claim_work *w, uint64_t now_ms)
{
	struct claim_table *t = w->table;

	if (!bucket_take(w->mine ? &t->tries : &t->their_tries, &tries,
			 now_ms))
		return false;
	w->tokens++;
	return true;
}

bool proof_can_answer(const struct claim_table *t, uint64_t now_ms)
{
	return bucket_next_ms(&t->their_tries, &tries, now_ms) <= now_ms;
}

bool proof_look(struct claim_table *t, uint64_t now_ms)
{
	return bucket_take(&t->looks, &tries, now_ms);
}

enum reason proof_looked(struct claim_table *t, enum reason why)
{
	if (why == REASON_NONE)
		bucket_give(&t->looks, &tries);
	return why;
}

void proof_reward(struct claim_work *w)
{
	struct claim_table *t = w->table;

	t->gave_way -= t->gave_way > 0;
	for (; w->tokens; w->tokens--)
		bucket_give(w->mine ? &t->tries : &t->their_tries, &tries);
}

/* ---- numbers ---------------------------------------------------------- */

enum reason proof_want_numbers(struct claim_work *w, uint64_t now_ms)
{
	struct claim_table *t = w->table;
	int ret;

	if (w->claim->tuple->proto == IPPROTO_UDP)
		w->known = true;
	if (w->known || w->poke_ms != UINT64_MAX)
		return REASON_NONE;
	if (!w->watching) {
		ret = t->ops.watch(t->arg, w->claim, true, &w->copies);
		if (ret < 0)
			return ret == -ENOSPC ? REASON_LIMIT : REASON_SYSTEM;
		w->watching = true;
	}
	w->pokes = 0;
	w->sample_end_ms = now_ms + CLAIM_SAMPLE_MS;
	w->poke_ms = now_ms + CLAIM_POKE_MS;
	due_at(&t->work_ms, w->poke_ms);
	return REASON_NONE;
}

int proof_poke(struct claim_work *w, uint64_t now_ms)
{
	struct claim_table *t = w->table;

	if (now_ms >= w->sample_end_ms) {
		w->poke_ms = UINT64_MAX;
		return -ETIMEDOUT;
	}
	/* The kernel answers at most twice a second. */
	w->poke_ms = now_ms + (20u << (w->pokes < 5 ? w->pokes : 5));
	due_at(&t->work_ms, w->poke_ms);
	t->ops.poke(t->arg, w->claim, w->pokes++ == 0);
	return 0;
}

/* A segment that is sent again ends before what is sent next. */
static void note(struct claim_work *w, const struct nonce_numbers *n)
{
	uint32_t seq = w->known && (int32_t)(n->seq - w->now.seq) < 0 ?
			       w->now.seq : n->seq;

	w->now = *n;
	w->now.seq = seq;
	w->known = true;
	w->poke_ms = UINT64_MAX;
}

void claim_segment(struct claim *c, uint64_t now_ms,
		   const struct nonce_numbers *n)
{
	struct claim_work *w;

	LIST_FOREACH(w, &c->works, of_claim) {
		if (!w->watching)
			continue;
		note(w, n);
		if (w->mine)
			offer_sampled(w, now_ms);
		else
			answer_sampled(w, now_ms);
	}
	claim_touch(c);
}

void claim_touch(const struct claim *c)
{
	const struct claim_work *w;

	LIST_FOREACH(w, &c->works, of_claim)
		if (w->table->ops.touch)
			w->table->ops.touch(w->table->arg);
	if (c->table && c->table->ops.touch)
		c->table->ops.touch(c->table->arg);
}

/* ---- nonces ----------------------------------------------------------- */

void proof_draw(struct claim_work *w)
{
	struct claim_table *t = w->table;

	t->ops.random(t->arg, w->out, sizeof(w->out));
	nonce_tag(&t->ends, w->out, w->tag);
	w->sent = w->received = w->expected = false;
}

static void draw_answer(struct claim_work *w)
{
	struct claim_table *t = w->table;

	nonce_answer(&t->ends, w->in, w->out);
	t->ops.random(t->arg, w->out + NONCE_ANSWER_SIZE,
		      sizeof(w->out) - NONCE_ANSWER_SIZE);
}

int proof_emit(struct claim_work *w, uint64_t now_ms)
{
	struct claim_table *t = w->table;

	if (!w->mine)
		draw_answer(w);
	w->out_numbers = w->now;
	if (!w->out_numbers.stamped)
		w->out_numbers.tsval = w->out_numbers.tsecr = 0;
	w->sent = true;
	claim_count(t, COUNTER_PROOFS_SENT);
	return t->ops.emit(t->arg, now_ms, w->claim, w->mine ? NULL : &w->at,
			   w->attempts++, &w->out_numbers, w->out);
}

/* What the offerer sent, or the answer to it? Once: a copy is like any other
 * packet that comes late. */
static bool is_due(const struct claim_work *w,
		   const uint8_t nonce[WIRE_NONCE_SIZE])
{
	uint8_t right[WIRE_NONCE_SIZE];

	if (w->mine && w->stage == STAGE_AWAIT) {
		nonce_answer(&w->table->ends, w->out, right);
		return MUTANT(answer_unchecked) ||
		       crypto_equal(right, nonce, NONCE_ANSWER_SIZE);
	}
	if (w->mine || w->stage == STAGE_LINGER || w->received)
		return false;
	nonce_tag(&w->table->ends, nonce, right);
	return MUTANT(tag_unchecked) ||
	       crypto_equal(right, w->tag, sizeof(right));
}

bool claim_nonce(struct claim *c, uint64_t now_ms, const struct tuple *at,
		 const uint8_t nonce[WIRE_NONCE_SIZE],
		 const struct nonce_numbers *n)
{
	struct claim_work *w;

	LIST_FOREACH(w, &c->works, of_claim)
		if (is_due(w, nonce))
			break;
	if (!w)
		return false;
	claim_count(w->table, COUNTER_PROOFS_RECEIVED);
	w->received = true;
	memcpy(w->in, nonce, sizeof(w->in));
	w->in_numbers = *n;
	w->at = *at;
	if (w->mine)
		offer_received(w, now_ms);
	else
		answer_emit(w, now_ms);
	claim_touch(c);
	return true;
}

bool claim_nonce_is_ours(const struct claim *c,
			 const uint8_t nonce[WIRE_NONCE_SIZE])
{
	const struct claim_work *w;

	LIST_FOREACH(w, &c->works, of_claim)
		if (w->sent && crypto_equal(w->out, nonce, sizeof(w->out)))
			return true;
	return false;
}

static bool awaits(const struct claim_work *w)
{
	return w->mine ? w->stage == STAGE_AWAIT :
			 w->stage == STAGE_EXPECT && !w->received;
}

/* Each is sent as soon as it has been asked for, or not at all. */
uint64_t claim_awaits_ms(const struct claim *c)
{
	const struct claim_work *w;
	uint64_t ms = 0, pto_ms;

	LIST_FOREACH(w, &c->works, of_claim) {
		pto_ms = awaits(w) ? w->table->ops.pto_ms(w->table->arg) : 0;
		if (pto_ms > ms)
			ms = pto_ms;
	}
	return ms;
}

/* ---- on the wire ------------------------------------------------------ */

enum reason proof_check(const struct claim_work *w, const struct wire_proof *p)
{
	const struct nonce_numbers *n = &w->out_numbers;
	const size_t len = MUTANT(receipt_unchecked) ? 0 :
			   MUTANT(receipt_begins) ? NONCE_ANSWER_SIZE :
						    sizeof(w->out);

	if ((!w->sent && !MUTANT(unsent_taken)) ||
	    !crypto_equal(p->nonce, w->out, len))
		return REASON_RETRY;
	if (w->claim->tuple->proto == IPPROTO_UDP ||
	    MUTANT(numbers_unchecked))
		return REASON_NONE;
	return p->seq == n->seq && p->ack == n->ack &&
		       p->tsval == n->tsval && p->tsecr == n->tsecr ?
		       REASON_NONE : REASON_REWRITTEN;
}

void proof_fill(const struct claim_work *w, struct wire_proof *p)
{
	p->kind = w->kind;
	if (w->kind == WIRE_PROOF_TAG)
		memcpy(p->nonce, w->tag, sizeof(p->nonce));
	if (w->kind != WIRE_PROOF_RECEIPT)
		return;
	memcpy(p->nonce, w->in, sizeof(p->nonce));
	if (w->claim->tuple->proto == IPPROTO_UDP)
		return;
	p->seq = w->in_numbers.seq;
	p->ack = w->in_numbers.ack;
	p->tsval = w->in_numbers.tsval;
	p->tsecr = w->in_numbers.tsecr;
}

size_t proof_size(const struct wire_proof *p)
{
	switch (p->kind) {
	case WIRE_PROOF_TAG:
		return WIRE_NONCE_SIZE;
	case WIRE_PROOF_RECEIPT:
		return WIRE_NONCE_SIZE + 16;
	default:
		return 0;
	}
}
