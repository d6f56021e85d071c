/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * proof: what shows that an end holds a flow, and the judgment of it.
 *
 * Owns the samples of TCP numbers and the recordings of datagrams of one
 * flow while its proof is under way (claim.h says how they prove). Never
 * sends, never counts against a key.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "claim_impl.h"

/* A capture that was open for this long before a number came has seen what
 * that number can be about. */
#define COVER_MS 100
#define SAMPLE_GAP_MS (CLAIM_HISTORY_MS / CLAIM_HISTORY + 1)
#define MAC_LABEL "sacip udp"

int proof_watch(struct claim *c, uint64_t now_ms)
{
	struct claim_table *t = c->table;
	int ret;

	if (c->work->watching)
		return 0;
	ret = t->ops.watch(t->arg, c, true, &c->work->copies);
	if (ret < 0)
		return ret;
	c->work->watching = true;
	c->work->watch_ms = now_ms;
	return 0;
}

void proof_unwatch(struct claim *c)
{
	struct claim_table *t = c->table;

	if (!c->work->watching)
		return;
	c->work->watching = false;
	t->ops.watch(t->arg, c, false, &c->work->copies);
}

/* ---- TCP -------------------------------------------------------------- */

void proof_want_sample(struct claim *c, uint64_t now_ms, enum stage stage)
{
	c->work->since_ms = now_ms;
	c->work->pokes = 0;
	claim_stage(c, stage, now_ms + CLAIM_POKE_MS);
}

int proof_wait(struct claim *c, uint64_t now_ms)
{
	struct claim_table *t = c->table;
	struct claim_work *w = c->work;

	if (now_ms >= w->since_ms + CLAIM_SAMPLE_MS)
		return -ETIMEDOUT;
	w->pokes++;
	claim_stage(c, w->stage,
		    now_ms + ((uint64_t)CLAIM_POKE_MS << w->pokes));
	t->ops.poke(t->arg, c, w->pokes == 1);
	return 0;
}

void claim_segment(struct claim *c, uint64_t now_ms,
		   const struct claim_segment *s)
{
	struct claim_work *w = c->work;
	struct sample *last;

	if (!w || !w->watching || c->tuple->proto != IPPROTO_TCP)
		return;
	/* A segment that is sent again ends before snd_nxt. */
	if (w->n_history == 0 || (int32_t)(s->snd_nxt - w->snd_nxt) > 0)
		w->snd_nxt = s->snd_nxt;
	if (s->window > w->window)
		w->window = s->window;
	w->newest.at_ms = now_ms;
	w->newest.rcv_nxt = s->rcv_nxt;
	last = &w->history[(w->n_history + CLAIM_HISTORY - 1) %
			   CLAIM_HISTORY];
	if (w->n_history == 0 || now_ms - last->at_ms >= SAMPLE_GAP_MS)
		w->history[w->n_history++ % CLAIM_HISTORY] = w->newest;
	if (now_ms < w->since_ms)
		return;
	if (w->stage == STAGE_SAMPLE || w->stage == STAGE_VERIFY ||
	    w->stage == STAGE_CHECK)
		offer_sampled(c, now_ms);
}

/*
 * The number was true when it was taken, up to a round trip ago, give or
 * take what was in flight. So it lies between what was expected half a
 * second ago and what is expected now; on a flow so fast that this would be
 * much of all numbers, in its newest CLAIM_RANGE_MAX.
 */
enum verdict proof_check_tcp(const struct claim *c, uint32_t number)
{
	const struct claim_work *w = c->work;
	uint32_t tolerance = CLAIM_TOLERANCE;
	uint32_t high = w->newest.rcv_nxt, low = high;
	unsigned int kept = w->n_history < CLAIM_HISTORY ? w->n_history :
							   CLAIM_HISTORY;
	bool capped = false;

	if (w->window > tolerance)
		tolerance = w->window < CLAIM_RANGE_MAX ? w->window :
							  CLAIM_RANGE_MAX;
	for (unsigned int i = 1; i <= kept && !capped; i++) {
		const struct sample *s =
			&w->history[(w->n_history - i) % CLAIM_HISTORY];

		if (w->newest.at_ms - s->at_ms > CLAIM_HISTORY_MS)
			break;
		if (high - s->rcv_nxt > CLAIM_RANGE_MAX)
			capped = true;
		else
			low = s->rcv_nxt;
	}
	if (number - (low - tolerance) <= high - low + 2 * tolerance)
		return VERDICT_RIGHT;
	/* More than can be in flight cannot have been sent. */
	if ((int32_t)(number - high) > 0)
		return VERDICT_WRONG;
	/* It may be older than what was seen of this flow. */
	if (capped || w->watch_ms + COVER_MS > w->since_ms)
		return VERDICT_DOUBTFUL;
	return VERDICT_WRONG;
}

