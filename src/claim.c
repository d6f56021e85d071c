/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * claim: one flow's claim: what it waits for, how a proof ends, and the
 * digest over the confirmed ones. Never reads a message (offer.c, answer.c,
 * roster.c), never judges a proof (proof.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "claim_impl.h"

#define BACKOFF_RETRY_MS 250
#define BACKOFF_RETRY_MAX_MS 30000
#define BACKOFF_UNKNOWN_MS 500
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
	if (c->list != CLAIM_NO_LIST)
		TAILQ_REMOVE(&c->table->list[c->list], c, entry);
	c->list = list;
	if (list != CLAIM_NO_LIST)
		TAILQ_INSERT_TAIL(&c->table->list[list], c, entry);
}

void claim_wait_turn(struct claim *c, uint64_t now_ms)
{
	struct claim_table *t = c->table;

	c->state = CLAIM_WAITING;
	claim_enter(c, c->tuple->proto == IPPROTO_UDP ? CLAIM_TURN_UDP :
							CLAIM_TURN_TCP);
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

	if (!t)
		return;
	claim_work_free(c);
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
	c->end_acked = false;
}

/* ---- work ------------------------------------------------------------- */

int claim_work_new(struct claim *c, uint64_t now_ms, bool mine)
{
	struct claim_table *t = c->table;

	if (t->n_work >= CLAIM_WORK_MAX ||
	    (mine && t->n_mine >= CLAIM_WINDOW))
		return -ENOSPC;
	c->work = calloc(1, sizeof(*c->work));
	if (!c->work)
		return -ENOMEM;
	c->work->mine = mine;
	t->n_work++;
	t->n_mine += mine;
	c->state = CLAIM_WORKING;
	claim_enter(c, CLAIM_WORK);
	claim_stage(c, STAGE_SAMPLE, now_ms);
	return 0;
}

void claim_work_free(struct claim *c)
{
	struct claim_table *t = c->table;
	struct claim_work *w = c->work;

	if (!w)
		return;
	proof_unwatch(c);
	t->n_work--;
	t->n_mine -= w->mine;
	if (w->recording)
		t->n_recordings--;
	free(w->seen);
	crypto_wipe(w, sizeof(*w));
	free(w);
	c->work = NULL;
	c->state = CLAIM_IDLE;
	claim_enter(c, CLAIM_NO_LIST);
	/* There is room for the next one. */
	if (!TAILQ_EMPTY(&t->list[CLAIM_TURN_TCP]) ||
	    !TAILQ_EMPTY(&t->list[CLAIM_TURN_UDP]))
		due_at(&t->turn_ms, 0);
}

void claim_stage(struct claim *c, enum stage stage, uint64_t due_ms)
{
	c->work->stage = stage;
	c->due_ms = due_ms;
	due_at(&c->table->work_ms, due_ms);
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
	case REASON_RECORDING:
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
	return why == REASON_RETRY || why == REASON_RECORDING ||
	       why == REASON_NO_PEER || why == REASON_LIMIT ||
	       why == REASON_SYSTEM || why == REASON_NAT ||
	       why == REASON_YOUNG || why == REASON_LATER;
}