/* ---- UDP -------------------------------------------------------------- */

int proof_record(struct claim *c, uint64_t now_ms,
		 const uint8_t key[CRYPTO_KEY_SIZE])
{
	struct claim_table *t = c->table;
	struct claim_work *w = c->work;

	if (w->recording &&
	    crypto_equal(w->key, key, CRYPTO_KEY_SIZE))
		return 0;
	if (!w->recording) {
		if (t->n_recordings >= CLAIM_RECORDINGS_MAX)
			return -ENOSPC;
		w->seen = calloc(CLAIM_RECORD_SEEN, sizeof(w->seen[0]));
		if (!w->seen)
			return -ENOMEM;
		w->recording = true;
		t->n_recordings++;
	}
	memcpy(w->key, key, CRYPTO_KEY_SIZE);
	w->n_own = 0;
	w->n_seen = 0;
	return proof_watch(c, now_ms);
}

static void endpoint_bytes(const struct endpoint *e,
			   uint8_t to[WIRE_ENDPOINT_SIZE])
{
	addr_to_mapped(&e->addr, to);
	to[16] = (uint8_t)(e->port >> 8);
	to[17] = (uint8_t)e->port;
}

static void datagram_mac(const struct claim *c, bool outgoing,
			 const uint8_t *payload, size_t len,
			 uint8_t mac[WIRE_PROOF_MAC_SIZE])
{
	const struct tuple *t = c->tuple;
	uint8_t src[WIRE_ENDPOINT_SIZE], dst[WIRE_ENDPOINT_SIZE];
	struct crypto_part part[] = {
		{ MAC_LABEL, sizeof(MAC_LABEL) - 1 },
		{ src, sizeof(src) },
		{ dst, sizeof(dst) },
		{ payload, len },
	};

	endpoint_bytes(outgoing ? &t->local : &t->remote, src);
	endpoint_bytes(outgoing ? &t->remote : &t->local, dst);
	crypto_blake2b(mac, WIRE_PROOF_MAC_SIZE, c->work->key,
		       sizeof(c->work->key), part, 4);
}

void claim_datagram(struct claim *c, uint64_t now_ms, bool outgoing,
		    const uint8_t *payload, size_t len)
{
	struct claim_work *w = c->work;
	unsigned int at;

	if (!w || !w->recording)
		return;
	if (outgoing) {
		/* The first ones, which have arrived for sure when they are
		 * named, and the last ones, which are remembered for sure. */
		at = w->n_own < OWN_MACS ?
			     w->n_own :
			     OWN_MACS / 2 + w->n_own % (OWN_MACS / 2);
		datagram_mac(c, true, payload, len, w->own[at]);
		w->n_own++;
	} else {
		datagram_mac(c, false, payload, len,
			     w->seen[w->n_seen % CLAIM_RECORD_SEEN]);
		w->n_seen++;
	}
	if (w->stage == STAGE_RECORD && w->n_own && w->n_seen &&
	    c->due_ms > now_ms + CLAIM_RECORD_SETTLE_MS)
		claim_stage(c, STAGE_RECORD, now_ms + CLAIM_RECORD_SETTLE_MS);
}

bool proof_check_udp(const struct claim *c, const struct wire_proof *p)
{
	const struct claim_work *w = c->work;
	unsigned int n = w->n_seen < CLAIM_RECORD_SEEN ? w->n_seen :
							 CLAIM_RECORD_SEEN;

	if (!w->recording)
		return false;
	for (unsigned int i = 0; i < p->n_macs; i++)
		for (unsigned int j = 0; j < n; j++)
			if (crypto_equal(p->mac[i], w->seen[j],
					 WIRE_PROOF_MAC_SIZE))
				return true;
	return false;
}

void proof_fill(const struct claim *c, struct wire_proof *p)
{
	const struct claim_work *w = c->work;

	p->kind = w->kind;
	if (w->kind == WIRE_PROOF_TCP) {
		p->snd_nxt = w->snd_nxt;
	} else if (w->kind == WIRE_PROOF_UDP_MACS) {
		p->n_macs = (uint8_t)(w->n_own < OWN_MACS ? w->n_own :
							    OWN_MACS);
		memcpy(p->mac, w->own, p->n_macs * sizeof(p->mac[0]));
	}
}

size_t proof_size(const struct wire_proof *p)
{
	if (p->kind == WIRE_PROOF_TCP)
		return 4;
	if (p->kind == WIRE_PROOF_UDP_MACS)
		return 1 + (size_t)p->n_macs * WIRE_PROOF_MAC_SIZE;
	return 0;
}