void claim_refuse(struct claim *c, uint64_t now_ms, enum reason why)
{
	struct claim_table *t = c->table;

	claim_work_free(c);
	claim_enter(c, CLAIM_NO_LIST);
	c->state = CLAIM_IDLE;
	if (c->confirmed && why == REASON_UNKNOWN_FLOW) {
		if (!c->unknown_ms)
			c->unknown_ms = now_ms;
		if (now_ms - c->unknown_ms >= CLAIM_UNKNOWN_MS) {
			claim_lose(c, now_ms, why);
			return;
		}
	} else if (c->confirmed && !claim_reason_passes(why)) {
		claim_lose(c, now_ms, why);
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

void claim_lose(struct claim *c, uint64_t now_ms, enum reason why)
{
	struct claim_table *t = c->table;

	claim_work_free(c);
	claim_disown(c);
	claim_enter(c, CLAIM_NO_LIST);
	c->state = CLAIM_IDLE;
	c->reason = why;
	c->peer_ended = true;
	claim_count(t, COUNTER_FLOWS_ENDED);
	if (t->ops.ended_by_peer)
		t->ops.ended_by_peer(t->arg, now_ms, c);
}

int claim_confirm(struct claim *c, uint64_t now_ms, uint64_t flow_id,
		  uint32_t peer_track)
{
	struct claim_table *t = c->table;
	struct claim *other = claim_find(t, flow_id);
	int ret;

	if (other && other != c)
		return -EEXIST;
	claim_disown(c);
	ret = claim_set_id(c, flow_id);
	if (ret < 0)
		return ret;
	c->confirmed = true;
	c->confirmed_ms = now_ms;
	c->peer_track = peer_track;
	c->peer_ended = false;
	c->reason = REASON_NONE;
	c->failures = 0;
	memset(c->bar_key, 0, sizeof(c->bar_key));
	memset(c->bar_demerits, 0, sizeof(c->bar_demerits));
	claim_digest_add(&t->digest, flow_id);
	claim_count(t, COUNTER_FLOWS_CONFIRMED);
	if (t->ops.confirmed)
		t->ops.confirmed(t->arg, now_ms, c);
	return 0;
}

void claim_bar(struct claim *c, uint64_t now_ms)
{
	struct claim_table *t = c->table;

	claim_work_free(c);
	claim_enter(c, CLAIM_NO_LIST);
	c->state = CLAIM_BARRED;
	c->reason = REASON_PROOF_FAILED;
	t->counters->refused[REASON_PROOF_FAILED]++;
	if (t->ops.refused)
		t->ops.refused(t->arg, now_ms, c);
}

void claim_reprove(struct claim *c, uint64_t now_ms)
{
	if (c->state == CLAIM_WORKING || c->state == CLAIM_WAITING)
		return;
	c->failures = 0;
	claim_wait_turn(c, now_ms);
}

bool claim_is_barred(const struct claim *c, const struct claim_table *t)
{
	for (int i = 0; i < CLAIM_BARS; i++)
		if (c->bar_key[i] == t->key)
			return c->bar_demerits[i] >= DEMERITS_MAX;
	return false;
}

bool claim_demerit(struct claim *c, enum verdict v)
{
	struct claim_table *t = c->table;
	int at = 0;

	/* Its own record, or the one with the least to remember. */
	for (int i = 0; i < CLAIM_BARS; i++) {
		if (c->bar_key[i] == t->key) {
			at = i;
			break;
		}
		if (c->bar_demerits[i] < c->bar_demerits[at])
			at = i;
	}
	if (c->bar_key[at] != t->key) {
		c->bar_key[at] = t->key;
		c->bar_demerits[at] = 0;
	}
	if (v == VERDICT_WRONG)
		claim_count(t, COUNTER_PROOFS_WRONG);
	c->bar_demerits[at] = (uint8_t)(c->bar_demerits[at] +
					(v == VERDICT_WRONG ? 2 : 1));
	if (c->bar_demerits[at] < DEMERITS_MAX)
		return false;
	c->bar_demerits[at] = DEMERITS_MAX;
	return true;
}

/* ---- tracks ----------------------------------------------------------- */

void claim_place(struct claim *c, struct wire_place *own)
{
	struct claim_table *t = c->table;

	memset(own, 0, sizeof(*own));
	own->track = c->own_track;
	own->at = c->tuple->local.addr;
	if (t && t->ops.place)
		t->ops.place(t->arg, c, own);
	c->own_track = own->track;
}

bool claim_may_enter(struct claim *c, uint64_t now_ms,
		     const struct wire_place *peers, bool proved)
{
	struct claim_table *t = c->table;
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
	c->tuple = tuple;
	c->own_track = own_track;
	c->reason = REASON_NO_PEER;
}

bool claim_is_offerer(const struct tuple *tuple)
{
	return endpoint_compare(&tuple->local, &tuple->remote) < 0;
}

int claim_start(struct claim_table *t, uint64_t now_ms, struct claim *c)
{
	if (claim_is_barred(c, t))
		return -EACCES;
	if (c->table && c->table != t && c->confirmed)
		return -EBUSY;
	if (c->table != t) {
		if (t->n_attached >= CLAIM_FLOWS_MAX)
			return -ENOSPC;
		claim_attach(t, c);
	}
	c->wanted = true;
	if (c->state == CLAIM_ENDED)
		return -EBUSY;
	if (c->confirmed || c->state != CLAIM_IDLE)
		return -EALREADY;
	claim_wait_turn(c, now_ms);
	return 0;
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
	c->peer_track = peer_track;
	c->reason = REASON_NONE;
	claim_digest_add(&t->digest, flow_id);
	return 0;
}

bool claim_end(struct claim *c, uint64_t now_ms)
{
	struct claim_table *t = c->table;

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
	claim_work_free(c);
	claim_disown(c);
	c->wanted = false;
	c->state = CLAIM_ENDED;
	c->reason = REASON_ENDED;
	c->failures = 0;
	c->due_ms = now_ms;
	c->confirmed_ms = now_ms; /* of its end: when to release it */
	claim_enter(c, CLAIM_END);
	due_at(&t->ended_ms, now_ms);
	return false;
}

void claim_end_there(struct claim *c, uint64_t now_ms)
{
	if (c->confirmed)
		claim_lose(c, now_ms, REASON_ENDED);
}

void claim_drop(struct claim *c)
{
	claim_detach(c);
}

void claim_set_track(struct claim *c, uint64_t now_ms, uint32_t track)
{
	if (c->own_track == track)
		return;
	c->own_track = track;
	/* Whatever else is under way names the track anyway. */
	if (!c->table || !c->confirmed || c->state != CLAIM_IDLE)
		return;
	c->failures = 0;
	c->due_ms = now_ms;
	claim_enter(c, CLAIM_TELL);
	due_at(&c->table->tell_ms, now_ms);
}
